"""Prefix caching: what stands before each chunk of a prompt starts others that begin alike."""

import pytest
import torch
from osdn_kernels import ExactState, State
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import CHUNK_SIZE
from support.kernels.layer_cases import HIDDEN, assert_close, assert_same_cache, build, draw

T = 2 * CHUNK_SIZE + 9


def ask(layer, x, **given):
    with torch.no_grad():
        return layer(x, return_intermediate_states=True, **given)


@pytest.mark.parametrize("variant", ["plain", "anchored", "no convolutions", "everything"])
@pytest.mark.usefixtures("on_references")
def test_each_starts_what_follows(variant):
    layer, x = build(variant), draw(2, T, HIDDEN)
    whole, end, prefixes = ask(layer, x, use_cache=True)
    assert_close(layer(x)[0], whole)
    assert prefixes.sequences == 6
    for row in range(6):
        sequence, first = row // 3, row % 3 * CHUNK_SIZE
        start = prefixes.take(torch.tensor([row]))
        o, cache, _ = ask(layer, x[sequence : sequence + 1, first:], cache=start)
        assert_close(o[0], whole[sequence, first:])
        assert_same_cache(cache, end.take(torch.tensor([sequence])))


@pytest.mark.usefixtures("on_references")
def test_packed_padded_and_pooled_prompts_have_the_same():
    layer, x = build("anchored"), draw(1, T, HIDDEN)
    lengths = [70, 0, T - 70]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    whole, end, prefixes = ask(layer, x, use_cache=True, cu_seqlens=bounds)

    padded = torch.nn.utils.rnn.pad_sequence(list(x[0].split(lengths)), batch_first=True, padding_side="left")
    mask = torch.arange(padded.shape[1]) >= padded.shape[1] - torch.tensor(lengths)[:, None]
    o, cache, other = ask(layer, padded, use_cache=True, attention_mask=mask)
    assert_close(o[mask], whole[0])
    assert_same_cache(cache, end)
    assert_same_cache(other, prefixes)

    pool = layer.new_cache(5)
    rows = torch.tensor([3, -1, 1])
    o, _, other = ask(layer, x, cache=pool, cu_seqlens=bounds, state_indices=rows)
    assert_close(o, whole)
    assert_same_cache(pool.take(rows[[0, 2]]), end.take(torch.tensor([0, 2])))
    assert_same_cache(other.take(torch.tensor([0, 1, 2])), prefixes.take(torch.tensor([0, 1, 2])))


def test_on_kernels_a_start_has_the_bits_of_the_whole():
    """Of the state and d; what a projection of fewer tokens rounds is PyTorch's."""
    layer, x = build("plain"), draw(1, CHUNK_SIZE + 6, HIDDEN)
    for projection in (layer.q_proj, layer.k_proj, layer.v_proj, layer.b_proj):
        projection.forward = lambda x, w=projection.weight: (x[..., None, :] * w).sum(
            -1
        )  # one token at a time
    _, end, prefixes = ask(layer, x, use_cache=True)
    start = prefixes.take(torch.tensor([1]))
    _, cache, _ = ask(layer, x[:, CHUNK_SIZE:], cache=start.clone())
    assert all(torch.equal(mine, other) for mine, other in zip(cache.state, end.state, strict=True))
    start.state = start.state._replace(preconditioner=start.state.preconditioner * (1 + 2**-20))
    _, cache, _ = ask(layer, x[:, CHUNK_SIZE:], cache=start)
    assert not torch.equal(cache.state.state, end.state.state)


def test_a_step_goes_on_from_d_alone():
    layer, x = build("plain"), draw(1, CHUNK_SIZE + 1, HIDDEN)
    _, cache, _ = ask(layer, x[:, :-1], use_cache=True)
    assert isinstance(cache.state, ExactState)
    with torch.no_grad():
        o, _ = layer(x[:, -1:], cache=cache)
        assert isinstance(cache.state, State)
        assert_close(o, layer(x)[0][:, -1:])


@pytest.mark.usefixtures("on_references")
def test_gradients_do_not_go_through_it():
    layer = build("anchored")
    _, cache, prefixes = layer(draw(1, 70, HIDDEN), use_cache=True, return_intermediate_states=True)
    assert cache.state.state.requires_grad
    assert not any(x.requires_grad for x in (*prefixes.tails, *prefixes.state[:2]))
    assert isinstance(prefixes, LayerCache)
