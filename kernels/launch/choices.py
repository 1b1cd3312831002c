"""Which configuration was the fastest, kept from process to process and shipped for some GPUs.

One line of JSON for each choice: the card and Triton it was made with, the kernel with a digest of its source, and what
it was tuned for. A line that differs in any of these from what is looked for does not exist for it.
"""

import functools
import json
import tokenize
import warnings
from collections.abc import Iterator
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton

from .files import write_whole

SHIPPED = Path(__file__).with_name("tuned.jsonl")
"""Choices that come with the package: ``python -m osdn_kernels.launch.choices`` takes the kept ones over."""

SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER}


class Launch(NamedTuple):
    """What a choice holds for."""

    card: str
    triton: str
    kernel: str
    source: str
    key: str


def kept() -> Path:
    """The file that choices are added to: beside Triton's machine code, with which it is deleted."""
    return Path(triton.knobs.cache.dir) / "osdn-tuned.jsonl"


def card() -> str:
    """The current GPU's name; that of a part of one says so."""
    return torch.cuda.get_device_name()


def launch_of(function: triton.JITFunction, key: dict[str, Any]) -> Launch:
    """A launch on the current GPU."""
    return Launch(
        card(), triton.__version__, function.__name__, digest(function), json.dumps(key, sort_keys=True)
    )


@functools.cache
def digest(function: triton.JITFunction) -> str:
    """Of the source of a kernel and of all that it calls; comments and line breaks do not count."""
    texts = [text for each in reached(function, {}) for text in (each.__name__, _code(each.src))]
    return sha256("\n".join(texts).encode()).hexdigest()[:16]


def reached(
    function: triton.JITFunction, seen: dict[triton.JITFunction, None]
) -> dict[triton.JITFunction, None]:
    """A function and those that it calls, directly or not, in the order of their names in it."""
    if function in seen:
        return seen
    seen[function] = None
    names = function.fn.__code__.co_names
    for value in (function.fn.__globals__.get(name) for name in names):
        if isinstance(value, triton.JITFunction):
            reached(value, seen)
    return seen


def _code(text: str) -> str:
    tokens = tokenize.generate_tokens(StringIO(text).readline)
    indents = {tokenize.INDENT: "{", tokenize.DEDENT: "}"}
    return " ".join(indents.get(token.type, token.string) for token in tokens if token.type not in SILENT)


def find(launch: Launch) -> dict[str, Any] | None:
    """The options of the configuration chosen for a launch, or None; of several lines the last."""
    return known().get(launch)


@functools.cache
def known() -> dict[Launch, dict[str, Any]]:
    """All choices, shipped and kept; read once."""
    return {launch: config for file in (SHIPPED, kept()) for launch, config in read(file)}


def read(file: Path) -> Iterator[tuple[Launch, dict[str, Any]]]:
    """The choices in a file, which need not be there. Lines that are none are left out, with a warning."""
    try:
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    except OSError as error:
        warnings.warn(f"{file}: tuned choices cannot be read: {error}", stacklevel=2)
        return
    wrong = 0
    for line in filter(None, lines):
        try:
            choice = json.loads(line)
            yield Launch(*(str(choice[name]) for name in Launch._fields)), dict(choice["config"])
        except (ValueError, KeyError, TypeError):
            wrong += 1
    if wrong:
        warnings.warn(f"{file}: {wrong} lines are no tuned choices and are ignored", stacklevel=2)


def keep(launch: Launch, config: dict[str, Any], times: dict[str, float]) -> None:
    """Add a choice, with the milliseconds of all that was tried. One write, so that processes may add at once."""
    known()[launch] = config
    line = json.dumps({**launch._asdict(), "config": config, "milliseconds": times})
    try:
        kept().parent.mkdir(parents=True, exist_ok=True)
        with kept().open("a") as target:
            target.write(f"\n{line}\n")
    except OSError as error:
        warnings.warn(f"{kept()}: a tuned choice cannot be kept: {error}", stacklevel=2)


def is_up_to_date(launch: Launch, config: dict[str, Any]) -> bool:
    """Whether a kernel has the source that a choice was made for, and still has its configuration."""
    from .. import ops  # noqa: F401  (defines every kernel)
    from .tuning import TUNED, function_of

    kernel = TUNED.get(launch.kernel)
    if kernel is None or digest(function_of(kernel)) != launch.source:
        return False
    return config in [candidate.all_kwargs() for candidate in kernel.configs]


def ship(*files: str) -> None:
    """Take the choices in `files`, or the kept ones, over into `SHIPPED`, and drop what is out of date there."""
    lines: dict[Launch, str] = {}
    for file in (SHIPPED, *map(Path, files or [kept()])):
        for launch, config in read(file):
            if is_up_to_date(launch, config):
                lines[launch] = json.dumps({**launch._asdict(), "config": config})
    write_whole(SHIPPED, "".join(f"{line}\n" for _, line in sorted(lines.items())))
    print(f"{SHIPPED}: {len(lines)} choices for {', '.join(sorted({launch.card for launch in lines}))}")


if __name__ == "__main__":
    import sys

    ship(*sys.argv[1:])
