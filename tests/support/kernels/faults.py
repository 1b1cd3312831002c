"""Kernels broken on purpose: one expression of one kernel is another one."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest
from osdn_kernels.chunk import decays, gradients, state, state_backward, values, walk as chunk_walk, wy
from osdn_kernels.chunk.feature import fold, pairs, pairs_backward
from osdn_kernels.launch import tuning
from osdn_kernels.scan import adjoint, backward as scan_back, chain, operator, tokens as scan_tokens
from osdn_kernels.scan.sweeps import backward as sweeps_back, spread, walk

FAULTS = {
    "the clip is dropped": (
        scan_tokens, "clip", "return tl.where(x < d_min, d_min, tl.where(x > d_max, d_max, x))", "return x",
    ),
    "the certificate always accepts": (
        chain, "leaves", "return known & (((low", "return known & (low != low) & (((low",
    ),
    "d of after the calibrate step": (
        wy, "block_keys", "row[:, None] > row[None, :]", "row[:, None] >= row[None, :]",
    ),
    "the decay between chunks is skipped": (
        chain, "advance", "kept = whole * (d - c)", "kept = d - c",
    ),
    "keys and write keys swapped in the erase term": (
        wy, "solve_kernel", "y0, y1, y2, y3 = tl.trans(x0), tl.trans(x1), tl.trans(x2), tl.trans(x3)",
        "y0, y1, y2, y3 = tl.trans(k0), tl.trans(k1), tl.trans(k2), tl.trans(k3)",
    ),
    "the read leaves out the token's own write": (
        state, "memory_kernel", "down(row, FLIP) >= across(row, FLIP)", "down(row, FLIP) > across(row, FLIP)",
    ),
    "the last partial chunk is dropped": (
        state, "memory_kernel", "end = entered, chunks", "end = entered, tokens // C",
    ),
    "betas are those of the chunk before": (
        state, "memory_kernel", "ahead = load_scalars(beta, scalars, token + C * H, tokens - (i + 1) * C",
        "ahead = load_scalars(beta, scalars, token, tokens - i * C",
    ),
    "the erase term is lost backward": (
        state_backward, "memory_backward_kernel", "down(-pick(numbers", "down(0.0 * pick(numbers",
    ),
    "the write key's gradient through the erase term is lost": (
        gradients, "gradients_kernel", "tl.trans(for_a * rate[:, None])", "tl.trans(0.0 * for_a)",
    ),
}  # fmt: skip

WALK_FAULTS = {
    "the walk starts from nothing": (
        chunk_walk, "walk_kernel", "memory = tl.load(initial", "memory += 0.0 * tl.load(initial",
    ),
    "the walk forgets what a chunk writes": (
        chunk_walk, "walk_kernel", "memory += dot(tl.trans(writes)", "memory += 0.0 * dot(tl.trans(writes)",
    ),
    "queries do not read their own token": (chunk_walk, "walk_kernel", "row[:, None] <= row", "row[:, None] < row"),
    "keys erase their own token": (
        chunk_walk, "walk_kernel", "row[:, None] < row[None, :], erases", "row[:, None] <= row[None, :], erases",
    ),
    "beta gets nothing from keys": (chunk_walk, "walk_kernel", "-dot_rows(", "0.0 * dot_rows("),
    "keys' gradient has no beta": (chunk_walk, "walk_kernel", "for_key * -rate[None, :]", "-for_key"),
    "what keys are written with is lost": (chunk_walk, "walk_kernel", "+ for_written)", "+ 0.0 * for_written)"),
    "the way back starts from nothing": (chunk_walk, "walk_back_kernel", "less -= tl.load", "less -= 0.0 * tl.load"),
    "the way back does not meet queries": (
        chunk_walk, "walk_back_kernel", "output.to(tl.float32) * -scale", "output.to(tl.float32) * 0.0",
    ),
    "the way back does not meet keys": (
        chunk_walk, "walk_back_kernel", "change.to(tl.float32) * rate[:, None]", "0.0 * change.to(tl.float32)",
    ),
    "write keys get nothing from reads": (chunk_walk, "walk_back_kernel", "reads * -scale", "reads * 0.0"),
    "write keys get nothing from what is erased": (
        chunk_walk, "walk_back_kernel", "erases * rate[:, None]", "erases * 0.0",
    ),
    "values' gradient has no beta": (values, "value_kernel", "change * rate[:, None]", "change"),
    "beta gets nothing from values": (values, "value_kernel", "tl.sum(change * target, 1)", "tl.sum(0.0 * target, 1)"),
    "beta gets from one block of keys": (values, "value_kernel", "tl.static_range(PARTS)", "tl.static_range(1)"),
}  # fmt: skip
"""Of gradients by walks."""


GATED_FAULTS = {
    "the residual is taken before the gate": (
        "fast", state, "memory_kernel", "known *= down(pick(numbers, ENTERED), FLIP)", "known *= 1.0",
    ),
    "tokens of a block meet each other unfaded": (
        "fast", wy, "fade_blocks", "b00 *= decay_tile(s0, r0, s0, r0)", "b00 *= 1.0",
    ),
    "so do those of two blocks": (
        "fast", wy, "fade_blocks", "b10 *= decay_tile(s1, r1, s0, r0)", "b10 *= 1.0",
    ),
    "the read's mask has no gate": (
        "fast", state, "memory_kernel", "overlap *= decays_between_tokens",
        "overlap *= 1.0 + 0.0 * decays_between_tokens",
    ),
    "the memory is read unfaded": (
        "fast", state, "memory_kernel", "out *= down(pick(numbers, ENTERED), FLIP)", "out *= 1.0",
    ),
    "the memory does not fade over a chunk": (
        "fast", state, "memory_kernel", "fade(memory, total, STATE_GATE)", "memory",
    ),
    "what is written does not fade to the chunk's end": (
        "fast", state, "memory_kernel", "found * down(pick(numbers, KEPT), FLIP)", "found",
    ),
    "strong gates are summed in float32": (
        "strong", decays, "sum_gates_kernel", "(wide - narrow.to(tl.float64)).to(tl.float32)", "narrow * 0.0",
    ),
    "what is handed back does not fade from the chunk's end": (
        "fast", state_backward, "memory_backward_kernel", "handed_back *= down(pick(numbers, KEPT), FLIP)",
        "handed_back *= 1.0",
    ),
    "a chunk's decays lose what float32 does": (
        "strong", state, "decays_between_tokens", "sign * tl.load(rests", "0.0 * tl.load(rests",
    ),
    "erasing is unfaded backward": (
        "fast", state_backward, "memory_backward_kernel", "erased *= down(pick(numbers, ENTERED), FLIP)",
        "erased *= 1.0",
    ),
    "the memory's gradient does not fade": (
        "fast", state_backward, "memory_backward_kernel", "fade(grad, total, STATE_GATE)", "grad",
    ),
    "the read's mask has no gate backward": (
        "fast", gradients, "gradients_kernel", "overlap *= decay_tile(since, rest, since, rest)", "overlap *= 1.0",
    ),
    "the system's mask has no gate backward": (
        "fast", gradients, "gradients_kernel", "for_a *= decay_tile(since, rest, since, rest)", "for_a *= 1.0",
    ),
    "a gate's gradient without its sum": (
        "fast", gradients, "gate_gradient", "dot(pairs, earlier, PRECISION)", "pairs",
    ),
    "a gate's gradient without the memory": (
        "fast", gradients, "gradients_kernel", "tl.exp(total) * tl.sum(across, 0)", "0.0 * tl.sum(across, 0)",
    ),
    "a gate's gradient without the system": (
        "fast", gradients, "gradients_kernel", "pairs += for_a * rate[:, None]", "pairs += 0.0 * for_a",
    ),
    "the first power of beta in the operator": (
        "fast", operator, "weighted", ", weight * slope", ", weight * fixed",
    ),
    "the first power of beta token by token": (
        "most clip", chain, "step_tokens", "- slopes[j].to(tl.float64) *", "- fixed[j].to(tl.float64) *",
    ),
    "the first power of beta in a sweep": ("swept", walk, "walk_group", "slopes[j] * tl.sum", "fixed[j] * tl.sum"),
    "no beta in the chain of adjoints": (
        "fast", scan_back, "adjoint_kernel", "share *= load_pairs(feedback + 2 * place, inside, 2 * H, 1)[1]",
        "share *= 1.0",
    ),
    "no gradient of the feedback token by token": (
        "most clip", adjoint, "step_back", "-rho * tl.sum(d * s, 1)", "0.0 * rho",
    ),
    "no beta in the adjoints of a chunk": (
        "fast", scan_back, "spread_kernel",
        "share * load_feedback(feedback, place + row * H, inside, BETA_AWARE)[1]", "share",
    ),
    "no beta in a sweep back": ("swept", sweeps_back, "walk_back", "share *= slopes[j]", "share *= 1.0"),
    "no beta where sweeps are spread": ("swept", spread, "spread_group", "share *= slopes[j]", "share *= 1.0"),
}  # fmt: skip
"""Of the gate of the memory and of beta-aware feedback, each with the call that shows it."""

FEATURE_FAULTS = {
    "queries meet the memory unfaded": (fold, "fold_kernel", "queries * entered", "queries * 1.0"),
    "keys meet the memory unfaded": (fold, "fold_kernel", "keys * entered", "keys * 1.0"),
    "what is written does not fade to the chunk's end": (fold, "fold_kernel", "writes * kept", "writes * 1.0"),
    "rows of a block do not fade from its edge": (pairs, "pair_kernel", "keys * faded", "keys * 1.0"),
    "nor do those of queries": (pairs, "pair_kernel", "queries * faded", "queries * 1.0"),
    "other blocks do not fade to the edge": (
        pairs, "pair_kernel", "writes * kept, 0.0)", "writes + 0.0 * kept, 0.0)",
    ),
    "tokens of a block meet each other unfaded": (
        pairs, "meet_halves", "writes * to_first", "writes + 0.0 * to_first",
    ),
    "the read leaves out the token's own write": (
        pairs, "meet_halves", "range(5)", "range(4)",
    ),
    "the system has no beta": (wy, "solve_kernel", "a10 * b1[:, None]", "a10"),
    "a block of the system is another one": (
        wy, "solve_kernel", "a20 = load_rows(system, row2, in2, H * C, row0",
        "a20 = load_rows(system, row2, in2, H * C, row1",
    ),
    "a block of the read is not stored": (
        pairs, "pair_kernel", "store_rows(overlap, row, valid, H * C, other, other < C",
        "store_rows(overlap, row, valid, H * C, other, other != 15",
    ),
    "the memory does not fade over a chunk": (
        state, "memory_kernel", "fade_features(memory, fading, FLIP)", "memory",
    ),
    "it fades as over the first chunk": (state, "memory_kernel", "fading = later", "fading = fading"),
    "its gradient does not fade": (
        state_backward, "memory_backward_kernel", "fade_features(grad, fading, FLIP)", "grad",
    ),
    "that fades as over the last chunk": (
        state_backward, "memory_backward_kernel", "fading = later", "fading = fading",
    ),
    "the read has no scale backward": (state_backward, "memory_backward_kernel", "write *= scale", "write *= 1.0"),
    "the read meets the memory unfaded backward": (
        gradients, "gradients_kernel", "for_q *= tl.exp(since)\n", "for_q *= 1.0\n",
    ),
    "the erase meets the memory unfaded backward": (
        gradients, "gradients_kernel", "for_key *= tl.exp(since)\n", "for_key *= 1.0\n",
    ),
    "what is written does not fade backward": (
        gradients, "gradients_kernel", "for_written *= decay_between(total[None, :]",
        "for_written *= 0.0 * total + decay_between(0.0 * total[None, :]",
    ),
    "reads reach gates after them": (
        gradients, "gradients_kernel", "(row[:, None] <= row[None, :]).to(tl.float32), reads",
        "(row[:, None] >= row[None, :]).to(tl.float32), reads",
    ),
    "a token's write reaches its own gate": (
        gradients, "gradients_kernel", "before.to(tl.float32), ends",
        "(row[:, None] >= row[None, :]).to(tl.float32), ends",
    ),
    "a gate's gradient without the memory": (gradients, "gradients_kernel", "tl.exp(total) * across", "0.0 * across"),
    "and without what passes over a block": (
        pairs_backward, "pair_backward_kernel", "across += tl.sum", "across += 0.0 * tl.sum",
    ),
    "pairs with blocks before are unfaded backward": (
        pairs_backward, "pair_backward_kernel", "for_key += kept * met_key", "for_key += met_key",
    ),
    "pairs with blocks after are unfaded backward": (
        pairs_backward, "pair_backward_kernel", "decay_between(at, at_rest, since, rest) * met_write", "met_write",
    ),
    "the columns of blocks before are unfaded backward": (
        pairs_backward, "meet_before", "writes * decay_between", "writes + 0.0 * decay_between",
    ),
    "pairs have no beta backward": (pairs_backward, "load_rows_of", "erases * rate[:, None]", "erases"),
    "the token's own pair is lost": (
        pairs_backward, "differentiate_within", "for_write = itself * reads", "for_write = 0.0 * itself * reads",
    ),
    "halves meet unfaded backward": (
        pairs_backward, "differentiate_within", "met_write *= faded", "met_write *= 1.0",
    ),
    "pairs of a block reach gates one token late": (
        pairs_backward, "differentiate_within", "near[None, :] >= near[:, None]", "near[None, :] > near[:, None]",
    ),
    "those with blocks before do": (
        pairs_backward, "pair_backward_kernel", "near[None, :] >= near[:, None]", "near[None, :] > near[:, None]",
    ),
    "those with blocks after reach their own token's": (
        pairs_backward, "pair_backward_kernel", "near[None, :] < near[:, None]", "near[None, :] <= near[:, None]",
    ),
}  # fmt: skip
"""Of gates per feature, in a chunk of three blocks."""

PAIR_FAULTS = {
    "rows of a block do not fade": ("weak", "pair_kernel", "tl.trans(keys * faded)", "tl.trans(keys)"),
    "nor do those of queries": ("weak", "pair_kernel", "tl.trans(queries * faded)", "tl.trans(queries)"),
    "columns of a block are not scaled": ("weak", "pair_kernel", "writes * kept, 0.0)", "writes, 0.0)"),
    "no factor is above 1": (
        "weak", "pair_kernel", "tl.where(other < own, 0.0, reach)", "tl.where(other < own, 0.0, 0.0)",
    ),
    "strong gates are taken for weak ones": (
        "strong", "pair_kernel", "strong = fades_between(", "strong = 0.0 * fades_between(",
    ),
    "a block of strong gates is met twice": (
        "one feature's strong", "pair_kernel", "| (strong == 0)", "| (strong < 2)",
    ),
    "a half meets itself as another does": ("strong", "meet_halves", "(apart_by >= half)", "(apart_by >= 0)"),
    "two halves meet as a larger one does": ("strong", "meet_halves", "(apart_by < size)", "(apart_by < 16)"),
    "halves meet through another's token": ("strong", "kept_from", "(row & -size)", "(0 & -size)"),
}  # fmt: skip
"""Of `pairs.pair_kernel` and what it calls beside inputs of 16 bits, with the gates that show them."""

PAIR_GRADIENT_FAULTS = {
    "strong gates are taken for weak ones": ("strong = fades_between(", "strong = 0.0 * fades_between("),
    "no factor is above 1": ("tl.where(strong, 0.0, reach)", "0.0"),
    "a gate has pairs of tokens from it on": ("tl.where(strong, 1.0, -1.0)", "1.0"),
    "all at once, a token meets those of other halves alone": (
        "later & ((strong == 0) |",
        "later & ((strong == 2) |",
    ),
}
"""Likewise of `pairs_backward.differentiate_within`."""


def read_kernel(module: ModuleType, name: str) -> tuple[str, ModuleType]:
    """The source of a kernel that a module has, and the module that it was written in."""
    function = getattr(module, name)
    while not hasattr(function, "__wrapped__") and hasattr(function, "fn"):
        function = function.fn
    function = getattr(function, "fn", function)
    return inspect.getsource(function), inspect.getmodule(function)


def break_kernel(
    monkeypatch: pytest.MonkeyPatch, folder: Path, module: ModuleType, name: str, old: str, new: str
) -> None:
    """Replace one expression in one kernel of a module."""
    source, home = read_kernel(module, name)
    assert source.count(old) == 1, "the expression to break is not there, or not once"
    path = folder / f"{name}.py"
    path.write_text(source.replace(old, new))
    namespace = dict(vars(home))
    monkeypatch.setattr(tuning, "TUNED", dict(tuning.TUNED))
    exec(compile(path.read_text(), path, "exec"), namespace)
    monkeypatch.setattr(module, name, namespace[name])
