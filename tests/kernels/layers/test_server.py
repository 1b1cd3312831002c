"""A small server: continuous batching over a pool, prompts in pieces, reuse of prefixes, drafted tokens.

Every token is that of the plain forward pass over the whole sequence.
"""

from dataclasses import dataclass, field

import pytest
import torch
from osdn_kernels.layers.cache import LayerCache
from osdn_kernels.layers.layer import CHUNK_SIZE
from support.kernels.layer_cases import HIDDEN, build
from torch import Tensor

VOCABULARY, SLOTS, PIECE, DRAFTED = 50, 6, 2 * CHUNK_SIZE, 2


class Model:
    """One layer between an embedding and a head."""

    def __init__(self) -> None:
        self.layer = build("forgetting").eval()
        rng = torch.Generator().manual_seed(3)
        self.embedding = torch.randn(VOCABULARY, HIDDEN, generator=rng)
        self.head = torch.randn(HIDDEN, VOCABULARY, generator=rng)

    def next_tokens(self, tokens: Tensor, **given) -> Tensor:
        """The likeliest token after each of [B, T]."""
        return self.read(tokens, **given)[0]

    def read(self, tokens: Tensor, **given) -> tuple[Tensor, LayerCache]:
        """Likewise, and the last of what the layer returns."""
        x = self.embedding[tokens]
        o, *_, last = self.layer(x, **given)
        return ((x + o) @ self.head).argmax(-1), last


@dataclass
class Request:
    tokens: list[int]
    wanted: int
    slot: int = -1
    done: int = 0
    """Tokens in the memory: all but the last once the prompt is read."""
    prompt: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.prompt = list(self.tokens)

    @property
    def finished(self) -> bool:
        return len(self.tokens) - len(self.prompt) >= self.wanted


class Server:
    def __init__(self, model: Model, slots: int = SLOTS) -> None:
        self.model, self.slots = model, slots
        self.cache = model.layer.new_cache(slots)
        self.free = list(range(slots))
        self.prefixes: dict[tuple[int, ...], LayerCache] = {}
        self.reused = self.accepted = self.rejected = 0

    def admit(self, request: Request) -> None:
        request.slot = self.free.pop()
        chunks = range(0, len(request.prompt), CHUNK_SIZE)
        known = [end for end in chunks if tuple(request.prompt[:end]) in self.prefixes]
        request.done = max(known, default=0)
        start = (
            self.prefixes[tuple(request.prompt[: request.done])] if known else self.model.layer.new_cache(1)
        )
        self.cache.put_(torch.tensor([request.slot]), start)
        self.reused += request.done

    def run(self, pieces: list[tuple[Request, list[int]]], **given) -> tuple[list[list[int]], LayerCache]:
        """What follows each token of some pieces, all packed into one call, with a row of no request at the end."""
        bounds = torch.tensor([0, *(len(piece) for _, piece in pieces), 0]).cumsum(0)
        rows = torch.tensor([*(request.slot for request, _ in pieces), -1])
        tokens = torch.tensor([[token for _, piece in pieces for token in piece]])
        found, last = self.model.read(
            tokens, cache=self.cache, cu_seqlens=bounds, state_indices=rows, **given
        )
        return [x.tolist() for x in found[0].split([len(piece) for _, piece in pieces])], last

    def prefill(self, requests: list[Request]) -> None:
        """The next piece of each prompt; what stands before its chunks is kept for prompts that begin alike."""
        pieces = [(r, r.prompt[r.done : r.done + PIECE]) for r in requests]
        found, between = self.run(pieces, return_intermediate_states=True)
        row = 0
        for (request, piece), after in zip(pieces, found, strict=True):
            for end in range(request.done, request.done + len(piece), CHUNK_SIZE):
                if end:
                    self.prefixes[tuple(request.prompt[:end])] = between.take(torch.tensor([row]))
                row += 1
            request.done += len(piece)
            if request.done == len(request.prompt):
                request.tokens.append(after[-1])

    def decode(self, requests: list[Request]) -> None:
        """One token each, in a batch that is as long as the pool."""
        rows = torch.tensor([*(r.slot for r in requests), *[-1] * (self.slots - len(requests))])
        tokens = torch.tensor([*(r.tokens[-1] for r in requests), *[0] * (self.slots - len(requests))])[
            :, None
        ]
        after = self.model.next_tokens(tokens, cache=self.cache, state_indices=rows)
        for request, token in zip(requests, after[:, 0].tolist(), strict=False):
            request.tokens.append(token)
            request.done += 1

    def speculate(self, request: Request, draft: list[int]) -> None:
        """Read the last token and a draft at once; then, from the memory before it, again what of it was right."""
        row = torch.tensor([request.slot])
        before = self.cache.take(row)
        drafted = [request.tokens[-1], *draft]
        (after,), _ = self.run([(request, drafted)])
        right = next((i for i, token in enumerate(draft) if token != after[i]), len(draft))
        self.accepted, self.rejected = self.accepted + right, self.rejected + len(draft) - right
        if right < len(draft):
            self.cache.put_(row, before)
            self.run([(request, drafted[: right + 1])])
        request.tokens += after[: right + 1]
        request.done += right + 1

    def serve(self, waiting: list[Request], draft) -> None:
        running: list[Request] = []
        while waiting or running:
            while waiting and self.free:
                running.append(waiting.pop(0))
                self.admit(running[-1])
            reading = [r for r in running if r.done < len(r.prompt)]
            writing = [r for r in running if r.done >= len(r.prompt)]
            if reading:
                self.prefill(reading)
            if writing:
                self.speculate(writing[0], draft(writing[0]))
            if writing[1:]:
                self.decode(writing[1:])
            for request in [r for r in running if r.finished]:
                running.remove(request)
                self.free.append(request.slot)


def requests(count: int) -> list[Request]:
    rng = torch.Generator().manual_seed(0)

    def draw(length: int) -> list[int]:
        return torch.randint(VOCABULARY, (length,), generator=rng).tolist()

    shared = [draw(CHUNK_SIZE), draw(PIECE)]
    lengths = torch.randint(1, 40, (count,), generator=rng).tolist()
    wanted = torch.randint(1, 7, (count,), generator=rng).tolist()
    return [
        Request((shared[i % 2] if i % 3 else []) + draw(length), n)
        for i, (length, n) in enumerate(zip(lengths, wanted, strict=True))
    ]


def served(model: Model, count: int, server: Server | None = None) -> tuple[Server, list[Request]]:
    server = server or Server(model)
    every = requests(count)
    plain = {id(r): list(r.tokens) for r in every}
    for request in every:  # what will come, for drafts that are right in part
        for _ in range(request.wanted + DRAFTED + 1):
            plain[id(request)].append(model.next_tokens(torch.tensor([plain[id(request)]]))[0, -1].item())

    def draft(request: Request) -> list[int]:
        coming = plain[id(request)][len(request.tokens) :][:DRAFTED]
        return [token if (len(request.tokens) + i) % 3 else 0 for i, token in enumerate(coming)]

    server.serve(list(every), draft)
    return server, every


def assert_plain(model: Model, every: list[Request]) -> None:
    for request in every:
        expected = model.next_tokens(torch.tensor([request.tokens]))[0, len(request.prompt) - 1 : -1]
        assert request.tokens[len(request.prompt) :] == expected.tolist()


@pytest.mark.parametrize(
    "backend", ["references", pytest.param("kernels", marks=pytest.mark.slow)], indirect=True
)
@torch.no_grad()
def test_every_token_is_that_of_the_plain_forward_pass(backend):
    model = Model()
    slots, count = (SLOTS, 64) if backend == "references" else (3, 5)
    server, every = served(model, count, Server(model, slots))
    assert_plain(model, every)
    assert len(server.free) == slots
    assert min(server.reused, server.accepted, server.rejected) > 0


def is_fresh(cache: LayerCache) -> bool:
    return not cache.state.state.any()


@pytest.mark.parametrize("fault", ["no rollback", "another prefix", "no fresh start"])
@pytest.mark.usefixtures("on_references")
@torch.no_grad()
def test_a_server_that_forgets_a_step_is_seen(fault):
    model = Model()
    server = Server(model)
    put = server.cache.put_

    def broken(rows: Tensor, other: LayerCache) -> None:
        prefixes = list(server.prefixes.values())
        if fault == "another prefix" and not is_fresh(other):
            put(rows, prefixes[0])
        elif fault == ("no fresh start" if is_fresh(other) else "no rollback") and other not in prefixes:
            return
        else:
            put(rows, other)

    server.cache.put_ = broken
    with pytest.raises(AssertionError):
        assert_plain(model, served(model, 24, server)[1])
