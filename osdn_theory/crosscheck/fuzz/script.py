"""A failure written: to be replayed, and as a script of its own with the exact inputs and float64 in a few lines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osdn_theory.base.folders import write_atomically
from osdn_theory.base.layouts import exchange_time_and_heads
from osdn_theory.base.validation import Array
from osdn_theory.crosscheck.cases.case import Case
from osdn_theory.crosscheck.check import is_interpreted
from osdn_theory.crosscheck.evidence.limits import Limit
from osdn_theory.crosscheck.examination.exercises.question import Answer
from osdn_theory.crosscheck.fuzz.held import TrialFault, known_of
from osdn_theory.crosscheck.fuzz.origin import Origin, origin_of
from osdn_theory.crosscheck.fuzz.replay import save_recording, versions
from osdn_theory.crosscheck.fuzz.texts import PARTS, RECURRENCES, tensor_literal
from osdn_theory.crosscheck.fuzz.trial import Trial
from osdn_theory.crosscheck.kernel.adapters import KEY_FLOOR, Adapter
from osdn_theory.crosscheck.kernel.calling import PER_TOKEN, KernelError, ask, ask_packed

if TYPE_CHECKING:
    from torch import Tensor

QUANTITIES = {
    "o": "outputs",
    "S": "states",
    "d": "preconditioner",
    "d handed on": "handed_on",
    "a": "alignment",
}
"""Name of a quantity -> that of its bound."""


@dataclass(frozen=True, eq=False)
class _Call:
    """The call that went wrong: the cases it was made of, and the arguments as the kernel got them, on the CPU."""

    adapter: Adapter
    cases: tuple[Case, ...]
    packed: bool
    given: Mapping[str, Any]

    def own(self, name: str) -> str:
        """The kernel's own name of an argument."""
        return self.adapter.names.get(name, name)


def write_failure(
    folder: Path,
    stem: str,
    adapter: Adapter,
    trial: Trial,
    fault: TrialFault,
    answers: Sequence[Answer],
    device: str,
) -> list[Path]:
    """Write them; a kernel that cannot be imported by name (a local function), or whose recurrence `texts` lacks, has
    no script.

    Raises OSError: if the folder cannot be written to.
    """
    recording = folder / f"{stem}.safetensors"
    save_recording(recording, adapter, trial, fault, answers, device)
    origin = origin_of(adapter)
    if origin is None or adapter.recurrence not in RECURRENCES:
        return [recording]
    script = folder / f"{stem}.py"
    write_atomically(script, write_script(adapter, trial, fault, answers, origin, device).encode())
    return [recording, script]


def write_script(
    adapter: Adapter, trial: Trial, fault: TrialFault, answers: Sequence[Answer], origin: Origin, device: str
) -> str:
    """The text of a script that makes the call that failed, and exits with 1 while it fails."""
    kernel = trial.adapter(adapter)
    call = _failing_call(kernel, trial, fault, answers)
    quantity = fault.what if fault.kind != "raised" else "o" if adapter.reads else "d"
    switched_on = 'os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported\n'
    interpreter = switched_on if is_interpreted(device) else ""
    inputs = _inputs(call)
    check = PARTS["check"].format(
        arguments=_arguments(call),
        read=_read(call, quantity) + _kept(call, quantity),
        exact=_exact(call, quantity) + _kept(call, quantity),
        bounds="\n".join(_bounds(kernel, call, quantity, device)),
        quantity=quantity,
    )
    encoded = "decoded(" in inputs + check
    needed = {"base64": encoded, "os": bool(interpreter), "sys": True}
    pieces = [
        PARTS["head"].format(
            title=_filled(f"{adapter.name}: {fault.detail}"),
            about=_filled(_about(trial, quantity, _limit(kernel, call.cases[0], quantity, device).basis)),
            standard="\n".join(f"import {name}" for name, used in needed.items() if used),
            interpreter=interpreter,
            imports=origin.lines(),
            device=device,
        ),
        PARTS["decoded"] if encoded else "",
        PARTS["laid"] if any(_has_gaps(value) for value in call.given.values()) else "",
        inputs,
        PARTS["unit"] if kernel.key_norm is not None else "",
        RECURRENCES[kernel.recurrence],
        PARTS["sequences"] if call.packed else "",
        check,
    ]
    return "\n\n\n".join(piece.strip("\n") for piece in pieces if piece) + "\n"


def _about(trial: Trial, quantity: str, basis: str) -> str:
    known = ", ".join(f"{name} {value}" for name, value in versions().items())
    return (
        f"Found by osdn-theory fuzz ({trial.question.name}, shrunk; {known}). It needs torch and the kernel alone: "
        f"makes the call, computes the recurrence in float64, and compares {quantity}. Exit code: 1 while the kernel "
        f"raises or leaves its bound, 0 once it does not. The bound: {basis}."
    )


def _filled(text: str) -> str:
    """For a docstring."""
    return textwrap.fill(text.replace("\\", "/").replace('"', "'"), 100, break_long_words=False)


def _failing_call(adapter: Adapter, trial: Trial, fault: TrialFault, answers: Sequence[Answer]) -> _Call:
    """Of several calls the one that failed, from the state that it was given."""
    question = trial.question
    packed = question.put == "packed"
    cases = question.cases
    if not packed:
        place = fault.case if fault.case >= 0 else len(answers)
        cases = (answers[place].case if place < len(answers) else question.cases[min(place, len(cases) - 1)],)
    recorded: dict[str, Any] = {}

    def record(**given: Any) -> Any:
        recorded.update(given)
        raise RuntimeError("recorded")

    listening = replace(adapter, call=record)
    with suppress(KernelError):
        if packed:
            ask_packed(listening, cases, "cpu")
        else:
            ask(listening, cases[0], "cpu", form=question.form)
    return _Call(adapter, tuple(cases), packed, recorded)


def _inputs(call: _Call) -> str:
    """One assignment for each tensor, under the kernel's own name."""
    lines = ["# What the kernel is given."]
    seen: dict[int, str] = {}
    for name, value in call.given.items():
        if not _is_tensor(value):
            continue
        if id(value) in seen:
            lines.append(f"{name} = {seen[id(value)]}")
            continue
        seen[id(value)] = name
        literal = tensor_literal(_array(value), str(value.dtype).removeprefix("torch."), device=True)
        laid = f"laid({literal}, {tuple(value.stride())})" if _has_gaps(value) else literal
        lines.append(f"{name} = {laid}")
    return "\n".join(lines)


def _arguments(call: _Call) -> str:
    items = [f"{name}={name if _is_tensor(value) else _plain(value)}" for name, value in call.given.items()]
    return _listed(items, 8)


def _plain(value: Any) -> str:
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _exact(call: _Call, quantity: str) -> str:
    """An expression for the quantity in float64, time first, states [K, V]."""
    adapter, first = call.adapter, call.cases[0]
    canonical = {
        name: _canonical(call, name) for name in ("q", "k", "v", "beta", "g", "g_d", "initial_state")
    }
    rule = first.rule
    d = call.own("initial_preconditioner")
    arguments = {
        "q": canonical["q"] if adapter.reads else canonical["k"],
        "k": canonical["k"],
        "v": canonical["v"] if adapter.reads else canonical["k"],
        "beta": canonical["beta"] if adapter.reads else f"{canonical['k']}[..., 0]",
        "g": canonical[adapter.forget_gate] if adapter.calibrates else canonical["g"],
        "state": canonical["initial_state"],
        "scale": _plain(first.scale),
    }
    if adapter.calibrates:
        arguments |= {
            "d": d if d in call.given else "None",
            "anchor": call.own("anchor") if call.own("anchor") in call.given else "None",
            "eta": _plain(rule.eta),
            "d_min": _plain(float(rule.d_min)),
            "d_max": _plain(float(rule.d_max)),
            "normalized": repr(rule.normalize_feedback),
            **({"aware": "True"} if rule.beta_aware else {}),
            **({"decay": canonical["g"]} if adapter.gated else {}),
        }
    given = _listed([f"{name}={value}" for name, value in arguments.items()], 4)
    place = list(_RESULTS).index(quantity)
    lengths = f"[{', '.join(str(case.stream.length) for case in call.cases)}]"
    run = f"one_by_one(\n    {lengths},\n" if call.packed else "recurrence(\n"
    return f"{run}{given}\n)[{place}].cpu()"


def _listed(items: Sequence[str], indent: int) -> str:
    """Arguments on as many lines as they need."""
    margin = " " * indent
    return textwrap.fill(
        ", ".join(items) + ",", 110, initial_indent=margin, subsequent_indent=margin, break_long_words=False
    )


def _kept(call: _Call, quantity: str) -> str:
    """Without the tokens that a kernel of whole multiples is filled up with."""
    if call.adapter.multiple == 1 or quantity in ("S", "d handed on"):
        return ""
    return f"[:, :{sum(case.stream.length for case in call.cases)}]"


_RESULTS = ("o", "S", "d", "d handed on", "a")
"""In the order in which the scripts' recurrences return them."""


def _canonical(call: _Call, name: str) -> str:
    """An argument in the layout of the recurrence: time first, states [K, V]."""
    own, adapter = call.own(name), call.adapter
    if own not in call.given or not _is_tensor(call.given[own]):
        return "None"
    text = own
    if name in PER_TOKEN and adapter.layout == "head first":
        text = f"{text}.transpose(1, 2)"
    if name == "initial_state" and adapter.state_layout == "VK":
        text = f"{text}.mT"
    if name == "g" and adapter.gate_form == "factor":
        text = f"{text}.double().log()"
    if name in ("q", "k") and adapter.key_norm is not None:
        text = f"unit({text}, {KEY_FLOOR[adapter.key_norm]})"
    return text


def _read(call: _Call, quantity: str) -> str:
    """An expression for the quantity in what the kernel returned, canonical."""
    adapter = call.adapter
    turned = ".transpose(1, 2)" if adapter.layout == "head first" else ""
    if not adapter.reads:
        return "parts[1]" if quantity == "d handed on" else f"parts[0]{turned}"
    if quantity == "o":
        return f"parts[{adapter.results.get('o', 0)}]{turned}"
    if quantity in ("d", "a"):
        field = "preconditioner" if quantity == "d" else "alignment"
        return f"parts[{adapter.results['trajectory']}].{field}{turned}"
    final = f"parts[{adapter.results['state']}]"
    if quantity == "d handed on":
        return f"{final}.preconditioner"
    return f'getattr({final}, "state", {final})' + (".mT" if adapter.state_layout == "VK" else "")


def _bounds(adapter: Adapter, call: _Call, quantity: str, device: str) -> Iterator[str]:
    """Items of a dict: the bound on every entry where there is one, and on norms; time first."""
    found = [_limit(adapter, case, quantity, device) for case in call.cases]
    entries = [limit.entries for limit in found if limit.entries is not None]
    kinds = {"every entry": entries, "norms": [limit.norm for limit in found]}
    for what, arrays in kinds.items():
        if len(arrays) == len(found):
            literal = tensor_literal(_time_first(arrays, quantity), "float64")
            yield textwrap.indent(f'"{what}": {literal},', "    ")


def _time_first(arrays: Sequence[Array], quantity: str) -> Array:
    if quantity in ("S", "d handed on"):
        # Of the last token, one for every sequence.
        return np.concatenate([array[:, :, -1] for array in arrays])
    return np.concatenate([exchange_time_and_heads(array) for array in arrays], axis=1)


def _limit(adapter: Adapter, case: Case, quantity: str, device: str) -> Limit:
    limit: Limit = getattr(known_of(adapter, case, device).limits, QUANTITIES[quantity])
    if case.stream.length or quantity not in ("S", "d handed on"):
        return limit
    return Limit(np.zeros((*case.stream.lead, 1)), None, "no token, no rounding")


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "stride")


def _has_gaps(value: Any) -> bool:
    return _is_tensor(value) and not value.is_contiguous()


def _array(value: Tensor) -> Array:
    return value.double().numpy() if value.is_floating_point() else value.numpy()
