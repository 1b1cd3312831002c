"""The page as a whole: its texts, where it was made, its structure, and how it looks in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from support.report import chromium
from support.report.fake_crosschecks import crosscheck_document
from support.report.fake_documents import NOT_RUN, failed_proof, leave, proofs_document
from support.report.fake_verification import bad, good
from support.report.html_page import Page
from support.report.recall_summaries import recall_summary
from support.report.report_cases import no_packaged_results as no_packaged_results, written

from osdn_theory.report import provenance, write_report
from osdn_theory.report.claims import PUBLISHED_TABLES
from osdn_theory.report.page.wording import number_columns, readable
from osdn_theory.theorems import THEOREMS
from proofs_check.claims import CLAIMS


def test_the_theorems_are_the_claims_that_are_proved() -> None:
    assert list(THEOREMS) == list(CLAIMS) == [f"T{number}" for number in range(1, 30)]
    for name, theorem in THEOREMS.items():
        claim = CLAIMS[name]
        assert (theorem.title, theorem.latex, theorem.plain, theorem.hypotheses) == (
            claim.title,
            claim.latex,
            claim.plain,
            claim.hypotheses,
        )


def test_every_formula_is_drawn_and_none_is_left_as_source(tmp_path: Path) -> None:
    source = write_report(good(), tmp_path).read_text()
    assert source.count('<svg class="formula"') >= sum(len(theorem.formulas) for theorem in THEOREMS.values())
    assert "<code>\\" not in source


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("0 < eta and eta |s_t|^2 <= eta M", "0 &lt; η and η |s<sub>t</sub>|<sup>2</sup> ≤ η M"),
        ("some u has <u, s_t> = 1", "some u has ⟨u, s<sub>t</sub>⟩ = 1"),
        ("f(S_{t-1}) != 0, G^-1, K~ = D * K", "f(S<sub>t-1</sub>) ≠ 0, G<sup>−1</sup>, K̃ = D ⊙ K"),
        ("beta_t >= 0, beta-aware, a beta function", "β<sub>t</sub> ≥ 0, β-aware, a β function"),
        ("call `a_b < c` <b>", "call <code>a_b &lt; c</code> &lt;b&gt;"),
        ("beta_t <- beta_{t-1}, x <-y", "β<sub>t</sub> ← β<sub>t-1</sub>, x &lt;-y"),
        ("theta and meta and is_it stay", "theta and meta and is_it stay"),
    ],
)
def test_plain_mathematics_becomes_readable(text: str, html: str) -> None:
    assert readable(text) == html


def test_only_columns_of_numbers_are_numbers() -> None:
    assert number_columns([("a", "1.5", "–", "1 of 2"), ("b", "1e-3", "1,200", "3")]) == {1, 2}
    assert number_columns([]) == set()


def test_published_tables_are_whole_and_marked_as_theirs(tmp_path: Path) -> None:
    page, twin = written(tmp_path)
    for table in PUBLISHED_TABLES:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert f"Theirs, not ours: {table.title}" in page.text
        assert table.source in page.text
    assert len(twin["published"]) == 2
    # The averages that they publish are those of their rows, so no digit was mistyped.
    *rows, average = PUBLISHED_TABLES[0].rows
    for place, published in enumerate(average[1:], start=1):
        assert sum(float(row[place]) for row in rows) / len(rows) == pytest.approx(float(published), abs=6e-5)


def test_environment_names_commit_processor_blas_and_date(tmp_path: Path) -> None:
    _, twin = written(tmp_path)
    facts = twin["environment"]
    assert facts["numpy"] == "2.4.6"
    assert all(facts[name] for name in ("commit", "processor", "BLAS", "date"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", facts["date"])
    assert twin["commands"][-1] == "osdn-theory verify --seed 7"


def test_commit_is_unknown_outside_a_checkout_and_marked_where_files_changed(tmp_path: Path) -> None:
    assert provenance.commit(tmp_path) == "unknown: not run from a checkout"
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git = ("-c", "user.name=a", "-c", "user.email=a@b")
    assert provenance._git(package, "init", "--quiet") is not None
    assert provenance.commit(package) == "unknown: not run from a checkout"
    provenance._git(package, "add", "__init__.py")
    assert provenance.commit(package) == "unknown: the checkout has no commit"
    provenance._git(package, *git, "commit", "--quiet", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", provenance.commit(package))
    (package / "__init__.py").write_text("x = 1")
    assert provenance.commit(package).endswith(", with changes that are not committed")


def test_processor_and_blas_have_names_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name\t: Some CPU @ 3 GHz\n")
    assert provenance.processor(cpuinfo) == "Some CPU @ 3 GHz"
    assert provenance.processor(tmp_path / "missing")
    monkeypatch.setattr(provenance, "threadpool_info", list)
    assert provenance.blas() == "unknown"


def full(folder: Path) -> Path:
    """A page with everything on it."""
    from theory.report.test_model import EXHIBITS

    leave(folder, "proofs.json", proofs_document({"T5": failed_proof(), "T6": NOT_RUN}))
    leave(folder, "crosscheck.json", crosscheck_document(excess=3))
    leave(folder, "recall.json", recall_summary())
    return write_report(bad("violated"), folder, exhibits=EXHIBITS)


def test_headings_do_not_skip_levels_and_tables_have_captions(tmp_path: Path) -> None:
    page = Page(full(tmp_path).read_text())
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tags.count("table") == tags.count("caption") > 20
    assert all(len(attrs["alt"] or "") > 5 for tag, attrs in page.tags if tag == "img")
    assert ("html", {"lang": "en"}) in page.tags
    ids = [attrs["id"] for tag, attrs in page.tags if "id" in attrs and tag != "path"]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert all(target[1:] in ids for target in targets if target.startswith("#"))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_colour_has_enough_contrast_in_light_and_dark(tmp_path: Path) -> None:
    style = (files("osdn_theory.report.page") / "templates" / "report.css").read_text()
    schemes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in style.split(":root")[1:3]]
    assert all(len(scheme) == 9 for scheme in schemes)
    for scheme in schemes:
        for text in ("ink", "soft", "holds", "violated", "undecided", "link"):
            for ground in ("page", "band"):
                low, high = sorted(luminance(scheme[name]) for name in (text, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    if chromium.executable() is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with chromium.browser(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.mark.parametrize("width", [390, *(pytest.param(x, marks=pytest.mark.slow) for x in (768, 1280))])
def test_no_width_makes_the_page_scroll_sideways(
    browser: chromium.Browser, page_path: Path, width: int
) -> None:
    browser.open(page_path, width=width)
    root = "document.documentElement"
    assert browser.evaluate(f"{root}.scrollWidth") <= browser.evaluate(f"{root}.clientWidth")


def test_the_page_asks_for_nothing_and_logs_nothing(browser: chromium.Browser, page_path: Path) -> None:
    browser.open(page_path, width=1280)
    asked = [url for url in browser.seen.requests if not url.startswith("data:")]
    assert asked == [page_path.resolve().as_uri()]
    assert browser.seen.console == []
    assert browser.evaluate("document.scripts.length") == 0


def test_every_image_is_shown(browser: chromium.Browser, page_path: Path) -> None:
    browser.open(page_path, width=1280)
    assert browser.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert browser.evaluate("document.images.length") == 9


def test_light_and_dark_follow_the_reader(browser: chromium.Browser, page_path: Path, tmp_path: Path) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        browser.open(page_path, width=1280, scheme=scheme)
        grounds.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        browser.screenshot(tmp_path / f"{scheme}.png", height=1200)
        assert (tmp_path / f"{scheme}.png").read_bytes().startswith(b"\x89PNG")
    assert grounds == ["rgb(255, 255, 255)", "rgb(22, 23, 25)"]


def test_the_matrix_fits_one_screen_and_its_details_open_where_a_link_leads(
    browser: chromium.Browser, page_path: Path
) -> None:
    browser.open(page_path, width=1280)
    assert browser.evaluate("document.querySelector('.matrix').getBoundingClientRect().bottom") <= 900
    assert browser.evaluate("document.querySelectorAll('.matrix tbody tr').length") >= len(THEOREMS)
    assert not browser.evaluate("document.getElementById('T3').open")
    browser.evaluate("document.querySelector('.matrix a[href=\"#T3\"]').click()")
    assert browser.evaluate("document.getElementById('T3').getBoundingClientRect().top") < 900


SMALLEST_FONT = 9.5
"""CSS pixels that the smallest text of a figure must have on the page."""


@pytest.mark.parametrize("width", [390, 1280])
def test_text_in_figures_is_readable_at_the_width_of_the_page(
    browser: chromium.Browser, page_path: Path, width: int
) -> None:
    browser.open(page_path, width=width)
    browser.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    # Matplotlib's "small" at 200 dots per inch, in the pixels of the picture; the summary has no text below "medium".
    points = "(each.closest('.summary') ? 10 : 8.33)"
    shown = f"[...document.images].map(each => {points} / 72 * 200 * each.clientWidth / each.naturalWidth)"
    assert browser.evaluate(f"Math.min(...{shown})") >= SMALLEST_FONT


def test_the_browser_sees_what_a_bad_page_does(browser: chromium.Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text(
        "<div style='width:3000px'>wide</div><script>console.log('x'); missing()</script>"
        "<img src='http://127.0.0.1:9/y.png'>"
    )
    browser.open(page, width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") > 390
    assert "http://127.0.0.1:9/y.png" in browser.seen.requests
    assert len(browser.seen.console) >= 2
