"""The command ``osdn-theory crosscheck``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.base.source import command
from osdn_theory.commands.console import known_names, progress_bar, split_names
from osdn_theory.commands.options import JsonFlag, OutOption, described

if TYPE_CHECKING:
    from osdn_theory.crosscheck.examination.results import Examination
    from osdn_theory.crosscheck.kernel.adapters import Adapter

EXIT_CODES = (
    "Exit code: 0 right; 1 wrong: something is outside its bound, contradicted, not invariant, or not as required; "
    "2 bad usage or input, or a kernel that raises or returns no finite tensors of the right shapes; 3 cannot tell: "
    "something cannot be observed at this precision. The last line says it in words."
)

SMALL_TOKENS, SMALL_HEADS = 40, 1
"""Of each stream of the suite in Triton's interpreter, which is slow."""

SMALL_CHUNK = 16
"""Tokens per chunk there: few tokens still make several chunks, the last one partial."""

GPU_TOKENS, GPU_HEADS = 512, 12


@described
def crosscheck(
    kernel: str | None = None,
    file: Path | None = None,
    replay: Path | None = None,
    list_kernels: bool = False,
    exercise: list[str] | None = None,
    stream: list[str] | None = None,
    rule: list[str] | None = None,
    dtype: str | None = None,
    device: str | None = None,
    gradients: bool = False,
    reference: str | None = None,
    require: list[str] | None = None,
    every_config: bool = False,
    recurrence: str | None = None,
    layout: str | None = None,
    state_layout: str | None = None,
    fixed_scale: str | None = None,
    gate_form: str | None = None,
    tokens: int | None = None,
    heads: int | None = None,
    key_dim: int | None = None,
    value_dim: int | None = None,
    chunk_size: int | None = None,
    seed: int = 0,
    out: OutOption = None,
    json: JsonFlag = False,
) -> None:
    """Hold a kernel against float64, exact Newton and the theorems, and say what that would have seen."""
    if list_kernels:
        _print_kernels()
        return
    sources = [source for source in (kernel, file, replay) if source is not None]
    if len(sources) != 1 and not (kernel is not None and replay is not None and file is None):
        raise ValueError("--kernel, --file, --replay: expected one of them")
    if out is not None:
        # Found out now rather than after minutes of work.
        ensure_writable(out)
    if file is not None:
        found = _audited(file)
    elif replay is not None:
        found = _replayed(replay, kernel, device)
    else:
        assert kernel is not None
        place = choose_device(device)
        stated = {
            "recurrence": recurrence,
            "layout": layout,
            "state_layout": state_layout,
            "fixed_scale": fixed_scale,
            "gate_form": gate_form,
        }
        adapter = _resolved(kernel, chunk_size, place == "cpu", stated)
        found = _examined(
            adapter,
            exercises=exercise,
            streams=stream,
            rules=rule,
            every_config=every_config,
            sizes=(tokens, heads),
            features=(key_dim, value_dim),
            seed=seed,
            require=require,
            settings={"dtype": dtype, "device": place, "gradients": gradients, "reference": reference},
        )
    _report(found, out, as_json=json)
    raise typer.Exit(found.exit_code)


def choose_device(device: str | None) -> str:
    """Where kernels run; without a GPU, Triton's interpreter is switched on before anything imports Triton."""
    import torch

    known_names("--device", None if device is None else [device], ("cuda", "cpu"))
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: torch sees no GPU here; use cpu, which runs Triton's interpreter")
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if wanted == "cpu" and os.environ.get("TRITON_INTERPRET", "0") != "1":
        if "triton" in sys.modules:
            raise ValueError("--device: Triton is already loaded for GPUs; set TRITON_INTERPRET=1 first")
        os.environ["TRITON_INTERPRET"] = "1"
    if wanted == "cpu":
        typer.echo("No GPU is used: Triton kernels run in its interpreter, on small sizes.", err=True)
    return wanted


def _resolved(kernel: str, chunk_size: int | None, small: bool, stated: dict[str, str | None]) -> Adapter:
    """The kernel with what was stated about it, and with a chunk size where it takes one."""
    from osdn_theory.crosscheck.kernel.adapters import adapt
    from osdn_theory.crosscheck.kernel.registry import resolve

    adapter = resolve(kernel, **{name: value for name, value in stated.items() if value is not None})
    takes = "chunk_size" in adapter.parameters
    if chunk_size is not None and not takes:
        raise ValueError(f"--chunk-size: {kernel} takes no chunk_size")
    wanted = SMALL_CHUNK if chunk_size is None and small else chunk_size
    return adapter if wanted is None or not takes else adapt(adapter, chunk_size=wanted)


def _examined(
    adapter: Adapter,
    *,
    exercises: list[str] | None,
    streams: list[str] | None,
    rules: list[str] | None,
    every_config: bool,
    sizes: tuple[int | None, int | None],
    features: tuple[int | None, int | None],
    seed: int,
    require: list[str] | None,
    settings: dict[str, Any],
) -> Examination:
    """Everything by default; the exercises that were asked for; or streams alone."""
    from osdn_theory.crosscheck.cases.problems import problems, rule_names, stream_names
    from osdn_theory.crosscheck.examination.exercises.table import exercise_names
    from osdn_theory.crosscheck.examination.run import examine, examine_configurations
    from osdn_theory.crosscheck.kernel.signature.recognition import recognise

    chosen = known_names("--exercise", exercises, exercise_names())
    wanted = known_names("--stream", streams, stream_names())
    labels = known_names("--rule", rules, rule_names())
    small = settings["device"] == "cpu"
    tokens = sizes[0] or (SMALL_TOKENS if small else GPU_TOKENS)
    heads = sizes[1] or (SMALL_HEADS if small else GPU_HEADS)
    adapter = recognise(adapter, settings["device"], settings["dtype"])
    alone = bool(wanted or labels or every_config)
    posed = [] if chosen and not alone else list(
        problems(adapter, wanted, labels, seed=seed, tokens=tokens, heads=heads)
    )  # fmt: skip
    with progress_bar() as progress:
        if every_config:
            return examine_configurations(adapter, posed, progress=progress, **settings)
        return examine(
            adapter,
            seed=seed,
            key_dim=features[0],
            value_dim=features[1],
            only=[] if alone and not chosen else chosen,
            invariant=(not alone and not chosen) or bool(require),
            require=split_names(require) or (),
            problems=posed,
            progress=progress,
            **settings,
        )


def _audited(path: Path) -> Examination:
    from osdn_theory.crosscheck.examination.results import examined_alone
    from osdn_theory.crosscheck.files import audit_runs

    return examined_alone(audit_runs(path))


def _replayed(path: Path, kernel: str | None, device: str | None) -> Examination:
    from osdn_theory.crosscheck.examination.results import examined_alone
    from osdn_theory.crosscheck.fuzz.replay import replay

    return examined_alone(replay(path, kernel, device))


def _print_kernels() -> None:
    """A line for each with what it computes, and one with where it is."""
    from importlib.metadata import entry_points

    from osdn_theory.commands.crosscheck_tables import say
    from osdn_theory.crosscheck.kernel.registry import KERNELS, kernel_names, resolve

    targets = {entry.name: entry.value for entry in entry_points(group=KERNELS)}
    for name in kernel_names():
        try:
            state: str = resolve(name).recurrence
        except ValueError as error:
            state = str(error)
        say(f"{name}: {state}")
        typer.echo(f"    {targets[name]}")


def _report(found: Examination, out: Path | None, *, as_json: bool) -> None:
    from osdn_theory.crosscheck.document import CROSSCHECK

    written = [] if out is None else _write(out, found)
    if as_json:
        typer.echo(CROSSCHECK.encode(found, command()))
        return
    from osdn_theory.commands.crosscheck_tables import print_examination

    if written:
        typer.echo("written: " + ", ".join(map(str, written)))
    print_examination(found)


def _write(out: Path, found: Examination) -> list[Path]:
    from osdn_theory import plotting
    from osdn_theory.crosscheck.document import CROSSCHECK

    path = out / "crosscheck.json"
    CROSSCHECK.write(path, found, command())
    files = [path]
    for number, check in enumerate(found.streams):
        name = f"{number:02d}-" + "-".join(f"{check.stream} {check.rule}".replace("/", " ").split())
        figure, _ = plotting.crosscheck_errors(check)
        files += plotting.save_figure(figure, out / f"errors-{name}.png")
        if check.curve is not None:
            figure, _ = plotting.crosscheck_curve(check)
            files += plotting.save_figure(figure, out / f"curve-{name}.png")
    return files
