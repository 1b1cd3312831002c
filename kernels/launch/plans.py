"""Calls that are made again: what one allocated, computed and launched, without the Python that decided on it.

For short sequences a GPU is done before the host has decided what to launch next, though a call decides nothing that
one like it has not: it looks at numbers, and at the shapes, dtypes and places of tensors, never at what these hold. So
the second call of a kind is watched, and those after it go through its steps with tensors of their own. A tensor in
between is let go after the step after which the watched call let go of it: no call takes more memory for this.
"""

import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

ATEN = torch.ops.aten
EMPTY = {ATEN.empty.memory_format, ATEN.empty_like.default, ATEN.new_empty.default}
ZEROS = {ATEN.zeros.default, ATEN.zeros_like.default, ATEN.new_zeros.default}

_thread = threading.local()


class Chooser(Protocol):
    """What configurations of a kernel are chosen by."""

    def takes(self, key: Hashable) -> object:
        """The configuration that a launch of the kind `key` would be made with; None where that is not known."""


class Step(NamedTuple):
    """An operator of PyTorch's or a launch: ``call(*args, **options)``.

    `places` are those in `args` that tensors go to, each with the tensor's number; `found` are the numbers of those
    that it returns, one or, unless it is `single`, a sequence; `ended` are the numbers of those not needed afterwards.
    """

    call: Callable[..., Any]
    args: list[Any]
    options: dict[str, Any]
    places: list[tuple[int, int]]
    found: list[int]
    single: bool
    ended: list[int]


class CallPlan(NamedTuple):
    """The steps of a call, whose arguments and tensors are numbered, arguments first; `run` goes through them.

    `choices` has each launch's chooser, its kind and the configuration.
    """

    steps: list[Step]
    choices: list[tuple[Chooser, Hashable, object]]
    run: Callable[[Sequence[Any]], tuple[Tensor, ...]]

    def holds(self) -> bool:
        """Whether its launches would be made with the same configurations today."""
        return all(chooser.takes(key) is config for chooser, key, config in self.choices)


class Recorder(TorchDispatchMode):
    """Notes what a call does inside; `fits` is whether that can be done again."""

    def __init__(self, given: Sequence[Any]) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self.choices: list[tuple[Chooser, Hashable, object]] = []
        self.fits = True
        self.launching = False
        self.given = self.count = len(given)
        self.numbers = {id(x): i for i, x in enumerate(given) if isinstance(x, Tensor)}
        self.living: dict[int, weakref.ref[Tensor]] = {}

    def __enter__(self) -> "Recorder":
        _thread.recorder = self
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _thread.recorder = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        found = func(*args, **options)
        # What Triton allocates around a launch it allocates around every one.
        if not self.launching:
            self.note(func, args, options, found)
        return found

    def launch(self, call: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Make a launch, and note it."""
        self.launching = True
        try:
            found = call(*args, **options)
        finally:
            self.launching = False
        self.note(call, args, options, None)
        return found

    def choose(self, chooser: Chooser, key: Hashable, config: object) -> None:
        """Note the configuration that the next launch is made with."""
        self.choices.append((chooser, key, config))

    def note(
        self, call: Callable[..., Any], args: Sequence[Any], options: dict[str, Any], found: Any
    ) -> None:
        single = isinstance(found, Tensor)
        if call in EMPTY or (call in ZEROS and found.is_contiguous()):
            call, args, options = _make(found, zeros=call in ZEROS), (), {}
        elif any(map(_holds_tensors, args)) or any(isinstance(x, Tensor) for x in options.values()):
            leaves, shape = tree_flatten((args, options))
            call, args, options = partial(_call_nested, call, shape), leaves, {}
        made: Sequence[Any] = [found] if single else () if found is None else found
        if not isinstance(made, list | tuple) or not all(isinstance(x, Tensor) for x in made):
            self.fits = False
        if not self.fits:
            return
        places = [(i, self.number(x)) for i, x in enumerate(args) if isinstance(x, Tensor)]
        template = [None if isinstance(x, Tensor) else x for x in args]
        self.steps.append(Step(call, template, options, places, [], single, []))
        self.steps[-1].found.extend([self.number(x, new=True) for x in made])

    def number(self, x: Tensor, *, new: bool = False) -> int:
        """Of a tensor; one that was there before and not given cannot be had again."""
        if id(x) not in self.numbers:
            self.fits = self.fits and new
            self.numbers[id(x)] = self.count
            self.living[id(x)] = weakref.ref(x, partial(self.let_go, id(x)))
            self.count += 1
        return self.numbers[id(x)]

    def let_go(self, identity: int, _: object) -> None:
        self.steps[-1].ended.append(self.numbers.pop(identity))

    def plan(self, results: Sequence[Tensor]) -> CallPlan | None:
        """What has been noted, for calls to come; None where it does not fit them."""
        numbers = [self.number(x) for x in results]
        self.living.clear()
        if not self.fits:
            return None
        plan = CallPlan(self.steps, self.choices, write(self.steps, numbers, self.given))
        return plan if plan.holds() else None


def recorder() -> Recorder | None:
    """What notes the launches of this thread."""
    found: Recorder | None = getattr(_thread, "recorder", None)
    return found


def launch(call: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> Any:
    """``call(*args, **options)``, noted where launches are."""
    found = recorder()
    return call(*args, **options) if found is None else found.launch(call, args, options)


def give_up() -> None:
    """Say that what is done now would not be done again, or is not noted."""
    found = recorder()
    if found is not None:
        found.fits = False


def _make(like: Tensor, *, zeros: bool) -> Callable[..., Any]:
    """What makes such a tensor, straight: PyTorch takes thrice as long to read the arguments of a schema."""
    kind: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    if zeros:
        return partial(torch.zeros, like.shape, **kind)
    return partial(torch.empty_strided, like.shape, like.stride(), **kind)


def write(
    steps: Sequence[Step], results: Sequence[int], given: int
) -> Callable[[Sequence[Any]], tuple[Tensor, ...]]:
    """Steps as a function of Python's with a variable for each tensor: to look it up takes as long as most steps."""
    known: dict[str, Any] = {}

    def named(value: Any) -> str:
        name = f"known{len(known)}"
        known[name] = value
        return name

    lines = [_targets(range(given)) + " = given"]
    for step in steps:
        words = [named(x) for x in step.args]
        for place, number in step.places:
            words[place] = f"x{number}"
        words += [f"{name}={named(x)}" for name, x in step.options.items()]
        call = f"{named(step.call)}({', '.join(words)})"
        found = f"x{step.found[0]}" if step.single else _targets(step.found)
        lines.append(f"{found} = {call}" if step.found else call)
        if step.ended:
            lines.append(f"del {_targets(step.ended)}")
    lines.append(f"return ({_targets(results)})")
    exec("\n    ".join(["def run(given):", *lines]), known)
    run: Callable[[Sequence[Any]], tuple[Tensor, ...]] = known["run"]
    return run


def _targets(numbers: Iterable[int]) -> str:
    return "".join(f"x{number}, " for number in numbers)


def _holds_tensors(x: Any) -> bool:
    """Whether an argument is one that holds tensors."""
    return isinstance(x, list | tuple) and any(isinstance(each, Tensor) for each in x)


def _call_nested(call: Callable[..., Any], shape: TreeSpec, *leaves: Any) -> Any:
    """An operator that takes tensors in lists."""
    args, options = tree_unflatten(leaves, shape)
    return call(*args, **options)
