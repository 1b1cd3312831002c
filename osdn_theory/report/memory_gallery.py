"""The figures of the report about the memory itself: T10 online, and what T22, T24, T26 and T27 exhibit."""

from collections.abc import Iterator

import numpy as np

from osdn_theory import plotting
from osdn_theory.measures.beside_delta_net import blindness, captured_differences, growth, recall_by_reads
from osdn_theory.measures.newton_approach import newton_approach
from osdn_theory.report.exhibit import Exhibit

READS = (1, 2, 4, 8)


def memory_exhibits(seed: int) -> Iterator[Exhibit]:
    """In the order of the theorems."""
    data = newton_approach(seed)
    ratios = data.distances["osdn"] / data.distances["delta_net"]
    figure, _ = plotting.newton_approach(data)
    yield Exhibit(
        "newton-approach",
        "T10: online, OSDN approaches exact Newton as DeltaNet does",
        "Distance of the state from recursive least squares of the prefix, K = 16, keys of condition number 1 to 1000 "
        "that one preconditioner interpolates: with OSDN at eta = 1 between "
        f"{ratios.min():.2f} and {ratios.max():.2f} times that with DeltaNet. The super-geometric rates are those of "
        "single tokens and of steps on a whole context.",
        figure,
        data={"conditions": data.conditions, "tokens": data.tokens, "distances": data.distances},
    )
    shares = recall_by_reads(READS, seed=seed)
    gains = shares["delta_net"] / shares["osdn"]
    figure, _ = plotting.recall_by_reads(shares, READS)
    yield Exhibit(
        "reads",
        "T22: pairs that do not overlap, read again",
        "Read " + ", ".join(map(str, READS)) + " times, the pairs are missed "
        + ", ".join(f"{gain:.3g}" for gain in gains) + " times less by OSDN, at eta = 1, than by DeltaNet.",
        figure,
        data={"reads": READS, "missing_share": shares},
    )  # fmt: skip
    blind = blindness(seed)
    figure, _ = plotting.blindness(blind)
    yield Exhibit(
        "blindness",
        "T24: overlap that the surrogate does not see",
        f"Unit keys that share all but a small direction. OSDN from 1 is DeltaNet and misses {blind['osdn']:.3g} of "
        "the values' energy after one pass; a static preconditioner with the same surrogate misses "
        f"{blind['static']:.3g}.",
        figure,
        data=blind,
    )
    pairs = captured_differences()
    figure, _ = plotting.difference_from_delta_net(pairs)
    yield Exhibit(
        "near-delta-net",
        "T26: how near the two states are on captured keys",
        "Every point is a head of MiniLM. Median difference of the states at the end, and median bound on it: "
        + "; ".join(f"{np.median(a):.2g} and {np.median(b):.2g} ({label})" for label, (a, b) in pairs.items())
        + ".",
        figure,
        data={label: {"difference": apart, "bound": limit} for label, (apart, limit) in pairs.items()},
    )
    grown = growth()
    figure, _ = plotting.error_growth(grown)
    yield Exhibit(
        "error-growth",
        "T27: every write contracts, and the error grows",
        "Two unit keys in turn, anchored forgetting, eta = 1.9, d in the box [2/3, 3/2], 0 < a < 2 at every token: "
        f"after {len(grown)} tokens the error is 10^{grown[-1]:.1f} times the state it should have.",
        figure,
        data={"log10_error": grown[:: len(grown) // 100]},
    )
