"""Cross-check documents, made by the classes of the cross-check itself, for the tests of the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from osdn_theory.crosscheck.alternatives.naming import Explanation
from osdn_theory.crosscheck.alternatives.power import Power, Reach
from osdn_theory.crosscheck.alternatives.table import ALTERNATIVES, BY_KEY
from osdn_theory.crosscheck.document import CROSSCHECK
from osdn_theory.crosscheck.examination.results import BackwardResult, Examination, ExerciseResult
from osdn_theory.crosscheck.gradients.explanations import GradientExplanation
from osdn_theory.crosscheck.invariance.result import Difference, Invariance
from osdn_theory.crosscheck.results import Comparison, CrossCheck, Curve, Symptom, Verdict

TOKENS = np.arange(1, 9)
STATEMENT = {
    "kernel": "chunk_osdn",
    "recurrence": "osdn",
    "computes": "S_t = ...",
    "layout": "q, k [B, T, H, K]",
}
COMMAND = "osdn-theory crosscheck --kernel chunk_osdn --out report"
UNSEEN, IMPOSSIBLE = "beta ignored", "g ignored"


def quantity(name: str = "o", excess: float = 0.5) -> Comparison:
    """One that uses up `excess` of its bound everywhere."""
    bound = np.full((1, 2, 8), 1e-7)
    used = np.full((1, 2, 8), float(excess))
    return Comparison(name, "outputs", TOKENS, bound * excess, bound, used, {"0": 16}, "float32", "T18")


def stream_run(excess: float = 0.5, verdict: Any = "confirmed") -> CrossCheck:
    """A stream with outputs, a quantity without a bound, a verdict on T6 and a curve."""
    unbounded = Comparison(
        "grad k",
        "gradient",
        TOKENS,
        np.full((1, 2, 8), 1e-7),
        None,
        None,
        {"0": 16},
        "float32",
        "no bound is claimed",
    )
    sums = -np.arange(1.0, 9.0)
    curve = Curve(
        index=(0, 1),
        kernel=sums,
        exact=sums,
        guaranteed=sums / 2,
        least=sums * 2,
        bound=sums / 3,
        constant=2.0,
        ratio=sums,
        exact_ratio=sums,
        floor=sums - 20,
        ends=7,
        departs=None,
    )
    return CrossCheck(
        statement=STATEMENT,
        stream="interpolating",
        rule="fast",
        dtype="float32",
        device="cpu",
        shape={"B": 1, "H": 2, "T": 8, "K": 4, "V": 4},
        comparisons=(quantity(excess=excess), unbounded),
        verdicts=(Verdict("T6", "Super-geometric convergence", verdict, "first 8 of 8 tokens"),),
        symptoms=(Symptom("bfloat16 d", "d is stored in bfloat16", "spacing 2^-8"),) if excess > 1 else (),
        curve=curve,
        notes=("nothing else was looked at",),
    )


def exercise(name: str = "square", excess: float = 0.5, t18: Any = None) -> ExerciseResult:
    """Two cases: outputs that use up `excess` of their bound in the second one, d half of it, and a verdict on T18."""
    verdict = t18 or ("contradicted" if excess > 1 else "confirmed")
    checks = [
        CrossCheck(
            statement=STATEMENT,
            stream=f"{name}, case {number}",
            rule="eta 1",
            dtype="float32",
            device="cpu",
            shape={"B": 1, "H": 2, "T": 8, "K": 4, "V": 4},
            comparisons=(quantity("o", used), quantity("d", used / 2)),
            verdicts=(
                Verdict("T18", "Errors within rounding", verdict if number == 2 else "confirmed", "o"),
            ),
        )
        for number, used in ((1, 0.125), (2, excess))
    ]
    return ExerciseResult(name, f"about {name}", ("beta", "K = V"), tuple(checks))


def power(seen: str = "square") -> Power:
    """All faults of the recurrence, seen in one exercise; but for one that is not, and one that cannot be."""
    special = {UNSEEN: (1.5, None), IMPOSSIBLE: (0.0, "needs g, which the kernel does not take")}
    reaches = []
    for row in ALTERNATIVES:
        if "osdn" in row.recurrences:
            excess, obstacle = special.get(row.key, (np.inf, None))
            reaches.append(Reach(row.fault, excess, "" if obstacle else seen, obstacle))
    return Power(tuple(reaches))


def explanation(*keys: str, agrees: bool = True) -> Explanation:
    """The first variants of known faults, named as what explains an answer."""
    rows = tuple(BY_KEY[key] for key in keys)
    faults = tuple(row.fault for row in rows)
    return Explanation(faults, tuple(next(iter(row.variants)) for row in rows), agrees, 0.25, 0.125)


def backward(excess: float = 0.5) -> BackwardResult:
    """Gradients in k that use up `excess` of their bound."""
    fault = GradientExplanation("sign of k", "the gradient in k has the other sign", ("k",), 0.0, True)
    return BackwardResult(
        "square",
        (quantity("grad k", excess),),
        {"sign of k": np.inf, "clip ignored": 0.5},
        (fault,) if excess > 1 else (),
        ("no gradient in q",),
    )


def invariances(excess: float = 0.25) -> tuple[Invariance, ...]:
    """One of each outcome; the batch rows differ by `excess` of what rounding explains."""
    apart = Difference("each row alone", "o", 1e-7, excess, 0, 1, 3)
    return (
        Invariance("deterministic", "equal bit for bit"),
        Invariance("batch-invariant", "wrong" if excess > 1 else "inside the bound", apart),
        Invariance("packed-invariant", "not exercised", reason="the kernel takes no cu_seqlens"),
    )


def examination(**changes: Any) -> Examination:
    """One exercise and one stream, all right."""
    parts: dict[str, Any] = {
        "statement": STATEMENT,
        "dtype": "float32",
        "device": "cpu",
        "exercises": (exercise(),),
        "streams": (stream_run(),),
        "power": power(),
        "invariances": invariances(),
        "not_exercised": ("cu_seqlens (the kernel does not take it)",),
    }
    return Examination(**{**parts, **changes})


def document_of(found: Examination) -> dict[str, Any]:
    """crosscheck.json of an examination."""
    return CROSSCHECK.as_dict(found, COMMAND)


def crosscheck_document(excess: float = 0.5, verdict: Any = "confirmed") -> dict[str, Any]:
    """crosscheck.json of a kernel whose stream uses up `excess` of its bound, with a verdict on T6."""
    return document_of(examination(streams=(stream_run(excess, verdict),)))
