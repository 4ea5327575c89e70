"""Guards together, and what a client, a target and the event log get of what they see."""

import json
import logging
from dataclasses import dataclass
from typing import Any

import pytest
from tests.gateway.conversation import ANSWER, Conversation
from tests.gateway.guards.asking import EVERY_WIRE, TASK, asked, sent, steps, texts, user

from recloser.core.events import Event
from recloser.gateway.asks import Send
from recloser.gateway.events import GuardTripped
from recloser.gateway.guards import Guards, guard_kinds, made
from recloser.gateway.guards.guard import Action, Guard, Stage, Verdict
from recloser.gateway.guards.tool_count import CountSettings, ToolCount
from recloser.gateway.guards.tool_loop import LoopSettings, ToolLoop
from recloser.gateway.request import Request
from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import Refusal

LOOPING = (TASK, *steps("find", "find", "find"))
ADDRESSES = {"gemini": ("m", False)}


@dataclass(frozen=True)
class NoSettings:
    """A guard without any."""


class Marks(Guard):
    """Adds a word to every request, so that it can be seen who looked when."""

    Settings = NoSettings

    def __init__(self, word: str, stage: Stage = Stage.ASKED, *, refuses: bool = False) -> None:
        self.word = word
        self.stage = stage  # type: ignore[misc]  # of this one alone
        self.refuses = refuses
        self.heard_of: list[Event] = []

    def look(self, request: Request, now: float) -> Verdict | None:
        if self.refuses:
            return Verdict(action=Action.REFUSE, why=self.word, refusal=Refusal(400, "no", self.word))
        instead = request.edited(lambda editor: editor.say("user", self.word))
        return Verdict(action=Action.HINT, why=f"at {now:g}", instead=instead)

    def heard(self, event: Event) -> None:
        self.heard_of.append(event)


class Broken(Guard):
    """Fails at everything."""

    Settings = NoSettings

    def __init__(self) -> None:
        pass

    def look(self, request: Request, now: float) -> Verdict | None:
        raise RuntimeError("a bug")

    def heard(self, event: Event) -> None:
        raise RuntimeError("another bug")


class Reads(Guard):
    """Reads every request."""

    Settings = NoSettings

    def __init__(self) -> None:
        pass

    def look(self, request: Request, now: float) -> Verdict | None:
        request.read()
        return None


def looked(request: Request, **guards: Guard) -> tuple[Request, list[str]]:
    left, seen = Guards(guards, lambda: 7.0).look(request)
    return left, [one.guard for one in seen]


def talk(*turns: Any, wire: str = "anthropic", **guards: Guard) -> Conversation:
    """A whole exchange with a client that sends these turns."""
    request = asked(*turns, wire=wire)
    return Conversation(request.body, wire=wire, guards=guards, address=ADDRESSES.get(wire, ("", False)))


class TestTogether:
    def test_each_sees_what_the_one_before_left(self) -> None:
        request, seen = looked(asked(user("hi")), one=Marks("1"), two=Marks("2"))
        assert seen == ["one", "two"]
        assert texts(request) == ["hi", "1", "2"]

    def test_they_look_by_their_stages_whatever_the_order_of_the_configuration(self) -> None:
        late, trims, early = Marks("late", Stage.SENT), Marks("trims", Stage.TRIMMED), Marks("early")
        request, _ = looked(asked(user("hi")), late=late, trims=trims, early=early)
        assert texts(request) == ["hi", "early", "trims", "late"]

    def test_nobody_looks_after_a_refusal(self) -> None:
        _, seen = looked(asked(user("hi")), one=Marks("1"), no=Marks("no", refuses=True), two=Marks("2"))
        assert seen == ["one", "no"]

    def test_a_request_that_cannot_be_read_is_still_looked_at_by_those_who_need_not_read_it(self) -> None:
        odd = sent({"model": "m", "messages": [{"role": "user", "content": [{"type": 3}]}]})
        left, seen = looked(odd, reads=Reads(), no=Marks("no", refuses=True))
        assert (left, seen) == (odd, ["no"])

    def test_one_that_fails_is_passed_over_and_that_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        broken, marks = Broken(), Marks("1")
        guards = Guards({"broken": broken, "marks": marks}, lambda: 7.0)
        with caplog.at_level(logging.ERROR, "recloser"):
            for _ in range(3):
                assert [one.guard for one in guards.look(asked(user("hi")))[1]] == ["marks"]
        assert [record.getMessage().split()[1:3] for record in caplog.records] == [["guard", "broken"]]

    def test_one_that_cannot_listen_does_not_keep_the_others_from_it(self) -> None:
        marks = Marks("1")
        event = Event(subject="x", seq=1)
        Guards({"broken": Broken(), "marks": marks}, lambda: 7.0).heard(event)
        assert marks.heard_of == [event]


class TestKinds:
    def test_the_usual_ones_look_unless_they_are_turned_off(self) -> None:
        assert set(made({})) == {"tool_loop", "tool_count"}
        assert set(made({"tool_loop": None})) == {"tool_count"}

    def test_the_others_look_where_they_are_named(self) -> None:
        secrets = guard_kinds().found["secrets"].Settings()
        assert set(made({"secrets": secrets, "tool_count": None})) == {"tool_loop", "secrets"}

    def test_the_house_has_these(self) -> None:
        house = {"tool_loop", "tool_count", "failing_tool", "context_budget", "request_size", "secrets", "spend"}
        assert house <= set(guard_kinds().found)
        assert not guard_kinds().broken


class TestAnExchange:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_warning_is_an_event_and_a_header_and_changes_no_byte(self, wire: str) -> None:
        exchange = talk(*LOOPING, wire=wire, tool_loop=ToolLoop(LoopSettings()))
        assert isinstance(exchange.ask, Send)
        assert exchange.ask.body == asked(*LOOPING, wire=wire).body
        (tripped,) = [event for event in exchange.sink.events if isinstance(event, GuardTripped)]
        assert (tripped.guard, tripped.action, tripped.subject) == ("tool_loop", "warn", "request/req_1")
        assert "the same call of find" in tripped.message

    def test_the_header_names_all_that_saw_something(self) -> None:
        few = ToolCount(CountSettings(limit=2))
        exchange = talk(*LOOPING, wire="openai-chat", tool_loop=ToolLoop(LoopSettings()), tool_count=few)
        exchange.answers(200, {"content-type": "application/json"}).says(ANSWER)
        assert exchange.reply.headers["x-recloser-guard"] == "tool_loop, tool_count"
        assert exchange.account.outcome == "ok"

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_hint_goes_to_the_target(self, wire: str) -> None:
        exchange = talk(*LOOPING, wire=wire, tool_loop=ToolLoop(LoopSettings(action="hint")))
        assert isinstance(exchange.ask, Send)
        assert b"You have made the same call of find 3 times" in exchange.ask.body

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    @pytest.mark.parametrize(
        ("guard", "kind"),
        [
            (ToolLoop(LoopSettings(action="refuse")), "tool_loop_detected"),
            (ToolCount(CountSettings(limit=2, action="refuse")), "tool_count_exceeded"),
        ],
    )
    def test_a_refusal_is_a_400_in_the_clients_shape_and_nobody_is_asked(
        self, wire: str, guard: Guard, kind: str
    ) -> None:
        exchange = talk(*LOOPING, wire=wire, guard=guard)
        assert exchange.over
        assert exchange.asked == []
        assert exchange.reply.status == 400
        assert exchange.reply.headers["x-recloser-guard"] == "guard"
        assert names_itself(wire, json.loads(exchange.reply.body)["error"], kind)
        assert exchange.account.outcome == kind

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_in_a_stream_that_has_begun_a_refusal_is_the_wires_own_error_event(self, wire: str) -> None:
        watch = WIRES[wire].watch()
        refusal = Refusal(400, "tool_count_exceeded", "51 tool calls since the user spoke last; the limit is 50")
        assert watch.feed(WIRES[wire].stream_error(refusal, "req_1")) == b""
        fault = watch.fault()
        assert fault is not None
        assert "51 tool calls" in json.dumps(fault.error)
        assert names_itself(wire, fault.error["error"], "tool_count_exceeded")


def names_itself(wire: str, error: dict[str, Any], kind: str) -> bool:
    """Whether an error says which one it is, where the clients of a wire look."""
    match wire:
        case "anthropic":
            return bool(error["type"] == "invalid_request_error" and error["message"].endswith(f" ({kind})"))
        case "gemini":
            return bool(error["status"] == "INVALID_ARGUMENT" and error["details"][0]["reason"] == kind.upper())
    return bool(error["type"] == "invalid_request_error" and error["code"] == kind)
