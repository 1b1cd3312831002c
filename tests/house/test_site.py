"""The site: pages made of the code are complete, links lead somewhere, and no page is wider than the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import osdn_kernels
import pytest
from docutils import nodes
from safetensors.numpy import load_file, save_file
from support.checkout import ROOT
from support.language_cases import write_experiment
from support.report.chromium import browser, executable

import osdn_theory
from osdn_theory.bounds.registry import BOUNDS
from osdn_theory.language.measures import Q
from osdn_theory.recall import data as recall_data
from osdn_theory.theorems import THEOREMS

pytest.importorskip("sphinx")

NOTEBOOKS = ROOT / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))


from generate import (  # noqa: E402
    api_pages,
    check_links,
    coq_pages,
    formulas,
    measured_tables,
    notebook_table,
    take_results,
    write_pages,
)  # fmt: skip
from generate.markdown import table  # noqa: E402


def test_every_coq_theorem_has_a_place_to_link_to() -> None:
    registered = json.loads((coq_pages.SOURCES / "statements.json").read_text())["statements"]
    listed = [name for names in coq_pages.theorems().values() for name in names]
    assert set(registered) <= set(listed)
    pages = "\n".join(coq_pages.pages().values())
    assert all(f"({coq_pages.anchor(name)})=" in pages for name in listed)
    assert set(coq_pages.theorems()) <= set(THEOREMS)


@pytest.mark.parametrize("name", ["regret", "definitions"])
def test_a_coq_page_shows_the_whole_file(name: str) -> None:
    page = coq_pages.pages()[f"coq/{name}.md"]
    shown = [
        line for line in page.splitlines() if line and not line.startswith(("#", "(coq-", "```", ":lineno"))
    ]
    source = [line for line in (coq_pages.SOURCES / f"{name}.v").read_text().splitlines() if line]
    assert shown[-len(source) :] == source


def test_every_public_name_is_described_once() -> None:
    pages = "\n".join(api_pages.pages().values())
    for name in ("osdn_theory.osdn", "osdn_theory.crosscheck.examine", "osdn_kernels.chunk_osdn"):
        assert pages.count(f":: {name}\n") == 1
    described = {
        line.split(":: ")[1].rpartition(".")[2] for line in pages.splitlines() if line.startswith(".. auto")
    }
    public = {
        name
        for package in (osdn_theory, osdn_kernels)
        for name in package.__all__
        if callable(getattr(package, name)) and not name.startswith("_")
    }
    assert public <= described


def test_every_formula_can_be_shown() -> None:
    sources = [formula for theorem in THEOREMS.values() for formula in theorem.formulas]
    for source in [*sources, *(bound.statement for bound in BOUNDS)]:
        assert "<math" in formulas._mathml(nodes.math_block(source, source), as_block=True)


def test_a_formula_that_cannot_be_shown_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    node = nodes.math("", r"\nosuch < 1")
    with caplog.at_level("WARNING", logger="sphinx.generate.formulas"):
        assert formulas._mathml(node, as_block=False) == r"<code>\nosuch &lt; 1</code>"
    assert "nosuch" in caplog.text


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("the norm |k|^2 of d * k", r"the norm \|k\|^2 of d \* k"),
        ("``|k| * 2`` and `a*b`", "``|k| * 2`` and `a*b`"),
        (r"    \|k\|^2 * 2", r"    \|k\|^2 * 2"),
        (".. math:: a * |b|", ".. math:: a * |b|"),
    ],
)
def test_marks_in_docstrings_are_no_markup(line: str, kept: str) -> None:
    lines = [line]
    formulas.keep_marks(None, "function", "f", None, None, lines)
    assert lines == [kept]


def test_bars_in_a_cell_are_no_borders() -> None:
    assert table(("a", "b"), [("|x|", 1)]).splitlines()[-1] == r"| \|x\| | 1 |"


def test_every_measured_file_is_on_the_page() -> None:
    pages = measured_tables.pages()
    for path in measured_tables.MEASURED.iterdir():
        assert path.suffix == ".md" or f"## {path.name}\n" in pages["measured.md"]
    for row in measured_tables.read(measured_tables.MEASURED / "examinations.csv"):
        assert f"{row['faults seen']} of {row['faults possible']}" in pages["parts/examinations.md"]


def test_results_are_taken_over_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An effect, a null result and a contradiction, without a number written by hand."""
    monkeypatch.setattr(recall_data, "PACKAGED", tmp_path)
    assert "No result is delivered yet" in measured_tables.pages_of_training()
    lower = {
        "osdn_historic": -0.3,
        "osdn_bounded": 0.0,
        "apf_historic": 0.0,
        "apf_bounded": 0.0,
        "deltanet": 0.0,
    }
    worse = {**dict.fromkeys(lower, 0.0), "apf_bounded": 1.0}

    def values(model: str, seed: int) -> dict[tuple[str, str], float]:
        wiggle = 0.01 * ((3 * seed + len(model)) % 4) + 0.02 * seed
        return {("loss", ""): 2 + wiggle + worse[model], (Q, "all layers"): 0.5 + wiggle + lower[model]}

    folder = write_experiment(tmp_path / "train", values, models={name: name for name in lower}, ratio=False)
    (folder / "data").mkdir()
    (folder / "streams").mkdir()
    keys = np.zeros((1, 200, 3, 4), dtype=np.float32)
    save_file({"layer0.k": keys, "layer0.v": keys}, folder / "streams" / "deltanet_streams.safetensors")
    taken = [path.name for path in take_results.take(folder)]
    assert taken == ["train_gpu.json", "deltanet_streams.safetensors"]
    assert load_file(tmp_path / taken[1])["layer0.k"].shape == (1, 128, 2, 4)
    told = measured_tables.pages_of_training()
    assert "| C1c: Writes leave less" in told
    assert "Reproduced in part at this scale" in told
    assert "| opposite |" in told
    assert "| no difference seen |" in told
    assert "| validation loss | 0.001 | 0.002 | 0.004 |" in told
    assert "| apf_bounded | 1.0010 | 1.0000 | 1.0020 |" in told


def test_a_new_measured_file_is_shown_whole_where_it_is_short(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("kernel,ms\nchunk,1.25\n")
    assert measured_tables.made_of(path) == "| kernel | ms |\n| --- | --- |\n| chunk | 1.25 |"
    path.write_text("kernel\n" + "x\n" * 1000)
    assert measured_tables.made_of(path) == "1,000 rows."


def test_every_notebook_is_listed_with_its_question(tmp_path: Path) -> None:
    (listed,) = notebook_table.pages().values()
    for source in NOTEBOOKS.glob("[0-9]*.py"):
        assert f"(../{source.stem}.ipynb)" in listed
    assert listed.count("?") >= len(list(NOTEBOOKS.glob("[0-9]*.py")))
    silent = tmp_path / "09.ipynb"
    silent.write_text('{"cells": [{"source": ["# Title"]}]}')
    with pytest.raises(ValueError, match=r"09\.ipynb: its first cell asks no question"):
        notebook_table.question(silent)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="b.html#there">b</a><img src="x.svg"><a href="#top">'
    )
    (tmp_path / "b.html").write_text('<h1 id="there"></h1><a href="https://example.org/gone">out</a>')
    (tmp_path / "x.svg").write_text("<svg/>")
    return tmp_path


def test_links_that_lead_somewhere(pages: Path) -> None:
    assert check_links.main(str(pages)) == 0


@pytest.mark.parametrize("link", ["c.html", "b.html#gone", "#gone", "gone.png", "gone/"])
def test_links_that_lead_nowhere(link: str, pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pages / "c.md").write_text("")
    with (pages / "a.html").open("a") as page:
        page.write(f'<a href="{link}">')
    assert check_links.main(str(pages)) == 1
    assert capsys.readouterr().out == f"a.html: {link}\n"


def test_ci_builds_it() -> None:
    assert "make site\nSITE=site make test SLOW=1\n" in (ROOT / ".ci" / "run").read_text()
    recipe = (ROOT / "Makefile").read_text().split("site:")[1].split("\n\n")[0]
    assert "--fail-on-warning" in recipe
    assert "check_links.py site" in recipe


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it, from an empty folder of generated pages; CI names the one that it built."""
    if built := os.environ.get("SITE"):
        assert (ROOT / built / "index.html").exists()
        return ROOT / built
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    done = subprocess.run(
        [*build, "--doctree-dir", folder / "doctrees", NOTEBOOKS, folder / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "html"


@pytest.mark.slow
def test_the_site_has_every_page_and_no_broken_link(site: Path) -> None:
    assert list(check_links.broken_links(site)) == []
    for theorem in THEOREMS.values():
        assert theorem.title in (site / f"generated/theorems/{theorem.id}.html").read_text()
    assert len(list(site.glob("0*.html"))) == len(list(NOTEBOOKS.glob("0*.ipynb")))


@pytest.mark.slow
@pytest.mark.skipif(executable() is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen_or_asks_another_host(
    site: Path, width: int, tmp_path: Path
) -> None:
    with browser(tmp_path) as opened:
        for page in sorted(site.rglob("*.html")):
            opened.open(page, width=width)
            assert opened.evaluate("document.documentElement.scrollWidth") <= width, page
            assert all(address.startswith(("file:", "data:")) for address in opened.seen.requests), page
            assert opened.seen.console == [], page


def test_pages_that_did_not_change_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import generate

    for name in ("theorem_pages", "measured_tables", "notebook_table", "api_pages"):
        monkeypatch.setattr(getattr(generate, name), "pages", dict)
    write_pages(tmp_path)
    kept = tmp_path / "coq" / "index.md"
    before = kept.stat().st_mtime_ns
    (tmp_path / "old.md").write_text("# Gone")
    write_pages(tmp_path)
    assert kept.stat().st_mtime_ns == before
    assert not (tmp_path / "old.md").exists()
