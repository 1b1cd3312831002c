"""What the README and the pages show runs, prints what they say, and names commands and options that exist."""

from __future__ import annotations

import csv
import inspect
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.checkout import ROOT, copy_tracked
from typer.main import get_command

from osdn_theory.commands.main import app
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES
from osdn_theory.language.claims import judge_claims
from osdn_theory.language.data import load as load_language
from osdn_theory.recall.data import load as load_recall, overall
from osdn_theory.theorems import THEOREMS

README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "notebooks" / "pages").glob("*.md"))}
TEXTS = {"README.md": README, **PAGES}
MEASURED = ROOT / "kernels" / "benchmarks" / "measured"


def blocks(text: str, language: str = r"\w+") -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```(?:{language})\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block to paste, and what the README says that it prints."""

    code: str
    printed: str


def examples() -> list[Example]:
    """Every bash block, with the text block that follows it, if any."""
    found = re.findall(r"^```(bash|text)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    following = [*found[1:], ("", "")]
    return [
        Example(code, after if kind_after == "text" else "")
        for (kind, code), (kind_after, after) in zip(found, following, strict=True)
        if kind == "bash"
    ]


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_every_block_runs_in_a_new_shell_of_a_fresh_clone(tmp_path: Path) -> None:
    """In order. Packages are not fetched again: the environment that the first block makes finds those of this one."""
    clone = copy_tracked(tmp_path / "osdn")
    base = tmp_path / "bin"
    base.mkdir()
    (base / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    offline = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    environment = {
        **kept,
        **offline,
        "PATH": f"{base}:/usr/bin:/bin",
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "OMP_NUM_THREADS": "1",
    }
    for example in examples():
        # The whole of `make verify` takes minutes; CI has its parts, and here make tells what it would do.
        code = example.code.replace("make verify", "make --dry-run verify")
        done = subprocess.run(
            ["bash", "-e", "-c", code],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        finds_a_mistake = "mine.py" in code
        assert done.returncode == int(finds_a_mistake), code + done.stdout[-3000:] + done.stderr[-3000:]
        assert one_line(example.printed) in one_line(done.stdout), done.stdout


def test_there_are_examples_and_no_other_kind_of_block() -> None:
    assert len(examples()) == 5
    assert sum(bool(example.printed) for example in examples()) == 3
    assert len(blocks(README)) == len(blocks(README, "bash|text|diff"))
    assert len(README.splitlines()) <= 160


def test_every_block_but_the_first_needs_no_shell_that_was_prepared() -> None:
    first, *others = (example.code for example in examples())
    assert "source .venv/bin/activate" in first
    for code in others:
        assert code.startswith(("source .venv/bin/activate\n", "make "))


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if blocks(text, "python")])
def test_the_blocks_of_a_page_run_in_order(page: str, tmp_path: Path) -> None:
    """In a process of their own: the kernel tests turn on an interpreter that no user has on."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = [sys.executable, "-c", "\n".join(blocks(PAGES[page], "python"))]
    done = subprocess.run(script, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if page == "osdn.md":
        assert done.stdout.startswith("holds ")
        assert (tmp_path / "regret.png").stat().st_size > 1000
    if page == "kernels.md":
        assert done.stderr.count("runs through its PyTorch reference") == 1


def test_the_ten_lines_are_ten() -> None:
    assert len([line for line in blocks(PAGES["osdn.md"], "python")[0].splitlines() if line]) <= 10


@pytest.mark.parametrize("name", ["README.md", "kernels.md"])
def test_the_replacement_fits_the_signature(name: str) -> None:
    from osdn_kernels import chunk_osdn

    (call,) = re.findall(r"^\+o, state = chunk_osdn\((.*)\)$", TEXTS[name], flags=re.MULTILINE)
    arguments = [part.split("=") for part in call.split(", ")]
    positional = [part[0] for part in arguments if len(part) == 1]
    inspect.signature(chunk_osdn).bind(*positional, **{part[0]: None for part in arguments if len(part) == 2})
    assert f"chunk_delta_rule({call})" in TEXTS[name]


def commands() -> list[str]:
    """Every line of a bash block that calls the command, and every call in backquotes that has options."""
    lines = [line for text in TEXTS.values() for block in blocks(text, "bash") for line in block.splitlines()]
    quoted = [
        one_line(found)
        for text in TEXTS.values()
        for found in re.findall(r"`(osdn-theory [^`]*--[^`]*)`", text)
    ]
    named = [line.split("  #")[0].strip() for line in lines if line.startswith("osdn-theory ")]
    return sorted({line for line in [*named, *quoted] if "…" not in line and "..." not in line})


@pytest.mark.parametrize("line", commands())
def test_commands_are_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    group = get_command(app)
    command = group.get_command(group.make_context("osdn-theory", [], resilient_parsing=True), name)  # type: ignore[attr-defined]
    parsed = command.make_context(name, list(arguments), resilient_parsing=arguments == ["--help"])
    assert parsed.args == []


def test_a_command_that_is_wrong_is_found() -> None:
    with pytest.raises(Exception, match="No such option: --nosuch"):
        test_commands_are_understood("osdn-theory verify --nosuch")


def test_every_command_is_shown() -> None:
    shown = {shlex.split(line)[1] for line in commands()} | {
        found for text in TEXTS.values() for found in re.findall(r"\bosdn-theory (\w+)", text)
    }
    group = get_command(app)
    context = group.make_context("osdn-theory", [], resilient_parsing=True)
    assert set(group.list_commands(context)) <= shown  # type: ignore[attr-defined]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|- ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def measured_rows() -> list[list[str]]:
    return [row for row in rows(README) if row[0].startswith("`")]


def test_every_measured_number_has_a_command_and_a_machine() -> None:
    assert len(measured_rows()) >= 6
    for command, where, result in measured_rows():
        assert re.match(r"`(osdn-theory|python -m) ", command)
        assert where in ("CPU", "H100", "H200")
        assert re.search(r"\d", result)


def test_verdicts_on_a_gpu_are_those_of_the_measured_file() -> None:
    with (MEASURED / "examinations.csv").open(newline="") as file:
        examined = {(row["kernel"], row["dtype"]): row for row in csv.DictReader(file)}
    claimed = [(row[0].strip("`").split()[-1], row[2]) for row in measured_rows() if "crosscheck" in row[0]]
    assert claimed
    for kernel, result in claimed:
        row = examined[kernel, result.partition(":")[0]]
        said = f"{row['verdict']} in {row['exercises']} exercises; would have seen {row['faults seen']} of "
        assert f"{said}{row['faults possible']} known faults" in result


def test_the_self_test_is_that_of_the_measured_file() -> None:
    with (MEASURED / "selftest.csv").open(newline="") as file:
        verdicts = [row["verdict"] for row in csv.DictReader(file)]
    (result,) = (row[2] for row in measured_rows() if "selftest" in row[0])
    assert result.startswith(f"{len(verdicts)} runs: {verdicts.count('ok')} right")


def test_language_models_are_those_of_the_delivered_result() -> None:
    """What differs from DeltaNet, and what became of the claims."""
    (told,) = (result for command, _, result in measured_rows() if " train " in command)
    summary = load_language()
    assert summary is not None
    labels = {model.name: model.label.removesuffix(", bounded") for model in summary.models}
    losses = {row.model: row for row in summary.rows if row.measure == "loss"}
    apart = [name for name, row in losses.items() if row.difference and row.difference.significant]
    named = re.findall(r"(OS-\w+) \((\d\.\d+)", told)
    assert named == [(labels[name], f"{losses[name].mean:.3f}") for name in apart]
    assert f"DeltaNet's ({losses['deltanet'].mean:.3f}); no other differs" in told
    standings = {outcome.id: outcome.standing for outcome in judge_claims(summary)}
    claims = re.findall(r"([A-Z][\w, ]*): (contradicted|not seen)", told)
    found = {name: f"{word} at this scale" for names, word in claims for name in re.split(", | and ", names)}
    assert found == {name: standings[name] for name in ("C1c", "C3b", "C4", "APF")}


def test_recall_is_that_of_the_delivered_result() -> None:
    (told,) = (result for command, _, result in measured_rows() if " recall " in command)
    summary = load_recall()
    rows = {model.name: overall(summary, model.name, "accuracy") for model in summary.models}
    apart = {
        name
        for name, row in rows.items()
        if row and row.difference is not None and row.difference.significant
    }
    assert apart == {"osdn_historic", "osdn_eta1"}
    means = [
        f"{100 * row.value:.1f} %"
        for name in (*sorted(apart, reverse=True), "deltanet")
        if (row := rows[name])
    ]
    assert re.findall(r"\d\d\.\d %", told) == means
    assert told.endswith("no other difference is significant")


def test_counts_are_those_of_the_code() -> None:
    assert f"which of {len(ALTERNATIVES)} known faults" in README
    assert f"All {len(THEOREMS)} theorems" in README


@pytest.mark.parametrize("name", TEXTS)
def test_links_to_files_lead_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "notebooks" / "pages"
    for link in re.findall(r'(?:\]\(|src(?:set)?=")([^)#"]+)', TEXTS[name]):
        if not link.startswith("http") and "../generated/" not in link:
            assert (folder / link).exists(), link
