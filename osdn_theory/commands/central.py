"""The command ``osdn-theory central``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from osdn_theory.base.folders import ensure_writable
from osdn_theory.commands.console import format_number, print_table, progress_bar
from osdn_theory.commands.options import (
    JsonFlag,
    SeedOption,
    described,
    print_json,
    print_written,
    write_json,
)

if TYPE_CHECKING:
    from osdn_theory.measures.token_curves import TokenCurves


@described
def central(
    tokens: int = 1024,
    key_dim: int = 64,
    steps: int = 700,
    seeds: int = 8,
    seed: SeedOption = 0,
    out: Path = Path("central"),
    json: JsonFlag = False,
) -> None:
    """Draw the central figure: OSDN beside DeltaNet and exact Newton, token by token and on whole contexts.

    central.png and, for a phone, central-narrow.png show isotropic keys; tokens.png also anisotropic and captured ones.
    """
    from osdn_theory import plotting
    from osdn_theory.measures.central import (
        central_contexts,
        central_labels,
        central_streams,
        describe_stream,
        summarise_contexts,
    )
    from osdn_theory.measures.token_curves import LABELS, token_curves
    from osdn_theory.plotting.central import save_small

    ensure_writable(out)
    streams = central_streams(seed, key_dim=key_dim, length=tokens, seeds=seeds)
    curves = {}
    with progress_bar() as progress:
        for done, (kind, stream) in enumerate(streams.items()):
            progress(f"{kind} keys", done, len(streams) + 1)
            curves[kind] = token_curves(stream)
        progress("contexts", len(streams), len(streams) + 1)
        contexts = central_contexts(seed, key_dim=key_dim, steps=steps, seeds=seeds)
    document = {
        "tokens": {kind: each.as_dict() for kind, each in curves.items()},
        "contexts": summarise_contexts(contexts),
    }
    titled = {describe_stream(kind, each.stream): each for kind, each in curves.items()}
    figure, _ = plotting.token_by_token(titled, labels=LABELS)
    files = save_small(figure, out / "tokens.png")
    for name, narrow in (("central", False), ("central-narrow", True)):
        figure, _ = plotting.central_figure(
            curves["isotropic"], contexts, labels=central_labels(), narrow=narrow
        )
        files += save_small(figure, out / f"{name}.png")
    files.append(write_json(out, "central.json", document))
    if json:
        print_json(document)
        return
    _print_curves(curves)
    print_written(files)


def _print_curves(curves: Mapping[str, TokenCurves]) -> None:
    """Medians at the last token, beside the bound."""
    import numpy as np

    from osdn_theory.measures.token_curves import LABELS

    print_table(
        "After the last token, log10, medians over seeds or heads: the product of the token residual ratios (T3)\n"
        "with T6's bound on it, and (F - F*) / (F at 0 - F*), F the loss of the whole stream",
        ["keys", "recurrence", "product", "T6 bound", "loss"],
        (
            [
                kind,
                LABELS[name],
                format_number(float(np.median(product[:, -1]))),
                format_number(float(np.median(each.log10_bound[name][:, -1])))
                if name in each.log10_bound
                else "",
                format_number(float(np.median(each.log10_suboptimality[name][:, -1]))),
            ]
            for kind, each in curves.items()
            for name, product in each.log10_product.items()
        ),
        left=["recurrence"],
    )
