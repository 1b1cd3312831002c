"""What ``crosscheck.json`` says of one run: a kernel beside the exact trajectory, with errors, bounds and verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from osdn_theory.base.fields import Fields
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve, Symptom, Tokens, Verdict

OUTCOMES = ("contradicted", "not observable", "confirmed", "not applicable")
"""Outcomes of a verdict, gravest first."""

SLACK = 1e-9
"""Relative; ratios of numbers that were divided by the size of the exact value are not rounded as theirs are."""


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


def read_check(fields: Fields) -> CrossCheck:
    """A run, without the distances from Newton.

    Raises
    ------
    ValueError
        If it is not what it should be, or contradicts itself.
    """
    check = CrossCheck(
        statement=fields.table("statement"),
        stream=fields.text("stream"),
        rule=fields.text("rule"),
        dtype=fields.text("dtype"),
        device=fields.text("device"),
        configuration=fields.text("configuration"),
        shape={name: fields.inside("shape").count(name) for name in fields.inside("shape").value},
        comparisons=tuple(read_comparison(each) for each in fields.each("comparisons")),
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


def read_comparison(fields: Fields) -> Comparison:
    """One quantity. Of how much each entry uses up of its bound the document keeps the most, and where.

    Raises
    ------
    ValueError
        If it is not what it should be, or contradicts itself.
    """
    tokens = fields.array("tokens", 1).astype(np.int64)
    error = fields.array("error", 3)
    if error.shape[-1] != tokens.size:
        raise ValueError(f"{fields.where}: {error.shape[-1]} errors at {tokens.size} tokens")
    bound = None if fields.lacks("bound") else fields.array("bound", 3)
    if bound is not None and bound.shape != error.shape:
        raise ValueError(f"{fields.where}: bounds {bound.shape} for errors {error.shape}")
    found = Comparison(
        name=fields.text("name"),
        title=fields.text("title"),
        tokens=tokens,
        error=error,
        bound=bound,
        excess=None if fields.lacks("worst_excess") else _excess(fields, error, tokens),
        ulps={name: fields.inside("ulps").count(name) for name in fields.inside("ulps").value},
        dtype=fields.text("dtype"),
        basis=fields.text("basis"),
    )
    _check_numbers(fields, found)
    return found


def _excess(fields: Fields, error: Array, tokens: Tokens) -> Array:
    """Zero but for the largest one, at its head and the first token that is outside."""
    excess = np.zeros_like(error)
    if excess.size:
        first = _place(fields, "first_outside")
        head = tuple(int(each) for each in fields.array("worst_head", 1))
        at = 0 if first is None else int(np.argmax(tokens == first))
        try:
            excess[*head, at] = fields.extended("worst_excess")
        except IndexError:
            raise ValueError(f"{fields.where}.worst_head: there is no head {list(head)}") from None
    return excess


def _check_numbers(fields: Fields, found: Comparison) -> None:
    """What the document concludes must follow from the numbers in it."""
    bounded = found.bound is not None
    within = None if fields.lacks("within_bound") else fields.flag("within_bound")
    if (
        within != (found.within if bounded else None)
        or _place(fields, "first_outside") != found.first_outside
        or bounded == fields.lacks("worst_excess")
    ):
        raise ValueError(
            f"{fields.where}: within_bound, first_outside, worst_excess and bound do not fit together"
        )
    if fields.extended("worst_error") != found.worst_error:
        raise ValueError(f"{fields.where}: worst_error is not the largest error")
    if tuple(fields.array("worst_head", 1)) != found.worst_head:
        raise ValueError(f"{fields.where}: worst_head is not where the largest error is")
    if _used_up(found) > found.worst_excess * (1 + SLACK):
        raise ValueError(f"{fields.where}: an error uses up more of its bound than worst_excess says")


def _used_up(found: Comparison) -> float:
    """The largest error over its bound, from norms alone: an entry may use up more of its own."""
    if found.bound is None:
        return 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(found.error > 0, found.error / found.bound, 0.0)
    # An infinite bound explains everything, one that is no number nothing.
    ratio = np.where(np.isinf(found.bound), 0.0, np.nan_to_num(ratio, nan=np.inf))
    return float(ratio.max(initial=0.0))


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
