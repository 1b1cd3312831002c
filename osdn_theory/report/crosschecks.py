"""What ``crosscheck.json`` says: kernels beside the exact trajectory, with their errors, bounds and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osdn_theory._fields import Fields
from osdn_theory.crosscheck.results import FORMAT, Comparison, CrossCheck, Curve, Symptom, Verdict
from osdn_theory.report.documents import Document, StaleError, read_document

PATTERN = "crosscheck*.json"
"""Name of such documents, in the report folder and in folders inside it, one for each kernel."""

OUTCOMES = ("contradicted", "not observable", "confirmed", "not applicable")
"""Outcomes of a verdict, gravest first."""


@dataclass(frozen=True)
class CrossCheckRun:
    """One document: what one command found.

    Attributes
    ----------
    made_by, command : str
    checks : tuple of CrossCheck
        Without the distances from Newton. Of how far an entry exceeds its bound the document keeps only the first
        token, and so do these.
    """

    made_by: str
    command: str
    checks: tuple[CrossCheck, ...]


def read_crosschecks(folder: Path) -> list[Document[CrossCheckRun]]:
    """The cross-check documents of a report folder, in the order of their names."""
    return [
        read_document(
            path,
            parse_crosscheck,
            name=str(path.relative_to(folder)),
            made_from=("osdn_theory", "osdn_kernels"),
        )
        for path in sorted(folder.rglob(PATTERN))
    ]


def label(check: CrossCheck) -> str:
    """Kernel, configuration, stream, rule and precision of a check in one line."""
    parts = (check.statement["kernel"], check.configuration, check.stream, check.rule, check.dtype)
    return ", ".join(part for part in parts if part)


def outcome(check: CrossCheck) -> str:
    """The gravest verdict of a check; a quantity outside its bound counts as a contradiction."""
    if not check.within:
        return "contradicted"
    found = {verdict.outcome for verdict in check.verdicts}
    return next((each for each in OUTCOMES if each in found), "not applicable")


def parse_crosscheck(value: Any) -> CrossCheckRun:
    """The document as objects.

    Raises
    ------
    StaleError
        If it is of another format.
    ValueError
        If it is not what it should be, or contradicts itself.
    """
    document = Fields(value)
    if document.text("format") != FORMAT:
        raise StaleError(f"its format is {document.text('format')!r}, not {FORMAT!r}")
    checks = tuple(_check(fields) for fields in document.each("checks"))
    if not checks:
        raise ValueError("document.checks: expected at least one")
    return CrossCheckRun(document.text("osdn"), document.text("command"), checks)


def _check(fields: Fields) -> CrossCheck:
    check = CrossCheck(
        statement=fields.table("statement"),
        stream=fields.text("stream"),
        rule=fields.text("rule"),
        dtype=fields.text("dtype"),
        device=fields.text("device"),
        configuration=fields.text("configuration"),
        shape={name: fields.inside("shape").count(name) for name in fields.inside("shape").value},
        comparisons=tuple(_comparison(each) for each in fields.each("comparisons")),
        verdicts=tuple(_verdict(each) for each in fields.each("verdicts")),
        symptoms=tuple(
            Symptom(each.text("name"), each.text("sentence"), each.text("evidence"))
            for each in fields.each("symptoms")
        ),
        curve=None if fields.lacks("curve") else _curve(fields.inside("curve")),
        notes=fields.texts("notes"),
    )
    for name in ("kernel", "computes"):
        fields.inside("statement").text(name)
    if not check.comparisons:
        raise ValueError(f"{fields.where}.comparisons: nothing was compared")
    if fields.count("exit_code") != check.exit_code:
        raise ValueError(
            f"{fields.where}.exit_code: {fields.count('exit_code')} does not follow from the rest"
        )
    return check


def _verdict(fields: Fields) -> Verdict:
    found: Any = fields.text("outcome", OUTCOMES)
    return Verdict(fields.text("theorem"), fields.text("title"), found, fields.text("reason"))


def _comparison(fields: Fields) -> Comparison:
    tokens = fields.array("tokens", 1).astype(np.int64)
    error = fields.array("error", 3)
    if error.shape[-1] != tokens.size:
        raise ValueError(f"{fields.where}: {error.shape[-1]} errors at {tokens.size} tokens")
    bound = None if fields.lacks("bound") else fields.array("bound", 3)
    first = _place(fields, "first_outside")
    found = Comparison(
        name=fields.text("name"),
        title=fields.text("title"),
        tokens=tokens,
        error=error,
        bound=bound,
        # Beyond any bound at the first token that is outside: all that the document says of it.
        excess=None if bound is None else np.where(tokens == first, np.inf, np.zeros_like(error)),
        ulps={name: fields.inside("ulps").count(name) for name in fields.inside("ulps").value},
        dtype=fields.text("dtype"),
        basis=fields.text("basis"),
    )
    _check_numbers(fields, found, first)
    return found


def _check_numbers(fields: Fields, found: Comparison, first: int | None) -> None:
    """What the document concludes must follow from the numbers in it."""
    within = None if fields.lacks("within_bound") else fields.flag("within_bound")
    if within != (None if found.bound is None else found.within) or first != found.first_outside:
        raise ValueError(f"{fields.where}: within_bound, first_outside and bound do not fit together")
    if fields.extended("worst_error") != found.worst_error:
        raise ValueError(f"{fields.where}: worst_error is not the largest error")


def _curve(fields: Fields) -> Curve:
    return Curve(
        index=tuple(int(each) for each in fields.array("index", 1)),
        kernel=fields.array("kernel", 1),
        exact=fields.array("exact", 1),
        guaranteed=fields.array("guaranteed", 1),
        least=fields.array("least", 1),
        bound=None if fields.lacks("bound") else fields.array("bound", 1),
        constant=None if fields.lacks("constant") else fields.extended("constant"),
        ratio=fields.array("ratio", 1),
        exact_ratio=fields.array("exact_ratio", 1),
        floor=fields.array("floor", 1),
        ends=_place(fields, "ends"),
        departs=_place(fields, "departs"),
    )


def _place(fields: Fields, name: str) -> int | None:
    """The number of a token, or None."""
    return None if fields.lacks(name) else fields.count(name)
