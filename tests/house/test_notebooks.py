"""The notebooks: thin, honest about their numbers, and the same numbers when run again."""

from __future__ import annotations

import ast
import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))

import execute  # noqa: E402
from outputs import differences, text_difference  # noqa: E402

SOURCES = execute.sources()
LONGEST_FUNCTION = 10
LARGEST_BYTES = 1_500_000
# What may stand in an answer beside computed numbers: theorem ids, names of formats, formulas with letters.
NAMED = re.compile(r"T\d+|bfloat16|float\d\d|\$[^$]*[a-z][^$]*\$")

each = pytest.mark.parametrize("source", SOURCES, ids=[source.stem for source in SOURCES])


def stored(source: Path) -> Any:
    return nbformat.read(source, as_version=4)


def code_of(notebook: Any) -> str:
    """All of its code, one cell after the other."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return "\n".join(line for cell in cells for line in cell.splitlines() if not line.startswith("%"))


def shape_faults(notebook: Any) -> Iterator[str]:
    """Question first, answer with a number last, everything run once in order, no errors and no warnings."""
    first, last = notebook.cells[0], notebook.cells[-1]
    if first.metadata.get("tags") != ["question"] or "\n**Question.** " not in first.source:
        yield "it does not begin with its question"
    if last.metadata.get("tags") != ["answer"] or not re.search(r"\d", answer(notebook)):
        yield "it does not end with an answer that shows a number"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "its cells were not run once each, in order"
    for output in (output for cell in code for output in cell.outputs):
        if output.output_type == "error" or output.get("name") == "stderr":
            yield f"it shows {output.get('ename', 'a warning')}"


def answer(notebook: Any) -> str:
    """The sentence that the last cell shows."""
    texts = [
        output.get("data", {}).get("text/markdown", "") for output in notebook.cells[-1].get("outputs", [])
    ]
    return next((text for text in texts if text.startswith("**Answer.** ")), "")


def code_faults(code: str) -> Iterator[str]:
    """Functions that belong into the library, and random numbers without a seed."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"a definition of {lines} lines at line {node.lineno}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith("default_rng") and not all(
                isinstance(a, ast.Constant) for a in node.args or [node]
            ):
                yield f"{ast.unparse(node)} has no fixed seed"
            if re.fullmatch(r"np\.random\.(?!default_rng)\w+|random\.\w+", called):
                yield f"{called} draws from hidden state"


def typed_numbers(code: str) -> list[str]:
    """Digits that an answer's text has typed into it, instead of computed."""
    (shown,) = (node for node in ast.walk(ast.parse(code)) if _calls(node, "Markdown"))
    computed = {
        id(part)
        for node in ast.walk(shown)
        if isinstance(node, ast.FormattedValue)
        for part in ast.walk(node)
    }
    texts = [
        node.value for node in ast.walk(shown) if isinstance(node, ast.Constant) and id(node) not in computed
    ]
    return re.findall(r"\d+", NAMED.sub("", "".join(map(str, texts))))


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name


@each
def test_notebook_asks_answers_and_ran_in_order(source: Path) -> None:
    assert list(shape_faults(stored(source))) == []


@each
def test_notebook_is_thin_and_small(source: Path) -> None:
    assert list(code_faults(code_of(stored(source)))) == []
    assert source.stat().st_size < LARGEST_BYTES


@each
def test_answer_has_no_typed_number(source: Path) -> None:
    assert typed_numbers(stored(source).cells[-1].source) == []


@each
def test_a_tampered_number_is_found(source: Path) -> None:
    honest = stored(source)
    assert differences(honest, honest) == []
    tampered = copy.deepcopy(honest)
    (output,) = tampered.cells[-1].outputs
    number = re.findall(r"\d+(?:\.\d+)?", output.data["text/markdown"])[-1]
    head, _, tail = output.data["text/markdown"].rpartition(number)
    output.data["text/markdown"] = f"{head}{2 * float(number) + 1:g}{tail}"
    assert differences(tampered, honest) != []


@pytest.mark.slow
@each
def test_a_fresh_run_shows_the_stored_numbers(source: Path) -> None:
    assert differences(stored(source), execute.run(source)) == []


def test_there_is_one_notebook_per_question() -> None:
    assert [source.name[:2] for source in SOURCES] == [f"{number:02d}" for number in range(1, 11)]
    assert set(NOTEBOOKS.glob("*.ipynb")) == set(SOURCES)


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("a = 1.0000001", "a = 1.0000002", True),
        ("a = 1.00001", "a = 1.00002", False),
        ("6,451 tokens", "6,451 tokens", True),
        ("6,451 tokens", "6,452 tokens", False),
        ("0", "0.0", True),
        ("1e-3 of it", "-1e-3 of it", False),
        ("9.8e-09", "9.8e-08", False),
        ("T13 holds", "T14 holds", False),
        ("3 holds", "3 fails", False),
        ("1 2", "1 2 3", False),
        ("nan", "0.1", False),
        ("float64", "float32", False),
    ],
)
def test_text_is_compared_number_by_number(before: str, after: str, same: bool) -> None:
    assert (text_difference(before, after) is None) is same


def test_a_cell_sets_its_own_tolerance() -> None:
    assert text_difference("1.00", "1.04", rtol=0.05) is None
    before, after = shown("slack 1.00"), shown("slack 1.04")
    assert differences(before, after) == ["cell 1: 1.00 became 1.04"]
    after.cells[0].metadata["rtol"] = 0.05
    assert differences(before, after) == []


def test_differences_beyond_text_are_found() -> None:
    before = shown("a")
    for fresh, said in (
        (shown("a", source="y"), "source"),
        (shown("a", mime="text/html"), "became"),
        (shown("a", "a"), "became"),
    ):
        (found,) = differences(before, fresh)
        assert said in found
    assert differences(before, nbformat.v4.new_notebook()) == ["1 cells stored, 0 run"]
    assert differences(shown("a", mime="image/png"), shown("b", mime="image/png")) == []
    failed = copy.deepcopy(before)
    failed.cells[0].outputs = [nbformat.v4.new_output("error", ename="E", evalue="x")]
    assert differences(before, failed) != []


def test_printed_numbers_are_compared_too() -> None:
    before, after = shown("a"), shown("a")
    for notebook, text in ((before, "x = 1.5"), (after, "x = 1.6")):
        notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    assert differences(before, after) == ["cell 1: 1.5 became 1.6"]


def shown(*texts: str, source: str = "x", mime: str = "text/markdown") -> Any:
    outputs = [nbformat.v4.new_output("display_data", data={mime: text}) for text in texts]
    cell = nbformat.v4.new_code_cell(source, outputs=outputs, execution_count=1)
    return nbformat.v4.new_notebook(cells=[cell])


def test_structure_checks_see_what_is_broken() -> None:
    good = stored(SOURCES[0])
    for breaks, fault in (
        (lambda n: n.cells[0].metadata.pop("tags"), "question"),
        (lambda n: n.cells[-1].outputs.clear(), "answer"),
        (lambda n: n.cells[1].update(execution_count=7), "in order"),
        (lambda n: n.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr")), "warning"),
        (lambda n: n.cells[1].outputs.append(nbformat.v4.new_output("error", ename="E")), "shows E"),
    ):
        broken = copy.deepcopy(good)
        breaks(broken)
        assert any(fault in found for found in shape_faults(broken))


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def f():\n" + "    x = 1\n" * 10, "a definition of 11 lines"),
        ("class A:\n" + "    x = 1\n" * 10, "a definition of 11 lines"),
        ("rng = np.random.default_rng()", "no fixed seed"),
        ("rng = np.random.default_rng(seed)", "no fixed seed"),
        ("x = np.random.normal(3)", "hidden state"),
    ],
)
def test_code_checks_see_what_is_broken(code: str, fault: str) -> None:
    assert any(fault in found for found in code_faults(code))


def test_code_checks_let_short_and_seeded_code_pass() -> None:
    assert list(code_faults("def f():\n" + "    x = 1\n" * 9 + "rng = np.random.default_rng(3)")) == []


def test_a_typed_number_is_found() -> None:
    assert typed_numbers('display(Markdown(f"It takes 42 of {n:.3g} steps, T13 says at $d_1$."))') == ["42"]
    assert typed_numbers('display(Markdown("It takes 42 steps, or $43$."))') == ["42", "43"]
    assert typed_numbers('x = "1 2"\ndisplay(Markdown(f"It takes {x[\'a 1\']} of {n:.3g} steps."))') == []


def test_check_reports_a_notebook_that_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "01_x.ipynb"
    nbformat.write(shown("1.7"), source)
    monkeypatch.setattr(execute, "HERE", tmp_path)
    monkeypatch.setattr(execute, "run", lambda _: shown("1.5"))
    assert execute.main([]) == 0
    assert execute.main(["--check"]) == 0
    nbformat.write(shown("1.7"), source)
    assert execute.main(["--check", "01"]) == 1
    assert "cell 1: 1.7 became 1.5" in capsys.readouterr().out
    assert execute.main(["--check", "02"]) == 0
