"""Processes beside each other, each with one thread, spread over the GPUs."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from multiprocessing.sharedctypes import Synchronized
from threading import Thread

import torch


def pool_of(workers: int, device: str = "cpu") -> ProcessPoolExecutor:
    """Processes with one thread each, so that they do not wait for each other's.

    - `device`, "cuda" or "cpu": With "cuda" they take the GPUs in turn; what "cuda" means inside is each one's own.
    """
    context = get_context("spawn")
    turn = context.Value("i", 0)
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=begin_worker, initargs=(turn, count_gpus(device))
    )


def count_gpus(device: str) -> int:
    """How many GPUs a pool on a device has."""
    return torch.cuda.device_count() if device == "cuda" else 0


def begin_worker(turn: "Synchronized[int]", gpus: int) -> None:
    """Settle a new process, whose turn it is to take a GPU, before anything else in it touches one."""
    end_with_parent()
    torch.set_num_threads(1)
    if gpus:
        with turn:
            torch.cuda.set_device(turn.value % gpus)
            turn.value += 1


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended.

    Left alone, a worker whose command was killed would train on beside the next one, in its files, and never end.
    """

    def follow() -> None:
        parent = parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    Thread(target=follow, daemon=True).start()
