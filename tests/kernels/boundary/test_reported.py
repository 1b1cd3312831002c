"""Faults that were reported of such kernels in public, each tried on ours; the page on operators lists them."""

from itertools import pairwise

import pytest
import torch
from osdn_kernels import State, chunk_osdn, fused_recurrent_osdn, osdn_reference
from osdn_kernels.launch.tuning import Tuner
from support.kernels.layer_cases import HIDDEN, assert_close, build, draw as draw_tokens
from support.kernels.reference_cases import Call, draw

KERNELS = [chunk_osdn, fused_recurrent_osdn]
SIZES = {
    "batch": 1,
    "heads": 1,
    "length": 20,
    "key_dim": 6,
    "value_dim": 5,
    "dtype": torch.float32,
    "chunk_size": 16,
}


def results(call: Call, operator, **more):
    o, state = call(operator, output_final_state=True, **more)
    return o, *state


def test_a_gate_of_one_is_no_gate():
    """flash-linear-attention 104: Gated DeltaNet with g = 0 was not DeltaNet."""
    for operator in KERNELS:
        call = draw("fast", **SIZES)
        found = results(call, operator, g=torch.zeros(1, 20, 1))
        torch.testing.assert_close(found, results(call, operator), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_long_keys_give_numbers_where_the_recurrence_does(dtype):
    """flash-linear-attention 736, 99: NaN of the triangular system, in float16 and with keys that repeat."""
    call = draw("one point", **SIZES | {"dtype": dtype, "start": False})
    k = call.tensors["k"]
    k[:, 4:] = k[:, :1]
    k *= 1.4
    for operator in KERNELS:
        o, state, _ = results(call, operator)
        expected = results(call, osdn_reference)
        assert o.isfinite().all()
        torch.testing.assert_close(state, expected[1], rtol=0.1, atol=0.1)


@pytest.mark.parametrize("operator", KERNELS)
def test_a_sequence_has_the_same_bits_whatever_it_is_packed_with(operator):
    """flash-linear-attention 103, native-sparse-attention 23: empty sequences and odd lengths led astray."""
    bounds = [0, 13, 13, 33, 50]
    call = draw("some clip", "to zero", **SIZES, cu_seqlens=bounds)
    whole = results(call, operator)
    for n, (start, end) in enumerate(pairwise(bounds)):
        if start == end:
            continue
        tokens = {name: x[:, start:end] for name, x in call.tensors.items() if not name.startswith("initial")}
        states = {name: x[n : n + 1] for name, x in call.tensors.items() if name.startswith("initial")}
        options = {name: x for name, x in call.options.items() if name != "cu_seqlens"}
        o, state, d = results(Call(tokens | states, options), operator)
        assert torch.equal(o, whole[0][:, start:end])
        assert torch.equal(state[0], whole[1][n])
        assert torch.equal(d[0], whole[2][n])


@pytest.mark.parametrize("operator", KERNELS)
def test_nothing_of_a_neighbour_is_read(operator):
    """flash-linear-attention 1142, 913: rows behind a sequence's last token were read, and tails of chunks counted."""
    call = draw("fast", "to anchor", **SIZES, cu_seqlens=[0, 9, 29])
    clean = results(call, operator)
    for x in call.tensors.values():
        x[:, 9:] = x[:, 9:] if len(x) > 1 else torch.nan
    spoiled = results(call, operator, check_values=False)
    assert torch.equal(spoiled[0][:, :9], clean[0][:, :9])
    assert torch.equal(spoiled[1][0], clean[1][0])
    assert spoiled[0][:, 9:].isnan().all()


@pytest.mark.parametrize("operator", KERNELS)
def test_states_may_lie_in_any_way(operator):
    """flash-linear-attention-npu 185, 362: a state whose axes were turned was read as if they were not."""
    call = draw("fast", **SIZES | {"batch": 2, "heads": 2})
    expected = results(call, operator)
    call.tensors["initial_state"] = call.tensors["initial_state"].mT.contiguous().mT
    call.tensors["initial_preconditioner"] = call.tensors["initial_preconditioner"].mT.contiguous().mT
    assert all(map(torch.equal, results(call, operator), expected))


def test_only_the_first_axis_of_a_grid_grows_with_the_batch(monkeypatch):
    """flash-linear-attention 1077: the others end at 65535, which many short sequences exceed."""
    seen = []

    def note(tuner, *args, grid, **kwargs):
        fit = tuner.configs[0].all_kwargs()
        seen.append(grid({**kwargs, **fit}) if callable(grid) else grid)

    monkeypatch.setattr(Tuner, "run", note)
    call = draw("bounded", "to anchor", **SIZES | {"batch": 70000, "length": 1}).leaves()
    for operator in KERNELS:
        call(operator)[0].sum().backward()
    assert len(seen) > 8
    assert max(axis for grid in seen for axis in grid[1:]) < 16
    assert max(grid[0] for grid in seen) >= 70000


@pytest.mark.parametrize("operator", KERNELS)
def test_gradients_of_the_final_state_alone(operator):
    """A loss that leaves the output out."""
    found = []
    for chosen in (operator, osdn_reference):
        call = draw("some clip", **SIZES).leaves()
        _, state, d = results(call, chosen)
        (state.sum() + d.square().sum()).backward()
        found.append([x.grad for name, x in call.tensors.items() if name != "q"])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("operator", KERNELS)
def test_keys_of_zeros_are_normalised_to_zeros(operator):
    """As padding is, whose gradients a norm without an epsilon would make NaN."""
    call = draw("fast", **SIZES).leaves()
    with torch.no_grad():
        call.tensors["k"][:, 5:8], call.tensors["q"][:, 5:8] = 0.0, 0.0
    o, *_ = results(call, operator, use_qk_l2norm_in_kernel=True)
    o.square().sum().backward()
    assert all(x.grad.isfinite().all() for x in call.tensors.values())
    assert not o[:, 5:8].any()


def test_one_token_of_the_chunk_form_continues_a_state():
    """Decoding through the chunk form."""
    call = draw("some clip", "to zero", **SIZES | {"length": 1, "batch": 3})
    torch.testing.assert_close(results(call, chunk_osdn), results(call, osdn_reference), rtol=0, atol=2e-6)


@pytest.mark.parametrize("split", [3, 12, 19])
@pytest.mark.usefixtures("on_references")
def test_a_padded_prompt_in_pieces_is_one_at_once(split):
    """transformers 47087: continued calls dropped the mask, which is longer than their tokens."""
    layer, x = build("anchored"), draw_tokens(3, 20, HIDDEN)
    mask = torch.arange(20) >= torch.tensor([0, 5, 14])[:, None]
    with torch.no_grad():
        whole, _ = layer(x, attention_mask=mask)
        first, cache = layer(x[:, :split], attention_mask=mask[:, :split], use_cache=True)
        second, _ = layer(x[:, split:], attention_mask=mask, cache=cache)
    assert_close(torch.cat([first, second], 1), whole)


@pytest.mark.usefixtures("on_references")
def test_a_rejected_draft_leaves_no_trace_in_convolutions():
    """mlx-lm 1468, SGLang 12892: the state was rolled back, and what the convolutions had seen was not."""
    layer, x = build("plain"), draw_tokens(1, 12, HIDDEN)
    with torch.no_grad():
        cache = layer.new_cache(2)
        row = torch.tensor([1])
        layer(x[:, :8], cache=cache, state_indices=row)
        before = cache.take(row)
        layer(-x[:, 8:11], cache=cache, state_indices=row)
        cache.put_(row, before)
        o, _ = layer(x[:, 8:], cache=cache, state_indices=row)
        assert_close(o, layer(x)[0][:, 8:])
        cache.put_(row, before)
        cache.tails = tuple(tail + 1 for tail in cache.tails)
        assert (layer(x[:, 8:], cache=cache, state_indices=row)[0] - o).abs().max() > 1e-3


def changed(result, change):
    return change(result[0]), *result[1:]


def unnormalised(q, k, *given, use_qk_l2norm_in_kernel=False, **options):
    if use_qk_l2norm_in_kernel:
        q, k = (x / x.norm(dim=-1, keepdim=True) for x in (q, k))
    return osdn_reference(q, k, *given, **options)


FAULTY = {
    test_a_sequence_has_the_same_bits_whatever_it_is_packed_with: lambda q, *given, **options: changed(
        osdn_reference(q, *given, **options), lambda o: o * (1 + 2**-20 * q.shape[1])
    ),
    test_nothing_of_a_neighbour_is_read: lambda q, k, v, *given, **options: changed(
        osdn_reference(q, k, v, *given, **options), lambda o: o + 0 * v.sum()
    ),
    test_states_may_lie_in_any_way: lambda *given, initial_state, **options: osdn_reference(
        *given, initial_state=initial_state.as_strided(initial_state.shape, (60, 30, 5, 1)), **options
    ),
    test_gradients_of_the_final_state_alone: lambda *given, **options: tuple(
        type(x)(*[y.detach() + 0 * given[1].sum() for y in x]) if isinstance(x, State) else x
        for x in osdn_reference(*given, **options)
    ),
    test_keys_of_zeros_are_normalised_to_zeros: unnormalised,
}


@pytest.mark.parametrize("test", FAULTY, ids=lambda test: test.__name__)
def test_each_of_these_faults_would_be_seen(test):
    def operator(*, q, k, v, beta, **options):
        return FAULTY[test](q, k, v, beta, **options)

    with pytest.raises(AssertionError):
        test(operator)


@pytest.mark.slow
def test_tokens_beyond_65536():
    """flash-linear-attention 906: a mask of 65536 tokens left out the last chunk."""
    more = {"length": 65536 + 5, "key_dim": 4, "value_dim": 4, "chunk_size": 64}
    call = draw("one point", **SIZES | more)
    o, final, between = call(chunk_osdn, output_final_state=True, return_intermediate_states=True)
    tail = {name: x[:, 65536:] for name, x in call.tensors.items() if not name.startswith("initial")}
    start = State(*(x[1024:1025] for x in between[:2]))
    expected = results(Call(tail, call.options), osdn_reference, initial_state=start)
    torch.testing.assert_close((o[:, 65536:], *final[:2]), expected, rtol=1e-4, atol=1e-4)
