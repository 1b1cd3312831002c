"""The layer goes on where it stopped: decoding, caches, packed and padded sequences."""

import copy

import pytest
import torch
from osdn_kernels.layers.cache import LayerCache
from support.kernels.layer_cases import HIDDEN, VARIANTS, assert_close, assert_same_cache, build, decode, draw
from torch._subclasses.fake_tensor import FakeTensorMode


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("on_references")
def test_decoding_continues_a_prefill_on_references(variant):
    layer, x = build(variant), draw(2, 20, HIDDEN)
    cache = LayerCache()
    with torch.no_grad():
        whole, _ = layer(x, cache=cache)
    for split in (0, 1, 2, 7, 19):
        mine = LayerCache()
        assert_close(decode(layer, x, split, mine), whole)
        assert_same_cache(mine, cache)


@pytest.mark.parametrize("variant", ["forgetting", "no convolutions", "everything"])
def test_decoding_continues_a_prefill_on_kernels(variant):
    layer, x = build(variant), draw(2, 9, HIDDEN)
    cache = LayerCache()
    whole, _ = layer(x, cache=cache)  # the chunk operator, for gradients are enabled
    for split in (0, 1, 6):
        mine = LayerCache()
        assert_close(decode(layer, x, split, mine), whole.detach())
        assert_same_cache(mine, cache.clone().detach())


def test_steps_write_into_the_cache_and_never_into_a_clone():
    layer, x = build("anchored"), draw(2, 6, HIDDEN)
    with torch.no_grad():
        _, cache = layer(x[:, :4], use_cache=True)
        other = cache.clone()
        before = [x.data_ptr() for x in (*cache.tails, *cache.state)]
        first = decode(layer, x[:, 4:], 1, cache)
        assert [x.data_ptr() for x in (*cache.tails, *cache.state)] == before
        assert_close(decode(layer, x[:, 4:], 1, other), first)


def test_a_cache_from_inference_mode_or_autograd_is_not_overwritten():
    layer, x = build("forgetting"), draw(2, 6, HIDDEN)
    whole, _ = layer(x)
    with torch.inference_mode():
        _, cache = layer(x[:, :4], use_cache=True)
    assert_close(decode(layer, x[:, 4:], 1, cache), whole[:, 4:].detach())

    o, cache = layer(x[:, :4], use_cache=True)
    attached = cache.state.state
    before = attached.detach().clone()
    for later in (copy.copy(cache), copy.copy(cache).detach()):  # both begin with the very tensors
        assert_close(decode(layer, x[:, 4:], 1, later), whole[:, 4:].detach())
    assert torch.equal(attached, before)
    o.sum().backward()
    assert layer.initial_preconditioner.grad.abs().max() > 0


@pytest.mark.usefixtures("on_references")
def test_gradients_cross_an_attached_cache_and_stop_at_a_detached_one():
    layer = build("anchored")
    first, second = draw(1, 5, HIDDEN).requires_grad_(), draw(1, 4, HIDDEN, seed=2)
    _, cache = layer(first, use_cache=True)
    assert torch.autograd.grad(layer(second, cache=cache.clone())[0].sum(), first)[0].abs().max() > 0
    o, _ = layer(second, cache=cache.detach())
    assert torch.autograd.grad(o.sum(), first, allow_unused=True) == (None,)


def test_beams_can_be_reordered(backend):
    layer, x = build("anchored"), draw(3, 7, HIDDEN)
    index = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        _, cache = layer(x[:, :5], use_cache=True)
        cache.reorder(index)
        assert cache.sequences == 4
        found = decode(layer, x[index, 5:], 1, cache)
        expected, _ = layer(x[index])
    assert_close(found, expected[:, 5:])


@pytest.mark.usefixtures("on_references")
def test_a_reset_cache_starts_anew():
    layer, x = build(), draw(2, 5, HIDDEN)
    with torch.no_grad():
        expected, cache = layer(x, use_cache=True)
        continued, _ = layer(x, cache=cache)
        assert_close(layer(x, cache=cache.reset())[0], expected)
        assert (continued - expected).abs().max() > 1e-3
        assert layer(draw(5, 3, HIDDEN), cache=cache.reset())[1].sequences == 5


LENGTHS = (4, 0, 1, 7, 2)


@pytest.mark.parametrize("variant", ["plain", "no convolutions", "everything"])
def test_packed_sequences_are_the_sequences_alone(variant, backend):
    layer = build(variant)
    bounds = torch.tensor([0, *LENGTHS]).cumsum(0)
    first, second = draw(1, sum(LENGTHS), HIDDEN), draw(1, sum(LENGTHS), HIDDEN, seed=2)
    with torch.no_grad():
        o, cache = layer(first, use_cache=True, cu_seqlens=bounds)
        prefilled = cache.clone()
        again, _ = layer(second, cache=cache, cu_seqlens=bounds.int())
        for n in range(len(LENGTHS)):
            piece = slice(bounds[n], bounds[n + 1])
            expected, alone = layer(first[:, piece], use_cache=True)
            assert_close(o[:, piece], expected)
            mine = prefilled.clone().reorder(torch.tensor([n]))
            if alone.sequences:
                assert_same_cache(mine, alone)
            assert_close(again[:, piece], layer(second[:, piece], cache=alone)[0])
        step = draw(len(LENGTHS), 1, HIDDEN, seed=3)
        assert_close(
            layer(step, cache=prefilled.clone())[0][3:4], layer(step[3:4], cache=mine_of(prefilled, 3))[0]
        )


def mine_of(cache: LayerCache, n: int) -> LayerCache:
    return cache.clone().reorder(torch.tensor([n]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64])
@pytest.mark.usefixtures("on_references")
def test_padding_is_left_out(side, dtype):
    layer, x = build("anchored"), draw(3, 9, HIDDEN)
    lengths = (4, 9, 6)
    mask = torch.zeros(3, 9, dtype=dtype)
    for row, length in zip(mask, lengths, strict=True):
        row[9 - length :] = 1
    if side == "right":
        mask = mask.flip(1)
    with torch.no_grad():
        o, cache = layer(x, attention_mask=mask, use_cache=True)
        step = draw(3, 1, HIDDEN, seed=2)
        # Models pass the mask of the past as well.
        longer = torch.cat([mask, torch.ones(3, 1, dtype=dtype)], 1)
        stepped, _ = layer(step, attention_mask=longer, cache=cache)
        for n in range(3):
            kept = mask[n].bool()
            expected, _ = layer(torch.cat([x[n : n + 1, kept], step[n : n + 1]], 1))
            assert_close(o[n : n + 1, kept], expected[:, :-1])
            assert_close(stepped[n : n + 1], expected[:, -1:])
            assert (o[n, ~kept] == 0).all()
        ones = torch.ones(3, 9, dtype=dtype)
        assert torch.equal(layer(x, attention_mask=ones)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("error", "name", "call"),
    [
        (TypeError, "index", lambda cache, other: cache.reorder([1, 0])),
        (TypeError, "rows", lambda cache, other: cache.take([1])),
        (ValueError, "rows", lambda cache, other: cache.take(torch.ones(1))),
        (ValueError, "rows", lambda cache, other: cache.put_(torch.tensor([0]), other)),
        (ValueError, "rows", lambda cache, other: LayerCache().take(torch.tensor([0]))),
        (ValueError, "other", lambda cache, other: cache.put_(torch.tensor([0]), LayerCache())),
        (TypeError, "sequences", lambda cache, other: build().new_cache(2.0)),
    ],
)
def test_wrong_rows_are_named(error, name, call):
    layer = build()
    with pytest.raises(error, match=f"^{name}: expected "):
        call(layer.new_cache(3), layer.new_cache(2))


@pytest.mark.parametrize("mode", ["meta", "fake"])
def test_steps_without_values(mode):
    with FakeTensorMode() if mode == "fake" else torch.device("meta"), torch.no_grad():
        layer = build("forgetting")
        _, cache = layer(torch.empty(2, 9, HIDDEN), use_cache=True)
        assert layer(torch.empty(2, 1, HIDDEN), cache=cache)[0].shape == (2, 1, HIDDEN)


def test_a_step_under_vmap_is_that_of_each_slice():
    layer, x, token = build("forgetting"), draw(1, 5, HIDDEN), draw(2, 1, 1, HIDDEN)
    with torch.no_grad():
        _, cache = layer(x, use_cache=True)
        found = torch.func.vmap(lambda y: layer(y, cache=cache.clone())[0])(token)
        for y, o in zip(token, found, strict=True):
            assert_close(o, layer(y, cache=cache.clone())[0])
