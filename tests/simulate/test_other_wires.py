"""Responses and Gemini: good answers as the official clients understand them, and every way of going wrong."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import openai
import pytest

from recloser.simulate.reply import answer_pieces

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from google import genai

if TYPE_CHECKING:
    from tests.simulate.conftest import Seen, Site, Visit

RESPONSES = "/v1/responses"
PLAIN = "/v1beta/models/m:generateContent"
EVENTS = "/v1beta/models/m:streamGenerateContent?alt=sse"
ARRAY = "/v1beta/models/m:streamGenerateContent"
STREAMS = pytest.mark.parametrize("path", [RESPONSES, EVENTS, ARRAY])
ALL = pytest.mark.parametrize("path", [RESPONSES, PLAIN, EVENTS, ARRAY])
WHOLE = "".join(answer_pieces("hello", 20))
TOOL: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}}
TOOL_INPUT = {"x-chaos-tool-input": '{"path": "/etc/hosts", "lines": 3}'}


def question(path: str, *, stream: bool = True, **fields: Any) -> dict[str, Any]:
    if path == RESPONSES:
        return {"model": "m", "input": "hello", "stream": stream, **fields}
    return {"contents": [{"role": "user", "parts": [{"text": "hello"}]}], **fields}


async def ask(site: Site, path: str, mode: str = "off", *, stream: bool = True, **fields: Any) -> Seen:
    return await site.see("POST", path, json=question(path, stream=stream, **fields), headers={"x-chaos": mode})


def said(path: str, body: bytes) -> list[str]:
    """The pieces of a stream, or of as much of it as came."""
    if path == ARRAY:
        chunks = json.loads(body if body.endswith(b"]") else body + b"]")
    else:
        chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]
    if path == RESPONSES:
        return [chunk["delta"] for chunk in chunks if chunk["type"] == "response.output_text.delta"]
    parts = [part for chunk in chunks for part in chunk.get("candidates", [{}])[0].get("content", {}).get("parts", ())]
    return [part["text"] for part in parts if part.get("text")]


def finished(body: bytes) -> bool:
    return b'"type":"response.completed"' in body or b'"finishReason":"STOP"' in body


def gpt(site: Site) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=site.url + "/v1", api_key="k", max_retries=0)


# The official clients -------------------------------------------------------------------------------------------------


def test_responses_are_the_same_plain_and_streaming(visit: Visit) -> None:
    async def story(site: Site) -> None:
        async with gpt(site) as client:
            plain = await client.responses.create(model="gpt-x", input="hello")
            async with client.responses.stream(model="gpt-x", input="hello") as stream:
                kinds = [event.type async for event in stream]
                streamed = await stream.get_final_response()
        assert plain.output_text == streamed.output_text == WHOLE
        assert plain.status == streamed.status == "completed"
        assert plain.usage is not None
        assert streamed.usage is not None
        assert plain.usage.output_tokens == streamed.usage.output_tokens == 20
        assert kinds[:4] == [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
        ]  # fmt: skip
        assert kinds[-4:] == [
            "response.output_text.done", "response.content_part.done", "response.output_item.done",
            "response.completed",
        ]  # fmt: skip

    visit(story)


def test_responses_think_call_and_take_the_result(visit: Visit) -> None:
    async def story(site: Site) -> None:
        given: list[Any] = [{"role": "user", "content": "use the tool"}]
        headers = {**TOOL_INPUT, "x-chaos": "think=3"}
        async with gpt(site) as client:
            async with client.responses.stream(model="g", input=given, tools=[TOOL], extra_headers=headers) as stream:
                begun = await stream.get_final_response()
            thought, call = begun.output
            assert thought.type == "reasoning"
            assert len(thought.summary[0].text.split()) > 3
            assert call.type == "function_call"
            assert json.loads(call.arguments) == {"path": "/etc/hosts", "lines": 3}
            given += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in begun.output]
            given.append({"type": "function_call_output", "call_id": call.call_id, "output": "localhost"})
            final = await client.responses.create(model="g", input=given, tools=[TOOL])
        assert final.output_text

    visit(story)


def gemini(site: Site) -> Any:
    return genai.Client(api_key="k", http_options=genai.types.HttpOptions(base_url=site.url))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gemini_is_the_same_plain_and_streaming(visit: Visit) -> None:
    async def story(site: Site) -> None:
        client = gemini(site).aio
        try:
            plain = await client.models.generate_content(model="m", contents="hello")
            chunks = [one async for one in await client.models.generate_content_stream(model="m", contents="hello")]
            counted = await client.models.count_tokens(model="m", contents="hello")
            listed = [model.name async for model in await client.models.list()]
        finally:
            await client.aclose()
        assert plain.text == "".join(chunk.text or "" for chunk in chunks) == WHOLE
        assert plain.candidates[0].finish_reason == chunks[-1].candidates[0].finish_reason == "STOP"
        assert plain.usage_metadata.candidates_token_count == chunks[-1].usage_metadata.candidates_token_count == 20
        assert counted.total_tokens > 0
        assert listed == ["models/m"]

    visit(story, models=["m"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_gemini_thinks_calls_and_takes_the_result(visit: Visit) -> None:
    async def story(site: Site) -> None:
        client = gemini(site).aio
        types = genai.types
        declared = types.FunctionDeclaration(name="look", parameters_json_schema={"type": "object"})
        options = types.HttpOptions(headers={**TOOL_INPUT, "x-chaos": "think=3"})
        config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])], http_options=options)
        contents = [types.Content(role="user", parts=[types.Part(text="use the tool")])]
        try:
            begun = await client.models.generate_content(model="m", contents=contents, config=config)
            thought, called = begun.candidates[0].content.parts
            assert thought.thought
            assert called.thought_signature
            assert called.function_call.args == {"path": "/etc/hosts", "lines": 3}
            answered = types.Part.from_function_response(name="look", response={"output": "localhost"})
            contents += [begun.candidates[0].content, types.Content(role="user", parts=[answered])]
            final = await client.models.generate_content(model="m", contents=contents, config=config)
        finally:
            await client.aclose()
        assert final.text

    visit(story)


# Every way of going wrong ---------------------------------------------------------------------------------------------


@STREAMS
def test_a_stream_breaks_after_so_many_content_events(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        good = await ask(site, path)
        assert "".join(said(path, good.body)) == WHOLE
        assert finished(good.body)
        for mode, end in (("cut=4", None), ("eof=4", "clean"), ("stall=4", "silence")):
            seen = await ask(site, path, mode)
            assert len(said(path, seen.body)) == 4
            assert not finished(seen.body)
            assert seen.end == end if end else seen.end in {"ClientPayloadError", "ClientOSError"}
        unfinished = await ask(site, path, "no-finish")
        assert "".join(said(path, unfinished.body)) == WHOLE
        assert not finished(unfinished.body)

    visit(story)


@STREAMS
def test_errors_and_broken_json_in_a_stream(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        first = await ask(site, path, "error")
        assert said(path, first.body) == []
        assert b'"error"' in first.body
        later = await ask(site, path, "error=4:overloaded_error")
        assert len(said(path, later.body)) == 4
        assert b"overloaded_error" in later.body or b'"UNAVAILABLE"' in later.body
        with pytest.raises(json.JSONDecodeError):
            said(path, (await ask(site, path, "badjson=2")).body)

    visit(story)


@ALL
def test_answers_without_content(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        empty = await ask(site, path, "empty")
        assert b"amber" not in empty.body
        assert finished(empty.body)
        limited = await ask(site, path, "max_tokens")
        assert b'"max_output_tokens"' in limited.body or b'"MAX_TOKENS"' in limited.body
        refusal = await ask(site, path, "refusal")
        assert b"I'm sorry" in refusal.body or b'"SAFETY"' in refusal.body

    visit(story)


@ALL
def test_every_status_has_the_wires_own_words(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        for mode, status in (
            ("401", 401), ("404", 404), ("429=7s", 429), ("quota=2m", 429), ("insufficient_quota", 429),
            ("too_long", 400), ("500", 500), ("503", 503), ("529", 529), ("418", 418),
        ):  # fmt: skip
            seen = await ask(site, path, mode)
            error = json.loads(seen.body)["error"]
            assert seen.status == status
            assert error["message"]
            assert error["type"] if path == RESPONSES else error["code"] == status
        page = await ask(site, path, "html")
        assert page.headers["content-type"].startswith("text/html")

    visit(story)


def test_gemini_says_in_its_details_when_to_come_back(visit: Visit) -> None:
    async def story(site: Site) -> None:
        error = json.loads((await ask(site, PLAIN, "429=1500ms")).body)["error"]
        assert error["status"] == "RESOURCE_EXHAUSTED"
        assert error["details"][0]["retryDelay"] == "1.5s"
        assert "retry in 1.5" in error["message"]

    visit(story)


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        (RESPONSES, b'{"input":"x"}', b"'model'"),
        (RESPONSES, b'{"model":"m"}', b"'input'"),
        (RESPONSES, b'{"model":"m","input":[]}', b"'input'"),
        (RESPONSES, b"[]", b"not a JSON object"),
        (PLAIN, b"{}", b"contents is not specified"),
        (PLAIN, b'{"contents":[1]}', b"Invalid value"),
    ],
)
def test_what_is_no_question_is_refused(visit: Visit, path: str, body: bytes, complaint: bytes) -> None:
    async def story(site: Site) -> None:
        seen = await site.see("POST", path, data=body)
        assert seen.status == 400
        assert complaint in seen.body

    visit(story)


def test_a_key_may_come_in_googles_way(visit: Visit) -> None:
    async def story(site: Site) -> None:
        options = {"json": question(PLAIN)}
        assert (await site.see("POST", PLAIN, headers={"x-goog-api-key": "right"}, **options)).status == 200
        wrong = await site.see("POST", PLAIN, headers={"x-goog-api-key": "wrong"}, **options)
        assert wrong.status == 401
        assert json.loads(wrong.body)["error"]["status"] == "UNAUTHENTICATED"

    visit(story, key="right")


def test_tokens_of_a_response_are_counted(visit: Visit) -> None:
    async def story(site: Site) -> None:
        async with gpt(site) as client:
            counted = await client.responses.input_tokens.count(model="m", input="hello")
        assert counted.input_tokens > 0

    visit(story)
