"""A coordinator of several agents. Its loops are paced by circuits, not by a `sleep` in an `except` block.

It has the three loops that such programs have, and each is a `loop()` of a circuit of its own:

- `start` polls for work;
- `orchestrate` gives every agent its turn, through a circuit per agent;
- `watch_context`, one for each agent, keeps the agent's context from running full.

What fails in a turn is charged to the circuit and ends the turn, not the loop. While a circuit is open, its loop takes
no turns; whatever happens, none of them spins. Run it (about a second; agents and work are simulated):

    python examples/coordinator.py
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator

from recloser import Breakers, CircuitOpenError, CircuitSettings

# Everything is quick here. In real life an interval is seconds, a cooldown from seconds to minutes.
LOOP = CircuitSettings(failure_threshold=3, cooldown=0.1, cooldown_max=1.0)
AGENT = CircuitSettings(failure_threshold=3, cooldown=0.1, cooldown_max=1.0)


class Coordinator:
    """Has agents do the work of a backlog."""

    def __init__(self, backlog: "Backlog", agents: Iterable["Agent"]) -> None:
        self.backlog = backlog
        self.agents = list(agents)
        self.loops = Breakers(LOOP)
        self.circuits = Breakers(AGENT)
        self.done: list[str] = []
        self._waiting: deque[str] = deque()

    async def start(self) -> None:
        """Poll for work until there is no more, while the other loops see to it that it is done."""
        async with asyncio.TaskGroup() as others:
            running = [others.create_task(self.orchestrate())]
            running += [others.create_task(self.watch_context(agent)) for agent in self.agents]
            async for turn in self.loops["poll"].loop(interval=0.02):
                async with turn:
                    self._waiting.extend(await self.backlog.fetch())
                if len(self.done) == self.backlog.size:
                    break
            for task in running:
                task.cancel()

    async def orchestrate(self) -> None:
        """Give every agent its turn, as long as there is work and not all of them are out of order."""
        async for turn in self.loops["orchestrate"].loop(interval=0.01):
            async with turn:
                if not self._waiting or self.circuits.should_pause(max_open=len(self.agents)):
                    turn.ignore()  # nothing to do says nothing about health
                else:
                    await asyncio.gather(*map(self._one_turn, self.agents))

    async def _one_turn(self, agent: "Agent") -> None:
        """Have an agent do the next task. If it cannot, that is charged to it alone, and the task waits for another."""
        if not self._waiting:
            return
        task = self._waiting.popleft()
        try:
            answer = await self.circuits[agent.name].call_async(agent.work, task)
        except (CircuitOpenError, AgentError):
            self._waiting.append(task)
        else:
            self.done.append(answer)

    async def watch_context(self, agent: "Agent") -> None:
        """Look how full an agent's context is, and have it compacted in time."""
        async for turn in self.loops[f"context of {agent.name}"].loop(interval=0.03):
            async with turn:
                if await agent.context_used() > 0.6:
                    await agent.compact()

    def statistics(self) -> Iterator[str]:
        """What became of every circuit, as lines of a table."""
        circuits = [*self.loops.snapshot().circuits.values(), *self.circuits.snapshot().circuits.values()]
        yield f"{'circuit':22} {'state':9} {'turns':>5} {'failed':>6} {'opened':>6} {'denied':>6}  last failure"
        for c in sorted(circuits, key=lambda c: c.name):
            counts = f"{c.admitted:5} {c.failed:6} {c.open_count:6} {c.denied:6}"
            yield f"{c.name:22} {c.state:9} {counts}  {c.last_kind or '-'}"
        turns, failed = sum(c.admitted for c in circuits), sum(c.failed for c in circuits)
        opened, denied = sum(c.open_count for c in circuits), sum(c.denied for c in circuits)
        yield f"{'all':22} {'':9} {turns:5} {failed:6} {opened:6} {denied:6}"


# What is simulated: a backlog and agents that are out of order for a while.


class AgentError(Exception):
    """An agent could not do its task."""


class Backlog:
    """Hands out tasks, three at a time; cannot be reached for some of the requests."""

    def __init__(self, size: int, unreachable: range = range(0)) -> None:
        self.size = size
        self._tasks = [f"task {number}" for number in range(1, size + 1)]
        self._unreachable = unreachable
        self._requests = 0

    async def fetch(self) -> list[str]:
        """The next tasks."""
        self._requests += 1
        await asyncio.sleep(0.001)
        if self._requests in self._unreachable:
            raise ConnectionError("the backlog does not answer")
        taken, self._tasks = self._tasks[:3], self._tasks[3:]
        return taken


class Agent:
    """Does a task in a few milliseconds; fails at some of them, and where its context is full."""

    def __init__(self, name: str, fails: range = range(0)) -> None:
        self.name = name
        self._fails = fails
        self._tasks = 0
        self._context = 0.0

    async def work(self, task: str) -> str:
        """Do a task."""
        self._tasks += 1
        await asyncio.sleep(0.004)
        if self._tasks in self._fails:
            raise AgentError(f"{self.name} came back without an answer")
        if self._context >= 1.0:
            raise AgentError(f"the context of {self.name} is full")
        self._context += 0.05
        return f"{task}, done by {self.name}"

    async def context_used(self) -> float:
        """How full its context is: 1.0 is full."""
        return self._context

    async def compact(self) -> None:
        """Summarize what is in its context."""
        await asyncio.sleep(0.002)
        self._context = 0.1


async def main() -> None:
    """Have three agents do sixty tasks. One is out of order for a while, and so is the backlog."""
    agents = [Agent("planner"), Agent("coder", fails=range(5, 9)), Agent("reviewer", fails=range(8, 9))]
    coordinator = Coordinator(Backlog(60, unreachable=range(6, 10)), agents)
    began = time.monotonic()
    await coordinator.start()
    print(f"{len(coordinator.done)} tasks done in {time.monotonic() - began:.1f} s\n")
    print("\n".join(coordinator.statistics()))


if __name__ == "__main__":
    logging.getLogger("recloser").setLevel(logging.ERROR)  # it warns of each turn that fails; the table tells of them
    asyncio.run(main())
