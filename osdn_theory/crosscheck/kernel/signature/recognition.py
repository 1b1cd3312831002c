"""Finding out by a few small calls what a signature does not say: layouts, the gate's rank and use, the scale, results.

A call decides conventions and nothing else. The reading that agrees with float64 is taken; where none does, because the
kernel is wrong, shapes decide, then what its results say without reference to what it should have written, then the
field's defaults: the exercises then show what is wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from osdn_theory.crosscheck.cases.case import DTYPES, Dtype
from osdn_theory.crosscheck.kernel.adapters import Adapter, FixedScale, GateForm, Layout, StateLayout
from osdn_theory.crosscheck.kernel.calling import KernelError
from osdn_theory.crosscheck.kernel.recurrences import GATED_OSDN, Recurrence
from osdn_theory.crosscheck.kernel.signature.evidence import (
    FEW_SIZES,
    SIZES,
    WHAT,
    Reading,
    SampleSizes,
    call_under,
    may_decay,
    own_scale,
    reach,
    sample,
)
from osdn_theory.crosscheck.kernel.signature.reading import EITHER

LAYOUTS: tuple[Layout, ...] = ("time first", "head first")
STATE_LAYOUTS: tuple[StateLayout, ...] = ("KV", "VK")
OTHERS: dict[Recurrence, tuple[Recurrence, ...]] = {
    "gated_delta_net": ("kda",),
    "kda": ("gated_delta_net",),
    "osdn": ("osgdn", "oskda"),
    "osgdn": ("oskda",),
    "oskda": ("osgdn",),
}
"""What else a kernel with the same arguments, g among them, may compute: g has another rank, or another use."""

OF_THE_GATE = ("recurrence", "feature_gates", "gate_form")
"""Fields of an adapter that say what g is."""

NEAR_SCALE = 0.02
"""Relative distance within which a factor of the read is one of the two known."""


def recognise(adapter: Adapter, device: str, dtype: Dtype | None = None) -> Adapter:
    """The adapter with everything that calls say about it; what was stated stays.

    The calls are a few tokens long, one of them where the kernel has the field's signature and is right. Without a
    `dtype` the first of float32, bfloat16 and float16 that it takes. One that was recognised passes through.
    """
    if adapter.dtype is not None and dtype in (None, adapter.dtype):
        return adapter
    wanted = DTYPES if dtype is None else (dtype, *(other for other in DTYPES if other != dtype))
    refused: dict[str, KernelError] = {}
    for one in wanted:
        try:
            found = _recognised(adapter, device, one, SIZES if not refused else FEW_SIZES)
        except KernelError as error:
            refused[one] = error
            continue
        if not refused:
            return found
        first = str(refused[wanted[0]])
        if dtype is not None:
            raise KernelError(f"{first} (it takes {one})")
        why = first.rpartition(": ")[2]
        return replace(found, findings=(*found.findings, f"takes {one}, not {wanted[0]}: {why}"))
    raise KernelError(_told(refused))


def _told(refused: Mapping[str, KernelError]) -> str:
    """The first refusal, and those of other dtypes where they differ."""
    told = [str(next(iter(refused.values())))]
    for dtype, error in refused.items():
        kind = str(error).partition(f"{WHAT}: ")[2]
        if kind not in told[0] and not any(kind in one for one in told[1:]):
            told.append(f"in {dtype}: {kind}")
    return "; ".join(told)


def _recognised(adapter: Adapter, device: str, dtype: Dtype, sizes: Sequence[SampleSizes]) -> Adapter:
    """From calls of the first sizes at which any is answered; else the first error is raised."""
    errors: list[KernelError] = []
    for size in sizes:
        evidence = _gather(adapter, size, device, dtype, errors)
        if evidence:
            return _described(_settle(evidence, device), size, device)
    raise errors[0]


def _gather(
    adapter: Adapter, sizes: SampleSizes, device: str, dtype: Dtype, errors: list[KernelError]
) -> list[Reading]:
    """One call for each reading that is still open; a reading that agrees is the only one."""
    found: list[Reading] = []
    for reading in _readings(adapter):
        if any(_decides(one, reading) for one in found):
            continue
        try:
            one = call_under(reading, sample(reading, sizes, dtype), device)
        except KernelError as error:
            errors.append(error)
            continue
        if one.agrees:
            return [one]
        found.append(one)
    return found


def _decides(one: Reading, reading: Adapter) -> bool:
    """Whether a call already shows that a reading is not the kernel's, or no better than one known.

    Where a final state came back in shape, layouts are settled, and the gate alone is open.
    """
    known = one.adapter
    same_layouts = (known.layout, known.state_layout) == (reading.layout, reading.state_layout)
    same_gate = all(getattr(known, name) == getattr(reading, name) for name in OF_THE_GATE)
    return one.settled and (same_gate or not same_layouts)


def _readings(adapter: Adapter) -> Iterator[Adapter]:
    """What a kernel of this signature could mean, the field's conventions first."""
    layouts = LAYOUTS if _open(adapter, "layout") else (adapter.layout,)
    has_state = adapter.reads and {"initial_state", "output_final_state"} & adapter.parameters
    states = STATE_LAYOUTS if _open(adapter, "state_layout") and has_state else (adapter.state_layout,)
    scale: FixedScale | None = adapter.fixed_scale
    if "scale" not in adapter.parameters and adapter.reads and scale is None:
        scale = "K^-1/2"
    for layout in layouts:
        for state in states:
            for gated in _gates(adapter):
                yield replace(gated, layout=layout, state_layout=state, fixed_scale=scale)


def _gates(adapter: Adapter) -> Iterator[Adapter]:
    """Taking g of either rank, for either use and in either form, where these are open; the likeliest first."""
    other: dict[GateForm, GateForm] = {"log": "factor", "factor": "log"}
    for ranked in _ranks(adapter):
        yield ranked
    if adapter.gated and _open(adapter, "gate_form") and adapter.names.get("g", "g").lower() in EITHER:
        for ranked in _ranks(adapter):
            yield replace(ranked, gate_form=other[adapter.gate_form])


def _ranks(adapter: Adapter) -> tuple[Adapter, ...]:
    """Taking g of one rank and for one use, and otherwise where that is open; the likelier first."""
    if adapter.preconditioned:
        return adapter, replace(adapter, feature_gates=not adapter.feature_gates)
    if not _open(adapter, "recurrence") or not (adapter.gated or may_decay(adapter)):
        return (adapter,)
    return adapter, *(replace(adapter, recurrence=other) for other in OTHERS[adapter.recurrence])


def _open(adapter: Adapter, name: str) -> bool:
    return name not in adapter.stated


def _settle(evidence: Sequence[Reading], device: str) -> Reading:
    """The reading to take: the one that agrees, else by shapes, reach and defaults."""
    if evidence[0].agrees:
        return evidence[0]
    whole = [one for one in evidence if not one.complaint] or list(evidence)
    settled = [one for one in whole if one.settled]
    if settled:
        return _own_scaled(settled[0])
    return _own_scaled(_by_reach(whole, device))


def _by_reach(evidence: Sequence[Reading], device: str) -> Reading:
    """The first whose tokens reach other tokens rather than other heads."""
    if len({one.adapter.layout for one in evidence}) == 1 or evidence[0].complaint:
        return evidence[0]
    for one in evidence:
        tokens, heads = reach(one.adapter, one.case, device)
        if tokens > heads:
            return one
    return evidence[0]


def _own_scaled(one: Reading) -> Reading:
    """With the fixed scale that the kernel's own final state shows; the field's default where it shows none."""
    adapter = one.adapter
    if "scale" in adapter.parameters or not adapter.reads or not _open(adapter, "fixed_scale"):
        return one
    shown = own_scale(one)
    is_one = shown is not None and abs(shown - 1.0) <= NEAR_SCALE
    return replace(one, adapter=replace(adapter, fixed_scale="1" if is_one else "K^-1/2", key_norm=None))


def _described(one: Reading, sizes: SampleSizes, device: str) -> Adapter:
    """The reading with its findings, what lengths it needs, and whether it can do without a gate."""
    adapter = replace(one.adapter, dtype=one.case.dtype, disagreement=_disagreement(one))
    changes: dict[str, Any] = {}
    findings = [*adapter.findings, *_conventions(one), *one.unread]
    if sizes != SIZES[0]:
        findings.append(f"refuses calls as small as {SIZES[0]}; probed with {sizes}")
        changes["multiple"] = sizes.tokens
        findings.append(f"sequences are filled up to multiples of {sizes.tokens} tokens")
        if "cu_seqlens" in adapter.parameters:
            changes["parameters"] = adapter.parameters - {"cu_seqlens"}
            findings.append("packed sequences are not asked for, for this reason")
    if adapter.gated and _does_without_gate(adapter, one, device):
        changes["gate_optional"] = True
        findings.append("without g the memory does not decay")
    return replace(adapter, findings=tuple(findings), **changes)


def _conventions(one: Reading) -> Iterator[str]:
    """One short line for each convention that a call decided."""
    adapter = one.adapter
    if adapter.layout == "head first":
        yield "head first: [B, H, T, ...]"
    if adapter.state_layout == "VK":
        yield "states are [B, H, V, K]"
    if adapter.gated and (adapter.preconditioned or _open(adapter, "recurrence")):
        yield f"g has {'one gate per feature' if adapter.gates_features else 'one gate per token'}"
    if adapter.recurrence in GATED_OSDN and "g_d" not in adapter.parameters and _open(adapter, "recurrence"):
        yield "g decays the memory, and nothing forgets d"
    if adapter.gated and adapter.names.get("g", "g").lower() in EITHER:
        yield "g is the gate itself" if adapter.gate_form == "factor" else "g is the logarithm of the gate"
    if "scale" not in adapter.parameters and adapter.reads and "fixed_scale" not in adapter.stated:
        yield f"takes no scale: o = {adapter.fixed_scale} S q"
    if adapter.key_norm is not None:
        yield f"normalises q and k itself{'' if adapter.key_norm == 'exact' else ', with 1e-6 under the root'}"
    if adapter.reads and one.returned.state is None:
        yield "returns no final state"
    elif adapter.reads and "output_final_state" not in adapter.parameters:
        yield "always returns the final state"
    if not one.agrees:
        yield _disagreement(one)


def _disagreement(one: Reading) -> str:
    """What is wrong under every reading; "" where one agrees."""
    if one.agrees:
        return ""
    usual = "no reading agrees with float64 in the probe: this one follows from shapes and defaults"
    return one.complaint or usual


def _does_without_gate(adapter: Adapter, one: Reading, device: str) -> bool:
    """Said by the default of g; where g is required, by a call with None."""
    if "g" not in adapter.required:
        return "g" in adapter.defaults and adapter.defaults["g"] is None
    if not one.agrees or adapter.preconditioned or adapter.calibrates:
        return False
    bare = replace(adapter, recurrence="delta_net", parameters=adapter.parameters - {"g"})
    case = replace(one.case, log_state_gate=None, recurrence="delta_net")
    try:
        return call_under(bare, case, device).agrees
    except KernelError:
        return False
