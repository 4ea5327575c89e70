"""A stream that breaks off after content is finished by another target: the client gets one whole answer."""

import json
import random
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from tests.gateway.conversation import Conversation
from tests.gateway.resuming.deterministic import answer, rest_of, streamed

from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway import sse
from recloser.gateway.asks import Finish, Hold, Read, Send
from recloser.gateway.canonical import (
    Answer,
    Began,
    Event,
    Grew,
    PartBegan,
    PartEnded,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from recloser.gateway.events import StreamResumed
from recloser.gateway.resuming.resumption import MOST_BREAKS, Refusals
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.wires import CODECS, WIRES
from recloser.gateway.wires.telling import gathered, told
from recloser.testing_wires import asked, with_tools

RESUME = GatewaySettings(max_hold=0.0)
CUTS = 500


def asking(wire: str, targets: Sequence[str], **given: Any) -> Conversation:
    """A client that streams, before its first target has answered."""
    request = msgspec.structs.replace(with_tools(), model="m", stream=True, stream_usage=True)
    body = CODECS[wire].write_request(request).body
    return Conversation(body, wire=wire, targets=targets, address=("m", True), **{"gateway": RESUME, **given})


def put(talk: Conversation, wire: str) -> bytes:
    """What the target was sent."""
    assert isinstance(talk.ask, Send)
    assert talk.ask.wire == wire
    return talk.ask.body


def cut(stream: Sequence[bytes], rng: random.Random) -> bytes:
    """The beginning of a stream, up to somewhere in it: in the middle of an event, as often as not."""
    whole = b"".join(stream)
    return whole[: rng.randint(len(b"".join(stream[: len(stream) // 4])), len(whole) - 1)]


def read(wire: str, received: bytes) -> tuple[Answer, bool]:
    """What the client understood, and whether it was told that this is all."""
    reader, watch = CODECS[wire].reader(), WIRES[wire].watch()
    watch.feed(received)
    events = [event for name, data, _ in sse.parse(received) if data for event in reader.read(name, data)]
    return gathered([*events, *reader.end()]), watch.finished


def said(answer: Answer) -> tuple[str, list[tuple[str, str]]]:
    """The words of an answer, and its calls."""
    words = "".join(part.text for part in answer.parts if isinstance(part, Text))
    return words, [(part.name, part.input) for part in answer.parts if isinstance(part, ToolUse)]


@pytest.mark.parametrize(("client", "second"), list(product(WIRES, repeat=2)))
def test_wherever_it_breaks_off_the_answer_is_the_same(client: str, second: str) -> None:
    """Of every pair of wires: the first target speaks the client's, or another one; the second this one."""
    outcomes = {"finished": 0, "broken": 0, "whole": 0}
    for seed in range(CUTS):
        rng = random.Random(f"{client} {second} {seed}")
        first = rng.choice([client, second])
        whole = answer(rng, thinks=rng.random() < 0.1, calls=rng.random() < 0.3)
        way = rng.choice(["rest", "told", "restart", "preamble"])
        talk = asking(client, ["a/m", "b/m"], wires={"a": first, "b": second})
        talk.answers().says(cut(streamed(first, whole, rng), rng))
        if isinstance(talk.ask, Read):
            talk.breaks()
        if isinstance(talk.ask, Send):
            request = CODECS[second].read_request(talk.ask.body, "m", stream=True)
            rest = rest_of(whole, request, way)
            talk.answers().says(b"".join(streamed(second, rest, rng)))
        if isinstance(talk.ask, Read):
            talk.ends()
        assert talk.over, (seed, talk.ask)
        understood, finished = read(client, talk.received)
        if talk.account.outcome != "ok":
            outcomes["broken"] += 1
            assert not finished, seed
            assert b"broke off" in talk.received, seed
            continue
        outcomes["finished" if talk.account.breaks else "whole"] += 1
        assert said(understood) == said(whole), (seed, way)
        assert understood.stop is whole.stop, seed
        assert finished, seed
    assert outcomes["finished"] > CUTS / 2, outcomes


# The life of such a request ------------------------------------------------------------------------------------------

HELLO = Answer(id="answer-1", model="served-1", parts=(Text(text="Hello, this is the whole answer."),))
LOOK = ToolUse(id="call_1", name="get_weather", input='{"city":"Oslo"}')
CALLING = Answer(id="answer-1", model="served-1", parts=(Text(text="I look."), LOOK), stop=Stop.TOOL_USE)


def written(wire: str, events: Iterable[Event]) -> bytes:
    """Some events of a provider of this wire."""
    writer = CODECS[wire].writer(msgspec.structs.replace(asked(), stream_usage=True))
    return b"".join(map(writer.write, events))


def up_to(answer: Answer, last: Event | type[Event]) -> list[Event]:
    """The events of an answer up to one of them."""
    some = list(told(answer))
    return some[: next(n for n, event in enumerate(some) if last in (event, type(event))) + 1]


def of_words(answer: Answer, size: int) -> list[Event]:
    """The beginning of an answer, and so many letters."""
    began, part, grew, *_ = told(answer)
    assert isinstance(grew, Grew)
    return [began, part, Grew(index=0, text=grew.text[:size])]


class TestHowTheSecondIsAsked:
    def test_a_model_that_goes_on_from_its_own_turn_is_given_one(self) -> None:
        talk = asking("anthropic", ["a/m", "b/claude-3-5-haiku"], kind="anthropic")
        talk.answers().says(written("anthropic", of_words(HELLO, 7))).breaks()
        body = json.loads(put(talk, "anthropic"))
        assert body["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "Hello,"}]}
        rest = msgspec.structs.replace(HELLO, parts=(Text(text=" this is the whole answer."),))
        talk.answers().says(written("anthropic", told(rest)))
        assert said(read("anthropic", talk.received)[0])[0] == "Hello, this is the whole answer."

    def test_any_other_is_told_to_go_on_and_with_which_words(self) -> None:
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", of_words(HELLO, 7))).breaks()
        *_, mine, yours = json.loads(put(talk, "anthropic"))["messages"]
        assert mine == {"role": "assistant", "content": [{"type": "text", "text": "Hello,"}]}
        assert yours["role"] == "user"
        assert "Hello," in yours["content"][0]["text"]

    def test_what_a_vendor_wants_with_it_is_added(self) -> None:
        talk = asking("openai-chat", ["a/m", "b/m"], kind="vllm")
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        body = json.loads(put(talk, "openai-chat"))
        assert body["messages"][-1] == {"role": "assistant", "content": "Hello,"}
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)

    def test_one_that_refuses_to_is_told_instead_and_is_not_asked_so_again(self) -> None:
        refusals = Refusals()
        for targets in (["a/m", "b/claude-3-5-haiku"], ["a/m", "b/claude-3-5-haiku"]):
            talk = asking("anthropic", targets, kind="anthropic", refusals=refusals)
            talk.answers().says(written("anthropic", of_words(HELLO, 7))).breaks()
            if len(refusals) == 0:
                talk.fails(400, b'{"type":"error","error":{"type":"invalid_request_error","message":"no prefill"}}')
            assert talk.asked[-1] == "b/claude-3-5-haiku"
            assert json.loads(put(talk, "anthropic"))["messages"][-1]["role"] == "user"
        assert len(refusals) == 1

    def test_the_rest_of_its_request_is_the_clients_own(self) -> None:
        sent = json.dumps({"model": "m", "stream": True, "max_tokens": 9, "thinking": {"type": "enabled"},
                           "metadata": {"user_id": "u"}, "not_known_yet": 1,
                           "messages": [{"role": "user", "content": "hi"}]}).encode()  # fmt: skip
        talk = Conversation(sent, wire="anthropic", gateway=RESUME)
        talk.answers().says(written("anthropic", of_words(HELLO, 7))).breaks()
        body = json.loads(put(talk, "anthropic"))
        assert (body["not_known_yet"], body["metadata"], body["max_tokens"]) == (1, {"user_id": "u"}, 9)
        assert "thinking" not in body, "the rest of an answer is not thought about anew"


class TestWhatIsFinished:
    def test_an_announced_call_is_made_by_the_second_under_the_firsts_id(self) -> None:
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(
            written("anthropic", up_to(CALLING, PartBegan(index=1, part=ToolUse(id=LOOK.id, name=LOOK.name))))
        ).breaks()
        assert json.loads(put(talk, "anthropic"))["tool_choice"]["name"] == "get_weather"
        theirs = Answer(id="x", model="y", parts=(Text(text="Well."), msgspec.structs.replace(LOOK, id="other")))
        talk.answers().says(written("anthropic", told(theirs)))
        answer, finished = read("anthropic", talk.received)
        assert finished
        assert answer.parts == CALLING.parts

    def test_another_tool_than_the_announced_one_is_no_rest_of_the_answer(self) -> None:
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(
            written("anthropic", up_to(CALLING, PartBegan(index=1, part=ToolUse(id=LOOK.id, name=LOOK.name))))
        ).breaks()
        other = msgspec.structs.replace(LOOK, name="get_time")
        talk.answers().says(written("anthropic", told(Answer(id="x", model="y", parts=(other,)))))
        assert talk.failures[-1] == ("malformed", "nobody")
        assert talk.asked[-1] == "a/m", "the one that broke off may still be better than nothing"

    def test_a_whole_call_lacks_nothing_but_the_end(self) -> None:
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", up_to(CALLING, PartEnded(index=1)))).breaks()
        assert talk.over
        answer, finished = read("anthropic", talk.received)
        assert finished
        assert (answer.parts, answer.stop) == (CALLING.parts, Stop.TOOL_USE)
        assert talk.asked == ["a/m"]

    @pytest.mark.parametrize("wire", ["anthropic", "openai-responses"])
    def test_half_an_input_and_half_a_thought_are_nobody_elses(self, wire: str) -> None:
        thinking = Answer(id="answer-1", model="m", parts=(Thinking(text="let me see", issuer="anthropic"),))
        half_call = [
            *up_to(CALLING, PartBegan(index=1, part=ToolUse(id=LOOK.id, name=LOOK.name))),
            Grew(index=1, text='{"city":"O'),
        ]
        for half in (half_call, up_to(thinking, Grew)):
            talk = asking(wire, ["a/m", "b/m"])
            talk.answers().says(written(wire, half)).breaks()
            assert talk.over
            assert talk.asked == ["a/m"]
            assert b"broke off" in talk.received
            assert not read(wire, talk.received)[1]

    def test_after_a_whole_thought_the_second_says_what_it_thinks(self) -> None:
        """The first's thought stays as it was; the second's own is not told."""
        first = Answer(id="answer-1", model="m", parts=(Thinking(text="hm", signature="c2ln", issuer="anthropic"),))
        theirs = Answer(id="x", model="y", parts=(Thinking(text="well", issuer="anthropic"), Text(text="Hello.")))
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", up_to(first, PartEnded))).breaks()
        assert json.loads(put(talk, "anthropic"))["messages"][-1]["role"] == "user"
        talk.answers().says(written("anthropic", told(theirs)))
        assert read("anthropic", talk.received)[0].parts == (*first.parts, Text(text="Hello."))


class TestWhoIsAsked:
    def test_a_stall_is_a_break(self) -> None:
        talk = asking("openai-chat", ["a/m", "b/m"])
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).lets_time_pass()
        assert talk.failures == [("timeout", "model/a/m")]
        assert talk.asked == ["a/m", "b/m"]

    def test_if_the_second_breaks_off_too_a_third_goes_on(self) -> None:
        talk = asking("openai-chat", ["a/m", "b/m", "c/m"])
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        rest = msgspec.structs.replace(HELLO, parts=(Text(text="Hello, this is the whole answer."),))
        talk.answers().says(written("openai-chat", of_words(rest, 20))).breaks()
        assert talk.asked == ["a/m", "b/m", "c/m"]
        talk.answers().says(written("openai-chat", told(rest)))
        assert said(read("openai-chat", talk.received)[0])[0] == "Hello, this is the whole answer."
        assert (talk.account.outcome, talk.account.breaks, talk.account.attempts) == ("ok", 2, 3)

    def test_a_second_that_fails_before_content_is_passed_over(self) -> None:
        talk = asking("openai-chat", ["a/m", "b/m", "c/m"])
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        talk.fails(529)
        assert talk.asked == ["a/m", "b/m", "c/m"]

    def test_with_nobody_else_the_one_that_broke_off_is_asked_once_more(self) -> None:
        talk = asking("openai-chat", ["a/m"])
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        assert talk.asked == ["a/m", "a/m"]
        talk.fails(503)
        assert talk.over
        assert talk.asked == ["a/m", "a/m"]
        assert b"reset by peer" in talk.received, "what went wrong first is told"

    def test_the_rest_is_waited_for_as_long_as_a_request_may_be_held(self) -> None:
        held = GatewaySettings(max_hold=60.0)
        talk = asking("openai-chat", ["a/m", "b/m"], gateway=held)
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        talk.fails(429, headers={"retry-after": "3"}).fails(503)
        assert isinstance(talk.ask, Hold)
        talk.wakes(3.1)
        assert talk.asked == ["a/m", "b/m", "a/m", "a/m"], "503 was one failure; who is well is asked in order again"
        talk.answers().says(written("openai-chat", told(HELLO)))
        assert said(read("openai-chat", talk.received)[0])[0] == "Hello, this is the whole answer."

    def test_a_stream_that_breaks_off_for_ever_is_given_up(self) -> None:
        talk = asking("openai-chat", ["a/m"], circuit=CircuitSettings(failure_threshold=0))
        for number in range(MOST_BREAKS + 1):
            rest = msgspec.structs.replace(HELLO, parts=(Text(text=f" word {number}"),))
            talk.answers().says(written("openai-chat", of_words(rest, 9))).breaks()
        assert talk.over
        assert talk.account.breaks == MOST_BREAKS + 1

    def test_several_answers_at_once_are_not_gone_on_with(self) -> None:
        body = b'{"model":"m","stream":true,"n":2,"messages":[{"role":"user","content":"hi"}]}'
        talk = Conversation(body, gateway=RESUME)
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        assert talk.over


class TestWhatIsTold:
    def test_the_event_and_the_last_comment_name_the_second(self) -> None:
        talk = asking("openai-chat", ["a/m", "b/m"])
        talk.answers().says(written("openai-chat", of_words(HELLO, 7))).breaks()
        talk.answers().says(written("openai-chat", told(HELLO)))
        (resumed,) = [event for event in talk.sink.events if isinstance(event, StreamResumed)]
        assert (resumed.target, resumed.by, resumed.failure, resumed.said) == ("a/m", "b/m", "interrupted", 7)
        assert resumed.style == "told"
        assert talk.received.endswith(b"data: [DONE]\n\n: finished by b/m\n\n")

    def test_the_gemini_wire_has_no_comments(self) -> None:
        talk = asking("gemini", ["a/m", "b/m"])
        talk.answers().says(written("gemini", of_words(HELLO, 7))).breaks()
        talk.answers().says(written("gemini", told(HELLO))).ends()
        assert talk.account.outcome == "ok"
        assert b"finished by" not in talk.received

    def test_the_usage_is_of_both(self) -> None:
        first = [Began(id="answer-1", model="m", usage=Usage(input=10)), *of_words(HELLO, 7)[1:]]
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", first)).breaks()
        rest = msgspec.structs.replace(HELLO, usage=Usage(input=30, output=5))
        talk.answers().says(written("anthropic", told(rest)))
        usage = read("anthropic", talk.received)[0].usage
        assert usage.output == 5 + 2, "two tokens of the first, at a guess"

    @pytest.mark.parametrize("wire", list(WIRES))
    def test_all_of_it_is_one_answer_of_one_id(self, wire: str) -> None:
        talk = asking(wire, ["a/m", "b/m"])
        talk.answers().says(written(wire, of_words(HELLO, 7))).breaks()
        other = msgspec.structs.replace(HELLO, id="another", model="another")
        talk.answers().says(written(wire, told(other)))
        if not talk.over:
            talk.ends()
        assert b"another" not in talk.received
        assert sum(isinstance(ask, Finish) for ask in talk.sent) == 1
