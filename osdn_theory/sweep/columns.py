"""The columns of the table: what each one is, in which type, and what it means."""

from typing import Literal, NamedTuple

Kind = Literal["string", "int64", "double"]


class Column(NamedTuple):
    """One column: its name, its Arrow type, and one line for the reader of the file."""

    name: str
    kind: Kind
    meaning: str


_OUTCOME = "holds; holds, vacuously; violated; undecided or not applicable; decided rigorously"

BOUNDS = {
    "T5": "interpolating regret",
    "T6": "super-geometric convergence",
    "T8": "agnostic regret",
    "T14": "tracking",
}
"""Theorems that are checked of every cell."""

IDENTITY = (
    Column("cell", "string", "hash of the parameters, the identity of the row"),
    Column("stream", "string", "generator of the tokens"),
    Column("key_dim", "int64", "K"),
    Column("value_dim", "int64", "V"),
    Column("length", "int64", "T, tokens"),
    Column("condition", "double", "condition number asked for; null where the stream has none to choose"),
    Column("eta", "double", "hypergradient step"),
    Column("forgetting", "double", "gamma"),
    Column("anchor", "double", "c, where forgetting leads to; null where nothing is forgotten"),
    Column("d_min", "double", "lower side of the box"),
    Column("d_max", "double", "upper side of the box"),
    Column("seed", "int64", "number of the draw"),
    Column("precision", "string", "format that keys, values and queries are rounded to"),
)

MEASURES = (
    Column("key_rank", "int64", "numerical rank of the keys"),
    Column("key_condition", "double", "condition number of the Gram matrix of the keys drawn, on its range"),
    Column("effective_rank", "double", "exp of the entropy of the Gram spectrum"),
    Column("fastest_calibration", "double", "smallest time constant of T19, tokens"),
    Column("slowest_calibration", "double", "largest time constant of T19, tokens"),
    Column("calibrated_fraction", "double", "share of the feature variance that calibrates within T"),
    Column("calibrated_directions", "int64", "directions that calibrate within T, of K"),
    Column("log_residual_ratio", "double", "mean of log q_t (T3)"),
    Column("residual_ratio", "double", "geometric mean of q_t"),
    Column("vanishing_tokens", "int64", "tokens whose residual one write removes, to rounding"),
    Column("undefined_tokens", "int64", "tokens without a residual to remove"),
    Column("missing_share", "double", "sum |S_T k_i - v_i|^2 / sum |v_i|^2 over all tokens"),
    Column("preconditioner_min", "double", "smallest d over tokens and coordinates"),
    Column("preconditioner_max", "double", "largest d over tokens and coordinates"),
    Column("drift_max", "double", "largest |d - 1|"),
    Column("drift_rms", "double", "root mean square of d - 1"),
    Column("mean_alignment", "double", "mean of a_t; 1 is a full write"),
    Column("newton_distance", "double", "|S_T - S_RLS|_F / |S_RLS|_F, recursive least squares"),
    Column("clipped_fraction", "double", "share of calibrate steps that the box cut short"),
    Column("delta_net_log_residual_ratio", "double", "DeltaNet on the same tokens: mean of log q_t"),
    Column("delta_net_residual_ratio", "double", "DeltaNet: geometric mean of q_t"),
    Column("delta_net_missing_share", "double", "DeltaNet: the same"),
    Column("delta_net_newton_distance", "double", "DeltaNet: distance to recursive least squares"),
    Column("delta_net_mean_alignment", "double", "DeltaNet: mean of a_t"),
    Column("gap_sum", "double", "sum (1 - a_t)^2, the left side of T5"),
    Column("interpolating_constant", "double", "C of T5; null where T5 does not apply"),
    Column("bound_per_token", "double", "C / T of T6; null where T5 does not apply"),
    *(
        column
        for theorem, title in BOUNDS.items()
        for column in (
            Column(f"{theorem}_outcome", "string", f"{title}: {_OUTCOME}"),
            Column(f"{theorem}_log10_slack", "double", "log10(right side / left side)"),
            Column(f"{theorem}_reason", "string", "why it does not apply, says nothing or stays undecided"),
        )
    ),
)

BOOKKEEPING = (
    Column("error", "string", "why the cell failed, its measures then null; null where it did not"),
    Column("code", "string", "version of osdn and of what computed the row"),
)

COLUMNS = (*IDENTITY, *MEASURES, *BOOKKEEPING)
"""All columns, in the order of the table."""
