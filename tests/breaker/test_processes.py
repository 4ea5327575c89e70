"""Five real processes on one SQLite file."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.breaker.scenes import CLOSED, HALF_OPEN, OPEN
from tests.breaker.shared_worker import NAME

from recloser.core.circuit_state import Circuit, Lease
from recloser.stores.sqlite import SqliteStore

PROCESSES, THREADS = 5, 20
SETTINGS = {"failure_threshold": 5, "failure_rate": 0.0, "cooldown": 60.0, "jitter": 0.0, "permit_lease": 3600.0}


class Worker:
    """A process that takes orders."""

    def __init__(self, path: Path, settings: dict[str, Any], gate: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.breaker.shared_worker", f"sqlite:{path}", json.dumps(settings), str(gate)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[gate],
            cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip

    def order(self, *order: Any) -> None:
        assert self.process.stdin is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def __call__(self, *order: Any) -> Any:
        self.order(*order)
        return self.answer()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


class Site:
    """A file and the processes that use it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.workers: list[Worker] = []
        self.gate, self._shot = os.pipe()

    def start(self, count: int = PROCESSES, **settings: Any) -> list[Worker]:
        self.workers = [Worker(self.path, {**SETTINGS, **settings}, self.gate) for _ in range(count)]
        assert [worker.answer() for worker in self.workers] == ["here"] * count
        return self.workers

    def rush(self, what: str) -> int:
        """Let all threads of all processes do it at once; the permits that are out then."""
        for worker in self.workers:
            worker.order("rush", what, THREADS)
        assert [worker.answer() for worker in self.workers] == ["ready"] * len(self.workers)
        os.close(self._shot)
        return sum(worker.answer() for worker in self.workers)

    def store(self, change: Callable[[float], Circuit]) -> None:
        store = SqliteStore(self.path)
        store.update(NAME, lambda _: change(store.now()))
        store.close()

    def stored(self) -> Circuit:
        store = SqliteStore(self.path)
        circuit = store.load()[NAME]
        store.close()
        return circuit

    def end(self) -> None:
        for worker in self.workers:
            worker.process.communicate(timeout=30)
        os.close(self.gate)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "state.db")
    yield site
    site.end()


def due(now: float) -> Circuit:
    """Open, and its cooldown is over."""
    return Circuit(state=OPEN, generation=1, seq=1, failures=5, opened_at=now - 60.0, open_until=now - 1.0, openings=1)


def trying(owner: str, seconds: float) -> Callable[[float], Circuit]:
    """Half-open, with a trial under way that has so many seconds left."""
    return lambda now: Circuit(
        state=HALF_OPEN, generation=2, seq=2, opened_at=now - 60.0, permits=1,
        leases=(Lease(1, now, now + seconds, owner),),
    )  # fmt: skip


@pytest.mark.parametrize("permits", [1, 3])
def test_of_a_hundred_threads_in_five_processes_exactly_as_many_may_try_as_the_settings_say(
    site: Site, permits: int
) -> None:
    site.store(due)
    site.start(half_open_permits=permits)
    assert site.rush("ask") == permits
    stored = site.stored()
    assert (stored.state, stored.generation, len(stored.leases)) == (HALF_OPEN, 2, permits)


def test_failures_of_a_hundred_threads_in_five_processes_are_all_counted(site: Site) -> None:
    """And nobody waits so long for the file that the store would be lost."""
    workers = site.start(failure_threshold=0)
    site.rush("fail")
    assert site.stored().failures == PROCESSES * THREADS * 5
    assert [worker("told") for worker in workers] == [[]] * PROCESSES


def test_one_failure_in_each_process_opens_it_and_all_hear_of_that_within_a_second(site: Site) -> None:
    workers = site.start()
    assert [worker("fail") for worker in workers] == [CLOSED] * 4 + [OPEN]
    at = [worker("heard", "circuit_opened") for worker in workers]
    assert max(at) - at[-1] < 1.5, "half a second until the next look; the rest is for a busy machine"
    assert {worker("state") for worker in workers} == {OPEN}
    seqs = [[event["seq"] for event in worker("told")] for worker in workers]
    assert seqs == [[5]] * PROCESSES


def test_a_killed_process_loses_its_trial_at_once(site: Site) -> None:
    site.store(due)
    first, second, *_ = site.start(3)
    assert first("ask") == 1
    assert second("ask") == 0
    first.kill()
    assert second("ask") == 1, "with an hour left of the lease"
    second("succeed")
    assert site.stored().state is CLOSED


@pytest.mark.parametrize(("left", "admitted", "told"), [(3600.0, 0, []), (-0.001, 1, ["permit_expired"])])
def test_a_process_elsewhere_keeps_its_trial_until_the_deadline(
    site: Site, left: float, admitted: int, told: list[str]
) -> None:
    """Whether it has ended, nobody on this host can know."""
    site.store(trying("elsewhere/4026531836/4711/1/1", left))
    (worker,) = site.start(1)
    assert worker("ask") == admitted
    assert [event["kind"] for event in worker("told")] == told


def test_a_copy_of_a_process_is_another_owner_and_goes_on_hearing(site: Site) -> None:
    parent, other = site.start(2)
    parent.order("fork")
    assert parent.answer() == "forked"
    for _ in range(5):
        other("fail")
    owner, copys_owner, threads, heard, state = parent.answer()
    assert owner != copys_owner
    assert threads == ["recloser-store"]
    assert heard > 0
    assert state == parent("state") == OPEN
