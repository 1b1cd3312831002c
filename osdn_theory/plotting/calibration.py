"""Figures of the preconditioner: where it goes, how fast it forgets, and when it does not move at all."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from osdn_theory.base.brief import describe_place
from osdn_theory.base.validation import Array, as_float64, require
from osdn_theory.plotting._style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    curve_styles,
    legend_outside,
    new_figure,
    pick_index,
    scientific,
    sparse_markers,
)
from osdn_theory.recurrence.trajectory import Trajectory


def preconditioner_heatmap(trajectory: Trajectory, *, index: tuple[int, ...] = ()) -> tuple[Figure, Axes]:
    r"""The preconditioner :math:`d_t` as tokens by features, colours centred at 1 (DeltaNet).

    - `trajectory`: With at least one token.
    - `index`: Which entry of the leading axes; may be left out if there is only one.

    Raises ValueError: if `index` does not fit the leading axes, or there are no tokens.
    """
    d = pick_index(trajectory.preconditioner, index, 2)
    require(len(d) > 0, "trajectory: expected at least one token to draw")
    reach = float(np.abs(d - 1).max())
    fig, (ax,) = new_figure(width=7.2)
    ax.grid(False)
    # Rounding-sized departures from 1 would otherwise fill the whole colour scale.
    norm = CenteredNorm(vcenter=1.0, halfrange=max(reach, 1e-12))
    image = ax.imshow(
        d.T,
        aspect="auto",
        origin="lower",
        cmap="PuOr",
        norm=norm,
        interpolation="nearest",
        extent=(0.5, len(d) + 0.5, -0.5, d.shape[1] - 0.5),
    )
    bar = fig.colorbar(image, ax=ax, pad=0.02)
    bar.set_label("preconditioner $d_{t,i}$ (1 = DeltaNet)")
    ax.set_xlabel("token $t$")
    ax.set_ylabel("feature $i$")
    where = describe_place(trajectory.stream.name, index)
    ax.set_title(f"{where}: largest $|d_{{t,i}} - 1|$ = {reach:.2g}", fontsize="medium")
    return fig, ax


def forgetting(
    *,
    eta: float = 0.003,
    key_dim: int = 128,
    gammas: Sequence[float] | Array | None = None,
    measured: Mapping[str, tuple[Array, Array]] | None = None,
) -> tuple[Figure, list[Axes]]:
    r"""Half-life of the preconditioner's memory and the bias of forgetting against :math:`\gamma` (T13).

    Left: half-life :math:`\ln 2 / (-\ln\gamma)` in tokens. Right: the mean full-write fraction that isotropic
    unit keys settle at, :math:`\kappa = (\eta/K)/((1-\gamma) + \eta/K)` when d decays towards 0 and 1 when it
    decays towards 1, and for one constant unit key :math:`a_\infty` with :math:`\|s\|^2 = 3/(K+2)`.

    - `eta`: float > 0
    - `key_dim`: int >= 1
    - `gammas`, sequence of float in (0, 1): Default: 1 - γ from 1e-6 to 0.3, evenly on the log axis.
    - `measured`, mapping from label to (gammas, mean alignments): Points drawn over the curves of the right panel.

    Raises ValueError: if a parameter is out of range.
    """
    from osdn_theory.measures.calibration_times import half_life

    gamma = as_float64("gammas", 1 - np.geomspace(1e-6, 0.3, 200) if gammas is None else gammas, min_ndim=1)
    require(bool(np.all((gamma > 0) & (gamma < 1))), "gammas: expected values strictly between 0 and 1")
    require(eta > 0, f"eta: expected > 0, got {eta}")
    require(key_dim >= 1, f"key_dim: expected >= 1, got {key_dim}")
    fig, (left, right) = new_figure(2, height=4.2)
    left.plot(1 - gamma, half_life(gamma), color=BLUE, linewidth=1.8)
    left.set(xscale="log", yscale="log", ylabel="half-life (tokens)")
    left.set_title("How long $d_1$ is remembered", fontsize="medium")
    _bias_curves(right, gamma, eta, key_dim)
    for (label, (x, y)), marker in zip((measured or {}).items(), "osD^vPX", strict=False):
        right.plot(
            1 - np.asarray(x),
            y,
            linestyle="none",
            marker=marker,
            markerfacecolor="white",
            color=GREY,
            label=label,
        )
    right.set(
        xscale="log", ylim=(-0.03, 1.08), ylabel=r"mean alignment $\langle d, s\rangle$ (1 = full write)"
    )
    right.set_title(rf"What forgetting costs ($\eta$ = {eta:g}, K = {key_dim})", fontsize="medium")
    for ax in (left, right):
        ax.set_xlabel(r"$1 - \gamma$ (forgetting per token)")
    legend_outside(right, columns=2)
    return fig, [left, right]


def _bias_curves(ax: Axes, gamma: Array, eta: float, key_dim: int) -> None:
    from osdn_theory.measures.calibration_times import constant_key_alignment, isotropic_alignment

    # With the anchor at 0 a constant key enters by the norm of its square alone.
    typical = np.array([np.sqrt(3 / (key_dim + 2))])
    curves = {
        "anchored at 1": (isotropic_alignment(key_dim, eta=eta, gamma=gamma, anchor=1.0), GREEN, "-"),
        "towards 0, one constant key": (
            constant_key_alignment(typical, 0.0, eta=eta, gamma=gamma),
            ORANGE,
            "-.",
        ),
        "towards 0, fresh isotropic keys": (
            isotropic_alignment(key_dim, eta=eta, gamma=gamma, anchor=0.0),
            RED,
            "--",
        ),
    }
    for label, (alignment, colour, line) in curves.items():
        ax.plot(1 - gamma, alignment, color=colour, linestyle=line, linewidth=1.8, label=label)


def identity_fixed_point(drifts: Mapping[str, Array], *, floor: float = 1e-18) -> tuple[Figure, Axes]:
    r"""How far the preconditioner leaves 1, for keys normalised in several precisions (T15).

    One curve of :math:`\max_i |d_{t,i} - 1|` per precision. A curve that is exactly zero lies on the line at
    the bottom of the axes, and its label says so.

    - `drifts`, mapping from label to (T,) array: Largest absolute departure of d_t from 1, token by token.
    - `floor`: Where exact zeros are drawn.

    Raises ValueError: if there is nothing to draw.
    """
    require(len(drifts) > 0, "drifts: expected at least one curve")
    fig, (ax,) = new_figure(width=7.2, height=4.6)
    for number, ((label, values), style) in enumerate(
        zip(drifts.items(), curve_styles(len(drifts)), strict=True)
    ):
        drift = as_float64(f"drifts[{label!r}]", values, min_ndim=1)
        zero = not drift.any()
        ax.plot(
            np.arange(1, drift.size + 1),
            np.maximum(drift, floor),
            label=f"{label}: exactly 0 throughout" if zero else f"{label}: ends at {scientific(drift[-1])}",
            markevery=sparse_markers(drift.size, number),
            clip_on=not zero,
            **style,
        )
    ax.set(yscale="log", xlabel="token $t$", ylabel=r"$\max_i\,|d_{t,i} - 1|$")
    ax.set_ylim(bottom=floor)
    ax.set_title("With $d_1 = 1$, the precision of key normalisation alone moves $d$", fontsize="medium")
    legend_outside(ax, columns=2)
    return fig, ax
