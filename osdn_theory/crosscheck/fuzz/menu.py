"""What cases may be made of, by the names under which they are drawn and counted; and one draw from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from osdn_theory.base.tables import read_table
from osdn_theory.crosscheck.cases.case import DTYPES, Case, Dtype, pose
from osdn_theory.crosscheck.evidence.limits import is_proved, models_of
from osdn_theory.crosscheck.kernel.adapters import Adapter
from osdn_theory.crosscheck.kernel.calling import KernelError, ask
from osdn_theory.crosscheck.kernel.recurrences import GATED_OSDN
from osdn_theory.recurrence.rules import BOUNDED
from osdn_theory.streams.stream import Stream

CHUNK_SIZES = (16, 32, 64)
"""Tokens per chunk that are tried."""

_SIZE = 16
"""Tokens and features of the harmless input: a size that even a kernel with narrow tastes has."""


@dataclass(frozen=True)
class Takes:
    """What cases are drawn from besides the signature.

    - `chunk_sizes`: Beside the kernel's default; none where it takes no `chunk_size`, or it is fixed.
    - `empty`: Whether T = 0 is taken.
    - `refused`: What the kernel raised at, and so is not drawn.
    """

    dtypes: tuple[Dtype, ...]
    chunk_sizes: tuple[int, ...]
    empty: bool
    refused: tuple[str, ...] = ()


def find_out(adapter: Adapter, device: str, dtypes: Sequence[Dtype] = ()) -> Takes:
    """Call the kernel on harmless input, in every dtype and chunk size, and without tokens.

    `dtypes` that are asked for by name are drawn whatever the kernel says to them.
    """
    refused: list[str] = []

    def takes(what: str, kernel: Adapter, case: Case) -> bool:
        try:
            ask(kernel, case, device, what=f"a call on harmless input, {what}")
        except (KernelError, NotImplementedError) as error:
            refused.append(f"{what} ({' '.join(str(error).split())})")
            return False
        return True

    taken = tuple(dtypes) or tuple(name for name in DTYPES if takes(name, adapter, _harmless(adapter, name)))
    if not taken:
        raise KernelError(f"kernel: {adapter.name} takes harmless input in no dtype: {refused[0]}")
    case = _harmless(adapter, taken[0])
    free = "chunk_size" in adapter.parameters and "chunk_size" not in adapter.options
    default = adapter.defaults.get("chunk_size")
    sizes = tuple(
        size
        for size in (CHUNK_SIZES if free else ())
        if size != default and takes(f"chunk_size={size}", _with(adapter, size), case)
    )
    return Takes(taken, sizes, takes("T = 0", adapter, case.piece(0, 0)), tuple(refused))


def _with(adapter: Adapter, chunk_size: int) -> Adapter:
    return replace(adapter, options={**adapter.options, "chunk_size": chunk_size})


def _harmless(adapter: Adapter, dtype: Dtype) -> Case:
    """Orthonormal keys, one head, and none of the options."""
    keys = np.eye(_SIZE)[None, None]
    gate = np.ones(keys.shape if adapter.gates_features else keys.shape[:-1]) if adapter.gated else None
    stream = Stream(keys=keys, values=keys, state_gate=gate, name="harmless")
    return pose(adapter, stream, BOUNDED, dtype)


Menu = Mapping[str, Mapping[str, float]]
"""Property -> its kinds with their weights."""

_MENU: Mapping[str, Menu] = read_table(__file__)

_NEEDS = {
    "eta": "eta",
    "d_1": "initial_preconditioner",
    "feedback": "normalize_feedback",
    "awareness": "beta_aware",
    "gate": "g",
    "anchor": "anchor",
}
"""Argument without which a property of the rule is not drawn."""

_GROWING = {"beta": {"up to 2"}, "eta": {"large"}, "box": {"wide", "above alone", "below alone", "open"}}
"""What makes a memory or an error in d grow: not drawn where an allowance is all that is known, which ignores that."""


def menu_of(adapter: Adapter, takes: Takes) -> Menu:
    """What may be drawn for a kernel."""
    has = adapter.parameters.__contains__
    menu = {name: dict(kinds) for name, kinds in _MENU["always"].items()}
    if takes.empty:
        menu["T"]["0"] = 0.5
    menu["put"] = {"apart": 4.0}
    if has("cu_seqlens"):
        menu["put"]["packed"] = 2.0
        menu["sequences"] = {"one empty": 1, "one of one token": 1, "none empty": 1}
    if has("initial_state") and (has("initial_preconditioner") or not adapter.calibrates):
        menu["put"]["continued"] = 2.0
    menu["dtype"] = dict.fromkeys(takes.dtypes, 1.0)
    menu["chunk_size"] = {"default": 1.0, **{str(size): 1.0 for size in takes.chunk_sizes}}
    if has("scale"):
        menu["scale"] = {"K^-1/2": 2, "1": 1, "drawn": 1, "negative": 0.5}
    if has("initial_state"):
        menu["S_0"] = {"zero": 2, "normal": 2, "large": 1}
    if adapter.calibrates:
        menu |= {name: dict(kinds) for name, kinds in _MENU["rule"].items() if has(_NEEDS.get(name, "k"))}
    if adapter.gated:
        menu["gate"] = {"ones": 1, "mild": 2, "strong": 1, "strong and ones": 1}
        if adapter.recurrence in GATED_OSDN:
            menu["gate"] |= {"closing": 1.0, **({"none": 1.0} if adapter.gate_optional else {})}
    if adapter.calibrates and adapter.gated and not has_bound(adapter, takes.dtypes):
        for name in _GROWING.keys() & menu.keys():
            menu[name] = {kind: weight for kind, weight in menu[name].items() if kind not in _GROWING[name]}
    if not adapter.reads:
        menu = {
            name: kinds
            for name, kinds in menu.items()
            if name not in ("V", "queries", "values", "scale", "S_0")
        }
    return menu


def has_bound(adapter: Adapter, dtypes: Sequence[Dtype]) -> bool:
    """Whether T18 bounds what a kernel returns in each of these dtypes, so that cases may grow."""
    return all(is_proved(_harmless(adapter, dtype), models_of(adapter, dtype)) for dtype in dtypes)


@dataclass(eq=False)
class Hand:
    """Random choices from a menu, of which it keeps count."""

    rng: np.random.Generator
    menu: Menu
    chosen: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, otherwise: str = "") -> str:
        """One kind of a property; `otherwise` where the menu has no such property."""
        kinds = self.menu.get(name)
        if kinds is None:
            return otherwise
        weights = np.array(list(kinds.values()), dtype=np.float64)
        kind = list(kinds)[self.rng.choice(len(kinds), p=weights / weights.sum())]
        self.chosen[name] = kind
        return kind

    def settle(self, name: str, kind: str) -> str:
        """What a property has to be after all."""
        if name in self.chosen:
            self.chosen[name] = kind
        return kind

    @property
    def uses(self) -> frozenset[str]:
        """What was chosen, as "property: kind"."""
        return frozenset(f"{name}: {kind}" for name, kind in self.chosen.items())
