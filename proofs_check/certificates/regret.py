"""Certificates about the preconditioner's own problem: T4, T5, T6, T7, T8, T10, T11, T13, T14."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

from flint import fmpq

from proofs_check.certificates.certificate import Certificate, Multiple, Polynomial, Ring, Term, Vector
from proofs_check.exact import linear as la, rules

SIZES = (1, 2, 3)


def cauchy_schwarz(n: int) -> Certificate:
    """|x|^2 |y|^2 - <x, y>^2 = sum over i < j of (x_i y_j - x_j y_i)^2, Lagrange's identity."""
    ring = Ring(x=n, y=n)
    x, y = ring.vector("x"), ring.vector("y")
    return Certificate(
        "T7", "Cauchy-Schwarz", f"dimension {n}", "<x, y>^2 <= |x|^2 |y|^2",
        la.norm_sq(x) * la.norm_sq(y) - la.dot(x, y) ** 2, [Term(m) for m in _minors(x, y)],
    )  # fmt: skip


def convexity(n: int) -> Certificate:
    """l(d + h) - l(d) - <grad l(d), h> = <h, s>^2/2."""
    d, h, s = _surrogate_vectors(n)
    gap = rules.surrogate(la.add(d, h), s) - rules.surrogate(d, s) - la.dot(rules.surrogate_gradient(d, s), h)
    return Certificate(
        "T4", "convexity of the surrogate", f"dimension {n}", "l(d) + <grad l(d), h> <= l(d + h)",
        gap, [Term(la.dot(h, s), weight=fmpq(1, 2))],
    )  # fmt: skip


def smoothness(n: int) -> Certificate:
    """l(d) + <grad l(d), h> + |s|^2 |h|^2/2 - l(d + h) is half of Lagrange's sum of squares."""
    d, h, s = _surrogate_vectors(n)
    model = rules.surrogate(d, s) + la.dot(rules.surrogate_gradient(d, s), h)
    model += la.norm_sq(s) * la.norm_sq(h) / 2
    return Certificate(
        "T4", "smoothness of the surrogate", f"dimension {n}",
        "l(d + h) <= l(d) + <grad l(d), h> + |s|^2 |h|^2/2",
        model - rules.surrogate(la.add(d, h), s), [Term(m, weight=fmpq(1, 2)) for m in _minors(s, h)],
    )  # fmt: skip


def self_bounding(n: int) -> Certificate:
    """|grad l|^2 = 2 |s|^2 l."""
    d, _, s = _surrogate_vectors(n)
    gradient = rules.surrogate_gradient(d, s)
    return Certificate(
        "T4", "self-bounding", f"dimension {n}", "|grad l|^2 = 2 |s|^2 l",
        la.norm_sq(gradient) - 2 * la.norm_sq(s) * rules.surrogate(d, s),
    )  # fmt: skip


def interpolating_step(n: int) -> Certificate:
    """|d+ - u|^2 = |d - u|^2 - eta (2 - eta |s|^2)(1 - a)^2 where <u, s> = 1, without the box."""
    ring, gap, before, after = _one_step(n)
    eta, s, u = ring["eta"], ring.vector("s"), ring.vector("u")
    return Certificate(
        "T5", "one step, identity", f"dimension {n}",
        "|d+ - u|^2 = |d - u|^2 - eta (2 - eta |s|^2)(1 - a)^2 where <u, s> = 1",
        before - eta * (2 - eta * la.norm_sq(s)) * gap**2 - after,
        multiples=[Multiple(2 * eta * gap, "<u, s> = 1")], zero={"<u, s> = 1": la.dot(u, s) - 1},
    )  # fmt: skip


def interpolating_regret(n: int) -> Certificate:
    """eta (2 - eta M)(1 - a)^2 <= |d - u|^2 - |d+ - u|^2: what T5 sums."""
    ring, gap, before, after = _one_step(n)
    eta, room = ring["eta"], ring["M"] - la.norm_sq(ring.vector("s"))
    return Certificate(
        "T5", "one step, with M", f"dimension {n}",
        "eta (2 - eta M)(1 - a)^2 <= |d - u|^2 - |d+ - u|^2 where <u, s> = 1 and |s|^2 <= M",
        before - after - eta * (2 - eta * ring["M"]) * gap**2, [Term(eta * gap, ("M - |s|^2",))],
        [Multiple(2 * eta * gap, "<u, s> = 1")], {"M - |s|^2": room},
        {"<u, s> = 1": la.dot(ring.vector("u"), ring.vector("s")) - 1},
    )  # fmt: skip


def agnostic_step(n: int) -> Certificate:
    """2 eta (1 - eta M) l(d) - 2 eta l(u) <= |d - u|^2 - |d+ - u|^2: what T8 sums."""
    ring, gap, before, after = _one_step(n)
    eta, m, s, d, u = ring["eta"], ring["M"], *(ring.vector(name) for name in "sdu")
    regret = 2 * eta * (1 - eta * m) * rules.surrogate(d, s) - 2 * eta * rules.surrogate(u, s)
    missed = 1 - la.dot(u, s)
    return Certificate(
        "T8", "one step", f"dimension {n}",
        "2 eta (1 - eta M) l(d) - 2 eta l(u) <= |d - u|^2 - |d+ - u|^2 for any u, |s|^2 <= M, eta >= 0",
        before - after - regret, [Term(gap - missed, ("eta",)), Term(eta * gap, ("M - |s|^2",))],
        nonnegative={"eta": eta, "M - |s|^2": m - la.norm_sq(s)},
    )  # fmt: skip


def projections() -> Iterator[Certificate]:
    """|clip x - clip y| <= |x - y| in one coordinate, by where x and y lie; the box is the sum of its coordinates."""
    for of_x, of_y in product(("below", "inside", "above"), repeat=2):
        ring = Ring("x", "y", "low", "high")
        low, high = ring["low"], ring["high"]
        nonnegative = {"high - low": high - low}
        kept, over = [], []
        for name, where in (("x", of_x), ("y", of_y)):
            place, names = _place(ring[name], name, where, low, high)
            nonnegative |= names
            kept.append(place)
            over.append(ring[name] - place)
        between, moved = kept[0] - kept[1], over[0] - over[1]
        squares = [Term(moved)] if moved != 0 else []
        yield Certificate(
            "T5", f"clip, x {of_x}, y {of_y}", "dimension 1", "(clip x - clip y)^2 <= (x - y)^2",
            (ring["x"] - ring["y"]) ** 2 - between**2, [*squares, *_sides(ring.one, of_x, of_y)],
            nonnegative=nonnegative,
        )  # fmt: skip


def _place(
    x: Polynomial, name: str, where: str, low: Polynomial, high: Polynomial
) -> tuple[Polynomial, dict[str, Polynomial]]:
    """clip x, and the hypotheses that say where x lies."""
    if where == "below":
        return low, {f"low - {name}": low - x}
    if where == "above":
        return high, {f"{name} - high": x - high}
    return x, {f"{name} - low": x - low, f"high - {name}": high - x}


def _sides(one: Polynomial, of_x: str, of_y: str) -> list[Term]:
    """2 (clip x - clip y)(overshoot of x - overshoot of y) as products of hypotheses."""
    terms = []
    for name, other, where, beyond in (("x", "y", of_x, of_y), ("y", "x", of_y, of_x)):
        if where == beyond or where == "inside":
            continue
        upwards = where == "above"
        beside = f"high - {other}" if upwards else f"{other} - low"
        room = beside if beyond == "inside" else "high - low"
        past = f"{name} - high" if upwards else f"low - {name}"
        terms.append(Term(one, (room, past), fmpq(2)))
    return terms


def two_means() -> Certificate:
    """A quarter of (q_1 - q_2)^2."""
    ring = Ring(q=2)
    p, q = ring.vector("q")
    return Certificate("T6", "arithmetic-geometric mean", "dimension 2", "q_1 q_2 <= ((q_1 + q_2)/2)^2",
                       ((p + q) / 2) ** 2 - p * q, [Term(p - q, weight=fmpq(1, 4))])  # fmt: skip


def three_means() -> Certificate:
    """27 of it: half of (q_1 + q_2 + q_3) times the squared differences, and three times q_i (q_j - q_k)^2."""
    ring = Ring(q=3)
    q = ring.vector("q")
    terms = []
    for i, (j, k) in product(range(3), combinations(range(3), 2)):
        weight = fmpq(1, 54) + (fmpq(1, 9) if i not in (j, k) else 0)
        terms.append(Term(q[j] - q[k], (f"q_{i + 1}",), weight))
    return Certificate(
        "T6", "arithmetic-geometric mean", "dimension 3", "q_1 q_2 q_3 <= ((q_1 + q_2 + q_3)/3)^3",
        (sum(q) / 3) ** 3 - q[0] * q[1] * q[2], terms, nonnegative={f"q_{i + 1}": a for i, a in enumerate(q)},
    )  # fmt: skip


def newton_step(n: int) -> Certificate:
    """T10 with diagonal P and G, times L^4: one step of 1/(2 L^2) loses rho/L^2 of the squared distance to P*.

    x = P - P* and m_i = g_i E_i^2 / sum of g_j E_j^2, so that rho = sum of m_i g_i^2 x_i^2.
    """
    ring = Ring("L", x=n, g=n, m=n)
    level, x, g, m = ring["L"], *(ring.vector(name) for name in "xgm")
    ratio = sum(mi * gi**2 * xi**2 for mi, gi, xi in zip(m, g, x, strict=True))
    scaled = [level**2 * xi - mi * gi**2 * xi for mi, gi, xi in zip(m, g, x, strict=True)]
    terms, nonnegative = [], {f"m{i}": mi for i, mi in enumerate(m)}
    multiples = []
    for i in range(n):
        nonnegative[f"L^2 - g{i}^2"] = level**2 - g[i] ** 2
        terms.append(Term(g[i] * x[i], (f"m{i}", f"L^2 - g{i}^2")))
        terms += [Term(g[i] ** 2 * x[i], (f"m{i}", f"m{j}")) for j in range(n) if j != i]
        multiples.append(Multiple(-m[i] * g[i] ** 4 * x[i] ** 2, "sum m = 1"))
    return Certificate(
        "T10", "one step against right-Newton", f"dimension {n}",
        "|P+ - P*|^2 <= |P - P*|^2 - rho/L^2 for diagonal P and G, eta = 1/(2 L^2)",
        level**4 * la.norm_sq(x) - la.norm_sq(scaled) - level**2 * ratio, terms, multiples, nonnegative,
        {"sum m = 1": sum(m) - 1},
    )  # fmt: skip


def delta_rule(n: int) -> Certificate:
    """The calibrate step with forgetting and anchor as a delta rule, squared difference of both forms."""
    ring = Ring("eta", "gamma", "weight", d=n, s=n, c=n)
    eta, gamma, w, d, s, c = ring["eta"], ring["gamma"], ring["weight"], *(ring.vector(a) for a in "dsc")
    e = la.sub(d, c)
    form = la.sub(la.scale(gamma, e), la.scale(eta * w * la.dot(s, e), s))
    form = la.add(la.add(form, la.scale(eta * w * (1 - la.dot(c, s)), s)), c)
    apart = la.sub(form, rules.unprojected_step(d, s, eta, gamma, w, c))
    return Certificate(
        "T11", "calibration is a delta rule", f"dimension {n}",
        "d+ - c = (gamma I - eta w s s^T)(d - c) + eta w (1 - <c, s>) s", la.norm_sq(apart),
    )  # fmt: skip


def stability(n: int) -> Certificate:
    """|(gamma I - eta s s^T) e|^2 <= gamma^2 |e|^2 where eta |s|^2 <= 2 gamma."""
    ring = Ring("eta", "gamma", e=n, s=n)
    eta, gamma, e, s = ring["eta"], ring["gamma"], ring.vector("e"), ring.vector("s")
    after = la.sub(la.scale(gamma, e), la.scale(eta * la.dot(s, e), s))
    return Certificate(
        "T13", "one step of two runs", f"dimension {n}",
        "|(gamma I - eta s s^T) e|^2 <= gamma^2 |e|^2 where 0 <= eta and eta |s|^2 <= 2 gamma",
        gamma**2 * la.norm_sq(e) - la.norm_sq(after), [Term(la.dot(s, e), ("eta", "2 gamma - eta |s|^2"))],
        nonnegative={"eta": eta, "2 gamma - eta |s|^2": 2 * gamma - eta * la.norm_sq(s)},
    )  # fmt: skip


def moving_comparator() -> Iterator[Certificate]:
    """(d - u')^2 - (d - u)^2 <= 2 R |u' - u| in a box of one coordinate, by the direction that u moves in."""
    for direction in (1, -1):
        ring = Ring("d", "u", "v", "low", "high")
        d, u, v, low, high = (ring[name] for name in ("d", "u", "v", "low", "high"))
        nonnegative = {f"{name} - low": ring[name] - low for name in "duv"}
        nonnegative |= {f"high - {name}": high - ring[name] for name in "duv"}
        nonnegative["|v - u|"] = direction * (v - u)
        rooms = ("d - low", "high - u", "d - low", "high - v")
        if direction < 0:
            rooms = ("high - d", "u - low", "high - d", "v - low")
        yield Certificate(
            "T14", f"moving the comparator {'up' if direction > 0 else 'down'}", "dimension 1",
            "(d - u')^2 - (d - u)^2 <= 2 R |u' - u| inside the box",
            2 * (high - low) * direction * (v - u) - (d - v) ** 2 + (d - u) ** 2,
            [Term(ring.one, ("|v - u|", room)) for room in rooms], nonnegative=nonnegative,
        )  # fmt: skip


def _minors(x: Vector, y: Vector) -> list[Polynomial]:
    return [x[i] * y[j] - x[j] * y[i] for i, j in combinations(range(len(x)), 2)]


def _surrogate_vectors(n: int) -> tuple[Vector, Vector, Vector]:
    ring = Ring(d=n, h=n, s=n)
    return ring.vector("d"), ring.vector("h"), ring.vector("s")


def _one_step(n: int) -> tuple[Ring, Polynomial, Polynomial, Polynomial]:
    """1 - a, |d - u|^2 and |d+ - u|^2 of one step without the box."""
    ring = Ring("eta", "M", d=n, u=n, s=n)
    d, u, s = (ring.vector(name) for name in "dus")
    after = rules.unprojected_step(d, s, ring["eta"], ring.one, ring.one, [0 * ring.one] * n)
    return ring, 1 - la.dot(d, s), la.norm_sq(la.sub(d, u)), la.norm_sq(la.sub(after, u))


CERTIFICATES = (
    *(make(n) for make in (convexity, smoothness, self_bounding) for n in SIZES),
    *(make(n) for make in (interpolating_step, interpolating_regret) for n in SIZES),
    *projections(),
    two_means(),
    three_means(),
    *(cauchy_schwarz(n) for n in (2, 3)),
    *(agnostic_step(n) for n in SIZES),
    *(newton_step(n) for n in SIZES),
    *(delta_rule(n) for n in SIZES),
    *(stability(n) for n in SIZES),
    *moving_comparator(),
)
