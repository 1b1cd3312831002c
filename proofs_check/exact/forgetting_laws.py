"""T13: forgetting as a regulariser, how runs forget their start, and where they settle, on rational instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flint import fmpq

from proofs_check.exact import linear as la, rules
from proofs_check.exact.draw import Draw
from proofs_check.exact.law import Instance, Law, Relation, at_most, equal, equal_vectors
from proofs_check.exact.scan_laws import draw_scan, fading

REGULARISED = "the APF step is projected descent on l(d) + (lambda/2)|d - c|^2, lambda = (1 - gamma)/eta"


def regularised_step(
    x: Instance,
    *,
    strength: Callable[[la.Number, la.Number], la.Number] = lambda gamma, eta: (1 - gamma) / eta,
    centre: int = 1,
    power: int = 1,
) -> Iterator[Relation]:
    """Every APF step of the run against projected descent with the gradient of the regularised surrogate."""
    path = rules.path(x)
    for d, after, s, gamma in zip(path, path[1:], x.features, x.gammas, strict=False):
        pull = la.scale(strength(gamma, x.eta) * power, la.sub(d, la.scale(centre, x.anchor)))
        gradient = la.add(rules.surrogate_gradient(d, s), pull)
        descent = la.clip(la.sub(d, la.scale(x.eta, gradient)), x.low, x.high)
        yield from equal_vectors("d_{t+1}", after, descent)


def draw_plain(draw: Draw) -> Instance:
    """w = 1, as the theorem has it."""
    x = draw_scan(draw)
    x.weights = [fmpq(1)] * len(x.features)
    return x


def draw_weighted(draw: Draw) -> Instance:
    """w = 2."""
    x = draw_scan(draw)
    x.weights = [fmpq(2)] * len(x.features)
    return x


PLAIN = {"w = 1": lambda x: all(w == 1 for w in x.weights)}

APF_STEP = (
    Law("T13", "the APF step", REGULARISED, draw_plain, regularised_step, PLAIN)
    .mutant("wrong constant", "lambda = 1 - gamma",
            relations=lambda x: regularised_step(x, strength=lambda gamma, eta: 1 - gamma))
    .mutant("wrong constant", "lambda |d - c|^2 without the 1/2", relations=lambda x: regularised_step(x, power=2))
    .mutant("flipped sign", "the anchor at -c", relations=lambda x: regularised_step(x, centre=-1))
    .mutant("wrong formula", "lambda = gamma / eta",
            relations=lambda x: regularised_step(x, strength=lambda gamma, eta: gamma / eta))
    .mutant("dropped hypothesis", "w = 1 dropped", draw=draw_weighted, without=["w = 1"])
)  # fmt: skip


def draw_two_starts(draw: Draw) -> Instance:
    """Two starts of one scan whose step meets eta w |s|^2 <= 2 gamma; for "limit" somewhere with equality."""
    x = draw_scan(draw)
    n = len(x.d1)
    x.other, x.other_anchor = draw.vector(n, 0, 2), list(x.anchor)
    x.eta = draw.closed_step(step_limit(x))
    return x


def step_limit(x: Instance) -> la.Number:
    """The largest eta with eta w |s|^2 <= 2 gamma at every token."""
    moving = [(s, w, g) for s, w, g in zip(x.features, x.weights, x.gammas, strict=True) if any(s)]
    return min(2 * g / (w * la.norm_sq(s)) for s, w, g in moving)


def own_anchor(draw: Draw) -> Instance:
    """c = d_1 in either run."""
    x = draw_two_starts(draw)
    x.anchor, x.other_anchor = list(x.d1), list(x.other)
    return x


def long_step(draw: Draw) -> Instance:
    """Twice the largest step."""
    x = draw_two_starts(draw)
    x.eta = 2 * step_limit(x)
    return x


def second_start(x: Instance) -> list[la.Vector]:
    """The run from the other start, with its own anchor."""
    return rules.path(Instance(**{**vars(x), "anchor": x.other_anchor}), start=x.other)


def stability(x: Instance, *, ahead: int = 0, power: int = 2) -> Iterator[Relation]:
    """|d_t - d'_t|^2 <= (gamma_1 ... gamma_{t-1})^2 |d_1 - d'_1|^2, the clip included."""
    gammas, start = x.gammas, la.norm_sq(la.sub(x.d1, x.other))
    pairs = zip(rules.path(x)[1:], second_start(x)[1:], strict=True)
    for t, (d, e) in enumerate(pairs, start=2):
        rate = fading(gammas, 0, min(t - 1 + ahead, len(gammas)), la.one(x.eta)) ** power
        yield at_most(f"|d_{t} - d'_{t}|^2", la.norm_sq(la.sub(d, e)), rate * start)


STABILITY = (
    Law("T13", "stability", "|d_t - d'_t| <= gamma_1 ... gamma_{t-1} |d_1 - d'_1| if eta w |s|^2 <= 2 gamma",
        draw_two_starts, stability,
        {"eta w |s|^2 <= 2 gamma": lambda x: x.eta <= step_limit(x),
         "one anchor": lambda x: x.anchor == x.other_anchor})
    .mutant("index shift", "gamma_1 ... gamma_t", relations=lambda x: stability(x, ahead=1))
    .mutant("wrong constant", "the rate squared", relations=lambda x: stability(x, power=4))
    .mutant("dropped hypothesis", "anchors at d_1 and d'_1", draw=own_anchor, without=["one anchor"])
    .mutant("dropped hypothesis", "eta w |s|^2 = 4 gamma", draw=long_step, without=["eta w |s|^2 <= 2 gamma"])
)  # fmt: skip


def draw_constant_key(draw: Draw) -> Instance:
    """One key at every token, gamma < 1 constant, eta |s|^2 < 1 + gamma, the box out of reach."""
    x = draw_scan(Draw(draw.rng, "zeros" if draw.kind == "zeros" else "random", draw.dyadic))
    count = len(x.features)
    x.keys, x.features = [x.keys[0]] * count, [x.features[0]] * count
    x.gamma, x.weights = draw.choice(fmpq(1, 2), fmpq(3, 4), fmpq(15, 16)), [fmpq(1)] * count
    x.gammas = [x.gamma] * count
    x.eta = draw.step((1 + x.gamma) / la.norm_sq(x.features[0]))
    return x


def narrow(draw: Draw) -> Instance:
    """A box that keeps a_t away from a_inf."""
    x = draw_constant_key(draw)
    x.low, x.high = [fmpq(2)] * len(x.d1), [fmpq(3)] * len(x.d1)
    return x


def forgetful(draw: Draw) -> Instance:
    """gamma that changes from token to token."""
    x = draw_constant_key(draw)
    x.gammas = [x.gamma / (t + 2) for t in range(len(x.gammas))]
    return x


def beyond(draw: Draw) -> Instance:
    """eta |s|^2 = 2 + gamma: a_t swings ever farther."""
    x = draw_constant_key(draw)
    x.eta = (2 + x.gamma) / la.norm_sq(x.features[0])
    return x


def settled(x: Instance, *, kept: int = 1, anchored: bool = True) -> la.Number:
    """a_inf = ((1 - gamma) <c, s> + eta |s|^2) / ((1 - gamma) + eta |s|^2)."""
    s, decay = x.features[0], (1 - x.gamma if kept else x.gamma)
    drive = x.eta * la.norm_sq(s)
    return ((decay * la.dot(x.anchor, s) if anchored else 0) + drive) / (decay + drive)


def constant_key(
    x: Instance, *, limit: Callable[[Instance], la.Number] = settled, sign: int = 1, shift: int = 0
) -> Iterator[Relation]:
    """a_t - a_inf = (gamma - eta |s|^2)^{t-1} (a_1 - a_inf), it shrinks, and the step at the limit stays there."""
    s = x.features[0]
    rate, goal = x.gamma - sign * x.eta * la.norm_sq(s), limit(x)
    offsets = [la.dot(d, s) - goal for d in rules.path(x)]
    for t, offset in enumerate(offsets[1:], start=2):
        yield equal(f"a_{t} - a_inf", offset, rate ** (t - 1 + shift) * offsets[0])
    yield at_most("|a_2 - a_inf| <= |a_1 - a_inf|", abs(offsets[1]), abs(offsets[0]))
    rest = la.add(x.anchor, la.scale(x.eta * (1 - goal) / (1 - x.gamma), s))
    after = rules.unprojected_step(rest, s, x.eta, x.gamma, 1, x.anchor)
    yield from equal_vectors("a fixed point", after, rest)
    yield equal("its alignment", la.dot(rest, s), goal)


CONSTANT_KEY = (
    Law("T13", "constant-key limit", "a_t - a_inf = (gamma - eta |s|^2)^(t-1) (a_1 - a_inf)", draw_constant_key,
        constant_key,
        {"gamma constant": lambda x: all(g == x.gamma < 1 for g in x.gammas),
         "eta |s|^2 < 1 + gamma": lambda x: x.eta * la.norm_sq(x.features[0]) < 1 + x.gamma,
         "box inactive": lambda x: rules.path(x) == rules.path(x, project=False)})
    .mutant("wrong formula", "a_inf with gamma for 1 - gamma",
            relations=lambda x: constant_key(x, limit=lambda x: settled(x, kept=0)))
    .mutant("wrong formula", "a_inf without the anchor",
            relations=lambda x: constant_key(x, limit=lambda x: settled(x, anchored=False)))
    .mutant("flipped sign", "rate gamma + eta |s|^2", relations=lambda x: constant_key(x, sign=-1))
    .mutant("index shift", "the rate to the power t", relations=lambda x: constant_key(x, shift=1))
    .mutant("dropped hypothesis", "an active box", draw=narrow, without=["box inactive"])
    .mutant("dropped hypothesis", "gamma varies", draw=forgetful, without=["gamma constant"])
    .mutant("dropped hypothesis", "eta |s|^2 = 2 + gamma", draw=beyond, without=["eta |s|^2 < 1 + gamma"])
)  # fmt: skip

LAWS = (APF_STEP, STABILITY, CONSTANT_KEY)
