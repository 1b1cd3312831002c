"""A page for each theorem: what it says, how it is proved, its bound on streams, and a figure where there is one."""

import io
from collections import Counter
from collections.abc import Iterator, Sequence

from matplotlib.figure import Figure

from generate.coq_pages import anchor, theorems as coq_theorems
from generate.markdown import display, table
from osdn_theory import plotting
from osdn_theory.base.tables import read_table
from osdn_theory.bounds import BoundCheck
from osdn_theory.report import Exhibit, gallery
from osdn_theory.report.memory_gallery import memory_exhibits
from osdn_theory.theorems import THEOREMS, Theorem
from osdn_theory.verification.run import STREAM_NAMES, verify
from proofs_check.claims import CLAIMS

SLOW = ("long", "minilm")
"""Streams that take longer than all others together: `make verify` has them."""

Pages = dict[str, str | bytes]


def pages() -> Pages:
    """Every page and its figures."""
    streams = [name for name in STREAM_NAMES if not name.startswith(SLOW)]
    checks = verify(streams=streams).checks
    figures = _exhibits()
    made: Pages = {"theorems/index.md": _index(checks, streams)}
    for theorem in THEOREMS.values():
        own = [check for check in checks if check.theorem == theorem.id]
        made[f"theorems/{theorem.id}.md"] = "\n\n".join(_page(theorem, own, figures.get(theorem.id, [])))
        if any(check.log10_slack is not None for check in own):
            made[f"theorems/{theorem.id}-slack.svg"] = _svg(plotting.slack_per_bound(own)[0])
        for exhibit in figures.get(theorem.id, []):
            if exhibit.figure is not None:
                made[f"theorems/{exhibit.name}.svg"] = _svg(exhibit.figure)
    return made


def _exhibits(seed: int = 0) -> dict[str, list[Exhibit]]:
    """Theorem id -> figures of the report that need no run of all bounds."""
    made = [
        gallery.fixed_point_exhibit(seed),
        *gallery.interpolating_exhibits(seed),
        gallery.convergence_exhibit(seed),
        gallery.forgetting_exhibit(seed),
        *memory_exhibits(seed),
        gallery.sweeps_exhibit(seed),
    ]
    found: dict[str, list[Exhibit]] = {}
    for exhibit in made:
        found.setdefault(exhibit.title.partition(":")[0], []).append(exhibit)
    return found


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _page(theorem: Theorem, checks: Sequence[BoundCheck], exhibits: Sequence[Exhibit]) -> Iterator[str]:
    yield f"# {theorem.id} {theorem.title}"
    yield theorem.plain
    yield from (display(formula) for formula in theorem.formulas)
    yield "The symbols are those of [the list of theorems](index.md)."
    if theorem.hypotheses:
        yield "**Hypotheses**"
        yield "\n".join(f"- `{hypothesis}`" for hypothesis in theorem.hypotheses)
    yield from _proof(theorem)
    yield from _bound(theorem, checks)
    if exhibits:
        yield "## Figure" if len(exhibits) == 1 else "## Figures"
    for exhibit in exhibits:
        yield f"![{exhibit.title}]({exhibit.name}.svg)"
        yield exhibit.caption


def _proof(theorem: Theorem) -> Iterator[str]:
    yield "## Proof"
    yield from (
        text for text in (CLAIMS[theorem.id].note, CLAIMS[theorem.id].missing and _missing(theorem)) if text
    )
    names = coq_theorems().get(theorem.id, [])
    proved = [name for name in names if "_needs_" not in name]
    refuted = [name for name in names if "_needs_" in name]
    if proved:
        yield (
            "Proved by Coq, in all dimensions:"
            if theorem.id != "T18"
            else "Proved by Coq, operation by operation:"
        )
        yield _links(proved)
    if refuted:
        yield "Proved false by Coq without one of the hypotheses:"
        yield _links(refuted)
    yield f"`osdn-theory prove --claim {theorem.id}` runs these and every other proof of it."


def _missing(theorem: Theorem) -> str:
    return f"**Not proved:** {CLAIMS[theorem.id].missing}"


def _links(names: Sequence[str]) -> str:
    return "\n".join(f"- {{ref}}`{name} <{anchor(name)}>`" for name in names)


def _bound(theorem: Theorem, checks: Sequence[BoundCheck]) -> Iterator[str]:
    if not checks:
        return
    yield "## What is checked on a stream"
    statements = dict.fromkeys((check.title, check.statement) for check in checks)
    for title, statement in statements:
        yield f"**{title}**"
        yield display(statement)
    yield "How often each holds, is not applicable or is open on the small synthetic streams:"
    outcomes = Counter((check.title, check.outcome) for check in checks)
    columns = ("holds", "not applicable", "undecided", "violated")
    rows = [(title, *(outcomes[title, column] for column in columns)) for title, _ in statements]
    yield table(("check", *columns), rows)
    yield f"`osdn-theory verify --bounds {theorem.id}` checks all streams."
    if any(check.log10_slack is not None for check in checks):
        yield f"![How much room {theorem.id} leaves]({theorem.id}-slack.svg)"
        yield (
            "Every point is one check that was decided: how far the right side lies above the left one. At 0 the bound "
            "is attained; the black bar marks the smallest distance of its row."
        )


def _index(checks: Sequence[BoundCheck], streams: Sequence[str]) -> str:
    held = Counter(check.theorem for check in checks if check.outcome == "holds")
    rows = [
        (f"[{theorem.id} {theorem.title}]({theorem.id}.md)", theorem.plain, held[theorem.id] or "")
        for theorem in THEOREMS.values()
    ]
    listed = "\n".join(THEOREMS)
    return "\n\n".join(
        [
            "# The theorems",
            _INTRODUCTION,
            f"The last column counts the checks that hold on {len(streams)} small synthetic streams; none is violated."
            if not any(check.outcome == "violated" for check in checks)
            else "**A bound is violated on the small synthetic streams.**",
            table(("theorem", "what it says", "checks that hold"), rows),
            "## Symbols",
            table(("symbol", "meaning"), read_table(__file__)["symbols"]),
            f"```{{toctree}}\n:hidden:\n\n{listed}\n```",
        ]
    )


_INTRODUCTION = (
    "What this project derived about OSDN, proved with Coq, and checks on streams. None of these is a theorem of the "
    "paper, and no constant here is the paper's. Every page is made of the statements that the code checks, so that it "
    "says what is checked."
)
