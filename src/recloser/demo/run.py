"""Sets the stage, has the story told, clears the stage, and sums up."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp

from recloser.core.circuit_settings import CircuitSettings
from recloser.demo.clients import Clients, Outcome
from recloser.demo.processes import COOLDOWN, THRESHOLD, Child, Children, DemoError, children, gateway_config
from recloser.demo.story import CLIENTS, PACE, Story
from recloser.demo.summary import Summary, sum_up
from recloser.demo.telling import Teller, Tone, count
from recloser.demo.watch import EventLog

NAMES = ("alpha", "beta", "gamma")
_MOST_LOSSES_TOLD = 12
_TICK = 0.25


async def demo(teller: Teller, number_of_providers: int) -> bool:
    """Tell the whole story. True if nothing was lost and nothing unexpected happened."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with tempfile.TemporaryDirectory(prefix="recloser-demo-", ignore_cleanup_errors=True) as name:
        summary = await _perform(teller, Path(name), NAMES[:number_of_providers])
    sum_up(teller, summary)
    return summary.all_well


async def _perform(teller: Teller, folder: Path, names: Sequence[str]) -> Summary:
    async with children(folder) as family, aiohttp.ClientSession() as session:
        providers = await asyncio.gather(*(_provider(family, name) for name in names))
        config = folder / "recloser.toml"
        config.write_text(gateway_config(providers), "utf-8")
        gateway = await family.start("gateway", "serve", "--config", str(config))
        _introduce(teller, providers, gateway)
        log = EventLog(folder / "events" / "events.jsonl")
        clients = Clients(gateway.url, session, _Losses(teller))
        story = Story(teller, family, list(providers), gateway, clients, log, session)
        surprise = None
        async with _at_work(teller, clients, names):
            try:
                await story.tell()
            except (DemoError, aiohttp.ClientError) as error:
                surprise = str(error) or repr(error)
                teller.say(f"The script cannot go on: {surprise}", tone=Tone.LOST)
        await family.end()  # the gateway writes down what is left to write
        return Summary(names, clients.done, log.refresh(), story.chapters, surprise, teller.started)


async def _provider(family: Children, name: str) -> Child:
    return await family.start(name, "chaos", "--name", name, "--listen", "127.0.0.1:0", "--mode", PACE)


def _introduce(teller: Teller, providers: Sequence[Child], gateway: Child) -> None:
    who = ", ".join(f"{child.name} (pid {child.pid})" for child in providers)
    teller.say(f"Real processes on loopback: the gateway (pid {gateway.pid}); simulated providers: {who}.")
    usual = CircuitSettings()
    teller.say(
        f"Circuits are quicker here than by default, so that you need not wait: they open after {THRESHOLD} failures, "
        f"not {usual.failure_threshold}, for {COOLDOWN} s at first, not {usual.cooldown:g} s."
    )
    teller.say(
        f"{CLIENTS} clients ask without pause, on Anthropic's and OpenAI's wire, plain and streaming, and check every "
        "answer word for word, to its last event."
    )


class _Losses:
    """Tells of lost requests, but not of hundreds."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._told = 0

    def __call__(self, outcome: Outcome) -> None:
        self._told += 1
        if self._told <= _MOST_LOSSES_TOLD:
            what = f"{outcome.wire}, {'stream' if outcome.stream else 'plain'}"
            self._teller.say(f"Lost: request {outcome.number} ({what}): {outcome.fault}", tone=Tone.LOST)
        if self._told == _MOST_LOSSES_TOLD:
            self._teller.say("Further losses are counted, not told.", tone=Tone.LOST)


@contextlib.asynccontextmanager
async def _at_work(teller: Teller, clients: Clients, names: Sequence[str]) -> AsyncIterator[None]:
    """Clients that ask, and a running line about them."""
    asking = asyncio.create_task(clients.run(CLIENTS))
    ticking = asyncio.create_task(_tick(teller, clients, names))
    try:
        yield
        clients.stop()
        await asking
    finally:
        for task in (asking, ticking):
            task.cancel()
        await asyncio.gather(asking, ticking, return_exceptions=True)


async def _tick(teller: Teller, clients: Clients, names: Sequence[str]) -> None:
    while True:
        await asyncio.sleep(_TICK)
        now = time.time()
        recent = [outcome for outcome in clients.done[-200:] if outcome.ended > now - 1.0]
        rates = ", ".join(f"{name} {sum(o.provider == name for o in recent)}/s" for name in names)
        waiting = sum(outcome.started < now - 1.0 for outcome in clients.waiting.values())
        teller.running(f"{count(len(clients.done), 'request')}: {rates}, {waiting} waiting, {len(clients.lost)} lost")
