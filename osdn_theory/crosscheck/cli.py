"""The command ``osdn-theory crosscheck``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from osdn_theory import __version__
from osdn_theory._command import command
from osdn_theory._console import known_names, progress_bar
from osdn_theory._folders import ensure_writable, write_atomically

if TYPE_CHECKING:
    from osdn_theory.crosscheck.results import CrossCheck
    from osdn_theory.rules import CalibrationRule
    from osdn_theory.streams import Stream

EXIT_CODES = (
    "Exit code: 0 every quantity is inside its bound and every theorem that applies is confirmed; 1 something is "
    "outside its bound or contradicted; 2 bad usage or input; 3 neither, but something cannot be observed at this "
    "precision."
)

STREAMS = ("interpolating", "noisy", "minilm/layer0")

STILL = ("isotropic", "minilm")
"""Streams of unit keys, on which d stays at 1 (T15) unless it starts elsewhere."""

SMALL_TOKENS, SMALL_HEADS = 40, 1
"""Of each stream in Triton's interpreter, which is slow."""

SMALL_CHUNK = 16
"""Tokens per chunk there: few tokens still make several chunks, the last one partial."""

GPU_TOKENS, GPU_HEADS = 512, 12


def crosscheck(
    kernel: Annotated[
        str | None, typer.Option(help="A registered name, see --list, or module:function.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Audit a run written by save_run instead; no kernel is called.")
    ] = None,
    list_kernels: Annotated[bool, typer.Option("--list", help="List the registered kernels.")] = False,
    stream: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this stream; repeat it or use commas. Default: {', '.join(STREAMS)}."),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            help="Calibrate rule of the suite. Default: 'fast', a step of about 1/(2M); on unit keys, which would "
            "keep d at 1, 'fast from 5/4'."
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str | None, typer.Option(help="cuda or cpu. Default: a GPU if there is one.")] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Compare all gradients as well.")] = False,
    reference: Annotated[
        str, typer.Option(help="Float64 reference for the gradients, as for --kernel.")
    ] = "osdn_reference",
    every_config: Annotated[
        bool, typer.Option("--every-config", help="Repeat for each autotune configuration and grid size.")
    ] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of every stream.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads of every stream.")] = None,
    chunk_size: Annotated[
        int | None, typer.Option(help="Passed to the kernel. Default: its own; 16 without a GPU.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic streams.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write figures and data to.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one strictly valid JSON document instead of tables.")
    ] = False,
) -> None:
    """Hold a kernel against exact trajectories, exact Newton and the theorems, token by token."""
    from osdn_theory.crosscheck.results import FORMAT
    from osdn_theory.jsonable import to_json

    if list_kernels:
        _print_kernels()
        return
    if (kernel is None) == (file is None):
        raise ValueError("--kernel, --file: expected one of them")
    if out is not None:
        # Found out now rather than after minutes of work.
        ensure_writable(out)
    if file is not None:
        from osdn_theory.crosscheck.files import audit_run

        checks = [audit_run(file)]
    else:
        assert kernel is not None
        place = choose_device(device)
        small = place == "cpu"
        sizes = (
            tokens or (SMALL_TOKENS if small else GPU_TOKENS),
            heads or (SMALL_HEADS if small else GPU_HEADS),
        )
        problems = list(_problems(stream, rule, seed, *sizes))
        options = {
            **_chunks(kernel, chunk_size, small),
            "dtype": dtype,
            "device": place,
            "gradients": gradients,
            "reference": reference,
        }
        checks = []
        with progress_bar() as progress:
            for done, (source, label, parameters) in enumerate(problems):
                progress(f"{source.name}, {label}", done, len(problems))
                checks.extend(_checked(kernel, source, label, parameters, every_config, options))
    code = exit_code(checks)
    document = {
        "format": FORMAT,
        "osdn": __version__,
        "command": command(),
        "exit_code": code,
        "checks": [check.as_dict() for check in checks],
    }
    written = [] if out is None else _write(out, checks, to_json(document))
    if json:
        typer.echo(to_json(document))
    else:
        from osdn_theory.crosscheck.table import print_checks

        print_checks(checks)
        if written:
            typer.echo("written: " + ", ".join(map(str, written)))
    raise typer.Exit(code)


def choose_device(device: str | None) -> str:
    """Where kernels run; without a GPU, Triton's interpreter is switched on before anything imports Triton.

    Raises
    ------
    ValueError
        For another device than cuda and cpu, or cuda where torch sees no GPU.
    """
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


def _chunks(kernel: str, chunk_size: int | None, small: bool) -> dict[str, int]:
    """The option `chunk_size` for a kernel that takes it."""
    from osdn_theory.crosscheck.registry import resolve

    takes = "chunk_size" in resolve(kernel).parameters
    if chunk_size is not None and not takes:
        raise ValueError(f"--chunk-size: {kernel} takes no chunk_size")
    wanted = SMALL_CHUNK if chunk_size is None and small else chunk_size
    return {} if wanted is None or not takes else {"chunk_size": wanted}


def exit_code(checks: list[CrossCheck]) -> int:
    """The gravest of all: 1, then 3, then 0."""
    codes = {check.exit_code for check in checks}
    return next((code for code in (1, 3) if code in codes), 0)


def _print_kernels() -> None:
    from importlib.metadata import entry_points

    from osdn_theory._console import print_table
    from osdn_theory.crosscheck.registry import KERNELS, kernel_names, resolve

    targets = {entry.name: entry.value for entry in entry_points(group=KERNELS)}
    rows = []
    for name in kernel_names():
        try:
            state = resolve(name).statement()["recurrence"]
        except ValueError as error:
            state = str(error)
        rows.append([name, targets[name], state])
    print_table("Registered kernels", ["name", "function", "computes"], rows, left=["function", "computes"])


def _problems(
    streams: list[str] | None, rules: list[str] | None, seed: int, tokens: int, heads: int
) -> Iterator[tuple[Stream, str, CalibrationRule]]:
    """Streams of the suite, cut to size, with the rules that they are run under."""
    import numpy as np

    from osdn_theory.suite import STARTS, SYNTHETIC, rule_named, stream_names, suite

    known = list(dict.fromkeys([*(name for entry in SYNTHETIC for name in entry.rules), *STARTS]))
    names = known_names("--stream", streams, stream_names()) or list(STREAMS)
    labels = known_names("--rule", rules, known)
    for entry in suite(names, seed, 1):
        source = _cut(entry.build(np.random.default_rng(seed)), tokens, heads)
        usual = "fast from 5/4" if source.name.startswith(STILL) else "fast"
        for label in labels or [usual]:
            start = np.full(source.key_dim, STARTS.get(label, 1.0))
            started = replace(source, initial_preconditioner=start) if label in STARTS else source
            yield started, label, rule_named(label, source)


def _cut(stream: Stream, tokens: int, heads: int) -> Stream:
    """The first tokens, and of (batch, head) the first batch and heads."""
    from osdn_theory.crosscheck.case import with_two_axes

    whole = with_two_axes(stream).tokens(0, tokens)
    names = ("keys", "values", "queries", "beta", "state_gate", "forget_gate")
    arrays = {
        name: getattr(whole, name) for name in (*names, "comparator", "solution", "initial_preconditioner")
    }
    cut: dict[str, Any] = {name: x[:1, :heads] for name, x in arrays.items() if x is not None}
    return replace(whole, **cut)


def _checked(
    kernel: str,
    stream: Stream,
    label: str,
    rule: CalibrationRule,
    every_config: bool,
    options: dict[str, Any],
) -> Iterator[CrossCheck]:
    from osdn_theory.crosscheck.check import crosscheck as check
    from osdn_theory.crosscheck.configurations import crosscheck_configurations

    if every_config:
        yield from crosscheck_configurations(kernel, stream, rule, rule_label=label, **options)
    else:
        yield check(kernel, stream, rule, rule_label=label, **options)


def _write(out: Path, checks: list[CrossCheck], document: str) -> list[Path]:
    from osdn_theory import plotting

    path = out / "crosscheck.json"
    write_atomically(path, (document + "\n").encode())
    files = [path]
    for number, check in enumerate(checks):
        name = f"{number:02d}-" + "-".join(f"{check.stream} {check.rule}".replace("/", " ").split())
        figure, _ = plotting.crosscheck_errors(check)
        files += plotting.save_figure(figure, out / f"errors-{name}.png")
        if check.curve is not None:
            figure, _ = plotting.crosscheck_curve(check)
            files += plotting.save_figure(figure, out / f"curve-{name}.png")
    return files
