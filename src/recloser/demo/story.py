"""The script: what goes wrong when, and what is told about it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, TypeVar

import aiohttp

from recloser.demo.clients import MODEL, Clients, Outcome
from recloser.demo.processes import Child, Children, DemoError
from recloser.demo.telling import Teller, Tone, count, lasting
from recloser.demo.watch import EventLog

CLIENTS = 5
PACE = "slow=10ms"
"""How a well provider answers: a pause between words, so that a stream takes a quarter of a second."""

_LOOK_EVERY = 0.02
_PATIENCE = 12.0
_CALM = 2.5
_BREATH = 1.2
T = TypeVar("T")


@dataclass(slots=True)
class Chapter:
    """What is left to say of an outage at the end."""

    number: int
    name: str
    began: float
    over: str = ""
    """Who stood in, and how soon after the first failure its first word came."""
    back: str = ""
    """How soon the provider answered again once it was well."""


@dataclass(slots=True)
class Story:
    """The script and its stage."""

    teller: Teller
    children: Children
    providers: list[Child]
    gateway: Child
    clients: Clients
    log: EventLog
    session: aiohttp.ClientSession
    chapters: list[Chapter] = field(default_factory=list)

    async def tell(self) -> None:
        """All of it."""
        await self._all_well()
        for outage in (self._storm, self._kill, self._limit, self._all_limited):
            await asyncio.sleep(_BREATH)
            await outage()
        await asyncio.sleep(_BREATH)

    async def _all_well(self) -> None:
        chapter = self._chapter("all well", "All is well")
        await asyncio.sleep(_CALM)
        done = [outcome for outcome in self.clients.done if outcome.ended >= chapter.began]
        by = " and ".join(sorted({outcome.provider for outcome in done if outcome.provider})) or "nobody"
        self.teller.say(
            f"{count(len(done), 'request')} answered by {by}. A plain answer takes {_median(done, stream=False)}, "
            f"a stream {_median(done, stream=True)}.",
            tone=Tone.WELL,
        )

    async def _storm(self) -> None:
        alpha, circuit = self.providers[0], f"model/{self.providers[0].name}/{MODEL}"
        chapter = self._chapter("529 storm", f"{alpha.name} is overloaded: a storm of 529")
        before = await self._report(alpha)
        began = await self._order(alpha, "529")
        self.teller.say(f"From now on {alpha.name} answers 529 (overloaded) to everything.", tone=Tone.TROUBLE)
        opened = await self._event("circuit_opened", began, subject=circuit)
        await self._fails_over(
            chapter,
            began,
            opened,
            f"After {count(opened['failures'], 'failure')} its circuit opens ({circuit}): {alpha.name} is not even "
            f"asked any more, for {lasting(opened['retry_after'])}.",
        )
        trial = await self._event("circuit_half_opened", opened["at"], subject=circuit)
        self.teller.say(f"Half-open after {lasting(trial['open_for'])}: one request may try.", at=trial["at"])
        again = await self._event("circuit_opened", trial["at"], subject=circuit)
        self.teller.say(
            f"Still {again['failure']}: open again, now for {lasting(again['retry_after'])}.",
            at=again["at"],
            tone=Tone.TROUBLE,
        )
        await self._until(again["at"] + again["retry_after"] / 2)
        well = await self._order(alpha)
        asked = (await self._report(alpha))["by_mode"].get("529", 0) - before["by_mode"].get("529", 0)
        answered = sum(o.fault is None and began <= o.ended < well for o in self.clients.done)
        self.teller.say(
            f"The storm is over, after {lasting(well - began)}. In it {alpha.name} was asked {asked} times, and "
            f"{count(answered, 'request')} got an answer. Nobody tells the gateway.",
            at=well,
        )
        await self._returns(chapter, circuit, well, since="the storm ended")

    async def _kill(self) -> None:
        alpha = self.providers[0]
        chapter = self._chapter("kill -9", f"{alpha.name} is killed")
        # They hang first: a stream of which its client has seen a part could only end in an error event.
        await self._order(alpha, "hang")
        hanging = await self._hanging(alpha)
        began = time.time()
        alpha.kill()
        self.teller.say(
            f"kill -9 {alpha.pid}, with {count(len(hanging), 'request')} in its hands that wait for a first word.",
            at=began,
            tone=Tone.TROUBLE,
        )
        opened = await self._event("circuit_opened", began, subject=f"endpoint/{alpha.name}")
        await self._fails_over(
            chapter,
            began,
            opened,
            f"{opened['failure'].capitalize()} {opened['failures']} times: the circuit of the whole address opens "
            f"({opened['subject']}), for {lasting(opened['retry_after'])}.",
        )
        await self._until(opened["at"] + opened["retry_after"] / 3)
        listen = f"127.0.0.1:{alpha.port}"
        alpha = self.providers[0] = await self.children.start(
            alpha.name, "chaos", "--name", alpha.name, "--listen", listen, "--mode", PACE
        )
        well = time.time()
        self.teller.say(f"{alpha.name} is started again (pid {alpha.pid}). Nobody tells the gateway.", at=well)
        await self._returns(chapter, opened["subject"], well, since="it listened again")
        await self._look(lambda: all(outcome.ended for outcome in hanging) or None, "the end of those requests")
        saved = sum(outcome.fault is None for outcome in hanging)
        self.teller.say(
            f"Of the {count(len(hanging), 'request')} it had in its hands, {saved} were answered in full.",
            tone=Tone.WELL if saved == len(hanging) else Tone.LOST,
        )

    async def _limit(self) -> None:
        alpha, circuit = self.providers[0], f"account/{self.providers[0].name}"
        chapter = self._chapter("usage limit", f"{alpha.name} has a usage limit")
        began = await self._order(alpha, "quota=6s", lasts="6s")
        self.teller.say(f"{alpha.name} says: usage limit reached, and when it resets.", at=began, tone=Tone.TROUBLE)
        opened = await self._event("circuit_opened", began, subject=circuit)
        resets = await self._reopens(opened)
        await self._fails_over(
            chapter,
            began,
            opened,
            f"Once is enough: the circuit of the account opens ({circuit}) until the reset, in "
            f"{lasting(resets - opened['at'])}. The provider's own word needs no guess.",
        )
        before = await self._report(alpha)
        await self._until(resets - 0.1)
        asked = (await self._report(alpha))["requests"] - before["requests"]
        self.teller.say(
            f"In all that time {count(asked, 'request') if asked else 'not one request'} went to {alpha.name}."
        )
        await self._returns(chapter, circuit, resets, since="the reset")

    async def _all_limited(self) -> None:
        names = " and ".join(child.name for child in self.providers)
        circuit = f"account/{self.providers[0].name}"
        chapter = self._chapter("all limited", "Nobody is left")
        began = time.time()
        for child in self.providers:
            await self._order(child, "quota=3s", lasts="3s")
        self.teller.say(f"A usage limit at {names}, for 3 s: no target is left.", at=began, tone=Tone.TROUBLE)
        most = await self._most_held()
        resets = await self._reopens(await self._event("circuit_opened", began, subject=circuit))
        failed = sum(outcome.started >= began for outcome in self.clients.lost)
        self.teller.say(f"{count(most, 'request')} held until the limit is over, {failed} failed.")
        await self._returns(chapter, circuit, resets, since="the reset")
        held = await self._look(lambda: self._held_since(began, most), "the answers to the held requests")
        longest = lasting(max(event["held"] for event in held))
        answered = sum(event["outcome"] == "ok" for event in held)
        chapter.over = f"held, at most {longest}"
        self.teller.say(
            f"{answered} of {count(len(held), 'held request')} answered; the longest was held for {longest}.",
            tone=Tone.WELL if answered == len(held) else Tone.LOST,
        )

    # What happens in every outage ------------------------------------------------------------------------------------

    def _chapter(self, name: str, title: str) -> Chapter:
        chapter = Chapter(len(self.chapters) + 1, name, time.time())
        self.chapters.append(chapter)
        self.teller.heading(f"{chapter.number}  {title}")
        return chapter

    async def _fails_over(self, chapter: Chapter, began: float, opened: dict[str, Any], about_opened: str) -> None:
        """Tell of the circuit that opened, and of the first request that met the outage and was answered elsewhere."""
        lines = [(opened["at"], about_opened, Tone.PLAIN)]
        chapter.over = "nobody"
        if len(self.providers) > 1:
            failed = await self._event("attempt_failed", began)
            met = failed["subject"].removeprefix("request/")
            request = await self._look(
                lambda: next((o for o in self.clients.done if o.id == met), None), f"{met} to end"
            )
            if request.fault is None:
                waited = lasting(request.first_byte - failed["at"])
                chapter.over = f"{request.provider}, {waited} later"
                about = (
                    f"The first request to meet it is answered by {request.provider}, whose first word comes {waited} "
                    "after the failure. Its client sees nothing of it."
                )
                lines.append((request.first_byte, about, Tone.WELL))
        for at, text, tone in sorted(lines, key=lambda line: line[0]):
            self.teller.say(text, at=at, tone=tone)

    async def _returns(self, chapter: Chapter, circuit: str, well: float, *, since: str) -> None:
        """Tell how the first provider comes back by itself."""
        name = self.providers[0].name
        trial = await self._event("circuit_half_opened", well - 0.05, subject=circuit)
        closed = await self._event("circuit_closed", trial["at"], subject=circuit)
        back = await self._look(
            lambda: next((o for o in self.clients.done if o.provider == name and o.first_byte >= well), None),
            f"an answer from {name}",
        )
        self.teller.say(
            f"Half-open, {lasting(trial['at'] - well)} after {since}: one request tries {name}.", at=trial["at"]
        )
        chapter.back = f"{lasting(back.first_byte - well)} after {since}"
        self.teller.say(
            f"It is answered in full: the circuit closes, and the traffic is back at {name}.",
            at=closed["at"],
            tone=Tone.WELL,
        )

    # What there is to see --------------------------------------------------------------------------------------------

    async def _event(self, kind: str, after: float, **facts: Any) -> dict[str, Any]:
        what = f"{kind} {facts.get('subject', '')}".strip()
        return await self._look(lambda: self.log.first(kind, after, **facts), what)

    async def _look(self, look: Callable[[], T | None], what: str) -> T:
        """Look until there is something to see."""
        end = time.monotonic() + _PATIENCE
        while (found := look()) is None:
            if time.monotonic() >= end:
                raise DemoError(f"waited {_PATIENCE:.0f} s in vain for {what}")
            await asyncio.sleep(_LOOK_EVERY)
        return found

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - time.time()))

    async def _json(self, method: str, url: str, body: Any = None) -> Any:
        async with self.session.request(method, url, json=body) as response:
            response.raise_for_status()
            return await response.json()

    async def _order(self, child: Child, mode: str | None = None, lasts: str | None = None) -> float:
        """Have a provider misbehave, or (without a mode) be well again; the time of it."""
        moment = time.time()
        wrong = [] if mode is None else [{"mode": mode, "for": lasts}]
        await self._json("POST", f"{child.url}/chaos", {"modes": [*wrong, PACE]})
        return moment

    async def _report(self, child: Child) -> Any:
        return await self._json("GET", f"{child.url}/chaos")

    async def _reopens(self, opened: dict[str, Any]) -> float:
        """When an open circuit admits again, by the gateway's own status, since a later word may have moved it."""
        status = await self._json("GET", f"{self.gateway.url}/api/status")
        retry_at = next((c["retry_at"] for c in status["circuits"] if c["name"] == opened["subject"]), None)
        if retry_at is None:
            return float(opened["at"] + opened["retry_after"])
        return datetime.fromisoformat(retry_at).timestamp()

    async def _hanging(self, child: Child) -> list[Outcome]:
        """The requests that a provider holds without a word, once every client has one there."""
        for _ in range(int(_PATIENCE / _LOOK_EVERY)):
            report = await self._report(child)
            if report["live"] == report["by_mode"].get("hang") == CLIENTS == len(self.clients.waiting):
                return list(self.clients.waiting.values())
            await asyncio.sleep(_LOOK_EVERY)
        raise DemoError(f"not every client came to {child.name}")

    async def _most_held(self) -> int:
        """How many requests the gateway holds, once every client has come to wait there."""
        most = 0
        for _ in range(int(1.5 / _LOOK_EVERY)):
            status = await self._json("GET", f"{self.gateway.url}/api/status")
            most = max(most, status["hold"]["requests"])
            if most == CLIENTS:
                break
            await asyncio.sleep(_LOOK_EVERY)
        return most

    def _held_since(self, began: float, at_least: int) -> list[dict[str, Any]] | None:
        ended = [e for e in self.log.refresh() if e["kind"] == "request_finished" and e["at"] > began and e["held"]]
        return ended if ended and len(ended) >= at_least else None


def _median(outcomes: list[Outcome], *, stream: bool) -> str:
    took = [outcome.ended - outcome.started for outcome in outcomes if outcome.stream is stream]
    return lasting(median(took)) if took else "(none came)"
