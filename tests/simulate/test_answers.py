"""Good answers, as the official clients understand them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

from recloser.simulate.answers import wires
from recloser.simulate.faults import KINDS, parse_mode
from recloser.simulate.plan import Plan, plan_json
from recloser.simulate.reply import after_prefill, answer_pieces
from recloser.simulate.wire import Grounds

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

ANTHROPIC_TOOL: Any = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
OPENAI_TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TOOL_INPUT = {"x-chaos-tool-input": '{"path": "/etc/hosts", "lines": 3}'}


def claude(site: Site) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=site.url, api_key="k", max_retries=0)


def gpt(site: Site) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=site.url + "/v1", api_key="k", max_retries=0)


def test_anthropic_gives_the_same_words_plain_and_streaming(visit: Visit) -> None:
    async def story(site: Site) -> None:
        request: Any = {
            "model": "claude-x",
            "max_tokens": 100,
            "messages": [{"role": "user", "content": "What is a fuse?"}],
        }
        async with claude(site) as client:
            plain = await client.messages.create(**request)
            async with client.messages.stream(**request) as stream:
                streamed = await stream.get_final_message()
        assert plain.content[0].type == "text"
        assert plain.content[0].text.startswith("Answer to What is a fuse?: ")
        assert streamed.content[0].type == "text"
        assert streamed.content[0].text == plain.content[0].text
        assert plain.stop_reason == streamed.stop_reason == "end_turn"
        assert plain.usage.output_tokens == streamed.usage.output_tokens == 20
        assert plain.id != streamed.id
        assert plain._request_id is not None
        assert plain._request_id.startswith("req_")

    visit(story)


def test_openai_gives_the_same_words_plain_and_streaming(visit: Visit) -> None:
    async def story(site: Site) -> None:
        request: Any = {"model": "gpt-x", "messages": [{"role": "user", "content": "What is a fuse?"}]}
        async with gpt(site) as client:
            plain = await client.chat.completions.create(**request)
            options: Any = {"include_usage": True}
            chunks = [
                c async for c in await client.chat.completions.create(**request, stream=True, stream_options=options)
            ]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == plain.choices[0].message.content
        assert text.startswith("Answer to What is a fuse?: ")
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert chunks[-1].usage is not None
        assert plain.usage is not None
        assert chunks[-1].usage.completion_tokens == plain.usage.completion_tokens == 20
        assert plain._request_id is not None

    visit(story)


def test_usage_comes_only_to_those_who_ask(visit: Visit) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask("/v1/chat/completions", stream=True)
        assert b"usage" not in seen.body
        assert seen.body.endswith(b"data: [DONE]\n\n")

    visit(story)


def test_both_wires_and_all_providers_say_the_same(visit: Visit) -> None:
    answers: list[str] = []

    async def story(site: Site) -> None:
        message = json.loads((await site.ask("/v1/messages")).body)
        completion = json.loads((await site.ask("/v1/chat/completions")).body)
        answers.extend([message["content"][0]["text"], completion["choices"][0]["message"]["content"]])

    visit(story, name="one", seed=1)
    visit(story, name="two", seed=2)
    assert len(set(answers)) == 1


@pytest.mark.parametrize("path", ["/v1/messages?beta=true", "/v1/chat/completions"])
def test_a_header_says_how_long_an_answer_is(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, stream=True, headers={"x-chaos-tokens": "7"})
        assert seen.contents() == 7
        wrong = await site.ask(path, headers={"x-chaos-tokens": "seven"})
        assert wrong.status == 400
        assert b"x-chaos-tokens" in wrong.body

    visit(story)


def test_anthropic_calls_the_first_tool_and_answers_its_result(visit: Visit) -> None:
    async def story(site: Site) -> None:
        messages: list[Any] = [{"role": "user", "content": "Please use the tool."}]
        request: Any = {"model": "c", "max_tokens": 9, "tools": [ANTHROPIC_TOOL], "messages": messages}
        async with claude(site) as client:
            plain = await client.messages.create(**request, extra_headers=TOOL_INPUT)
            async with client.messages.stream(**request, extra_headers=TOOL_INPUT) as stream:
                streamed = await stream.get_final_message()
            for message in (plain, streamed):
                block: Any = message.content[0]
                assert message.stop_reason == "tool_use"
                assert block.type == "tool_use"
                assert block.name == "look"
                assert block.input == {"path": "/etc/hosts", "lines": 3}
            call: Any = plain.content[0]
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "localhost"}
            messages += [{"role": "assistant", "content": plain.content}, {"role": "user", "content": [result]}]
            final = await client.messages.create(**request)
        assert final.stop_reason == "end_turn"
        assert final.content[0].type == "text"

    visit(story)


def test_openai_calls_the_first_tool_and_answers_its_result(visit: Visit) -> None:
    async def story(site: Site) -> None:
        messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Please use the tool."}]}]
        request: Any = {"model": "g", "tools": [OPENAI_TOOL], "messages": messages}
        async with gpt(site) as client:
            plain = await client.chat.completions.create(**request, extra_headers=TOOL_INPUT)
            async with client.chat.completions.stream(**request, extra_headers=TOOL_INPUT) as stream:
                streamed = await stream.get_final_completion()
            for completion in (plain, streamed):
                choice: Any = completion.choices[0]
                assert choice.finish_reason == "tool_calls"
                assert choice.message.tool_calls[0].function.name == "look"
                assert json.loads(choice.message.tool_calls[0].function.arguments) == {"path": "/etc/hosts", "lines": 3}
            calls: Any = plain.choices[0].message.tool_calls
            result = {"role": "tool", "tool_call_id": calls[0].id, "content": "localhost"}
            messages += [plain.choices[0].message.model_dump(exclude_none=True), result]
            final = await client.chat.completions.create(**request)
        assert final.choices[0].finish_reason == "stop"
        assert final.choices[0].message.content

    visit(story)


def test_a_tool_without_given_input_gets_an_empty_object(visit: Visit) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(text="use the tool", tools=[ANTHROPIC_TOOL])
        assert json.loads(seen.body)["content"][0]["input"] == {}

    visit(story)


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    pieces = answer_pieces("Tell me a story", 6)
    whole = "".join(pieces)
    for begun in (pieces[0], "".join(pieces[:3]), whole[: len(pieces[0]) + 3]):
        assert begun + "".join(after_prefill(pieces, begun)) == whole
    assert after_prefill(pieces, "Something else") == pieces
    assert after_prefill(pieces, whole) == ()


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_prefilled_request_is_answered_with_the_rest(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        whole = "".join(answer_pieces("hello", 20))
        messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": whole[:30]}]
        answer = json.loads((await site.ask(path, messages=messages)).body)
        text = answer["content"][0]["text"] if "content" in answer else answer["choices"][0]["message"]["content"]
        assert whole[:30] + text == whole

    visit(story)


def test_models_are_listed_in_the_askers_shape(visit: Visit) -> None:
    async def story(site: Site) -> None:
        async with claude(site) as first, gpt(site) as second:
            assert [model.id async for model in first.models.list()] == ["a", "b"]
            assert [model.id async for model in second.models.list()] == ["a", "b"]
            with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
                await first.messages.create(model="c", max_tokens=1, messages=[{"role": "user", "content": "x"}])
            with pytest.raises(openai.NotFoundError, match="model `c` does not exist"):
                await second.chat.completions.create(model="c", messages=[{"role": "user", "content": "x"}])

    visit(story, models=["a", "b"])


def test_tokens_are_counted(visit: Visit) -> None:
    async def story(site: Site) -> None:
        async with claude(site) as client:
            short = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}])
            long = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x" * 400}])
        assert 0 < short.input_tokens < long.input_tokens

    visit(story)


def test_a_key_is_wanted_where_one_is_set(visit: Visit) -> None:
    async def story(site: Site) -> None:
        assert (await site.ask(headers={"x-api-key": "right"})).status == 200
        assert (await site.ask(headers={"authorization": "Bearer right"})).status == 200
        assert (await site.see("GET", "/v1/models")).status == 401
        wrong = await site.ask(headers={"x-api-key": "wrong"})
        assert wrong.status == 401
        assert json.loads(wrong.body)["error"]["type"] == "authentication_error"
        other = await site.ask("/v1/chat/completions", headers={"authorization": "Bearer wrong"})
        assert json.loads(other.body)["error"]["code"] == "invalid_api_key"

    visit(story, key="right")


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("/v1/messages", b"{", b"not valid JSON"),
        ("/v1/messages", b"[]", b"not a JSON object"),
        ("/v1/chat/completions", b'{"model":"m","messages":[{"role":["user"],"content":"x"}]}', b"wrong type"),
        ("/v1/messages", b'{"model":"m"}', b"max_tokens: Field required"),
        ("/v1/messages", b'{"model":"m","max_tokens":1,"messages":[]}', b"at least one message"),
        ("/v1/messages/count_tokens", b'{"messages":[]}', b"model: Field required"),
        ("/v1/chat/completions", b"{}", b"you must provide a model parameter"),
        ("/v1/chat/completions", b'{"model":"m"}', b'"param":"messages"'),
    ],
)
def test_what_is_no_question_is_refused(visit: Visit, path: str, body: bytes, complaint: bytes) -> None:
    async def story(site: Site) -> None:
        seen = await site.see("POST", path, data=body)
        assert seen.status == 400
        assert complaint in seen.body
        assert b"invalid_request_error" in seen.body

    visit(story)


def test_an_unknown_path_is_not_found_in_the_askers_shape(visit: Visit) -> None:
    async def story(site: Site) -> None:
        seen = await site.see("POST", "/v1/nothing", headers={"anthropic-version": "2023-06-01"})
        assert seen.status == 404
        assert json.loads(seen.body)["type"] == "error"
        seen = await site.see("GET", "/v1/nothing")
        assert seen.status == 404
        assert "Invalid URL (GET /v1/nothing)" in json.loads(seen.body)["error"]["message"]

    visit(story)


def test_every_wire_knows_every_fault() -> None:
    grounds = Grounds("req_1", 0.0, model="m")
    for wire in wires():
        for name in KINDS:
            mode = parse_mode("529" if name == "400..599" else name)
            assert isinstance(plan_json(wire, {"a": 1}, mode, grounds), Plan)
        assert wire.keepalive().endswith(b"\n\n")


def test_hundreds_of_slow_streams_at_once(visit: Visit) -> None:
    async def story(site: Site) -> None:
        headers = {"x-chaos-tokens": "4"}
        asks = [asyncio.create_task(site.ask(mode="slow=100ms", stream=True, headers=headers)) for _ in range(400)]
        seen = await asyncio.gather(*asks)
        assert {one.end for one in seen} == {"clean"}
        assert {one.contents() for one in seen} == {4}
        assert (await site.report())["completed"] == 400

    visit(story)
