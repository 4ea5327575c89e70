"""An answer that was begun is gone on with, as models of all kinds would: the same on every wire."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.simulate.faults import parse_mode
from recloser.simulate.reply import PREAMBLE, Identity, PrefillRefusedError, Wish, answer_pieces, reply_to
from recloser.simulate.task import Call, TaskTurn
from recloser.simulate.wire import Ask, Reply, Tool, Turn

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

QUESTION = "Tell me of the line"
WHOLE = "".join(answer_pieces(QUESTION, 20))
GO_ON = "Your last message was cut off by a connection failure. Continue it exactly where it stopped."


def user(text: str) -> Turn:
    return Turn(by_model=False, text=text)


def model(text: str) -> Turn:
    return Turn(by_model=True, text=text)


def reply(*turns: Turn, mode: str = "off", task: Any = (), **ask: Any) -> Reply:
    who = Identity("1", 0, "fp", lambda words: f"signed {words}")
    return reply_to(Ask("m", turns=turns, **ask), parse_mode(mode), Wish(), who, task)


@given(st.integers(1, len(WHOLE) - 1))
def test_wherever_it_broke_off_the_rest_is_exactly_what_is_missing(cut: int) -> None:
    begun = WHOLE[:cut]
    for turns in ((user(QUESTION), model(begun)), (user(QUESTION), model(begun), user(GO_ON))):
        assert begun + reply(*turns).text == WHOLE


@given(st.integers(1, len(WHOLE) - 2), st.integers(1, len(WHOLE) - 1))
def test_it_may_break_off_more_than_once(one: int, other: int) -> None:
    first, second = sorted((one, other + (one == other)))
    told = (user(QUESTION), model(WHOLE[:first]), user(GO_ON), model(WHOLE[first:second]))
    assert reply(*told).text == WHOLE[second:]
    assert reply(*told, user("go on")).text == WHOLE[second:]


def test_the_last_words_may_come_again() -> None:
    begun = WHOLE[:60]
    text = reply(user(QUESTION), model(begun), user(GO_ON), mode="resume=tail").text
    overlap = next(size for size in range(60, 0, -1) if text.startswith(begun[-size:]))
    assert 12 < overlap < 60
    assert begun + text[overlap:] == WHOLE


def test_it_may_begin_anew_or_with_words_of_its_own() -> None:
    turns = (user(QUESTION), model(WHOLE[:50]), user(GO_ON))
    assert reply(*turns, mode="resume=restart").text == WHOLE
    assert reply(*turns, mode="resume=preamble").text == PREAMBLE + WHOLE[50:]


def test_it_may_refuse_to_go_on_from_its_own_words_and_yet_do_as_it_is_told() -> None:
    begun = (user(QUESTION), model(WHOLE[:50]))
    with pytest.raises(PrefillRefusedError, match="does not support assistant message prefill"):
        reply(*begun, mode="resume=reject")
    assert reply(*begun, user(GO_ON), mode="resume=reject").text == WHOLE[50:]


def test_a_conversation_that_goes_on_is_no_answer_that_broke_off() -> None:
    another = "And what else is there?"
    assert reply(user(QUESTION), model(WHOLE), user(another)).text == "".join(answer_pieces(another, 20))
    assert reply(user(QUESTION), model("I know not."), user(another)).text == "".join(answer_pieces(another, 20))


def test_who_is_told_to_go_on_with_a_whole_answer_says_its_end_again() -> None:
    again = reply(user(QUESTION), model(WHOLE), user(GO_ON)).text
    assert again
    assert WHOLE.endswith(again)
    assert reply(user(QUESTION), model(WHOLE)).pieces == (), "whoever speaks already has nothing to add"


def test_a_question_that_speaks_of_going_on_is_a_question() -> None:
    asked = "Please continue the story"
    whole = "".join(answer_pieces(asked, 20))
    assert reply(user(asked)).text == whole
    assert whole[:40] + reply(user(asked), model(whole[:40])).text == whole
    before = (user(QUESTION), model("Once upon a time."), user(asked))
    assert whole[:40] + reply(*before, model(whole[:40])).text == whole


def test_white_space_that_was_lost_at_the_end_does_no_harm() -> None:
    cut = WHOLE.index(" ", 40) + 1
    assert reply(user(QUESTION), model(WHOLE[: cut - 1])).text == WHOLE[cut - 1 :]
    assert reply(user(QUESTION), model(WHOLE[:40].rstrip() + "\n")).text == WHOLE[len(WHOLE[:40].rstrip()) :]


def test_who_is_told_to_go_on_may_think_of_it_and_who_speaks_already_does_not() -> None:
    begun = (user(QUESTION), model(WHOLE[:50]))
    assert reply(*begun, mode="think=3").thought is None
    assert reply(*begun, user(GO_ON), mode="think=3").thought is not None


def test_a_call_that_is_forced_is_made_at_once_with_the_tasks_own_input() -> None:
    task = (TaskTurn(think="Hm.", say="I look.", call=Call("look", {"at": 1})),)
    free = reply(user(QUESTION), task=task, tools=[Tool("look"), Tool("leap")])
    assert (free.text, free.tool and free.tool.name) == ("I look.", "look")
    assert free.thought is not None
    forced = reply(user(QUESTION), model("I lo"), user(GO_ON), task=task, tools=[Tool("look")], forced=True)
    assert forced.tool is not None
    assert (forced.pieces, forced.thought, forced.tool.arguments) == ((), None, '{"at":1}')


BEGUN = WHOLE[:40]
ON_EVERY_WIRE = [
    ("/v1/messages", {"max_tokens": 9, "system": "Be brief.", "messages": [
        {"role": "user", "content": QUESTION}, {"role": "assistant", "content": BEGUN},
        {"role": "user", "content": GO_ON},
    ]}),
    ("/v1/chat/completions", {"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": BEGUN}, {"role": "user", "content": GO_ON},
    ]}),
    ("/v1/responses", {"instructions": "Be brief.", "input": [
        {"role": "developer", "content": "Be kind."}, {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": [{"type": "output_text", "text": BEGUN}]}, {"role": "user", "content": GO_ON},
    ]}),
    ("/v1beta/models/m:generateContent", {"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": [
        {"role": "user", "parts": [{"text": QUESTION}]}, {"role": "model", "parts": [{"text": BEGUN}]},
        {"role": "user", "parts": [{"text": GO_ON}]},
    ]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), ON_EVERY_WIRE, ids=[path for path, _ in ON_EVERY_WIRE])
def test_every_wire_goes_on_with_the_same_words(visit: Visit, path: str, body: dict[str, Any]) -> None:
    turns = "messages" if "messages" in body else "input" if "input" in body else "contents"
    prefix = body | {turns: body[turns][:-1]}

    async def story(site: Site) -> None:
        rest = json.dumps(WHOLE[40:])[1:-1].encode()
        for asked in (body, prefix):
            seen = await site.see("POST", path, json={"model": "another" if asked is body else "m", **asked})
            assert seen.status == 200
            assert rest in seen.body
            assert BEGUN.encode() not in seen.body
        for asked, status in ((prefix, 400), (body, 200)):
            headers = {"x-chaos": "resume=reject"}
            seen = await site.see("POST", path, json={"model": "m", **asked}, headers=headers)
            assert seen.status == status
            assert (b"does not support assistant message prefill" in seen.body) == (status == 400)

    visit(story)
