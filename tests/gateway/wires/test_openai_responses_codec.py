"""Requests, answers and streams on the Responses wire, read and written."""

import json
from collections.abc import Iterable
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.wires import sayable

from recloser.gateway import sse
from recloser.gateway.canonical import (
    Answer,
    Began,
    Document,
    Effort,
    Ended,
    Event,
    Image,
    OutputSchema,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
    Usage,
)
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.gemini_codec import GeminiCodec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.openai_responses import OpenAIResponses
from recloser.gateway.wires.openai_responses_codec import ResponsesCodec
from recloser.gateway.wires.telling import gathered, told
from recloser.gateway.wires.wire import BadRequestError
from recloser.testing import WireContract
from recloser.testing_wires import ANSWERS, INTERLEAVED, assistant, user

CODEC = ResponsesCodec()
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


def read(*items: dict[str, Any], **fields: Any) -> Request:
    return CODEC.read_request(json.dumps({"model": "gpt-5", "input": items or [HELLO], **fields}).encode())


def write(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CODEC.write_request(request)
    return json.loads(written.body), written.dropped


def asked(*turns: Turn, **fields: Any) -> Request:
    return Request(**{"model": "gpt-5", "turns": turns or (user(Text(text="hello")),), **fields})


class TestContract(WireContract):
    rephrased = frozenset(
        {
            "a file of plain text",  # its words
            "a failed result",  # says so
            "a budget",  # an effort
            "thinking as it likes",  # as every model here does unless it is told something
        }
    )

    def make_codec(self) -> ResponsesCodec:
        return ResponsesCodec()


class TestReading:
    def test_words_are_a_turn_of_the_user(self) -> None:
        assert read() == CODEC.read_request(b'{"model":"gpt-5","input":"hello"}') == asked()

    def test_a_turn_of_an_agent(self) -> None:
        request = read(
            {"role": "developer", "content": [{"type": "input_text", "text": "Use tools."}]},
            {"role": "user", "content": "weather?"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "content": None,
             "encrypted_content": "sealed"},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
             "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Bern"}'},
            {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "clock", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]},
            {"role": "user", "content": "And?"},
            {"role": "developer", "content": "Be quick."},
            instructions="Be brief.",
        )  # fmt: skip
        assert request.system == (Text(text="Be brief."), Text(text="Use tools."))
        assert request.turns == (
            user(Text(text="weather?")),
            assistant(
                Thinking(text="hm", signature="sealed", issuer="openai-responses"),
                Text(text="I look."),
                ToolUse(id="c1", name="weather", input='{"city": "Bern"}'),
                ToolUse(id="c2", name="clock"),
            ),
            user(
                ToolResult(id="c1", parts=(Text(text="rain"),)),
                ToolResult(id="c2", parts=(Text(text="noon"),)),
                Text(text="And?"),
            ),
            Turn(role=Role.SYSTEM, parts=(Text(text="Be quick."),)),
        )
        assert request.unread == ()

    def test_pictures_and_files(self) -> None:
        content = [
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
            {"type": "input_image", "image_url": "https://example.com/a.png"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            {"type": "input_file", "file_url": "https://example.com/a.pdf"},
            {"type": "input_file", "file_id": "file_1"},
            {"type": "input_audio", "input_audio": {}},
        ]
        request = read({"role": "user", "content": content})
        assert request.turns[0].parts == (
            Image(media_type="image/png", data="AAAA", detail="low"),
            Image(url="https://example.com/a.png"),
            Document(media_type="application/pdf", data="AAAA", name="a.pdf"),
            Document(media_type="application/pdf", url="https://example.com/a.pdf"),
        )
        assert request.unread == ("input.input_file.file_id", "input.input_audio")

    def test_the_rest(self) -> None:
        request = read(
            tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
            tool_choice={"type": "function", "name": "f"},
            parallel_tool_calls=False,
            max_output_tokens=9,
            temperature=0.5,
            top_p=1,
            reasoning={"effort": "high", "summary": "auto"},
            text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
            safety_identifier="u",
            stream=True,
        )  # fmt: skip
        assert request == asked(
            tools=(Tool(name="f", schema={"type": "object"}),),
            tool_choice=ToolChoice.NAMED,
            tool_name="f",
            parallel_tools=False,
            max_tokens=9,
            temperature=0.5,
            top_p=1.0,
            reasoning=Reasoning(effort=Effort.HIGH, shown=True),
            output=OutputSchema(schema={"type": "object"}, name="n", strict=True),
            user="u",
            stream=True,
            stream_usage=True,
        )

    @pytest.mark.parametrize(
        ("config", "reasoning"),
        [
            ({}, None),
            ({"effort": None, "summary": None}, None),
            ({"summary": "detailed"}, Reasoning(enabled=None, shown=True)),
            ({"generate_summary": "concise"}, Reasoning(enabled=None, shown=True)),
            ({"effort": "none"}, Reasoning(enabled=False, effort=Effort.NONE)),
            ({"effort": "xhigh"}, Reasoning(effort=Effort.XHIGH)),
        ],
    )
    def test_thinking(self, config: dict[str, Any], reasoning: Reasoning | None) -> None:
        assert read(reasoning=config).reasoning == reasoning

    def test_of_the_allowed_tools_alone_is_spoken(self) -> None:
        tools = [{"type": "function", "name": name, "parameters": None} for name in ("a", "b")]
        choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
        request = read(tools=tools, tool_choice=choice)
        assert (request.tools, request.tool_choice) == ((Tool(name="b"),), ToolChoice.ANY)

    def test_a_call_with_free_text_stays_in_the_history(self) -> None:
        request = read(
            {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin"},
            {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"},
            tools=[{"type": "custom", "name": "apply_patch"}],
        )
        use = ToolUse(id="c", name="apply_patch", input='{"input":"*** Begin"}')
        assert [turn.parts for turn in request.turns] == [(use,), (ToolResult(id="c", parts=(Text(text="ok"),)),)]
        assert (request.tools, request.unread) == ((), ("tools.apply_patch",))

    def test_what_has_no_word_is_named(self) -> None:
        request = read(
            HELLO,
            {"type": "item_reference", "id": "msg_0"},
            {"type": "local_shell_call", "call_id": "c", "action": {}},
            {"type": "reasoning", "id": "rs_0", "summary": []},
            tools=[{"type": "web_search"}, {"type": "mcp", "server_label": "s"}],
            previous_response_id="resp_0",
            include=["reasoning.encrypted_content", "message.output_text.logprobs"],
            truncation="auto",
            store=True,
            background=True,
            prompt_cache_key="k",
            metadata={"a": "b"},
            text={"verbosity": "low"},
            reasoning={"effort": "unheard_of", "mode": "pro"},
            tool_choice={"type": "web_search"},
        )
        assert set(request.unread) == {
            "input.item_reference", "input.local_shell_call", "input.reasoning", "tools.web_search", "tools.mcp",
            "previous_response_id", "include.message.output_text.logprobs", "truncation", "store", "background",
            "prompt_cache_key", "metadata", "text.verbosity", "reasoning.effort", "reasoning.mode", "tool_choice",
        }  # fmt: skip

    def test_what_is_so_anyway_is_not_missed(self) -> None:
        request = read(store=False, background=False, truncation="disabled", metadata={}, include=None, user=None)
        assert request.unread == ()

    def test_the_answer_to_an_answer_that_the_provider_keeps_is_no_bad_request(self) -> None:
        request = CODEC.read_request(b'{"model":"m","previous_response_id":"resp_0"}')
        assert (request.turns, request.unread) == ((), ("previous_response_id",))

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"input": None}, "input"),
            ({"input": [{}]}, "input[0].type"),
            ({"input": [{"role": "nobody", "content": "a"}]}, "input[0].role"),
            ({"input": [{"role": "user"}]}, "input[0].content"),
            ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
            ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
            ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
            ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
            ({"tools": [{"type": "function"}]}, "tools[0].name"),
            ({"tools": [{}]}, "tools[0].type"),
            ({"tool_choice": "perhaps"}, "tool_choice"),
            ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
            ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
            ({"reasoning": {"effort": 7}}, "reasoning.effort"),
            ({"max_output_tokens": "many"}, "max_output_tokens"),
        ],
    )
    def test_what_is_wrong_is_named(self, fields: dict[str, Any], place: str) -> None:
        with pytest.raises(BadRequestError) as refused:
            CODEC.read_request(json.dumps({"model": "m", "input": "a", **fields}).encode())
        assert refused.value.field == place


class TestWriting:
    def test_the_provider_keeps_nothing_and_gives_its_thoughts_back(self) -> None:
        body, _ = write(asked(reasoning=Reasoning(effort=Effort.LOW, shown=True)))
        assert body["store"] is False
        assert body["include"] == ["reasoning.encrypted_content"]
        assert body["reasoning"] == {"effort": "low", "summary": "auto"}
        assert "include" not in write(asked())[0]  # models that do not think refuse it

    def test_a_tool_of_another_wire_is_not_made_strict(self) -> None:
        (tool,) = write(asked(tools=(Tool(name="f"),)))[0]["tools"]
        assert tool["strict"] is False

    def test_what_has_no_word_is_named(self) -> None:
        request = asked(
            assistant(Thinking(text="hm", signature="s", issuer="anthropic"), Image(url="https://example.com/a.png")),
            top_k=1, stop=("a",), seed=1, presence_penalty=0.5, frequency_penalty=0.5,
            tool_choice=ToolChoice.NAMED, tool_name="nobody", unread=("metadata",),
        )  # fmt: skip
        assert set(write(request)[1]) == {
            "metadata", "messages.thinking", "messages.0.image", "top_k", "stop", "seed", "presence_penalty",
            "frequency_penalty", "tool_choice",
        }  # fmt: skip

    def test_long_ids_are_shortened_alike(self) -> None:
        long = "x" * 100
        body, _ = write(asked(assistant(ToolUse(id=long, name="f")), user(ToolResult(id=long))))
        ids = {item["call_id"] for item in body["input"]}
        assert len(ids) == 1
        assert len(ids.pop()) == 64

    def test_a_failed_tool_says_so(self) -> None:
        result = ToolResult(id="c", parts=(Text(text="no such city"),), is_error=True)
        assert write(asked(user(result)))[0]["input"][0]["output"] == "Error: no such city"
        seen = msgspec.structs.replace(result, parts=(Image(media_type="image/png", data="AAAA"),))
        assert write(asked(user(seen)))[0]["input"][0]["output"][0] == {"type": "input_text", "text": "Error:"}

    @pytest.mark.parametrize(
        ("model", "effort", "word"),
        [("gpt-5", Effort.MINIMAL, "minimal"), ("qwen3", Effort.MINIMAL, "low"), ("o3", Effort.XHIGH, "xhigh")],
    )
    def test_finer_words_are_for_those_who_know_them(self, model: str, effort: Effort, word: str) -> None:
        body, _ = write(asked(model=model, reasoning=Reasoning(effort=effort)))
        assert body["reasoning"]["effort"] == word


# What the wire can say comes back ------------------------------------------------------------------------------------

WORDS = st.builds(Text, text=sayable.SAID)
THOUGHTS = st.builds(
    Thinking, text=st.just("") | sayable.SAID, signature=sayable.NAMES, issuer=st.just("openai-responses")
)  # fmt: skip
FILES = sayable.PDFS | st.builds(
    Document, media_type=st.just("application/pdf"), url=sayable.NAMES.map("https://example.com/{}".format)
)
SHOWN = WORDS | sayable.PICTURES | FILES
RESULTS = st.builds(
    ToolResult,
    id=sayable.NAMES,
    parts=st.tuples(st.just(Text(text="")) | WORDS) | st.lists(SHOWN, min_size=2, max_size=3).map(tuple),
)
SAID: st.SearchStrategy[Part] = THOUGHTS | WORDS | st.builds(Refusal, text=sayable.SAID) | sayable.CALLS
USERS = (
    st.tuples(st.lists(RESULTS, max_size=2), st.lists(SHOWN, max_size=3))
    .filter(any)
    .map(lambda both: [*both[0], *both[1]])
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    turns: list[Turn] = []
    for _ in range(draw(st.integers(0, 3))):
        turns += [user(*draw(USERS)), assistant(*draw(st.lists(SAID, min_size=1, max_size=4)))]
        if draw(st.booleans()):
            turns.append(Turn(role=Role.SYSTEM, parts=(draw(WORDS),)))
    tools = tuple(draw(sayable.TOOLS.map(lambda given: [tool for tool in given if tool.strict is not False])))
    choice, stream = draw(st.none() | st.sampled_from(list(ToolChoice))) if tools else None, draw(st.booleans())
    return Request(
        model="gpt-5",
        turns=(*turns, user(*draw(USERS))),
        system=tuple(draw(st.lists(WORDS, max_size=3))),
        tools=tools,
        tool_choice=choice,
        tool_name=tools[0].name if choice is ToolChoice.NAMED else "",
        parallel_tools=draw(st.none() | st.booleans()) if tools else None,
        max_tokens=draw(st.none() | sayable.TOKENS),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        reasoning=draw(
            st.none()
            | st.builds(
                Reasoning,
                effort=st.sampled_from([effort for effort in Effort if effort is not Effort.NONE]),
                shown=st.none() | st.just(value=True),
            )
            | st.just(Reasoning(enabled=False, effort=Effort.NONE))
            | st.just(Reasoning(enabled=None, shown=True))
        ),
        output=draw(
            st.none()
            | st.just(OutputSchema())
            | st.builds(OutputSchema, schema=sayable.SCHEMAS, name=sayable.NAMES, strict=st.none() | st.booleans())
        ),
        user=draw(st.just("") | sayable.NAMES),
        stream=stream,
        stream_usage=stream,
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    parts = tuple(draw(st.lists(SAID, max_size=5)))
    called = any(isinstance(part, ToolUse) for part in parts)
    output = draw(sayable.TOKENS)
    return Answer(
        id="resp_" + draw(sayable.NAMES),
        model=draw(sayable.NAMES),
        created=draw(sayable.TOKENS),
        parts=parts,
        stop=draw(st.sampled_from([Stop.LENGTH, Stop.FILTER, Stop.TOOL_USE if called else Stop.END])),
        usage=Usage(
            input=draw(sayable.TOKENS),
            output=output,
            cache_read=draw(sayable.TOKENS),
            cache_write=draw(sayable.TOKENS),
            reasoning=draw(st.integers(0, output)),
        ),
    )


def written(events: Iterable[Event], codec: Codec = CODEC) -> bytes:
    writer = codec.writer(asked(stream=True, stream_usage=True))
    return b"".join(writer.write(event) for event in events)


def heard(*chunks: bytes, codec: Codec = CODEC) -> list[Event]:
    splitter, reader = sse.Splitter(), codec.reader()
    events: list[Event] = []
    for chunk in chunks:
        for name, data, _ in sse.parse(splitter.feed(chunk)):
            events += reader.read(name, data)
    return [*events, *reader.end()]


class TestIdentity:
    @given(requests())
    def test_requests(self, request: Request) -> None:
        said = CODEC.write_request(request)
        assert said.dropped == ()
        assert CODEC.read_request(said.body) == request

    @given(answers())
    def test_answers(self, answer: Answer) -> None:
        assert CODEC.read_answer(CODEC.write_answer(answer)) == answer

    @given(sayable.in_pieces(answers()))
    def test_streams_event_by_event(self, events: list[Event]) -> None:
        assert shaken(heard(written(events))) == shaken(events)

    @given(sayable.in_pieces(answers()), st.data())
    def test_streams_cut_anywhere(self, events: list[Event], data: st.DataObject) -> None:
        stream = written(events)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        chunks = [stream[at:to] for at, to in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert heard(*chunks) == heard(stream)

    @given(answers())
    def test_a_stream_ends_with_the_plain_answer(self, answer: Answer) -> None:
        stream = written(told(answer))
        *_, (_, data, _) = sse.parse(stream)
        assert json.loads(data)["response"] == json.loads(CODEC.write_answer(answer))

    @given(answers())
    def test_the_watch_lets_every_stream_through(self, answer: Answer) -> None:
        stream = written(told(answer))
        watch = OpenAIResponses().watch()
        assert watch.feed(stream) == stream
        assert watch.terminated
        assert watch.content == OpenAIResponses().judge(CODEC.write_answer(answer)).content


def shaken(events: list[Event]) -> list[Event]:
    """Events, but for how an empty object of arguments is told: piece by piece, in one, or not at all."""
    answer = gathered(events)
    if all(not isinstance(part, ToolUse) or part.input != "{}" for part in answer.parts):
        return events
    return list(told(answer))


# Providers differ ----------------------------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> bytes:
    return sse.event(json.dumps({"type": f"response.{kind}", **fields}).encode(), f"response.{kind}".encode())


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"{kind}_1", "type": kind, **fields}


CREATED = event("created", response={"id": "resp_1", "model": "gpt-5", "created_at": 5, "status": "in_progress"})
CALL = item("function_call", call_id="c1", name="weather", arguments='{"city":"Bern"}')
MESSAGE = item("message", role="assistant", content=[{"type": "output_text", "text": "Hello", "annotations": []}])
CALLED = (ToolUse(id="c1", name="weather", input='{"city":"Bern"}'),)


def completed(*output: dict[str, Any]) -> bytes:
    return event("completed", response={"id": "resp_1", "status": "completed", "output": output})


class TestProviders:
    @pytest.mark.parametrize(
        "events",
        [
            event("function_call_arguments.delta", output_index=0, delta='{"city":"Bern"}'),
            event("function_call_arguments.done", output_index=0, arguments='{"city":"Bern"}'),
            event("function_call_arguments.delta", output_index=0, delta='{"city"')
            + event("function_call_arguments.done", output_index=0, arguments='{"city":"Bern"}'),
            b"",
        ],
        ids=["piece by piece", "in one piece", "the rest in one piece", "with the item alone"],
    )
    def test_a_call_however_it_comes(self, events: bytes) -> None:
        added = event("output_item.added", output_index=0, item={**CALL, "arguments": ""})
        done = event("output_item.done", output_index=0, item=CALL)
        answer = gathered(heard(CREATED + added + events + done + completed(CALL)))
        assert (answer.parts, answer.stop) == (CALLED, Stop.TOOL_USE)

    @pytest.mark.parametrize(
        "stream",
        [
            event("output_item.done", output_index=0, item=CALL) + completed(CALL),
            completed(CALL),
        ],
        ids=["the item whole", "the answer whole"],
    )
    def test_a_call_that_never_began(self, stream: bytes) -> None:
        assert gathered(heard(CREATED + stream)).parts == CALLED

    @pytest.mark.parametrize(
        "events",
        [
            event("output_text.delta", output_index=0, content_index=0, delta="Hello"),
            event("output_text.done", output_index=0, content_index=0, text="Hello"),
            event("output_text.delta", output_index=0, content_index=0, delta="Hel"),
            b"",
        ],
    )
    def test_words_however_they_come(self, events: bytes) -> None:
        done = event("output_item.done", output_index=0, item=MESSAGE)
        assert gathered(heard(CREATED + events + done + completed(MESSAGE))).parts == (Text(text="Hello"),)

    def test_a_summary_in_sections(self) -> None:
        parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
        thought = item("reasoning", summary=parts, encrypted_content="sealed")
        pieces = [
            event("reasoning_summary_text.delta", output_index=0, summary_index=at, delta=text)
            for at, text in enumerate("ab")
        ]
        streamed_ = heard(
            CREATED + b"".join(pieces) + event("output_item.done", output_index=0, item=thought) + completed(thought)
        )
        whole = Thinking(text="a\n\nb", signature="sealed", issuer="openai-responses")
        assert gathered(streamed_).parts == (whole,)
        plain = CODEC.read_answer(json.dumps({"output": [thought]}).encode())
        assert plain.parts == (whole,)

    def test_thoughts_that_are_told_twice_are_told_once(self) -> None:
        thought = item(
            "reasoning",
            summary=[{"type": "summary_text", "text": "short"}],
            content=[{"type": "reasoning_text", "text": "long"}],
        )
        stream = (
            CREATED
            + event("reasoning_text.delta", output_index=0, content_index=0, delta="long")
            + event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="short")
            + event("output_item.done", output_index=0, item=thought)
            + completed(thought)
        )
        assert [part.text for part in gathered(heard(stream)).parts if isinstance(part, Thinking)] == ["long"]

    def test_thoughts_of_which_nothing_is_told_are_none(self) -> None:
        thought = item("reasoning", summary=[])
        added = event("output_item.added", output_index=0, item=thought)
        done = event("output_item.done", output_index=0, item=thought)
        assert gathered(heard(CREATED + added + done + completed(thought))).parts == ()

    def test_parts_of_a_message_and_items_of_other_kinds(self) -> None:
        message = item(
            "message",
            content=[{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}, {"type": "unheard_of"}],
        )
        items = [item("web_search_call"), message]
        stream = CREATED + b"".join(
            event("output_item.done", output_index=at, item=one) for at, one in enumerate(items)
        )  # fmt: skip
        assert gathered(heard(stream + completed())).parts == (Text(text="a"), Refusal(text="b"))

    @pytest.mark.parametrize(
        ("reason", "stop"),
        [("max_output_tokens", Stop.LENGTH), ("content_filter", Stop.FILTER), ("steered", Stop.PAUSE), (7, Stop.PAUSE)],
    )
    def test_why_it_is_incomplete(self, reason: Any, stop: Stop) -> None:
        response = {"id": "r", "status": "incomplete", "output": [], "incomplete_details": {"reason": reason}}
        assert heard(CREATED + event("incomplete", response=response))[-1] == Ended(stop=stop)
        assert CODEC.read_answer(json.dumps(response).encode()).stop is stop

    def test_a_sign_of_life_does_not_begin_the_answer(self) -> None:
        alive = sse.event(b'{"type":"keepalive"}', b"keepalive")
        assert heard(alive + CREATED + completed())[0] == Began(id="resp_1", model="gpt-5", created=5)

    @pytest.mark.parametrize(
        "data", [b"", b"null", b"[]", b'{"type":7}', b'{"type":"response.completed","response":7}']
    )
    def test_garbage_in_a_stream_is_no_event(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            CODEC.reader().read(b"", data)


# The official package ------------------------------------------------------------------------------------------------

PROVIDERS: dict[str, Codec] = {
    "anthropic": AnthropicCodec(),
    "openai-chat": ChatCodec(),
    "openai-responses": CODEC,
    "gemini": GeminiCodec(),
}


def crossing(provider: Codec, events: Iterable[Event]) -> bytes:
    """A stream of a provider as its client gets it."""
    return written(heard(written(events, provider), codec=provider))


def client(answer: bytes, media_type: str) -> openai.OpenAI:
    response = httpx2.Response(200, content=answer, headers={"content-type": media_type})
    http = httpx2.Client(transport=httpx2.MockTransport(lambda _: response))
    return openai.OpenAI(api_key="k", base_url="http://sdk.test/v1", http_client=http, max_retries=0)


def calls(response: Any) -> list[tuple[str, str, Any]]:
    made = [item for item in response.output if item.type == "function_call"]
    return [(call.call_id, call.name, json.loads(call.arguments)) for call in made]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("provider", PROVIDERS)
class TestOfficialPackage:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_an_answer_of_every_provider(self, provider: str, name: str) -> None:
        upstream, answer = PROVIDERS[provider], ANSWERS[name]
        body = CODEC.write_answer(upstream.read_answer(upstream.write_answer(answer)))
        said = client(body, "application/json").responses.create(model="m", input="hi")
        self.expect(said, answer)

    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_stream_of_every_provider(self, provider: str, name: str) -> None:
        answer = ANSWERS[name]
        text, arguments = "", ""
        last: Any = None
        stream = crossing(PROVIDERS[provider], told(answer))
        with client(stream, sse.MEDIA_TYPE).responses.stream(model="m", input="hi") as events:
            for event_ in events:
                text += event_.delta if event_.type in ("response.output_text.delta", "response.refusal.delta") else ""
                arguments += event_.delta if event_.type == "response.function_call_arguments.delta" else ""
                last = event_
        assert last is not None
        assert last.type == ("response.incomplete" if last.response.incomplete_details else "response.completed")
        self.expect(last.response, answer)
        assert text == "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))
        if len(calls(last.response)) == 1:
            assert json.loads(arguments) == calls(last.response)[0][2]

    def test_calls_told_by_turns(self, provider: str) -> None:
        stream = crossing(PROVIDERS[provider], INTERLEAVED)
        with client(stream, sse.MEDIA_TYPE).responses.stream(model="m", input="hi") as events:
            assert calls(events.get_final_response()) == [
                ("call_1", "weather", {"city": "Bern"}),
                ("call_2", "weather", {"city": "Basel"}),
            ]

    def expect(self, response: Any, answer: Answer) -> None:
        openai.types.responses.Response.model_validate(response.model_dump(warnings=False))
        assert response.id.startswith("resp_")
        assert calls(response) == [
            (part.id, part.name, json.loads(part.input)) for part in answer.parts if isinstance(part, ToolUse)
        ]
        refusals = [part.text for part in answer.parts if isinstance(part, Refusal)]
        if not refusals:
            assert response.output_text == "".join(part.text for part in answer.parts if isinstance(part, Text))
            assert (response.status == "incomplete") is (answer.stop is Stop.LENGTH)
        if answer.usage.input is not None:
            assert response.usage.input_tokens == answer.usage.input
            assert response.usage.input_tokens_details.cached_tokens == (answer.usage.cache_read or 0)
