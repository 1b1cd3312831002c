"""Models in the style of transformers: saved, loaded, trained, and generating the same with and without a cache."""

import inspect
import io

import pytest
import torch
from osdn_kernels.launch import runtime
from osdn_kernels.layers.marks import MARKS, MarkedModule
from osdn_kernels.models import OsdnCache, OsdnConfig, OsdnForCausalLM
from osdn_kernels.models.cache import CACHE_NAME
from osdn_kernels.models.configuration import LAYERS, layer_parameters
from support.kernels.thread_ranks import on_threads
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, DynamicCache

pytestmark = pytest.mark.usefixtures("on_references")

VOCABULARY, PAD = 40, 0


def build(seed: int = 0, **options) -> OsdnForCausalLM:
    """A small model whose d_1 and forgetting are off their starting points, in which every token matters."""
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 32,
        "num_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 48,
        "vocab_size": VOCABULARY,
    }
    tokens = {"pad_token_id": PAD, "bos_token_id": None, "eos_token_id": None}
    rule = {"use_forget_gate": True, "eta": 0.5, "initializer_range": 0.3}
    config = OsdnConfig(**{**sizes, **tokens, **rule, **options})
    model = OsdnForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("initial_preconditioner"):
                parameter.uniform_(0.8, 1.3)
            if name.endswith("forget_gate.bias"):
                parameter.fill_(2.0)
    return model


def draw(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(1, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def generate(model: OsdnForCausalLM, ids: torch.Tensor, **options) -> torch.Tensor:
    return model.generate(ids, do_sample=False, max_new_tokens=8, **options)


@pytest.mark.parametrize("auto", [AutoModelForCausalLM, AutoModel])
def test_a_model_is_saved_and_loaded_from_a_folder(auto, tmp_path):
    model, ids = build(d_max=1e9), draw(2, 6)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert {**config.to_dict(), "_name_or_path": ""} == model.config.to_dict()
    other = auto.from_pretrained(tmp_path).eval()
    expected = model if auto is AutoModelForCausalLM else model.model
    assert torch.equal(other(ids)[0], expected(ids)[0])


def test_16_bits_do_not_reach_d_1_and_the_forgetting_bias(tmp_path):
    build().save_pretrained(tmp_path)
    loaded = OsdnForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    wide = {name for name, p in loaded.named_parameters() if p.dtype == torch.float32}
    places = {name for name, _ in loaded.named_parameters() if name.endswith(("preconditioner", "gate.bias"))}
    assert wide == places != set()
    assert loaded(draw(1, 3)).logits.dtype == torch.bfloat16


def test_marks_survive_saving_and_initialisers_spare_what_they_mark(tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    loaded = OsdnForCausalLM.from_pretrained(tmp_path)
    loaded.init_weights()
    expected = dict(model.named_parameters())
    marked = {n for n, p in loaded.named_parameters() if all(getattr(p, mark, False) for mark in MARKS)}
    assert {name.split(".attn.")[1] for name in marked} >= {"initial_preconditioner", "forget_gate.bias"}
    assert all(torch.equal(p, expected[name]) for name, p in loaded.named_parameters())


def load_without(name: str, model: OsdnForCausalLM, folder) -> torch.Tensor:
    """What a parameter is that the checkpoint lacks, where memory without values is NaN."""
    kept = {key: x for key, x in model.state_dict().items() if not key.endswith(name)}
    model.save_pretrained(folder, state_dict=kept)
    torch.use_deterministic_algorithms(True)
    try:
        loaded = OsdnForCausalLM.from_pretrained(folder)
    finally:
        torch.use_deterministic_algorithms(False)
    return next(x for key, x in loaded.state_dict().items() if key.endswith(name))


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("initial_preconditioner", 1.0),
        ("forget_gate.bias", 6.9),
        ("forget_gate.weight", 0.0),
        ("o_norm.weight", 1.0),
    ],
)
def test_what_a_checkpoint_lacks_starts_where_the_layer_starts_it(name, start, tmp_path):
    found = load_without(name, build(), tmp_path)
    assert torch.equal(found, torch.full_like(found, start))


def test_a_mark_on_memory_without_values_would_be_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(MarkedModule, "_filled", property(lambda self: True, lambda self, value: None))
    found = load_without("initial_preconditioner", build(), tmp_path)
    assert found.is_meta or found.isnan().all()


WAYS = {
    "plain": {},
    "beams": {"num_beams": 3},
    "chunked prefill": {"prefill_chunk_size": 3},
    "several": {"num_beams": 4, "num_return_sequences": 2},
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_generation_is_the_same_with_and_without_a_cache(way, padded):
    model, ids, mask = build(), draw(2, 7), torch.ones(2, 7, dtype=torch.int64)
    if padded:
        ids[0, :3], mask[0, :3] = PAD, 0
    found = generate(model, ids, attention_mask=mask, **WAYS[way])
    plain = {name: value for name, value in WAYS[way].items() if name != "prefill_chunk_size"}
    assert torch.equal(found, generate(model, ids, attention_mask=mask, use_cache=False, **plain))
    if padded:
        count = len(found) // 2
        alone = generate(model, ids[:1, 3:], attention_mask=mask[:1, 3:], **plain)
        assert torch.equal(found[:count, 3:], alone)
        assert not torch.equal(found, generate(model, ids, attention_mask=torch.ones_like(mask), **plain))


def test_beams_that_keep_the_states_of_others_would_be_seen(monkeypatch):
    model, ids = build(), draw(2, 7)
    expected = generate(model, ids, num_beams=3)
    monkeypatch.setattr(OsdnCache, "reorder_cache", lambda self, index: None)
    assert not torch.equal(generate(model, ids, num_beams=3), expected)


def test_generation_on_kernels(monkeypatch):
    """The steps then write into the cache in place."""
    model, ids = build(num_hidden_layers=1), draw(2, 5)
    expected = generate(model, ids)
    monkeypatch.setattr(runtime, "INTERPRETED", True)
    assert torch.equal(generate(model, ids), expected)


def test_generation_goes_on_from_a_past():
    model, ids = build(), draw(1, 9)
    expected = generate(model, ids)
    past = model(ids[:, :5], use_cache=True)[CACHE_NAME]
    copy, file = past.clone(), io.BytesIO()
    torch.save(past, file)
    file.seek(0)
    assert torch.equal(generate(model, ids, **{CACHE_NAME: torch.load(file)}), expected)
    assert past.get_seq_length() == 5
    for cache in (past, copy):
        assert torch.equal(generate(model, ids, **{CACHE_NAME: cache}), expected)
    past.reset()
    assert not past.is_initialized
    assert torch.equal(generate(model, ids, **{CACHE_NAME: past}), expected)
    assert not torch.equal(generate(model, ids[:, 5:])[:, 4:], expected[:, 9:])


def test_one_past_serves_several_continuations():
    model, ids = build(), draw(2, 5)
    past, token = model(ids, use_cache=True)[CACHE_NAME], draw(6, 1)
    past.batch_repeat_interleave(3)
    assert (past.batch_size, past.is_initialized) == (6, True)
    expected = model(torch.cat([ids.repeat_interleave(3, 0), token], 1)).logits[:, -1:]
    torch.testing.assert_close(model(token, **{CACHE_NAME: past}).logits, expected, rtol=0, atol=1e-4)


def test_another_form_is_named():
    with pytest.raises(ValueError, match=r"^form: expected osdn or osgdn or oskda, got mamba"):
        build(form="mamba")


def test_what_a_state_cannot_do_is_refused():
    model, ids = build(), draw(1, 4)
    with pytest.raises(NotImplementedError, match="cannot be shortened"):
        OsdnCache(1).crop(2)
    with pytest.raises(ValueError, match=r"^cache_implementation:"):
        generate(model, ids, cache_implementation="static")
    with pytest.raises(ValueError, match="stateful"):
        generate(model, ids, assistant_model=build())
    with pytest.raises(TypeError, match=r"^past_key_values: expected an OsdnCache"):
        model(ids, past_key_values=DynamicCache())
    with pytest.raises(ValueError, match=r"^input_ids:"):
        model(ids, inputs_embeds=torch.zeros(1, 4, 32))
    with pytest.raises(ValueError, match=r"^input_ids:"):
        model()


def test_embeddings_are_tied_also_when_loaded(tmp_path):
    model = build(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    loaded = OsdnForCausalLM.from_pretrained(tmp_path)
    for each in (model, loaded):
        assert each.lm_head.weight is each.model.embeddings.weight
    assert build().lm_head.weight is not build().model.embeddings.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)


def test_the_loss_is_that_of_the_next_token():
    model, ids = build(), draw(2, 7)
    labels = ids.masked_fill(torch.arange(7) < 3, -100)
    found = model(ids, labels=labels, output_hidden_states=True)
    expected = cross_entropy(found.logits[:, 2:-1].flatten(0, 1), ids[:, 3:].flatten())
    torch.testing.assert_close(found.loss, expected)
    assert len(found.hidden_states) == 3
    assert model(ids).hidden_states is None
    model.config.output_hidden_states = True
    assert len(model(ids).hidden_states) == 3
    assert model(ids, output_hidden_states=False).hidden_states is None
    last = model(ids, logits_to_keep=2, return_dict=False)[0]
    assert torch.equal(last, model.lm_head(found.hidden_states[-1][:, -2:]))


def gradients(model: OsdnForCausalLM, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_the_same_gradients(reentrant):
    model, ids = build().train(), draw(2, 7)
    expected = gradients(model, ids)
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    found = gradients(model, ids)
    assert all(torch.equal(grad, expected[name]) for name, grad in found.items())
    assert getattr(model(ids, use_cache=True), CACHE_NAME) is None
    with pytest.raises(ValueError, match=r"^past_key_values: expected None under gradient checkpointing"):
        model(ids, past_key_values=OsdnCache(2))
    assert torch.equal(generate(model, ids), generate(model.eval(), ids))


def test_packed_sequences_do_not_see_each_other():
    model, ids = build(), draw(1, 9)
    packed = model(ids, cu_seqlens=torch.tensor([0, 4, 9])).logits
    apart = [model(ids[:, :4]).logits, model(ids[:, 4:]).logits]
    torch.testing.assert_close(packed, torch.cat(apart, 1), rtol=0, atol=1e-5)


def test_no_packed_sequence_predicts_the_next_ones_first_token():
    model, ids = build(), draw(1, 9)
    found = model(ids, labels=ids, cu_seqlens=torch.tensor([0, 4, 4, 9, 9])).loss
    apart = [model(x, labels=x).loss * (x.shape[1] - 1) for x in (ids[:, :4], ids[:, 4:])]
    torch.testing.assert_close(found, sum(apart) / 7)


@pytest.mark.parametrize("form", LAYERS)
def test_every_option_of_a_layer_is_one_of_the_configuration(form):
    config, names = OsdnConfig(form=form), layer_parameters(LAYERS[form])
    assert len(names) > 15
    assert all(hasattr(config, name) for name in names)
    own = inspect.signature(LAYERS[form]).parameters
    # The norms of a block have the epsilon of flash-linear-attention's model, not of its layer.
    for name in own.keys() & config.layer_options.keys() - {"hidden_size", "num_heads", "norm_eps"}:
        assert config.layer_options[name] == own[name].default, name


@pytest.mark.parametrize("form", ["osgdn", "oskda"])
def test_models_of_gated_layers(form, tmp_path):
    model, ids = build(form=form, head_dim=8, forgetting="learned", initializer_range=0.5), draw(2, 7)
    with torch.no_grad():
        model.model.layers[0].attn.dt_bias.add_(3.0)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert all(torch.equal(x, loaded.state_dict()[name]) for name, x in model.state_dict().items())
    found = generate(model, ids, num_beams=2, prefill_chunk_size=3)
    assert torch.equal(found, generate(loaded, ids, num_beams=2, use_cache=False))
    again = build(form=form, head_dim=8, forgetting="learned", seed=1)
    kept = model.state_dict()
    kept = {name: x for name, x in kept.items() if not name.endswith(("A_log", "dt_bias"))}
    again.save_pretrained(tmp_path, state_dict=kept)
    fresh = OsdnForCausalLM.from_pretrained(tmp_path).model.layers[0].attn
    assert 0 <= fresh.A_log.exp().min() <= fresh.A_log.exp().max() <= 16
    assert (torch.nn.functional.softplus(fresh.dt_bias) <= 0.1001).all()


def test_a_model_over_ranks(monkeypatch):
    model, ids, lengths = build(), draw(2, 11), (2, 6, 3)
    expected = model(ids)
    labels = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)

    def call(group):
        start = sum(lengths[: group.rank()])
        place = slice(start, start + lengths[group.rank()])
        return model(
            ids[:, place],
            labels=ids[:, place],
            shift_labels=labels[:, place].contiguous(),
            num_items_in_batch=20,
            cp_group=group,
        )

    found = on_threads(3, call, monkeypatch)
    torch.testing.assert_close(
        torch.cat([each.logits for each in found], 1), expected.logits, rtol=0, atol=1e-4
    )
    loss = cross_entropy(expected.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(sum(each.loss for each in found), loss)
