"""Two processes that share a circuit in the library's own store, in real time."""

import contextlib
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.compare.library import Library
from benchmarks.compare.row import NONE, Told, fact, judged
from benchmarks.compare.store_worker import COOLDOWN
from benchmarks.compare.stores import NoServer, Place, opened

LEASE = 2.0
PATIENCE = 8.0


class Worker:
    """A process with a breaker."""

    def __init__(self, library: Library, place: Place) -> None:
        argv = [sys.executable, "-m", "benchmarks.compare.store_worker", library.package, place.url, str(LEASE)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def __call__(self, order: str) -> Any:
        """Give an order and wait for the answer."""
        assert self._process.stdin is not None
        print(order, file=self._process.stdin, flush=True)
        return self._answer()

    def die(self) -> None:
        """Without a word to anybody."""
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the worker is gone")
        return json.loads(line)


@contextlib.contextmanager
def _two(library: Library, place: Place) -> Iterator[tuple[Worker, Worker]]:
    one = Worker(library, place)
    try:
        other = Worker(library, place)
        try:
            yield one, other
        finally:
            other.die()
    finally:
        one.die()


Story = Callable[[Worker, Worker, Place], Told]


def _shared(question: str) -> Callable[[Story], Story]:
    """A row about two processes."""

    def keep(story: Story) -> Story:
        @functools.wraps(story)
        def find(library: Library) -> Told:
            if not library.store:
                return NONE
            try:
                with opened(library.store) as place, _two(library, place) as (one, other):
                    return story(one, other, place)
            except NoServer as missing:
                print(missing, file=sys.stderr)
                return Told("not run")

        fact(question)(find)
        return story

    return keep


@_shared("A circuit that one process opens is open in the other")
def heard_of(one: Worker, other: Worker, _: Place) -> Told:
    other("call")
    one("fail 3")
    give_up_at = time.monotonic() + COOLDOWN * 0.8
    while time.monotonic() < give_up_at:
        if other("call") == "refused":
            return judged(True)
        time.sleep(0.05)
    return judged(False)


@fact("Processes on several machines can share a circuit")
def between_machines(library: Library) -> Told:
    """Whether its store is a server; that it shares is what the row above shows."""
    if not library.store:
        return NONE
    return judged(library.store == "redis", "" if library.store == "redis" else "those of one machine")


@_shared("20 callers in each of 2 processes when the cooldown ends: how many reach the upstream (1 is asked for)")
def one_trial_for_all(one: Worker, other: Worker, _: Place) -> Told:
    other("call")
    one("fail 3")
    time.sleep(COOLDOWN + 0.5)
    reached = one("hold 20") + other("hold 20")
    return Told(str(reached), reached == 1)


@_shared("A trial whose process died does not shut the others out for ever, while they go on asking")
def dead_owner(one: Worker, other: Worker, _: Place) -> Told:
    other("call")
    one("fail 3")
    time.sleep(COOLDOWN + 0.5)
    one("hold 1")
    one.die()
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        if other("call") == "answered":
            return judged(True)
        time.sleep(0.1)
    return judged(False)


@_shared("With the store gone, calls still give their results")
def store_gone(one: Worker, _other: Worker, place: Place) -> Told:
    one("call")
    place.die()
    came = {one("call") for _ in range(3)} - {"answered"}
    return judged(not came, ", ".join(sorted(came)))


@_shared("With the store gone, it still opens")
def opens_alone(one: Worker, _other: Worker, place: Place) -> Told:
    one("call")
    place.die()
    one("fail 3")
    return judged(one("call") == "refused")
