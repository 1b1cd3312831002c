"""A kernel on one stream in a line, and what its verdicts come to."""

from __future__ import annotations

from osdn_theory.crosscheck.results import CrossCheck
from osdn_theory.crosscheck.verdicts.theorems import GRAVITY


def label(check: CrossCheck) -> str:
    """Kernel, configuration, stream, rule and precision of a check in one line."""
    parts = (check.statement["kernel"], check.configuration, check.stream, check.rule, check.dtype)
    return ", ".join(part for part in parts if part)


def outcome(check: CrossCheck) -> str:
    """The gravest verdict of a check; a quantity outside its bound counts as a contradiction."""
    if not check.within:
        return "contradicted"
    found = {verdict.outcome for verdict in check.verdicts}
    return next((each for each in GRAVITY if each in found), "not applicable")
