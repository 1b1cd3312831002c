"""One row: all its providers, prepared, warmed up and then timed in turn."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from .. import names
from ..operators.calls import Call, Run, backward_call, decode_calls, forward_call, scan_calls
from ..operators.inputs import draw
from ..operators.providers import Missing, chunkwise, others
from ..output.records import MEASURED, Record, Sample, combine
from ..shapes import Shape
from .timing import Timer, timer_of

REPETITIONS = 2

Result = TypeVar("Result")


@dataclass(frozen=True)
class Task:
    """Providers in one measure of one shape; with `peers` those that few have, the authors' from a `checkout`."""

    measure: str
    shape: Shape
    peers: bool = False
    checkout: Path | None = None

    @property
    def label(self) -> str:
        return f"{self.measure}: {self.shape.label}" + (", other operators" if self.peers else "")


def run_task(task: Task, device: torch.device) -> list[Record]:
    """A record for every provider, whatever became of it."""
    calls = calls_of(task, device)
    if task.measure == names.MEMORY:
        return [peak_record(task, call, device) for call in calls]
    records = timed_records(task, calls, timer_of(device), cpu=device.type == "cpu")
    return [record for record in records if not task.peers or record.measured or record.failed]


def calls_of(task: Task, device: torch.device) -> list[Call]:
    shape = task.shape
    if task.measure in names.DECODE:
        sets = [draw(shape, device, seed=seed) for seed in range(decode_sets(shape, device))]
        return decode_calls(sets, shape, graph=task.measure == names.DECODE_GRAPH)
    drawn = draw(shape, device)
    if task.measure == names.SCAN:
        return scan_calls(chunkwise()[0], drawn, shape)
    make = forward_call if task.measure == names.FORWARD else backward_call
    providers = others(task.checkout) if task.peers else chunkwise()
    if task.measure == names.MEMORY:
        providers = [provider for provider in providers if provider.name in names.PEAKS]
    return [make(provider, drawn, shape) for provider in providers]


def decode_sets(shape: Shape, device: torch.device) -> int:
    """As many states as fill the cache four times, and at least 16, which hide the gap before the first launch."""
    if device.type == "cpu":
        return 2
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    state = 4 * shape.batch * shape.heads * shape.key_dim * shape.value_dim
    return max(16, -(-4 * cache // state))


def timed_records(task: Task, calls: list[Call], timer: Timer, *, cpu: bool = False) -> list[Record]:
    """Repetitions go round all providers, so that a drift of the clocks meets each of them."""
    runs: dict[str, Callable[[], object]] = {}
    records = {
        call.provider: Record(task.measure, call.provider, task.shape, work=call.work) for call in calls
    }

    def attempt(call: Call, action: Callable[[], Result]) -> Result | None:
        try:
            return action()
        except Exception as error:
            records[call.provider] = replace(records[call.provider], status=why(error))
            runs.pop(call.provider, None)
            return None

    for call in calls:
        run = attempt(call, partial(ready, call, cpu=cpu))
        if run is not None:
            runs[call.provider] = run
    samples: dict[str, list[Sample]] = {call.provider: [] for call in calls}
    for _ in range(REPETITIONS):
        for call in calls:
            if call.provider in runs:
                sample = attempt(call, partial(timer, runs[call.provider], call.repeats))
                samples[call.provider] += [sample] if sample else []
    for name, record in records.items():
        if record.status == MEASURED:
            records[name] = replace(record, **combine(samples[name]))
    return list(records.values())


def ready(call: Call, *, cpu: bool) -> Run:
    """The call's function, after a run that compiled, tuned and gave finite numbers."""
    if cpu and call.gpu:
        call.prepare()
        raise Missing("needs a GPU")
    run = call.prepare()
    if not all(bool(x.isfinite().all()) for x in run()):
        raise FloatingPointError("an output is not finite")
    return run


def peak_record(task: Task, call: Call, device: torch.device) -> Record:
    """Peak of the allocator over forward and backward, less what the inputs take."""
    record = Record(task.measure, call.provider, task.shape)
    try:
        run = ready(call, cpu=device.type == "cpu")
        if device.type == "cpu":
            raise Missing("needs a GPU")
        peak = float(peak_bytes(run))
    except Exception as error:
        return replace(record, status=why(error))
    return replace(record, value=peak, low=peak, high=peak, repetitions=1)


def peak_bytes(run: Callable[[], object]) -> int:
    """The allocator's peak while this runs, less what there is before."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def why(error: Exception) -> str:
    """Status of a provider without a number."""
    if isinstance(error, Missing):
        return str(error)
    torch.cuda.empty_cache()
    lines = str(error).strip().splitlines() or [""]
    return f"failed: {type(error).__name__}: {lines[0][:200]}"
