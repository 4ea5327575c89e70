"""One of several processes on one store: `python -m tests.breaker.shared_worker URL SETTINGS GATE`.

It takes orders on standard input, a line each, and answers each with a line of JSON. GATE is the reading end of a pipe
on which nobody writes: it ends for all processes at once, and that is the starting shot.
"""

import json
import os
import sys
import threading
import time
from typing import Any

from tests.breaker.scenes import BROKEN

from recloser.breaker import Breakers, HeldPermit
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import CircuitOpenError
from recloser.core.events import Event
from recloser.testing import in_threads

NAME = "model/a"


class Worker:
    """A process with circuits in a store."""

    def __init__(self, url: str, settings: CircuitSettings, gate: int) -> None:
        self.gate = gate
        self.held: list[HeldPermit] = []
        self.heard: list[tuple[Event, float]] = []
        self.news = threading.Condition()
        self.breakers = Breakers(settings, store=url, listeners=[self.hear])
        self.breaker = self.breakers[NAME]

    def hear(self, event: Event) -> None:
        with self.news:
            self.heard.append((event, time.monotonic()))
            self.news.notify_all()

    def ask(self) -> None:
        try:
            permit = self.breaker.acquire()
        except CircuitOpenError:
            return
        self.held.append(permit)

    def fail(self) -> None:
        for _ in range(5):
            self.breaker.acquire().fail(BROKEN)

    def rush(self, what: str, threads: int) -> int:
        """Do it in so many threads, all at once. How many permits are out after that."""
        together = threading.Barrier(threads, action=self.wait_at_gate)

        def work() -> None:
            together.wait()
            getattr(self, what)()

        in_threads(work, threads)
        return len(self.held)

    def wait_at_gate(self) -> None:
        print(json.dumps("ready"), flush=True)
        os.read(self.gate, 1)

    def obey(self, order: str, *arguments: Any) -> Any:
        match order:
            case "rush":
                return self.rush(*arguments)
            case "fail":
                self.breaker.acquire().fail(BROKEN)
            case "ask":
                self.ask()
                return len(self.held)
            case "succeed":
                self.held.pop().succeed()
            case "heard":
                with self.news:
                    assert self.news.wait_for(lambda: arguments[0] in [e.kind for e, _ in self.heard], timeout=30)
                return next(at for event, at in self.heard if event.kind == arguments[0])
            case "told":
                return [event.facts() for event, _ in self.heard]
            case "fork":
                return self.fork()
        return self.breaker.state

    def fork(self) -> Any:
        """What a copy of this process says of itself: its owner, its threads, and when it hears that one opens."""
        assert self.breakers._sharing is not None
        hear, say = os.pipe()
        if not os.fork():
            self.heard.clear()
            sharing = self.breakers._sharing
            print(json.dumps("forked"), flush=True)
            heard = self.obey("heard", "circuit_opened")
            threads = [thread.name for thread in threading.enumerate() if thread.name == "recloser-store"]
            os.write(say, json.dumps([sharing.owner, threads, heard, self.breaker.state]).encode())
            self.breakers.close()
            os._exit(0)
        os.close(say)
        said = b""
        while part := os.read(hear, 4096):
            said += part
        os.wait()
        return [self.breakers._sharing.owner, *json.loads(said)]


def main() -> None:
    """Obey until standard input ends."""
    url, settings, gate = sys.argv[1:]
    worker = Worker(url, CircuitSettings(**json.loads(settings)), int(gate))
    print(json.dumps("here"), flush=True)
    for line in sys.stdin:
        print(json.dumps(worker.obey(*json.loads(line))), flush=True)
    worker.breakers.close()


if __name__ == "__main__":
    main()
