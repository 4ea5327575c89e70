"""Thoughts are signed: whose they are not refuses them, in the words of the real APIs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

PATHS = ["/v1/messages", "/v1/responses", "/v1beta/models/m:generateContent"]
COMPLAINTS = {
    "/v1/messages": "messages.1.content.0: Invalid `signature` in `thinking` block",
    "/v1/responses": "could not be verified",
    "/v1beta/models/m:generateContent": "Thought signature is not valid",
}
ENABLED = {"type": "enabled", "budget_tokens": 1024}


async def think(site: Site, path: str) -> dict[str, Any]:
    """A question, and what was thought and said to it: the conversation so far."""
    body: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    if path == "/v1/responses":
        body = {"model": "m", "input": [{"role": "user", "content": "hello"}]}
    elif path != "/v1/messages":
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    seen = await site.see("POST", path, json=body, headers={"x-chaos": "think=3"})
    answer = json.loads(seen.body)
    if path == "/v1/messages":
        body["messages"] += [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": "thanks"}]
    elif path == "/v1/responses":
        body["input"] += [*answer["output"], {"role": "user", "content": "thanks"}]
    else:
        body["contents"] += [answer["candidates"][0]["content"], {"role": "user", "parts": [{"text": "thanks"}]}]
    return body


@pytest.mark.parametrize("path", PATHS)
def test_whose_thoughts_they_are_takes_them_and_nobody_else(visit: Visit, path: str) -> None:
    told: list[dict[str, Any]] = []

    async def thinker(site: Site) -> None:
        told.append(await think(site, path))
        assert (await site.see("POST", path, json=told[0])).status == 200

    async def stranger(site: Site) -> None:
        seen = await site.see("POST", path, json=told[0])
        assert seen.status == 400
        assert COMPLAINTS[path] in json.loads(seen.body)["error"]["message"]

    visit(thinker, name="thinker")
    visit(stranger, name="stranger")
    visit(lambda site: _takes(site, path, told[0]), name="thinker", seed=7)


async def _takes(site: Site, path: str, body: dict[str, Any]) -> None:
    assert (await site.see("POST", path, json=body)).status == 200


def test_a_changed_thought_is_nobodys(visit: Visit) -> None:
    async def story(site: Site) -> None:
        body = await think(site, "/v1/messages")
        body["messages"][1]["content"][0]["thinking"] += "!"
        assert (await site.see("POST", "/v1/messages", json=body)).status == 400

    visit(story)


def test_gemini_takes_a_word_for_a_signature(visit: Visit) -> None:
    path = PATHS[2]

    async def story(site: Site) -> None:
        body = await think(site, path)
        body["contents"][1]["parts"][-1]["thoughtSignature"] = "skip_thought_signature_validator"
        assert (await site.see("POST", path, json=body)).status == 200

    visit(story)


def test_who_is_told_to_think_does_and_wants_it_back(visit: Visit) -> None:
    """In the middle of a turn, that is: the real API wants the thought before the call, or no thinking."""
    tools = [{"name": "look", "input_schema": {"type": "object"}}]
    result = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}]

    async def story(site: Site) -> None:
        begun = json.loads((await site.ask(text="use the tool", thinking=ENABLED, tools=tools)).body)["content"]
        assert [block["type"] for block in begun] == ["thinking", "tool_use"]
        question = {"role": "user", "content": "use the tool"}

        async def answered(content: Any, **fields: Any) -> tuple[int, str]:
            turns = [question, {"role": "assistant", "content": content}, {"role": "user", "content": result}]
            seen = await site.ask(messages=turns, tools=tools, **fields)
            return seen.status, str(json.loads(seen.body).get("error", {}).get("message", ""))

        assert await answered(begun, thinking=ENABLED) == (200, "")
        status, message = await answered(begun[1:], thinking=ENABLED)
        assert status == 400
        assert message.startswith("messages.1.content.0.type: Expected `thinking` or `redacted_thinking`")
        assert await answered(begun[1:]) == (200, "")
        clearing = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
        assert (await answered(begun, thinking=ENABLED, context_management=clearing))[0] == 200
        assert "requires `thinking`" in (await answered(begun[1:], context_management=clearing))[1]

    visit(story)


def test_words_that_are_to_be_gone_on_with_do_not_end_in_a_space(visit: Visit) -> None:
    async def story(site: Site) -> None:
        messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Answer "}]
        seen = await site.ask(messages=messages)
        assert seen.status == 400
        assert b"trailing whitespace" in seen.body

    visit(story)


def test_a_cut_comes_between_a_thought_and_the_words(visit: Visit) -> None:
    """Content is counted over all parts of an answer; what lies between them belongs to the later one."""

    async def story(site: Site) -> None:
        seen = await site.ask(mode="think=2,eof=4", stream=True)
        assert seen.contents() == 4
        assert seen.body.count(b"thinking_delta") == 2
        assert seen.body.count(b"signature_delta") == 1
        assert seen.body.count(b"text_delta") == 1
        assert seen.body.count(b"content_block_stop") == 2  # the event's name and its type
        only_thoughts = await site.ask(mode="think=2,eof=3", stream=True)
        assert b"content_block_stop" in only_thoughts.body
        assert b"text_delta" not in only_thoughts.body

    visit(story)


@pytest.mark.parametrize("mode", ["resume", "resume=rest", "resume=tail", "think", "think=3,resume=reject,cut=2"])
def test_how_it_is_said_is_a_mode_among_others(visit: Visit, mode: str) -> None:
    async def story(site: Site) -> None:
        answer = await site.chaos(mode=mode)
        assert answer["status"] == 200
        expected = {"resume": "resume=rest", "think": "think=8"}.get(mode, mode)
        assert answer["mode"] == expected

    visit(story)


def test_an_unknown_way_to_go_on_is_named(visit: Visit) -> None:
    async def story(site: Site) -> None:
        answer = await site.chaos(mode="resume=later")
        assert answer["status"] == 400
        assert "resume is one of rest, tail, restart, preamble, reject" in answer["error"]["message"]

    visit(story)
