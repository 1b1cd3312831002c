"""The claims made for OSDN, and which evidence of this project bears on each: texts only, no verdict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper.

    - `theorems`: Ids of the theorems that bear on it; empty where nothing here does.
    - `streams`: The streams on which they must be seen to hold; empty: any.
    - `kernel`: Whether it is also about what a kernel computes: then its errors are held to the rounding bound of
      T18.
    - `measures`: What the in-context recall experiment measures that bears on it, at a far smaller scale; empty:
      nothing.
    - `tested`: What is tested here.
    - `left_out`: What is not, and why.
    """

    id: str
    claim: str
    tested: str
    left_out: str
    theorems: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    kernel: bool = False
    measures: tuple[str, ...] = ()


_OWN_STATEMENTS = (
    "The paper's theorem and its constants were not at hand: the statements and constants tested are derivations of "
    "this project."
)

PAPER_CLAIMS: tuple[PaperClaim, ...] = (
    PaperClaim(
        "C1a",
        "Super-geometric convergence against a right-Newton comparator, from an inner loss that is exactly quadratic.",
        "The quadratic (T1), which the paper states; the rest is ours. Against the right-Newton preconditioner G^+, of "
        "steps on a whole context: (L^2 |P_1 - G^+|^2 / T)^T (T10). Token by token against any preconditioner of the "
        "box: (X/T)^T, with no interpolation (T20), and (C/T)^T where one interpolates (T5, T6).",
        f"{_OWN_STATEMENTS} T10 says nothing until T exceeds its constant; its figure marks that stretch. Online, the "
        "state approaches exact Newton as DeltaNet's does.",
        theorems=("T1", "T5", "T6", "T10", "T20"),
        kernel=True,
    ),
    PaperClaim(
        "C1b",
        "An algorithm-aligned bound on the contraction of each token's own residual.",
        "The exact residual ratio of a write (T3), which makes it a function of d alone, and what the calibration's "
        "own steps guarantee of it: its product over tokens for any stream (T20), and its mean and its product for any "
        "write gate where one preconditioner interpolates (T7). All three are ours.",
        f"{_OWN_STATEMENTS} Trained models are not among the streams; captured keys are, and T20 applies to them.",
        theorems=("T3", "T7", "T20"),
        kernel=True,
    ),
    PaperClaim(
        "C1c",
        "A recall residual ratio lower by 39% at 1.3 billion parameters.",
        "The authors' measure, the geometric mean of each write's own residual ratio over contexts read twice, also "
        "with the preconditioner replaced: on models of some ten thousand to a hundred thousand parameters trained for "
        "in-context recall, by `osdn-theory recall`; and for any captured activations, by `osdn-theory analyze`.",
        "The scale is out of reach: it takes a model of 1.3 billion parameters trained on 100 billion tokens, and no "
        "weights were at hand. What small models on a synthetic task show need not hold there. The share of a context "
        "that is missing at its end is another quantity, and is not held against the 39%.",
        measures=("read_twice_ratio",),
    ),
    PaperClaim(
        "C2",
        "The inner loss stays exactly quadratic, the hypergradient update keeps the chunkwise parallel pipeline, and "
        "no high-dimensional state is added.",
        "The quadratic (T1); that calibration is itself a delta rule with a chunk form, and by which certificate "
        "clipped and unclipped iterates agree (T11); that the chunk form equals the recurrence (T12); that kernels "
        "give its numbers but for rounding (T18). The state added is one vector of K numbers for each head.",
        "How fast a kernel is: that needs a GPU, and is measured by `python -m osdn_kernels.benchmarks`, not here.",
        theorems=("T1", "T11", "T12"),
        kernel=True,
    ),
    PaperClaim(
        "C3",
        "Preconditioning from the right is a scaling of the write key, feature by feature, and keeps chunkwise "
        "parallelism.",
        "The identity (T2), the chunk form with scaled write keys (T12), and that kernels give its numbers but for "
        "rounding (T18).",
        "How fast a kernel is, as for C2.",
        theorems=("T2", "T12"),
        kernel=True,
    ),
    PaperClaim(
        "C3b",
        "In-context recall (JRT style) 32% better than DeltaNet's at 340 million parameters.",
        "Accuracy of small models trained for in-context recall, with the context read once and read twice, by "
        "`osdn-theory recall`. The figures that the authors' repository publishes are quoted below.",
        "The scale is out of reach: it takes models of 340 million parameters trained on 10.7 billion tokens. What "
        "small models on a synthetic task show need not hold there.",
        measures=("accuracy_once", "accuracy_twice"),
    ),
    PaperClaim(
        "C4",
        "Parity in perplexity and on LongBench.",
        "Nothing.",
        "It takes trained language models of that size and their evaluation, beyond the means of this run.",
    ),
    PaperClaim(
        "APF",
        "Forgetting refreshes a stale calibration where the context is not stationary.",
        "How fast forgetting erases the start, and the bias that it brings (T13); regret against a comparator that "
        "moves, without forgetting (T14); both on a drifting and a switching stream. What small trained models recall "
        "with forgetting and without, of keys that change halfway through the context and of keys that do not.",
        "Whether forgetting helps a trained language model, and whether the bias explains the perplexities published "
        "for constant forgetting: neither is decided here.",
        theorems=("T13", "T14"),
        streams=("drifting", "switching"),
        measures=("accuracy_isotropic", "accuracy_nonstationary"),
    ),
)


@dataclass(frozen=True)
class PublishedTable:
    """A table of somebody else's measurements; every cell is as published.

    - `rows`: As many cells as the header.
    """

    title: str
    source: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_SOURCE = "github.com/Lhongpei/OSLA, the authors' public repository, states of April and May 2026"
_NOTE = "One training run each; no confidence intervals are published. Not reproduced here."

PUBLISHED_TABLES: tuple[PublishedTable, ...] = (
    PublishedTable(
        "JRT cloze, “contains” accuracy, 340 million parameters",
        _SOURCE,
        f"All OSDN columns with η = 1. {_NOTE}",
        (
            "task",
            "DeltaNet",
            "OSDN (η = 1, no forgetting)",
            "OSDN, learnable d₁",
            "OSDN, per-token forgetting",
            "Gated DeltaNet",
            "KDA",
        ),
        (
            ("FDA", ".0872", ".0772", ".0899", ".0663", ".0881", ".0881"),
            ("FDA twice", ".0445", ".0436", ".0463", ".0763", ".0345", ".0409"),
            ("SWDE", ".0890", ".1481", ".1565", ".0975", ".1340", ".1518"),
            ("SWDE twice", ".1575", ".2165", ".2165", ".2146", ".1799", ".2240"),
            ("SQuAD", ".2872", ".2909", ".3047", ".2919", ".2859", ".3208"),
            ("SQuAD twice", ".2314", ".3833", ".2200", ".3070", ".2026", ".1837"),
            ("average", ".1495", ".1933", ".1723", ".1756", ".1542", ".1682"),
        ),
    ),
    PublishedTable(
        "PG19 perplexity by position, 340 million parameters",
        _SOURCE,
        f"OSDN with η = 1. {_NOTE}",
        ("model", "tokens 0–2K", "tokens 18–20K"),
        (
            ("DeltaNet", "21.82", "21.79"),
            ("OSDN", "21.33", "24.58"),
            ("OSDN, constant forgetting γ = 0.999 without a useful lower clip", "21.52", "86.50"),
            ("OSDN, per-token forgetting", "20.78", "21.23"),
        ),
    ),
)
