"""The command ``osdn-theory converge``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import format_number, known_names, note_unread, print_table, split_names
from osdn_theory.commands.options import (
    JsonFlag,
    SeedOption,
    described,
    print_json,
    print_written,
    write_json,
)

if TYPE_CHECKING:
    from osdn_theory.context.convergence import ConvergenceData

CONDITIONS = (6.0, 100.0)
"""Of the synthetic contexts, unless others are given."""


@described
def converge(
    file: Path | None = None,
    rule: list[str] | None = None,
    condition: list[float] | None = None,
    gram: bool = False,
    layer: str | None = None,
    head: str | None = None,
    steps: int = 1000,
    key_dim: int | None = None,
    value_dim: int | None = None,
    rotate: bool = True,
    eta: float | None = None,
    seed: SeedOption = 0,
    out: Path = Path("convergence"),
    json: JsonFlag = False,
) -> None:
    """Draw suboptimality against steps for several rules, with T10's bound and where it is vacuous.

    The rules step on the loss of a whole context, of which the recurrence sees one token at a time.
    """
    from osdn_theory import plotting
    from osdn_theory.context.convergence import LABELS, RULES

    _check_source(file, condition, key_dim, gram, layer, head)
    options: dict[str, Any] = {
        "steps": steps, "rules": known_names("--rule", rule, RULES) or RULES, "eta": eta
    }  # fmt: skip
    if file is None:
        sizes = {"key_dim": key_dim or 8, "value_dim": value_dim or 8, "rotate": rotate}
        found = {
            f"{kappa:g}": _synthetic(kappa, seed, {**sizes, **options}) for kappa in condition or CONDITIONS
        }
    else:
        found = _from_file(file, layer, _index(head), gram, value_dim, seed, options)
    ensure_writable(out)
    files: list[Path] = []
    for name, data in found.items():
        figure, _ = plotting.convergence_rates(data, labels=LABELS, title=_title(name, data, file))
        plain = re.sub(r"[^\w.-]+", "-", name).strip("-")
        files += plotting.save_figure(figure, out / f"convergence-{plain}.png", svg=True)
    document = {name: data.as_dict() for name, data in found.items()}
    files.append(write_json(out, "convergence.json", document))
    if json:
        print_json(document)
        return
    _print_convergence(document)
    print_written(files)


def _check_source(
    file: Path | None,
    condition: Sequence[float] | None,
    key_dim: int | None,
    gram: bool,
    layer: str | None,
    head: str | None,
) -> None:
    """Refuse options of the one source beside the other."""
    synthetic = {"--condition": condition, "--key-dim": key_dim}
    captured = {"--gram": gram or None, "--layer": layer, "--head": head}
    for option, value in (synthetic if file is not None else captured).items():
        if value is not None:
            raise ValueError(
                f"{option}: a file has its own" if file is not None else f"{option}: expected a file as well"
            )


def _index(head: str | None) -> tuple[int, ...]:
    names = split_names(None if head is None else [head]) or []
    if not all(name.isdecimal() for name in names):
        raise ValueError(f"--head: expected numbers such as 0,3, got {head!r}")
    return tuple(map(int, names))


def _synthetic(condition: float, seed: int, options: Mapping[str, Any]) -> ConvergenceData:
    import numpy as np

    from osdn_theory.context.convergence import convergence_rates

    return convergence_rates(np.random.default_rng(seed), condition=condition, **options)


def _from_file(
    file: Path,
    layer: str | None,
    head: tuple[int, ...],
    gram: bool,
    value_dim: int | None,
    seed: int,
    options: Mapping[str, Any],
) -> dict[str, ConvergenceData]:
    import numpy as np

    from osdn_theory.context.convergence import context_convergence
    from osdn_theory.context.files import load_context

    named = int(layer) if layer is not None and layer.isdecimal() else layer
    context = load_context(file, layer=named, head=head, gram=gram)
    if context.values is not None:
        note_unread(file)
    if context.values is not None and value_dim is not None:
        raise ValueError(f"--value-dim: {str(file)!r} has values")
    values = context.values
    if values is None:
        values = np.random.default_rng(seed).normal(size=(len(context.keys), value_dim or 8))
    return {context.name: context_convergence(context.keys, values, **options)}


def _title(name: str, data: ConvergenceData, file: Path | None) -> str:
    sizes = f"K = {data.parameters['key_dim']}, condition number {data.parameters['condition']:.3g}"
    return sizes if file is None else f"{name}: {sizes}"


def _print_convergence(document: Mapping[str, Any]) -> None:
    """First and last suboptimality of every rule, and where the bound on it begins to say something."""
    print_table(
        "log10(F - F*), F the loss of the context and F* its minimum, before the first step and after the last",
        ["context, rule", "first", "last", "bound (T10)"],
        (
            [f"{name} {rule}", format_number(curve[0]), format_number(curve[-1]), _bound(data, rule)]
            for name, data in document.items()
            for rule, curve in data["log10_suboptimality"].items()
        ),
        left=["bound (T10)"],
    )


def _bound(data: Mapping[str, Any], rule: str) -> str:
    if rule not in data["bound_rules"]:
        return "none"
    # The step is that of the first rule that has a bound; another one may become useful elsewhere.
    if rule != data["bound_rules"][0]:
        return f"vacuous until T > {data['vacuous_sum'][rule]:.4g}"
    until = data["vacuous_until"]
    return "vacuous throughout" if until is None else f"vacuous until step {until}"
