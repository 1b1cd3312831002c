"""What kernels declare of their numerics: read strictly, what the code does, and what the cross-check holds them to."""

import json
import os

os.environ.setdefault("TRITON_INTERPRET", "1")

from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
import torch
from osdn_kernels import (
    chunk_osdn,
    chunk_osdn_reference,
    chunk_oskda,
    fused_recurrent_osdn,
    osdn_preconditioner,
    osdn_reference,
    preconditioner_reference,
)
from osdn_kernels.boundary.inputs import MAX_FEATURES
from osdn_kernels.chunk.decays import GateSums
from osdn_kernels.chunk.state import keep_states

from osdn_theory import rounding
from osdn_theory.crosscheck import crosscheck
from osdn_theory.crosscheck.evidence.limits import models_of
from osdn_theory.crosscheck.kernel.adapters import adapt
from osdn_theory.recurrence.rules import CalibrationRule
from osdn_theory.rounding import Format
from osdn_theory.rounding.declared import TF32_ALLOWED, declared_model
from osdn_theory.rounding.models import MODELS, KernelModel, in_interpreter
from osdn_theory.streams import synthetic

DTYPES = ("float32", "bfloat16", "float16")
OPERATORS = (
    chunk_osdn, chunk_oskda, fused_recurrent_osdn, osdn_preconditioner, chunk_osdn_reference, osdn_reference,
    preconditioner_reference,
)  # fmt: skip
FAST = CalibrationRule(eta=0.5)

READY = {
    (chunk_osdn, "float32"): "chunk_fp32",
    (chunk_osdn, TF32_ALLOWED): "chunk_tf32",
    (chunk_osdn, "bfloat16"): "chunk_bf16",
    (chunk_osdn, "float16"): "chunk_fp16",
    (chunk_oskda, "float32"): "chunk_fp32",
    (chunk_oskda, TF32_ALLOWED): "chunk_tf32",
    (chunk_oskda, "bfloat16"): "chunk_bf16",
    (chunk_oskda, "float16"): "chunk_fp16",
    (fused_recurrent_osdn, "float32"): "recurrent_fp32",
    (fused_recurrent_osdn, "bfloat16"): "recurrent_bf16",
    (fused_recurrent_osdn, "float16"): "recurrent_fp16",
    (chunk_osdn_reference, "float32"): "chunk_substituted",
    (osdn_reference, "float32"): "recurrent_plain",
    (osdn_preconditioner, "float32"): "chunk_fp32",
}
"""The ready models of the same kernels."""


def stream(length: int = 40):
    """Keys with a hidden comparator, which d sets out for."""
    rng = np.random.default_rng(5)
    return synthetic.interpolating(rng, lead=(1,), length=length, key_dim=8, value_dim=8)


def check(kernel, dtype: str, rule: CalibrationRule = FAST, **options):
    return crosscheck(kernel, stream(), rule, dtype=dtype, device="cpu", cuts=2, chunk_size=16, **options)


def declaring(kernel, numerics):
    """The kernel with other claims."""
    claiming = partial(kernel)
    claiming.__name__ = kernel.__name__
    claiming.numerics = numerics
    return claiming


@pytest.mark.parametrize(("operator", "entry"), READY)
def test_declarations_are_the_ready_models(operator, entry):
    found = declared_model(operator.numerics, entry.partition(",")[0], tf32=entry == TF32_ALLOWED)
    expected = MODELS[READY[operator, entry]]
    most = min(expected.ordered_gram, MAX_FEATURES)
    same = {"name": "", "ordered_gram": most}
    if operator is osdn_preconditioner:
        # It has no memory, which is written by an inverse and whose features could have gates.
        same |= {"gate_sums": None, "feature_reach": 0, "inverse_product": None}
    assert replace(found, **same) == replace(expected, **same)
    assert found.ordered_gram == most
    assert found.name == f"{expected.order}, {entry}, as declared"


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_declares_every_dtype_as_plain_data(operator):
    assert json.loads(json.dumps(operator.numerics)) == operator.numerics
    for dtype in DTYPES:
        model = declared_model(operator.numerics, dtype)
        assert isinstance(model, KernelModel)
        assert model.inputs.name == dtype


def test_fields_that_are_left_out_have_the_defaults_of_the_model():
    found = declared_model({"float16": {"order": "chunk", "name": "mine"}}, "float16")
    assert found == KernelModel("mine", "chunk")
    kept = [field for field in fields(KernelModel) if field.type in (bool, float, float | None, int)]
    formats = [field for field in fields(KernelModel) if field.type is Format]
    everything = {"order": "chunk", "name": "mine"}
    everything |= {field.name: getattr(found, field.name) for field in kept}
    everything |= {field.name: getattr(found, field.name).name for field in formats}
    assert everything.keys() == {field.name for field in fields(KernelModel)}
    assert declared_model({"float16": everything}, "float16") == found


def test_nothing_declared_is_nothing():
    assert declared_model({}, "float32") is None
    assert declared_model({"float16": {"order": "chunk"}}, "float32") is None
    assert declared_model({"float32": {"order": "chunk"}, TF32_ALLOWED: None}, "float32", tf32=True) is None
    assert declared_model({"float32": {"order": "chunk"}}, "float32", tf32=True) is not None
    assert (
        declared_model({"float16": {"order": "chunk"}, TF32_ALLOWED: None}, "float16", tf32=True) is not None
    )


WRONG = {
    "a list": ([], "numerics: expected a mapping"),
    "a dtype of its own": ({"fp32": {"order": "chunk"}}, "numerics: unknown entry 'fp32'"),
    "no fields": ({"float32": "chunk"}, "numerics['float32']: expected a mapping of fields"),
    "no order": ({"float32": {}}, "numerics['float32'].order: missing"),
    "an order": ({"float32": {"order": "backwards"}}, "numerics['float32'].order: expected 'recurrent', 'chunk'"),
    "a field": ({"float32": {"order": "chunk", "stores": "float32"}}, "numerics['float32']: unknown field 'stores'"),
    "a format": ({"float32": {"order": "chunk", "storage": "fp8"}}, "numerics['float32'].storage: expected a format"),
    "a format's type": ({"float32": {"order": "chunk", "inputs": 32}}, "numerics['float32'].inputs: expected a format"),
    "a flag": ({"float32": {"order": "chunk", "ordered": 1}}, "numerics['float32'].ordered: expected True or False"),
    "a roundoff": (
        {"float32": {"order": "chunk", "accumulation": "2^-24"}}, "numerics['float32'].accumulation: expected a relat",
    ),
    "a great roundoff": (
        {"float32": {"order": "chunk", "exact_product": 2.0}}, "numerics['float32'].exact_product: expected a relat",
    ),
    "another great roundoff": (
        {"float32": {"order": "chunk", "formed_product": 1.0}}, "numerics['float32'].formed_product: expected a relat",
    ),
    "NaN": (
        {"float32": {"order": "chunk", "exact_product": float("nan")}}, "numerics['float32'].exact_product: expected",
    ),
    "a flag for a number": (
        {"float32": {"order": "chunk", "accumulation": True}}, "numerics['float32'].accumulation: expected a relat",
    ),
    "a count": ({"float32": {"order": "chunk", "ordered_gram": 1.5}}, "numerics['float32'].ordered_gram: expected an"),
    "substitution in half precision": (
        {"float32": {"order": "chunk", "storage": "float16", "substitution": True}},
        "numerics['float32'].substitution: expected float32",
    ),
    "a name": ({"float32": {"order": "chunk", "name": 7}}, "numerics['float32'].name: expected a string"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_declaration_that_makes_no_sense_is_refused_by_field(case):
    numerics, message = WRONG[case]
    with pytest.raises(ValueError) as caught:
        declared_model(numerics, "float32")
    assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match="numerics"):
        models_of(adapt(declaring(osdn_reference, numerics)), "float32")


def test_the_cross_check_takes_what_is_declared_and_the_widest_otherwise():
    chunk = adapt(chunk_osdn)
    (declared,) = models_of(chunk, "float32")
    assert declared == declared_model(chunk_osdn.numerics, "float32")
    assert models_of(chunk, "float32", interpreted=True) == (in_interpreter(declared),)
    (silent,) = models_of(adapt(declaring(chunk_osdn, {})), "float32")
    assert silent == rounding.CHUNK_ANY_ORDER
    assert models_of(adapt(partial(chunk_osdn), name="chunk"), "float32") == (silent,)
    (half,) = models_of(adapt(declaring(chunk_osdn, {"float32": {"order": "chunk"}})), "float16")
    assert half.storage == rounding.FLOAT16


def test_where_tf32_is_allowed_its_entry_counts():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        (chunk,) = models_of(adapt(chunk_osdn), "float32")
        (recurrent,) = models_of(adapt(fused_recurrent_osdn), "float32")
        (reference,) = models_of(adapt(chunk_osdn_reference), "float32")
        (bfloat16,) = models_of(adapt(chunk_osdn), "bfloat16")
    finally:
        torch.set_float32_matmul_precision(before)
    assert (chunk.operands, chunk.ordered) == (rounding.TF32, False)
    assert recurrent == declared_model(fused_recurrent_osdn.numerics, "float32")
    assert reference == rounding.CHUNK_ANY_ORDER
    assert bfloat16 == declared_model(chunk_osdn.numerics, "bfloat16")


@pytest.mark.parametrize("kernel", [chunk_osdn, fused_recurrent_osdn])
def test_bounds_of_our_kernels_are_the_tight_ones(kernel):
    """Medians of bound over error, beside those of the same kernel where it declares nothing.

    What a chunk kernel declares of float32 is the order of its sums, which the interpreter does not keep.
    """
    found = check(kernel, "float32")
    assert found.within
    for name in ("o", "S", "d"):
        assert 1 < found[name].median_slack < 200, name
        assert "as declared" in found[name].basis
    wide = check(declaring(kernel, {}), "float32")
    for name, least in (("o", 1.2), ("S", 1.2)) if kernel is fused_recurrent_osdn else (("d", 1.0),):
        assert wide[name].median_slack > least * found[name].median_slack, name


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kernel", [chunk_osdn, fused_recurrent_osdn, chunk_osdn_reference, osdn_reference])
def test_bounds_hold_for_sixteen_bits(kernel, dtype):
    found = check(kernel, dtype)
    assert found.within, found.symptoms
    assert "as declared" in found["o"].basis


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_hold_for_the_scan_alone_and_where_d_clips(dtype):
    narrow = CalibrationRule(eta=1.0, d_min=0.95, d_max=1.05)
    for kernel in (osdn_preconditioner, chunk_osdn, fused_recurrent_osdn):
        assert check(kernel, dtype, narrow).within, kernel


def claims(**changed):
    """What `chunk_osdn` declares for bfloat16, but for one thing."""
    return {"bfloat16": chunk_osdn.numerics["bfloat16"] | changed}


@pytest.mark.parametrize(
    ("kernel", "claim"),
    [
        (chunk_osdn, claims(storage="float32", operands="float32")),
        (fused_recurrent_osdn, {"bfloat16": fused_recurrent_osdn.numerics["bfloat16"] | {"outputs": "float32"}}),
    ],
)  # fmt: skip
def test_a_kernel_that_stores_less_than_it_declares_leaves_its_bound(kernel, claim):
    assert not check(declaring(kernel, claim), "bfloat16").within


def test_plain_sums_leave_the_bound_of_compensated_ones():
    """Steps far below an ulp of d: the reference adds them plainly, and may not claim what the kernel does."""
    slow = synthetic.interpolating(np.random.default_rng(2), lead=(1,), length=200, key_dim=8, value_dim=1)
    rule = CalibrationRule(eta=1e-4, d_min=0.0, d_max=2.0)
    options = {"dtype": "float32", "device": "cpu", "cuts": 1}
    claiming = declaring(osdn_reference, fused_recurrent_osdn.numerics)
    assert crosscheck(osdn_reference, slow, rule, **options)["d"].within
    assert not crosscheck(claiming, slow, rule, **options)["d"].within


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_stored_has_the_formats_declared(dtype):
    """Write keys, the inverse, write values, the memory as products read it; d and the final state."""
    from osdn_kernels.boundary.rule import Rule
    from osdn_kernels.chunk import stages as chunk
    from osdn_kernels.chunk.write_keys import LEARNED
    from osdn_kernels.launch.recurrence import Inputs
    from osdn_kernels.launch.sequences import cut

    stated = getattr(torch, dtype)
    q, k, v = (torch.randn(1, 20, 1, 8).to(stated) for _ in range(3))
    beta = torch.rand(1, 20, 1)
    chunks = cut(1, 20, 16, None)
    options = chunk.ChunkOptions(1.0, Rule(0.5, 0.0, 2.0, False), 16, LEARNED, keep=True)
    found = chunk.forward(Inputs(q, k, v, beta), options, chunks)
    declared = chunk_osdn.numerics[dtype]
    states, written = keep_states(k, found.write_key, v, beta, found.inverse, GateSums(), None, chunks)
    for stored in (found.write_key, found.inverse, states, written):
        assert stored.dtype == getattr(torch, declared["storage"])
    assert found.o.dtype == getattr(torch, declared["outputs"])
    for d in (found.path, found.preconditioner, found.entries):
        assert d.dtype == getattr(torch, declared["preconditioner"])
    for operator in (chunk_osdn, fused_recurrent_osdn, chunk_osdn_reference, osdn_reference):
        o, final, path = operator(q, k, v, beta, output_final_state=True, return_trajectory=True)
        assert o.dtype == getattr(torch, operator.numerics[dtype]["outputs"])
        assert final.preconditioner.dtype == path.preconditioner.dtype == torch.float32
    assert osdn_preconditioner(k)[0].dtype == torch.float32
