"""A summary in words; the verdict is the last line."""

from collections.abc import Iterator

from osdn_theory.crosscheck.fuzz.run import Failure, FuzzSummary


def lines(summary: FuzzSummary) -> Iterator[str]:
    """What was run, what failed with the smallest case of each kind, and the verdict."""
    kept = f", {summary.kept} of them by earlier calls" if summary.kept else ""
    where = f"{summary.kernel} on {summary.device}, seed {summary.seed}"
    yield f"{where}: {_cases(summary.cases)}{kept}, {summary.seconds:.1f} s"
    for what in summary.not_drawn:
        yield f"not drawn: {what}"
    for what, count in summary.refused.items():
        yield f"refused by the kernel: {what} ({_cases(count)})"
    for failure in summary.failures:
        yield from _failure(failure)
    if summary.lost:
        yield f"stopped: the device takes no more work ({summary.lost}); another call starts anew"
    yield verdict(summary)


def verdict(summary: FuzzSummary) -> str:
    """Wrong, right as far as was seen, or cannot tell."""
    if summary.failed:
        kinds = len(summary.failures)
        return (
            f"wrong: {summary.failed} of {_cases(summary.cases)} failed, in {kinds} way{'s' * (kinds != 1)}"
        )
    if summary.telling == 0:
        return f"cannot tell: {_cases(summary.cases)}, none with a bound narrow enough to tell"
    return f"no failure in {_cases(summary.cases)}; {summary.telling} of them could tell an error of a tenth"


def _failure(failure: Failure) -> Iterator[str]:
    shape = ", ".join(f"{name}={size}" for name, size in failure.shape.items())
    again = "" if failure.repeats else "; NOT again when put again"
    yield f"failed: {failure.detail}"
    yield f"  {_cases(failure.cases)} so, the first is number {failure.number}; the smallest has {shape}{again}"
    for path in failure.files:
        yield f"  written: {path}"


def _cases(count: int) -> str:
    return f"{count} case{'s' * (count != 1)}"
