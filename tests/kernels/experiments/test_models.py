"""The layers of the recall models: the gated rule, observation, replacement of d, and what models share."""

import pytest
import torch
from osdn_kernels.experiments.models.architecture import build
from osdn_kernels.experiments.models.gated_delta import gated_delta_rule
from osdn_kernels.experiments.models.mixers import REPLACEMENTS, GatedMixer, ScaledMixer, capturing, replacing
from osdn_kernels.experiments.models.model_size import ModelSize
from osdn_kernels.experiments.plan import ALL_MODELS
from osdn_kernels.experiments.recall_task import RecallTask
from osdn_kernels.experiments.specs import MODELS
from torch.nn.functional import normalize

TASK, SIZE = RecallTask(), ModelSize()


def gated_inputs(length=150):
    rng = torch.Generator().manual_seed(0)

    def uniform(*shape):
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    q, k = (normalize(uniform(2, length, 2, 5) - 0.5, dim=-1) for _ in range(2))
    tensors = [q, k, uniform(2, length, 2, 7) - 0.5, uniform(2, length, 2), -0.3 * uniform(2, length, 2)]
    return [x.requires_grad_() for x in tensors]


def token_by_token(q, k, v, beta, log_decay, scale, *, decay_first=True):
    state, outputs = q.new_zeros(2, 2, 5, 7), []
    for t in range(q.shape[1]):
        decay = log_decay[:, t].exp()[..., None, None]
        if decay_first:
            state = decay * state
        residual = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * residual)
        if not decay_first:
            state = decay * state
        outputs.append(scale * torch.einsum("bhkv,bhk->bhv", state, q[:, t]))
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("chunk_size", [16, 64, 256])
def test_gated_rule_and_its_gradients(chunk_size):
    inputs = gated_inputs()
    found = gated_delta_rule(*inputs, scale=0.5, chunk_size=chunk_size)
    exact = token_by_token(*inputs, 0.5)
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
    weight = torch.sin(torch.arange(found.numel(), dtype=torch.float64)).view_as(found)
    grads = [torch.autograd.grad((o * weight).sum(), inputs) for o in (found, exact)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_decay_after_the_write_is_another_rule():
    inputs = gated_inputs()
    wrong = token_by_token(*inputs, 0.5, decay_first=False)
    assert (gated_delta_rule(*inputs, scale=0.5) - wrong).abs().max() > 1e-2


def mixer(kind=ScaledMixer, **options):
    torch.manual_seed(0)
    layer = kind(32, 2, head_k_dim=8, head_v_dim=8, use_forget_gate=True, **options)
    with torch.no_grad():
        layer.initial_preconditioner.uniform_(0.7, 1.4)
    return layer, torch.randn(3, 100, 32)


def test_replacing_d_by_itself_changes_nothing():
    layer, x = mixer(eta=1.0, anchored=True)
    plain = layer(x)[0]
    with replacing(layer, lambda path, start: path):
        assert torch.equal(layer(x)[0], plain)
    assert torch.equal(layer(x)[0], plain)


@pytest.mark.parametrize("name", REPLACEMENTS)
def test_replacements_are_what_they_are_called(name):
    layer, x = mixer(eta=1.0, anchored=True)
    paths = []

    def watched(path, start):
        paths.append((path, start, REPLACEMENTS[name](path, start)))
        return paths[-1][-1]

    with replacing(layer, watched):
        changed = layer(x)[0]
    path, start, new = paths[0]
    assert (changed - layer(x)[0]).abs().max() > 1e-3
    assert torch.equal(path[:, 0], start)
    expected = {
        "ones": torch.ones_like(path),
        "mean": path.mean(-1, keepdim=True).expand_as(path),
        "reversed": path[..., list(range(path.shape[-1]))[::-1]],
        "initial": start[:, None].expand_as(path),
    }
    if name == "shuffled":
        assert torch.equal(new.sort(-1).values, path.sort(-1).values)
        assert not torch.equal(new, path)
    else:
        assert torch.equal(new, expected[name])


def test_d_of_one_is_deltanet():
    scaled, x = mixer(eta=1.0)
    pinned, _ = mixer(d_min=1.0, d_max=1.0)
    assert (scaled(x)[0] - pinned(x)[0]).abs().max() > 1e-3
    with replacing(scaled, REPLACEMENTS["ones"]):
        torch.testing.assert_close(scaled(x)[0], pinned(x)[0])


@pytest.mark.parametrize(("kind", "gate"), [(ScaledMixer, "g"), (GatedMixer, "log_decay")])
def test_what_a_layer_was_given_and_gave_is_captured(kind, gate):
    options = {"d_min": 1.0, "d_max": 1.0} if kind is GatedMixer else {"eta": 1.0}
    layer, x = mixer(kind, **options)
    with capturing(layer) as found:
        out = layer(x)[0]
    (captured,) = found
    assert gate in captured
    assert captured["o"].shape == (3, 100, 2, 8)
    torch.testing.assert_close(layer.o_proj(layer.o_norm(captured["o"]).flatten(2)), out)
    assert layer.captured is None


def test_models_share_their_size_and_their_start():
    models = {name: build(TASK, name, SIZE, seed=3) for name in ALL_MODELS}
    assert tuple(MODELS) == ALL_MODELS
    counts = [model.trained_parameters for model in models.values()]
    assert max(counts) < 1.01 * min(counts)
    reference = dict(models["deltanet"].named_parameters())
    for model in models.values():
        shared = {name: p for name, p in model.named_parameters() if name in reference}
        assert set(shared) == set(reference)
        assert all(torch.equal(p, reference[name]) for name, p in shared.items())
    assert not torch.equal(build(TASK, "deltanet", SIZE, seed=4).head.weight, reference["head.weight"])


def test_building_leaves_the_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(TASK, "osdn", SIZE, seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_models_differ_where_their_rules_do():
    tokens = torch.randint(1, TASK.vocabulary, (2, 40), generator=torch.Generator().manual_seed(0))
    outputs = {}
    for name in ALL_MODELS:
        model = build(TASK, name, SIZE, seed=0)
        with torch.no_grad():
            for block in model.blocks:
                start = block.mixer.initial_preconditioner
                start.copy_(torch.linspace(0.4, 2.0, start.shape[1]).expand_as(start))
        outputs[name] = model(tokens, 5).detach()
    names = list(outputs)
    same = [
        (a, b)
        for i, a in enumerate(names)
        for b in names[:i]
        if torch.allclose(outputs[a], outputs[b], atol=1e-6)
    ]
    assert same == []


def test_models_are_causal():
    model = build(TASK, "anchored_apf", SIZE, seed=0)
    tokens = torch.randint(1, TASK.vocabulary, (2, 40), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, -1] = 1
    whole, other = model(tokens, 10), model(changed, 10)
    torch.testing.assert_close(whole[:, :-1], other[:, :-1])
    assert (whole[:, -1] - other[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads": 3}, "heads: expected a divisor of features = 64, got 3"),
        ({"layers": 0}, "layers: expected a pos"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        ModelSize(**sizes)
