"""The figures of the report about the memory itself: T10 online, and what T22, T24, T26 and T27 exhibit."""

from collections.abc import Iterator

import numpy as np

from osdn_theory import plotting
from osdn_theory.measures.beside_delta_net import blindness, captured_differences, growth, recall_by_reads
from osdn_theory.measures.newton_approach import newton_approach
from osdn_theory.report.exhibit import Exhibit, make_exhibit

READS = (1, 2, 4, 8)


def memory_exhibits(seed: int) -> Iterator[Exhibit]:
    """In the order of the theorems."""
    approach = newton_approach(seed)
    ratios = approach.distances["osdn"] / approach.distances["delta_net"]
    figure, _ = plotting.newton_approach(approach)
    numbers = {"least": ratios.min(), "most": ratios.max()}
    measured = {name: getattr(approach, name) for name in ("conditions", "tokens", "distances")}
    yield make_exhibit("newton-approach", numbers, figure, data=measured)
    shares = recall_by_reads(READS, seed=seed)
    gains = shares["delta_net"] / shares["osdn"]
    figure, _ = plotting.recall_by_reads(shares, READS)
    told = {"reads": READS, "gains": (f"{gain:.3g}" for gain in gains)}
    numbers = {name: ", ".join(map(str, values)) for name, values in told.items()}
    yield make_exhibit("reads", numbers, figure, data={"reads": READS, "missing_share": shares})
    blind = blindness(seed)
    figure, _ = plotting.blindness(blind)
    yield make_exhibit("blindness", blind, figure, data=blind)
    pairs = captured_differences()
    figure, _ = plotting.difference_from_delta_net(pairs)
    medians = (f"{np.median(a):.2g} and {np.median(b):.2g} ({label})" for label, (a, b) in pairs.items())
    data = {label: {"difference": apart, "bound": limit} for label, (apart, limit) in pairs.items()}
    yield make_exhibit("near-delta-net", {"medians": "; ".join(medians)}, figure, data=data)
    grown = growth()
    figure, _ = plotting.error_growth(grown)
    numbers = {"tokens": len(grown), "decades": grown[-1]}
    yield make_exhibit("error-growth", numbers, figure, data={"log10_error": grown[:: len(grown) // 100]})
