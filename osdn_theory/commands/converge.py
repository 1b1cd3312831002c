"""The command ``osdn-theory converge``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import format_number, known_names, print_table
from osdn_theory.commands.options import JsonFlag, SeedOption, print_json, write_json


def converge(
    rule: Annotated[
        list[str] | None, typer.Option(help="gradient, best_fixed_diagonal, diagonal, full, newton.")
    ] = None,
    condition: Annotated[
        list[float] | None, typer.Option(help="Condition number; repeat it for more.")
    ] = None,
    steps: Annotated[int, typer.Option(min=0, help="Steps on the context.")] = 1000,
    key_dim: Annotated[int, typer.Option(min=1, help="K.")] = 8,
    value_dim: Annotated[int, typer.Option(min=1, help="V.")] = 8,
    rotate: Annotated[bool, typer.Option(help="A general Gram matrix; --no-rotate: a diagonal one.")] = True,
    eta: Annotated[float | None, typer.Option(help="Step of both OSDN rules. Default 1/(2 L^2).")] = None,
    seed: SeedOption = 0,
    out: Annotated[Path, typer.Option(help="Folder to write figures and data to.")] = Path("convergence"),
    json: JsonFlag = False,
) -> None:
    """Draw suboptimality against steps for several rules, with T10's bound and where it is vacuous."""
    import numpy as np

    from osdn_theory import plotting
    from osdn_theory.context.convergence import LABELS, RULES, convergence_rates

    chosen: Any = known_names("--rule", rule, RULES) or RULES
    document: dict[str, Any] = {}
    files: list[Path] = []
    for kappa in condition or [6.0, 100.0]:
        data = convergence_rates(
            np.random.default_rng(seed),
            condition=kappa,
            key_dim=key_dim,
            value_dim=value_dim,
            steps=steps,
            rotate=rotate,
            rules=chosen,
            eta=eta,
        )
        document[f"{kappa:g}"] = data.as_dict()
        figure, _ = plotting.convergence_rates(
            data, labels=LABELS, title=f"K = {key_dim}, condition number {kappa:g}"
        )
        files += plotting.save_figure(figure, ensure_writable(out) / f"convergence-{kappa:g}.png", svg=True)
    files.append(write_json(out, "convergence.json", document))
    if json:
        print_json(document)
        return
    _print_convergence(document)
    typer.echo("written: " + ", ".join(map(str, files)))


def _print_convergence(document: Mapping[str, Any]) -> None:
    """First and last suboptimality of every rule, and where the bound on it begins to say something."""
    print_table(
        "log10(F - F*)",
        ["condition, rule", "first", "last", "bound (T10)"],
        (
            [f"{kappa} {rule}", format_number(curve[0]), format_number(curve[-1]), _bound(data, rule)]
            for kappa, data in document.items()
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
