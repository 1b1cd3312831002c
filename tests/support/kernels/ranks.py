"""Several ranks on this machine: what each process of a group runs, and what comes back."""

import copy
import os
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import osdn_kernels
import torch
from osdn_kernels.boundary.results import State
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import OnlineScaledDeltaNet
from osdn_kernels.parallel import context_parallel
from support.kernels.layer_cases import HIDDEN, build, draw as draw_input
from torch import Tensor, distributed

OPERATORS = {
    "osdn": "osdn_reference",
    "chunk": "chunk_osdn_reference",
    "osgdn": "osgdn_reference",
    "chunk kernels": "chunk_osdn",
    "recurrent kernels": "fused_recurrent_osdn",
}
DTYPES = (torch.float64, torch.float32)
PER_TOKEN = ("q", "k", "v", "beta", "g", "g_d")

BASE = {"operator": "osdn", "lengths": (5, 4, 6), "batch": 2, "heads": 2, "v_heads": 2, "rule": {"eta": 0.3}}
CASES: dict[str, dict] = {
    "plain": {},
    "uneven": {"lengths": (2, 9, 4)},
    "a rank without tokens": {"lengths": (5, 0, 7)},
    "forgetting": {"gates": ("g",), "anchor": 0.9},
    "anchored at d_1": {"gates": ("g",), "anchor": "start"},
    "all clips": {"rule": {"eta": 1.0, "d_min": 0.99, "d_max": 1.01}, "spread": 0.01, "scale_keys": 0.8},
    "some clip": {"rule": {"eta": 1.0, "d_min": 0.92, "d_max": 1.12}, "spread": 0.08, "scale_keys": 0.95},
    "pinned": {"rule": {"d_min": 1.0, "d_max": 1.0}, "spread": 0.0},
    "no step": {"rule": {"eta": 0.0}},
    "grouped heads": {"v_heads": 4},
    "packed": {"batch": 1, "bounds": (0, 3, 12, 12, 15)},
    "packed, gated": {"batch": 1, "bounds": (0, 7, 15), "gates": ("g",)},
    "packed, all forgotten at times": {
        "batch": 1,
        "bounds": (0, 7, 15),
        "gates": ("g",),
        "forgotten": [2, 8],
    },
    "chunks": {"operator": "chunk", "lengths": (40, 25, 33), "gates": ("g",)},
    "gated memory, beta-aware": {"operator": "osgdn", "gates": ("g", "g_d"), "anchor": 0.9},
    "values first, bounds on the host": {
        "operator": "osgdn",
        "batch": 1,
        "bounds": (0, 7, 15),
        "gates": ("g",),
        "rule": {"eta": 0.3, "state_v_first": True, "cu_seqlens_cpu": torch.tensor([0, 7, 15])},
    },
}


ON_KERNELS = {
    "chunk kernels": {"operator": "chunk kernels", "lengths": (5, 0, 7), "gates": ("g",), "anchor": 0.9},
    "recurrent kernels": {"operator": "recurrent kernels", "lengths": (2, 1, 2), "v_heads": 2},
}
"""In Triton's interpreter, which takes tens of seconds and does not run in threads."""

CASES |= {name: {"heads": 1, "v_heads": 1, "batch": 1, **case} for name, case in ON_KERNELS.items()}
IN_PROCESSES = ("plain", "some clip", "packed, gated", "chunks", "gated memory, beta-aware")
"""Cases that processes run; threads run all but those on kernels."""


def draw(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """The arguments of a case, for the whole sequence."""
    case = {**BASE, **CASES[name]}
    length, batch, heads, key_dim, value_dim = sum(case["lengths"]), case["batch"], case["heads"], 6, 3
    sequences = len(case["bounds"]) - 1 if "bounds" in case else batch
    drawn = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=drawn, dtype=torch.float64)

    keys = normal(batch, length, heads, key_dim)
    made = {
        "q": normal(batch, length, heads, key_dim),
        "k": case.get("scale_keys", 1.0) * keys / keys.norm(dim=-1, keepdim=True),
        "v": normal(batch, length, case["v_heads"], value_dim),
        "beta": normal(batch, length, case["v_heads"]).sigmoid(),
        "initial_state": normal(sequences, case["v_heads"], key_dim, value_dim),
        "initial_preconditioner": 1.0 + case.get("spread", 0.1) * normal(sequences, heads, key_dim).tanh(),
    }
    for gate in case.get("gates", ()):
        made[gate] = -0.3 * normal(batch, length, case["v_heads"]).exp()
    if "forgotten" in case:
        made["g"][:, case["forgotten"]] = -torch.inf
    if "state_v_first" in case["rule"]:
        made["initial_state"] = made["initial_state"].mT
    if "anchor" in case:
        start = made["initial_preconditioner"]
        made["anchor"] = (
            start.clone() if case["anchor"] == "start" else torch.full_like(start, case["anchor"])
        )
    return {key: x.to(dtype) for key, x in made.items()}


def operator_of(name: str):
    """Loaded when it is asked for: the references do not need Triton."""
    return getattr(osdn_kernels, OPERATORS[{**BASE, **CASES[name]}["operator"]])


def part(name: str, arguments: dict[str, Tensor], lengths: tuple[int, ...], rank: int) -> dict[str, Tensor]:
    """What a rank is given, and its bounds."""
    start = sum(lengths[:rank])
    mine = {
        key: x[:, start : start + lengths[rank]] if key in PER_TOKEN else x for key, x in arguments.items()
    }
    if "bounds" in CASES[name]:
        mine["cu_seqlens"] = (torch.tensor(CASES[name]["bounds"]) - start).clamp(0, lengths[rank])
    return mine


def lengths_of(name: str, ranks: int) -> tuple[int, ...]:
    """Tokens of each rank: with two, the last takes what two have of three."""
    first, *others = {**BASE, **CASES[name]}["lengths"]
    return (first, *others) if ranks == 3 else (first, sum(others))


def weigh(found: tuple[Tensor, State], seed: int) -> Tensor:
    """A loss that every entry has a weight of its own in; the final state counts once for all ranks."""
    o, final = found
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(s), dtype=x.dtype)
               for s, x in ((seed, o), (99, final.state), (98, final.preconditioner))]  # fmt: skip
    return sum((x * w).sum() for x, w in zip((o, *final), weights, strict=True))  # type: ignore[return-value]


def run(operator, name: str, given: dict[str, Tensor], loss) -> dict[str, Tensor]:
    """Outputs and gradients of one call."""
    leaves = {key: x.clone().requires_grad_(x.is_floating_point()) for key, x in given.items()}
    rule = {**BASE, **CASES[name]}["rule"]
    found = operator(**leaves, **rule, output_final_state=True)
    loss(found).backward()
    grads = {f"grad {key}": x.grad for key, x in leaves.items() if x.is_floating_point()}
    return {
        "o": found[0].detach(),
        "state": found[1].state.detach(),
        "d": found[1].preconditioner.detach(),
        **grads,
    }


def split_loss(name: str, lengths: tuple[int, ...], rank: int | None):
    """The loss of one rank, or of all of them together."""

    def loss(found: tuple[Tensor, State]) -> Tensor:
        pieces = [found[0]] if rank is not None else found[0].split(lengths, 1)
        numbers = [rank] if rank is not None else range(len(lengths))
        total = [weigh((piece, State(*(x / len(lengths) for x in found[1]))), number)
                 for piece, number in zip(pieces, numbers, strict=True)]  # fmt: skip
        return sum(total)  # type: ignore[return-value]

    return loss


def on_one(name: str, dtype: torch.dtype, ranks: int) -> dict[str, Tensor]:
    """The whole sequence in one call."""
    arguments = draw(name, dtype)
    if "bounds" in CASES[name]:
        arguments["cu_seqlens"] = torch.tensor(CASES[name]["bounds"])
    operator = operator_of(name)
    return run(operator, name, arguments, split_loss(name, lengths_of(name, ranks), None))


def on_ranks(name: str, dtype: torch.dtype, group) -> dict[str, Tensor]:
    """This rank's part of it."""
    lengths = lengths_of(name, group.size())
    operator = context_parallel(operator_of(name), group)
    mine = part(name, draw(name, dtype), lengths, group.rank())
    return run(operator, name, mine, split_loss(name, lengths, group.rank()))


def layer_case(
    layer: OnlineScaledDeltaNet, group=None, lengths: tuple[int, ...] = (3, 1, 9), *, cached: bool = True
) -> dict[str, Tensor]:
    """A layer on two stretches of tokens with padding in the first: outputs and gradients.

    If `cached`, one after the other; the loss is then of the cache as well, which is in what is found.
    """
    layer = copy.deepcopy(layer).double()
    kept = torch.arange(13) >= torch.tensor([[0], [2]])
    start = 0 if group is None else sum(lengths[: group.rank()])
    places = slice(start, None if group is None else start + lengths[group.rank()])
    cache, outputs = LayerCache() if cached else None, []
    for seed, mask in ((1, kept[:, places]), (2, None)):
        x = draw_input(2, 13, HIDDEN, seed=seed).double()[:, places]
        outputs.append(layer(x, mask, cache, cp_group=group)[0])
    weights = draw_input(2, 2, 13, HIDDEN, seed=3).double()[:, :, places]
    handed_on = (*(cache.tails or ()), *cache.state) if cache else ()
    shared = sum(x.square().sum() for x in handed_on)
    ((torch.stack(outputs) * weights).sum() + shared / (1 if group is None else group.size())).backward()
    grads = {f"grad {name}": p.grad for name, p in layer.named_parameters()}
    found = {"o": torch.stack(outputs).detach(), **grads}
    if cache:
        found |= {"state": cache.state.state.detach(), "d": cache.state.preconditioner.detach()}
        found |= {"tails": torch.cat(cache.tails or [cache.state.state], 2).detach()}
    return found


def main(rank: int, ranks: int, folder: Path, names: list[str]) -> None:
    """What one process runs; its results are in a file of its own."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), ranks)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    groups = {ranks: distributed.group.WORLD}
    if ranks > 2:
        groups[2] = distributed.new_group([0, 1])
    found = {}
    for size, group in groups.items():
        if rank < size:
            found |= {(size, name): on_ranks(name, torch.float32, group) for name in names}
    if "plain" in names:
        found[ranks, "layer"] = layer_case(build("everything"), distributed.group.WORLD)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def start(ranks: int, folder: Path, names: Iterable[str]) -> list[dict]:
    """Processes of a gloo group, and what each of them found."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WORLD_SIZE": str(ranks)}
    command = [sys.executable, "-m", "support.kernels.ranks", str(folder), *names]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True)
        for rank in range(ranks)
    ]
    try:
        for process in processes:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


if __name__ == "__main__":
    main(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), Path(sys.argv[1]), sys.argv[2:])
