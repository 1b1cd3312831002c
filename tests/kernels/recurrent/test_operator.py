"""The token-by-token kernels in the interpreter: against the reference in float64, and one step at a time."""

import gc
import weakref

import pytest
import torch
from osdn_kernels.boundary.results import State
from osdn_kernels.boundary.rule import Rule
from osdn_kernels.launch.recurrence import Cotangents, Inputs
from osdn_kernels.recurrent import decode
from osdn_kernels.recurrent.backward import RecurrentSaved, recurrent_backward
from osdn_kernels.recurrent.decode import decode_step_
from osdn_kernels.recurrent.forward import RecurrentOptions, RecurrentOutputs, recurrent_forward
from osdn_kernels.reference import tokenwise as reference
from osdn_kernels.reference.tokenwise import osdn_reference
from support.kernels.faults import break_kernel
from support.kernels.reference_cases import Call, draw, relative_error, results
from torch import Tensor

SINGLE = 2e-6
"""Relative Frobenius error allowed where inputs and results are float32."""

COTANGENTS = ("o", "state", "preconditioner")

SHAPES = {
    "square": {"key_dim": 16, "value_dim": 16, "heads": 1},
    "wide values": {"key_dim": 16, "value_dim": 72, "heads": 1, "length": 12},
    "wide keys": {"key_dim": 64, "value_dim": 24, "heads": 1, "length": 12},
    "odd": {"key_dim": 7, "value_dim": 19, "length": 13},
    "least": {"key_dim": 1, "value_dim": 1, "length": 5},
    "one token": {"key_dim": 24, "value_dim": 16, "length": 1},
    "no token": {"key_dim": 24, "value_dim": 16, "length": 0},
    "packed": {"key_dim": 16, "value_dim": 24, "cu_seqlens": [0, 0, 9, 10, 10, 27, 27]},
}

RULES = ("bounded", "normalised", "some clip", "most clip", "historic", "no box", "frozen", "one point")


def inputs_of(call: Call) -> Inputs:
    return Inputs(**call.tensors, cu_seqlens=call.options.get("cu_seqlens"))


def options_of(call: Call) -> RecurrentOptions:
    o = call.options
    rule = Rule(o["eta"], o["d_min"], o["d_max"], o.get("normalize_feedback", False))
    return RecurrentOptions(o.get("scale", call.tensors["k"].shape[-1] ** -0.5), rule, save=True)


def run(call: Call, *, save: bool = True) -> RecurrentOutputs:
    return recurrent_forward(inputs_of(call), options_of(call)._replace(save=save))


def widened(call: Call) -> Call:
    return Call({name: x.double() for name, x in call.tensors.items()}, call.options)


def cotangents(call: Call, expected: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(3)
    expected = expected or results(widened(call), osdn_reference)
    return {name: torch.randn(expected[name].shape, generator=rng) for name in COTANGENTS}


def kernel_gradients(
    call: Call, weights: dict[str, Tensor], ran: RecurrentOutputs | None = None
) -> dict[str, Tensor]:
    """By the kernels, for the linear form of the results with `weights`; no weight, no gradient passed in."""
    t = call.tensors
    grad_o = weights.get("o", torch.zeros(t["v"].shape)).to(t["v"].dtype)
    path, residual, gain = (ran or run(call))[3:]
    cotangents = Cotangents(grad_o, weights.get("state"), weights.get("preconditioner"))
    found = recurrent_backward(
        inputs_of(call), options_of(call), RecurrentSaved(path, residual, gain), cotangents
    )
    return found._asdict()


def reference_gradients(call: Call, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """By autograd through the float64 reference, for the same linear form."""
    leaves = widened(call).leaves()
    return slopes(leaves, results(leaves, osdn_reference), weights)


def slopes(leaves: Call, found: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    loss = sum((found[name] * weight.double()).sum() for name, weight in weights.items())
    values = torch.autograd.grad(
        loss, list(leaves.tensors.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves.tensors, values, strict=True))


def errors(found: dict, expected: dict, names: tuple[str, ...]) -> dict[str, float]:
    return {name: relative_error(found[name], expected[name]) for name in names}


def forward_errors(call: Call) -> dict[str, float]:
    return errors(
        run(call)._asdict(), results(widened(call), osdn_reference), ("o", "state", "preconditioner", "path")
    )


def all_errors(call: Call) -> dict[str, float]:
    """Of results, and of gradients of all of them, from one run."""
    leaves, ran = widened(call).leaves(), run(call)
    expected = results(leaves, osdn_reference)
    weights = cotangents(call, expected)
    forward = errors(ran._asdict(), expected, ("o", "state", "preconditioner", "path"))
    wanted = slopes(leaves, expected, weights)
    return forward | errors(kernel_gradients(call, weights, ran), wanted, tuple(call.tensors))


def gradient_errors(call: Call, only: tuple[str, ...] = COTANGENTS) -> dict[str, float]:
    weights = {name: weight for name, weight in cotangents(call).items() if name in only}
    expected = reference_gradients(call, weights)
    return errors(kernel_gradients(call, weights), expected, tuple(call.tensors))


def assert_small(found: dict[str, float], bound: float = SINGLE) -> None:
    assert all(error <= bound for error in found.values()), found


def ulps(found: Tensor, expected: Tensor) -> int:
    """Greatest distance in units of the last place of positive float32 numbers."""
    return (found.view(torch.int32) - expected.float().view(torch.int32)).abs().max().item()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape(shape):
    call = draw("some clip", "to anchor", dtype=torch.float32, **SHAPES[shape])
    assert_small(all_errors(call))


@pytest.mark.parametrize("gates", ["none", "to zero", "to anchor"])
@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule, gates):
    call = draw(rule, gates, batch=1, heads=1, length=24, key_dim=8, value_dim=5, dtype=torch.float32)
    assert_small(all_errors(call))


@pytest.mark.parametrize("only", COTANGENTS)
def test_gradients_from_one_result_alone(only):
    call = draw("some clip", "to zero", heads=1, length=20, key_dim=8, value_dim=5, dtype=torch.float32)
    assert_small(gradient_errors(call, (only,)))


def test_without_initial_values_d_starts_at_one_and_the_state_at_zero():
    call = draw("some clip", start=False, length=20, key_dim=8, value_dim=5, dtype=torch.float32, scale=0.7)
    assert_small(all_errors(call))


def test_the_gradient_of_a_default_d_1_is_that_of_ones():
    call = draw("some clip", start=False, length=20, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    given = Call(call.tensors | {"initial_preconditioner": torch.ones(2, 1, 8)}, call.options)
    weights = cotangents(call)
    found, expected = kernel_gradients(call, weights), kernel_gradients(given, weights)
    assert torch.equal(found["initial_preconditioner"], expected["initial_preconditioner"])
    assert found["initial_preconditioner"].abs().max() > 0
    assert found["initial_state"] is None


def test_without_a_gate_the_anchor_cancels():
    call = draw("some clip", length=9, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    call.tensors["anchor"] = torch.full((2, 1, 8), 0.95)
    assert_small(all_errors(call))


def test_tokens_that_write_nothing_still_have_a_gradient_for_beta():
    call = draw("some clip", "to zero", length=20, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    call.tensors["beta"][:, ::3] = 0.0
    assert_small(all_errors(call))
    assert (kernel_gradients(call, cotangents(call))["beta"][:, ::3] != 0).all()


def test_strong_and_weak_forgetting():
    call = draw("fast", "to anchor", length=40, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    shape = call.tensors["g"].shape
    call.tensors["g"] = -(10.0 ** torch.linspace(-6, 2, shape.numel())).reshape(shape)
    assert_small(all_errors(call))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_rounded_only_on_the_way_in_and_out(dtype):
    call = draw("some clip", "to anchor", length=24, heads=1, key_dim=24, value_dim=16, dtype=torch.float32)
    low = {name: call.tensors[name].to(dtype) for name in ("q", "k", "v", "beta", "g")}
    call = Call(call.tensors | low, call.options)
    forward = forward_errors(call)
    weights = {name: weight.to(dtype).float() for name, weight in cotangents(call).items()}
    found, expected = kernel_gradients(call, weights), reference_gradients(call, weights)
    backward = errors(found, expected, tuple(call.tensors))
    assert all(found[name].dtype == dtype for name in low)
    wide = ("initial_state", "initial_preconditioner", "anchor")
    rounded = {"o": forward.pop("o")} | {name: backward[name] for name in low}
    assert_small(forward | {name: backward[name] for name in wide})
    assert_small(rounded, torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize(
    ("rule", "gates"),
    [
        ("some clip", "none"), ("some clip", "to anchor"), ("most clip", "to zero"),
        ("bounded", "none"), ("bounded", "to anchor"),
    ],
)  # fmt: skip
def test_d_stays_within_4_ulp_over_hundreds_of_tokens(rule, gates):
    call = draw(
        rule, gates, batch=1, heads=1, length=400, key_dim=16, value_dim=1, dtype=torch.float32, seed=5
    )
    expected = results(widened(call), osdn_reference)
    found = run(call)
    assert ulps(found.path, expected["path"]) <= 4
    assert ulps(found.preconditioner, expected["preconditioner"]) <= 4


def test_slow_forgetting_does_not_drift():
    call = draw(
        "frozen", "to zero", batch=1, heads=1, length=400, key_dim=16, value_dim=1, dtype=torch.float32
    )
    call.tensors["g"].fill_(-1.1e-3)
    assert ulps(run(call).path, results(widened(call), osdn_reference)["path"]) <= 4


def test_steps_below_an_ulp_are_not_lost():
    call = draw(
        "bounded", batch=1, heads=1, length=400, key_dim=16, value_dim=1, dtype=torch.float32, start=False
    )
    call.options["eta"] = 1e-6
    found, expected = run(call).preconditioner, results(widened(call), osdn_reference)["preconditioner"]
    assert (expected - 1).abs().max() > 1e-6
    assert ulps(found, expected) <= 1


def test_only_what_is_asked_for_is_saved():
    call = draw("some clip", length=3, heads=1, dtype=torch.float32)
    kept, bare = run(call), run(call, save=False)
    assert torch.equal(kept.o, bare.o)
    assert torch.equal(kept.state, bare.state)
    assert torch.equal(kept.preconditioner, bare.preconditioner)
    assert (bare.path, bare.residual, bare.gain) == (None, None, None)


def calibrated_first(scan, rule, chunk_size):
    """d after instead of before each token's calibration."""
    path, d = SCAN(scan, rule, chunk_size)
    return torch.cat([path[:, 1:], d[:, None]], 1), d


SCAN = reference.scan_tokens
BREAKS = {
    "no clip": ("project", lambda d, rule: d),
    "d after the calibration": ("scan_tokens", calibrated_first),
    "anchor forgotten": ("forget", lambda d, gamma, anchor: gamma[..., None] * d),
    "no feedback weight": ("feedback_weight", lambda s, rule: 2.0),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_recurrence_is_told_apart(name, monkeypatch):
    call = draw("most clip", "to anchor", length=20, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    assert_small(all_errors(call))
    monkeypatch.setattr(reference, *BREAKS[name])
    broken = all_errors(call)
    assert broken["o"] > 1e-3
    assert broken["k"] > 1e-3


def steps(call: Call, state: State, **more) -> Tensor:
    """The output of single steps over all tokens, each written into its own given tensor."""
    t = call.tensors
    outputs = []
    for i in range(t["k"].shape[1]):
        q, k, v, beta = (t[name][:, i : i + 1] for name in ("q", "k", "v", "beta"))
        g = t["g"][:, i : i + 1] if "g" in t else None
        out = torch.full(v.shape, torch.nan, dtype=v.dtype)
        options = {"anchor": t.get("anchor")} | call.options | more
        step = decode_step_(q, k, v, beta, state, g=g, out=out, **options)
        assert step is out
        outputs.append(out)
    return torch.cat(outputs, 1)


def start_of(call: Call) -> State:
    return State(call.tensors["initial_state"].clone(), call.tensors["initial_preconditioner"].clone())


@pytest.mark.parametrize(
    ("rule", "gates", "key_dim", "value_dim"),
    [
        ("some clip", "none", 24, 16),
        ("most clip", "to zero", 7, 19),
        ("normalised", "to anchor", 16, 64),
    ],
)
def test_thirty_steps_equal_one_call(rule, gates, key_dim, value_dim):
    call = draw(rule, gates, length=30, key_dim=key_dim, value_dim=value_dim, dtype=torch.float32)
    state = start_of(call)
    places = state.state.data_ptr(), state.preconditioner.data_ptr()
    o, expected = steps(call, state), run(call)
    assert relative_error(o, expected.o) < 1e-6
    assert relative_error(state.state, expected.state) < 1e-6
    assert relative_error(state.preconditioner, expected.preconditioner) < 1e-6
    assert (state.state.data_ptr(), state.preconditioner.data_ptr()) == places


def in_parts(monkeypatch, few: int = decode.FEW) -> Call:
    """A step that several programs of each head share: three, or two where there are more heads than `few`."""
    monkeypatch.setattr(decode, "HELD", 16 * 16)
    monkeypatch.setattr(decode, "FEW", few)
    return draw("most clip", "to zero", length=3, heads=2, key_dim=16, value_dim=40, dtype=torch.float32)


@pytest.mark.parametrize("few", [decode.FEW, 0])
def test_programs_of_a_head_all_read_the_old_d(few, monkeypatch):
    call = in_parts(monkeypatch, few)
    state = start_of(call)
    assert relative_error(steps(call, state), run(call).o) < 1e-6
    assert relative_error(state.state, run(call).state) < 1e-6
    assert relative_error(state.preconditioner, run(call).preconditioner) < 1e-6
    arrivals = decode.arrivals_of(state.preconditioner)
    assert arrivals.shape == state.preconditioner.shape[:2]
    assert not arrivals.any()


HURRIED = {
    "the first writes d": ("== PARTS - 1", "== 0"),
    "nobody is the last": ("== PARTS - 1", "== PARTS"),
    "the count is not reset": ("tl.store(arrivals + row, 0, mask=last)", "pass"),
}


@pytest.mark.parametrize("fault", HURRIED)
def test_a_program_that_does_not_wait_is_seen(fault, monkeypatch, tmp_path):
    break_kernel(monkeypatch, tmp_path, decode, "is_last", *HURRIED[fault])
    call = in_parts(monkeypatch)
    state = start_of(call)
    steps(call, state)
    assert relative_error(state.preconditioner, run(call).preconditioner) > 1e-4


def test_counts_that_a_graph_is_captured_on(monkeypatch):
    """It may be replayed when nothing else has them, or before the step that would set them to zero elsewhere."""
    known, unknown = torch.ones(1, 2, 4), torch.ones(1, 2, 4)
    found = decode.arrivals_of(known)
    monkeypatch.setattr(decode, "captured", lambda: True)
    assert decode.arrivals_of(known) is found
    assert decode.arrivals_of(unknown) is not decode.arrivals_of(unknown)
    assert unknown not in decode._arrivals
    kept = weakref.ref(found)
    del known, found
    gc.collect()
    assert kept() is not None


def test_counts_go_with_the_preconditioner(monkeypatch):
    call = in_parts(monkeypatch)
    before = len(decode._arrivals)
    state = start_of(call)
    steps(call, state)
    assert decode.arrivals_of(state.preconditioner) is decode.arrivals_of(state.preconditioner)
    assert len(decode._arrivals) == before + 1
    del state
    gc.collect()
    assert len(decode._arrivals) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_normalises_queries_and_keys(dtype):
    call = draw("some clip", length=5, heads=1, key_dim=24, value_dim=16, dtype=torch.float32)
    low = {name: (2 * call.tensors[name]).to(dtype) for name in ("q", "k", "v", "beta")}
    call = Call(call.tensors | low, call.options)
    state = start_of(call)
    o = steps(call, state, use_qk_l2norm_in_kernel=True)
    expected = results(call, lambda **options: osdn_reference(**options, use_qk_l2norm_in_kernel=True))
    assert o.dtype == dtype
    eps = torch.finfo(dtype).eps
    # The interpreter cuts bfloat16 off where GPUs round to nearest, keys included.
    bound = 2 * eps if dtype == torch.bfloat16 else 1e-6
    assert relative_error(o, expected["o"]) <= max(bound, eps)
    assert relative_error(state.state, expected["state"]) < bound
    assert relative_error(state.preconditioner, expected["preconditioner"]) < bound


def test_a_step_takes_a_number_as_anchor_and_tensors_that_are_not_contiguous():
    call = draw("fast", "to anchor", length=6, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    call.tensors["anchor"] = torch.full((2, 1, 8), 1.05)
    state, other = start_of(call), start_of(call)
    with_tensor = steps(call, state)
    del call.tensors["anchor"]
    backwards = {
        name: x.flip(0).transpose(0, -1).contiguous().transpose(0, -1).flip(0)
        for name, x in call.tensors.items()
    }
    with_number = steps(Call(backwards, call.options | {"anchor": 1.05}), other)
    assert torch.equal(with_tensor, with_number)
    assert torch.equal(state.preconditioner, other.preconditioner)


def one_step() -> dict:
    call = draw("fast", "to anchor", length=1, heads=1, key_dim=8, value_dim=5, dtype=torch.float32)
    t = call.tensors
    return {name: t[name] for name in ("q", "k", "v", "beta", "g", "anchor")} | {
        "state": start_of(call),
        "out": torch.empty(2, 1, 1, 5),
    }


@pytest.mark.parametrize("name", ["q", "k", "v", "beta", "g", "anchor", "state", "out"])
def test_a_step_refuses_gradients_by_name(name):
    arguments = one_step()
    found = arguments[name]
    if name == "state":
        arguments[name] = State(found.state.requires_grad_(), found.preconditioner)
    else:
        found.requires_grad_()
    with pytest.raises(ValueError, match=f"{name}.*no gradient"):
        decode_step_(**arguments)
    with torch.no_grad():
        assert decode_step_(**arguments) is arguments["out"]


def wrong_state(change) -> dict:
    arguments = one_step()
    return arguments | {"state": State(change(arguments["state"].state), arguments["state"].preconditioner)}


WRONG_STEPS = {
    "two tokens": ("k", lambda a: a | {"q": torch.ones(2, 2, 1, 8)}),
    "k's dtype": ("k", lambda a: a | {"k": a["k"].half()}),
    "v's batch": ("v", lambda a: a | {"v": torch.ones(3, 1, 1, 5)}),
    "beta's heads": ("beta", lambda a: a | {"beta": torch.ones(2, 1, 2)}),
    "state in half": ("state.state", lambda a: wrong_state(lambda x: x.half())),
    "state not contiguous": ("state.state", lambda a: wrong_state(lambda x: x.mT.contiguous().mT)),
    "anchor of one head": ("anchor", lambda a: a | {"anchor": torch.ones(8)}),
    "out of another size": ("out", lambda a: a | {"out": torch.empty(2, 1, 1, 6)}),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_a_step_names_what_does_not_fit(case):
    name, change = WRONG_STEPS[case]
    with pytest.raises(ValueError, match=f"{name}: expected"):
        decode_step_(**change(one_step()))
