"""How many tokens a request has: asked where somebody counts, estimated elsewhere, and nobody is charged."""

import json
from collections.abc import Mapping
from typing import Any, Self

import pytest

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.classify import TIMEOUT, UNREACHABLE, Row
from recloser.gateway import estimate
from recloser.gateway.asks import Ask, Broke, Chunk, GatewayStops, Head, Now, ReadAll, Reply, Send
from recloser.gateway.counters import COUNTERS
from recloser.gateway.counting import COUNTED_WITHIN, FORGOTTEN_AFTER, MOST_REMEMBERED, Counting, Uncounted
from recloser.gateway.events import AttemptFailed
from recloser.gateway.request import Request
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.gateway.wires import WIRES
from recloser.testing import ManualClock, RecordingSink

MESSAGES = [{"role": "user", "content": "How many words are in this?"}]
TOOL = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}
BODIES: dict[str, dict[str, Any]] = {
    "anthropic": {"model": "m", "system": "Be short.", "messages": MESSAGES, "tools": [TOOL]},
    "openai-responses": {"model": "m", "instructions": "Be short.", "input": MESSAGES},
    "gemini": {
        "contents": [{"role": "user", "parts": [{"text": "How many words are in this?"}]}],
        "systemInstruction": {"parts": [{"text": "Be short."}]},
    },
}
ANSWERS = {
    "anthropic": b'{"input_tokens": 17, "kept": true}',
    "openai-responses": b'{"object": "response.input_tokens", "input_tokens": 17}',
    "gemini": b'{"totalTokens": 17, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 17}]}',
}
PATHS = {
    "anthropic": "/v1/messages/count_tokens",
    "openai-responses": "/responses/input_tokens",
    "gemini": "/v1beta/models/up:countTokens",
}
GEMINI_ALONE = {"contents": BODIES["gemini"]["contents"]}


class Question:
    """One question, talked through: `ask` is what it wants done now, None once it is over."""

    def __init__(
        self,
        wire: str = "anthropic",
        *providers: str,
        body: Mapping[str, Any] | None = None,
        breakers: Breakers | None = None,
        uncounted: Uncounted | None = None,
    ) -> None:
        """`providers` are the wires of a, b, c, ..., which serve the model as `up`."""
        self.clock = ManualClock(start=1000.0)
        self.sink = RecordingSink()
        self.breakers = breakers or Breakers(CircuitSettings(failure_threshold=1, jitter=0.0), clock=self.clock)
        named = dict(zip("abcdef", providers or (wire,), strict=False))
        settings = {
            name: ProviderSettings(kind="compatible", wire=of, base_url="http://127.0.0.1:1")
            for name, of in named.items()
        }
        routes = Routes(settings, {"*": RouteSettings(targets=tuple(f"{name}/up" for name in named))}, {})
        counted = COUNTERS[wire].counted(json.dumps(BODIES[wire] if body is None else body).encode())
        envelope = WIRES[wire].read(counted, "m")
        self.request = Request(
            id="req_1", wire=WIRES[wire], envelope=envelope, body=counted, targets=routes.targets("m") or ()
        )
        self._talk = Counting(
            self.request, self.breakers, uncounted=uncounted or Uncounted(), emit=self.sink,
            wall_clock=self.clock.time, now=self.clock.monotonic(),
        ).run()  # fmt: skip
        self.asked: list[Send] = []
        self.reply: Reply | None = None
        self.ask: Ask | None = None
        self._go(next, self._talk)

    def answers(self, body: bytes, status: int = 200) -> Self:
        """The target answers."""
        self._go(self._talk.send, Head(status, {"content-type": "application/json"}, self.clock.monotonic()))
        assert isinstance(self.ask, ReadAll)
        return self._go(self._talk.send, Chunk(body, self.clock.monotonic()))

    def breaks(self, row: Row = UNREACHABLE) -> Self:
        """The connection breaks."""
        return self._go(self._talk.send, Broke(row, "broken", self.clock.monotonic()))

    def gateway_stops(self) -> Self:
        """The drain time is over."""
        return self._go(self._talk.throw, GatewayStops())

    @property
    def told(self) -> dict[str, Any]:
        """What the client was told."""
        assert self.ask is None
        assert self.reply is not None
        return json.loads(self.reply.body)  # type: ignore[no-any-return]

    @property
    def estimated(self) -> bool:
        """Whether the client was told that nobody had counted."""
        assert self.reply is not None
        return self.reply.headers.get("x-recloser-estimated") == "true"

    @property
    def failures(self) -> list[tuple[str, str | None]]:
        """Kind and circuit of what went wrong."""
        return [(event.failure, event.circuit) for event in self.sink.events if isinstance(event, AttemptFailed)]

    def _go(self, step: Any, argument: Any) -> Self:
        try:
            self.ask = step(argument)
            while isinstance(self.ask, Reply):
                self.reply = self.ask
                self.ask = self._talk.send(Now(self.clock.monotonic()))
        except StopIteration:
            self.ask = None
        if isinstance(self.ask, Send):
            self.asked.append(self.ask)
        return self


def number(wire: str, told: dict[str, Any]) -> int:
    return int(told["totalTokens" if wire == "gemini" else "input_tokens"])


@pytest.mark.parametrize("wire", COUNTERS)
class TestWhereSomebodyCounts:
    def test_a_provider_of_the_same_wire_is_asked_in_the_clients_words(self, wire: str) -> None:
        question = Question(wire)
        (sent,) = question.asked
        assert (sent.wire, sent.path) == (wire, PATHS[wire])
        said = json.loads(sent.body)
        if wire == "gemini":
            assert said == {"generateContentRequest": {**BODIES[wire], "model": "models/up"}}
        else:
            assert said == {**BODIES[wire], "model": "up"}

    def test_its_answer_passes_through(self, wire: str) -> None:
        question = Question(wire).answers(ANSWERS[wire])
        assert question.reply is not None
        assert question.reply.body == ANSWERS[wire]
        assert question.reply.headers["x-recloser-target"] == "a/up"
        assert question.reply.headers["x-recloser-attempts"] == "1"
        assert not question.estimated

    @pytest.mark.parametrize("provider", COUNTERS)
    def test_a_provider_of_another_wire_is_asked_in_its_own_words(self, wire: str, provider: str) -> None:
        question = Question(wire, provider)
        (sent,) = question.asked
        assert (sent.wire, sent.path) == (provider, PATHS[provider])
        assert "How many words are in this?" in sent.body.decode()
        assert "Be short." in sent.body.decode()
        assert "max_tokens" not in sent.body.decode()
        question.answers(ANSWERS[provider])
        assert number(wire, question.told) == 17
        assert not question.estimated

    def test_what_cannot_be_counted_there_is_estimated(self, wire: str) -> None:
        question = Question(wire, "openai-chat")
        assert question.asked == []
        assert number(wire, question.told) == estimate.tokens(question.request.read()) > 0
        assert question.estimated
        assert question.reply is not None
        assert question.reply.headers["x-recloser-attempts"] == "0"

    def test_the_next_that_counts_is_asked_after_a_failure(self, wire: str) -> None:
        question = Question(wire, wire, "openai-chat", wire).breaks()
        assert [sent.target.label for sent in question.asked] == ["a/up", "c/up"]
        assert number(wire, question.answers(ANSWERS[wire]).told) == 17

    @pytest.mark.parametrize("garbage", [b"", b"{}", b"[]", b"<html>", b'{"input_tokens":-1,"totalTokens":-1}'])
    def test_garbage_is_no_count(self, wire: str, garbage: bytes) -> None:
        question = Question(wire).answers(garbage)
        assert question.estimated
        assert question.failures == [("malformed", None)]

    def test_a_stopping_gateway_says_so(self, wire: str) -> None:
        question = Question(wire).gateway_stops()
        assert question.reply is not None
        assert question.reply.status == 503
        assert "error" in question.told


class TestNobodyIsCharged:
    @pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 503, 529])
    def test_whatever_goes_wrong(self, status: int) -> None:
        question = Question("anthropic", "anthropic", "anthropic").answers(b"{}", status).breaks(TIMEOUT)
        assert question.estimated
        assert [circuit for _, circuit in question.failures] == [None, None]
        for name in "ab":
            for circuit in (f"account/{name}", f"endpoint/{name}", f"model/{name}/up"):
                assert question.breakers.denial(circuit) is None
                assert question.breakers[circuit].snapshot().failures == 0

    def test_nobody_waits_for_long(self) -> None:
        """Two are asked, each for a few seconds; then it is estimated."""
        question = Question("anthropic", *["anthropic"] * 4)
        for _ in range(2):
            assert isinstance(question.ask, Send)
            assert question.ask.until == question.clock.monotonic() + COUNTED_WITHIN
            question.clock.advance(COUNTED_WITHIN)
            question.breaks(TIMEOUT)
        assert question.estimated
        assert len(question.asked) == 2

    def test_who_is_broken_is_not_asked(self) -> None:
        """Nor is a trial of its circuit used up."""
        clock = ManualClock(start=1000.0)
        breakers = Breakers(CircuitSettings(failure_threshold=1, cooldown=5.0, jitter=0.0), clock=clock)
        breakers["endpoint/a"].force_open(reason="broken")
        question = Question("anthropic", "anthropic", "anthropic", breakers=breakers)
        assert [sent.target.label for sent in question.asked] == ["b/up"]

    def test_a_trial_is_left_to_traffic(self) -> None:
        clock = ManualClock(start=1000.0)
        breakers = Breakers(CircuitSettings(failure_threshold=1, cooldown=5.0, jitter=0.0), clock=clock)
        breakers["model/a/up"].acquire().fail(UNREACHABLE.failure())
        clock.advance(6.0)
        question = Question(breakers=breakers)
        assert [sent.target.label for sent in question.asked] == ["a/up"]
        assert breakers["model/a/up"].denial() is None


class TestWhoKnowsNoCounting:
    def test_is_not_asked_again_for_a_while(self) -> None:
        uncounted = Uncounted()
        assert Question(uncounted=uncounted).answers(b"not found", 404).estimated
        assert Question(uncounted=uncounted).asked == []
        again = Question(uncounted=uncounted)
        uncounted.note(again.request.targets[0], "anthropic", again.clock.monotonic() - FORGOTTEN_AFTER)
        assert len(Question(uncounted=uncounted).asked) == 1

    def test_an_outage_is_no_such_thing(self) -> None:
        uncounted = Uncounted()
        Question(uncounted=uncounted).answers(b"{}", 503)
        assert len(Question(uncounted=uncounted).asked) == 1

    def test_no_more_are_remembered_than_there_is_room_for(self) -> None:
        """Names of models come from clients."""
        uncounted = Uncounted()
        routes = Routes(
            {"a": ProviderSettings(kind="compatible", wire="anthropic", base_url="http://127.0.0.1:1")},
            {"*": RouteSettings(targets=("a/{model}",))},
            {},
        )
        targets = [(routes.targets(f"m{number}") or ())[0] for number in range(MOST_REMEMBERED + 1)]
        for target in targets:
            uncounted.note(target, "anthropic", 0.0)
        assert not uncounted.has(targets[0], "anthropic", 1.0)
        assert uncounted.has(targets[1], "anthropic", 1.0)
        assert uncounted.has(targets[-1], "anthropic", 1.0)


class TestGeminisTwoForms:
    def test_contents_alone_stand_by_themselves(self) -> None:
        (sent,) = Question("gemini", body=GEMINI_ALONE).asked
        assert json.loads(sent.body) == GEMINI_ALONE

    def test_a_whole_request_stands_in_a_field_of_its_own(self) -> None:
        whole = {"generateContentRequest": {"model": "models/m", **BODIES["gemini"]}}
        (sent,) = Question("gemini", body=whole).asked
        assert json.loads(sent.body) == {"generateContentRequest": {**BODIES["gemini"], "model": "models/up"}}


def test_a_question_that_cannot_be_read_is_refused() -> None:
    question = Question(body={"model": "m", "messages": [{"role": "user", "content": 5}]})
    assert question.reply is not None
    assert question.reply.status == 400
    assert "messages" in question.told["error"]["message"]
