"""What is told of a conversation by signs is what is read in it."""

from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.guards.asking import EVERY_WIRE, TASK, Step, asked, model, sent, steps, together, user

from recloser.gateway.canonical import Role, Text, ToolUse, Turn
from recloser.gateway.guards.calls import calls_backwards, is_the_users, since_the_user_spoke
from recloser.gateway.guards.outline import MOST_READ, Outline, calls_at_most, last_turns, outlined

NASTY = st.sampled_from(
    [
        'a "tool_use" block', '{"arguments": "x"}', '"user"', '"functionCall":', '_call"', '"model"', "\\",
        '\\"user\\"',
        '"tool_result"', "<system-reminder>", "words", '"text"', "\\u0022", '"role":"user"', '"tool_call_id"', "", "\n",
    ]
)  # fmt: skip
"""Texts in which the signs of every wire stand, as quotations."""
STEPS = st.builds(Step, st.sampled_from(["find", "open"]), NASTY.map(lambda text: f'{{"q":{text!r}}}'), NASTY)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Turn, ...]:
    turns: list[Turn] = [user(draw(NASTY) or "?")]
    for number in range(draw(st.integers(0, 6))):
        turns += together(*draw(st.lists(STEPS, min_size=1, max_size=3)), number=number)
        if draw(st.booleans()):
            words = Text(text=draw(NASTY) or "?")
            turns[-1] = Turn(role=Role.USER, parts=(*turns[-1].parts, words))
        if draw(st.booleans()):
            turns += [model(draw(NASTY) or "?"), user(draw(NASTY) or "?")]
    return tuple(turns)


def count(turns: tuple[Turn, ...]) -> int:
    return sum(isinstance(part, ToolUse) for turn in turns for part in turn.parts)


@pytest.mark.parametrize("wire", EVERY_WIRE)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(turns=conversations())
def test_calls_are_counted_as_if_all_had_been_read(wire: str, turns: tuple[Turn, ...]) -> None:
    request = asked(*turns, wire=wire)
    read = request.read()
    assert calls_at_most(request) >= count(read.turns)
    whole, since = outlined(request, None), outlined(request, is_the_users)
    assert whole is not None
    assert since is not None
    assert whole.calls == count(read.turns)
    assert since.calls == count(since_the_user_spoke(read))


@pytest.mark.parametrize("wire", EVERY_WIRE)
@given(turns=conversations())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_last_call_is_the_last_call(wire: str, turns: tuple[Turn, ...]) -> None:
    request = asked(*turns, wire=wire)
    if request.envelope.after_tool_result:
        (last,) = islice(calls_backwards(last_turns(request, 8)), 1)
        (true,) = islice(calls_backwards(request.read().turns), 1)
        assert (last.use.name, last.use.input) == (true.use.name, true.use.input)
        assert last.result is not None
        assert true.result is not None
        assert last.result.parts == true.result.parts


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_the_calls_of_one_step_are_told_apart_from_those_before(wire: str) -> None:
    request = asked(TASK, *together("a", "b"), *together("c", "d", "e", number=1), wire=wire)
    assert outlined(request, None) == Outline(5, 3)


def test_a_conversation_with_many_doubtful_messages_is_better_read_at_once() -> None:
    reminded: list[Turn] = [TASK]
    for number in range(MOST_READ + 1):
        call, results = together("find", number=number)
        reminded += [call, Turn(role=Role.USER, parts=(*results.parts, Text(text="<system-reminder>")))]
    assert outlined(asked(*reminded), is_the_users) is None


def test_items_that_no_wire_has_words_for_are_passed_over() -> None:
    calls = [
        {"type": "function_call", "call_id": "c", "name": "find", "arguments": "{}"},
        {"type": "item_reference", "id": "user"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
    ]
    assert outlined(sent({"model": "m", "input": calls}, wire="openai-responses"), is_the_users) == Outline(1, 1)


@pytest.mark.parametrize("body", [{"input": "hi"}, {"input": None, "previous_response_id": "r"}])
def test_a_conversation_that_is_no_list_has_no_calls(body: dict[str, Any]) -> None:
    request = sent({"model": "m", **body}, wire="openai-responses")
    assert outlined(request, is_the_users) == Outline(0, 0)
    assert last_turns(request, 8) == ()


def test_long_conversations_are_not_read_to_see_that_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from recloser.gateway.guards import Guards, made  # noqa: PLC0415 - the guards as they are by default
    from recloser.gateway.request import Request  # noqa: PLC0415

    class Read(BaseException):
        """It was read."""

    def read(_: Request) -> None:
        raise Read

    turns = steps(*(("find", f'{{"n":{n}}}', f"result number {n} of so many results") for n in range(70)))
    requests = [asked(TASK, *turns, wire=wire) for wire in EVERY_WIRE]
    monkeypatch.setattr(Request, "read", read)
    for request in requests:
        assert Guards(made({}), lambda: 0.0).look(request) == (request, [])
