"""What a signature says without a call, by the names that the field has for the arguments of these kernels."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from osdn_theory.base.validation import require

ARGUMENTS = (
    "q", "k", "v", "beta", "g", "scale", "eta", "d_min", "d_max", "anchor", "normalize_feedback",
    "initial_state", "initial_preconditioner", "output_final_state", "cu_seqlens", "chunk_size", "return_trajectory",
    "g_d", "beta_aware", "g_atk", "beta_atk", "initial_A_state", "use_qk_l2norm_in_kernel",
)  # fmt: skip
"""Arguments that the cross-check knows how to fill, by their names in flash-linear-attention and here."""

FACTORS = frozenset({"alpha", "alphas", "alpha_t", "forget_gate"})
"""Names of a gate that is no logarithm."""

EITHER = frozenset({"gate", "gates", "decay", "decays"}) | FACTORS
"""Names of a gate that may be one or not."""

OF_SOME = frozenset({"g_d", "beta_aware"})
"""Those of some forms of OSDN alone."""

PRECONDITIONED = frozenset({"g_atk", "beta_atk", "initial_A_state"})
"""Those of Preconditioned DeltaNet alone."""

SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "q": ("query", "queries", "xq", "q_t"),
    "k": ("key", "keys", "xk", "k_t"),
    "v": ("value", "values", "xv", "v_t"),
    "beta": ("betas", "b", "beta_t", "write_gate"),
    "g": (
        "gk", "log_gate", "log_decay", "log_alpha", "log_a", "g_t", "gate", "gates", "decay", "decays", "alpha",
        "alphas", "alpha_t", "forget_gate",
    ),
    "scale": ("softmax_scale", "sm_scale", "qk_scale", "scaling"),
    "initial_state": (
        "h0", "s0", "initial_s", "initial_h", "init_state", "state", "prev_state", "past_state", "last_state",
        "recurrent_state", "initial_recurrent_state", "last_recurrent_state",
    ),
    "initial_preconditioner": ("d0", "d1", "initial_d", "d_init"),
    "output_final_state": (
        "return_final_state", "output_state", "return_state", "return_last_state", "output_last_state",
        "return_final", "output_final",
    ),
    "cu_seqlens": ("offsets", "cu_seq_lens", "cu_seqlen", "cu_seqlens_q", "sequence_offsets"),
    "initial_A_state": ("a0", "initial_a"),
}  # fmt: skip
"""Canonical name -> what others call it, in lower case, the likeliest first."""

FIXED: Mapping[str, Any] = {"num_householder": 1, "chunk_size": 64}
"""Arguments that are given one value where a kernel requires them: with it, it computes a recurrence known here."""

ALIASES: Mapping[str, str] = {"p": "k"}
"""Arguments that are given another one's tensor where a kernel requires them: Comba erases with p, and p = k is the
delta rule."""

SWITCHED_OFF = ("use_q_l2norm", "use_k_l2norm")
"""Switches that are off in most kernels, and are turned off in the others."""

POSITIONAL = frozenset({"q", "k", "v"})
"""Passed by position where a kernel has its own names for them and they come first: what such functions hand over to
knows them by other names."""


def own_names(parameters: Iterable[str]) -> dict[str, str]:
    """Canonical name -> the kernel's own, of every parameter that is known; the canonical spelling wins."""
    given = list(parameters)
    lower = {name.lower(): name for name in reversed(given)}
    found = {name: name for name in ARGUMENTS if name in given}
    for canonical in ARGUMENTS:
        spellings = (canonical.lower(), *SYNONYMS.get(canonical, ()))
        match = next((lower[name] for name in spellings if name in lower), None)
        if canonical not in found and match is not None and match not in found.values():
            found[canonical] = match
    return {name: found[name] for name in ARGUMENTS if name in found}


@dataclass(frozen=True, eq=False)
class Signature:
    """A kernel's arguments by their canonical names.

    - `call`: The kernel, called with every argument by its own name.
    - `names`: Canonical to own, where they differ.
    - `required`: Without a default: None is passed where a call has nothing to say.
    - `options`: Own names and what they are always given.
    - `aliases`: Own names and the canonical argument whose tensor they are given.
    """

    call: Callable[..., Any]
    parameters: frozenset[str]
    names: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] = ()


def read_signature(kernel: Callable[..., Any], label: str, given: Mapping[str, Any]) -> Signature:
    """The signature of a kernel; `given` are options that somebody passes in every call, by its own names."""
    try:
        items = inspect.signature(kernel).parameters
    except ValueError:
        raise TypeError(f"kernel: the signature of {label} cannot be read; pass an Adapter") from None
    own = own_names(items)
    if "k" not in own and any(item.kind is item.VAR_KEYWORD for item in items.values()):
        return Signature(kernel, frozenset(ARGUMENTS) - PRECONDITIONED - OF_SOME)
    known = {name: items[mine] for name, mine in own.items()}
    needed = [item for item in items.values() if item.default is item.empty and "VAR" not in item.kind.name]
    fixed, aliases = _extras([item.name for item in needed], own, label, given)
    wanted = {"k"} if "v" not in own else {"q", "k", "v", "beta"}
    missing = sorted(wanted - set(own))
    require(not missing, f"kernel: {label} takes no argument {', '.join(missing)}, got {sorted(items)}")
    switched = {name: False for name in SWITCHED_OFF if name in items and items[name].default is True}
    return Signature(
        call=_by_name(kernel, items, own),
        parameters=frozenset(own),
        names={name: mine for name, mine in own.items() if mine != name},
        defaults={name: item.default for name, item in known.items() if item.default is not item.empty},
        required=frozenset(name for name, item in known.items() if item in needed),
        options={**switched, **fixed},
        aliases=aliases,
        findings=tuple(_findings(own, fixed, aliases, switched)),
    )


def _extras(
    needed: list[str], own: Mapping[str, str], label: str, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """What required arguments beyond the known ones are given."""
    known = set(own.values()) | set(given)
    extra = [name for name in needed if name not in known]
    fixed = {name: FIXED[name] for name in extra if name in FIXED}
    chunk = own.get("chunk_size", "")
    if chunk in needed and chunk not in given:
        fixed[chunk] = FIXED["chunk_size"]
    aliases = {name: ALIASES[name] for name in extra if name in ALIASES}
    unknown = [name for name in extra if name not in fixed and name not in aliases]
    require(not unknown, f"kernel: {label} requires {', '.join(unknown)}, unknown here; wrap it")
    return fixed, aliases


def _findings(
    own: Mapping[str, str], fixed: Mapping[str, Any], aliases: Mapping[str, str], switched: Mapping[str, Any]
) -> list[str]:
    renamed = ", ".join(f"{mine} is {name}" for name, mine in own.items() if mine != name)
    return [
        *([f"names: {renamed}"] if renamed else []),
        *(f"{name} is always {value}" for name, value in {**switched, **fixed}.items()),
        *(f"{name} is given the tensor of {other}" for name, other in aliases.items()),
    ]


def _by_name(
    kernel: Callable[..., Any], items: Mapping[str, inspect.Parameter], own: Mapping[str, str]
) -> Callable[..., Any]:
    """The kernel, with its leading arguments passed by position where they cannot or should not go by name."""
    order: list[str] = []
    canonical = {mine: name for name, mine in own.items()}
    for item in items.values():
        renamed = canonical.get(item.name) in POSITIONAL and canonical[item.name] != item.name
        by_position = item.kind is item.POSITIONAL_ONLY or (renamed and item.kind is not item.KEYWORD_ONLY)
        if not by_position:
            break
        order.append(item.name)
    if not order:
        return kernel

    def call(**given: Any) -> Any:
        last = max((at for at, name in enumerate(order) if name in given), default=-1)
        leading = [given.pop(name, items[name].default) for name in order[: last + 1]]
        return kernel(*leading, **given)

    return call
