"""Paired rounds: every variant in a process of its own, all alive at once, taking turns."""

from __future__ import annotations

import multiprocessing
import random
import sys
import time
from multiprocessing.connection import Connection

from benchmarks.variants import GROUPS

WARM_UP = 200


def _worker(group: str, variant: str, uri: str, orders: Connection) -> None:
    work = GROUPS[group][variant](uri)
    work(WARM_UP)
    orders.send(None)
    while (times := orders.recv()) is not None:
        begun = time.process_time()
        work(times)
        orders.send((time.process_time() - begun) / times * 1e6)


def measure(group: str, uri: str, rounds: int, times: int) -> dict[str, list[float]]:
    """CPU microseconds for one piece of work, for each variant and round."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for variant in GROUPS[group]:
        ours, theirs = context.Pipe()
        process = context.Process(target=_worker, args=(group, variant, uri, theirs), daemon=True)
        process.start()
        pipes[variant] = ours
        processes.append(process)
    for pipe in pipes.values():
        pipe.recv()
    taken: dict[str, list[float]] = {variant: [] for variant in pipes}
    for done in range(rounds):
        for variant in random.sample(list(pipes), len(pipes)):
            pipes[variant].send(times)
            taken[variant].append(pipes[variant].recv())
        print(f"\r{group}: round {done + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print("\r" + " " * 70 + "\r", end="", file=sys.stderr, flush=True)
    for process, pipe in zip(processes, pipes.values(), strict=True):
        pipe.send(None)
        process.join(10)
        process.kill()
    return taken
