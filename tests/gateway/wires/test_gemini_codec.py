"""Requests, answers and streams on the Gemini wire, read and written."""

import contextlib
import json
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

import httpx2
import msgspec
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
    Grew,
    Image,
    OutputSchema,
    Part,
    PartBegan,
    PartEnded,
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
    Written,
)
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.gemini import Gemini, address
from recloser.gateway.wires.gemini_codec import GeminiCodec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.openai_responses_codec import ResponsesCodec
from recloser.gateway.wires.telling import gathered, told
from recloser.gateway.wires.wire import BadRequestError
from recloser.gateway.wires.wire import Refusal as Refused
from recloser.testing import WireContract
from recloser.testing_wires import ANSWERS, INTERLEAVED, MODEL, assistant, user

CODEC = GeminiCodec()
NEW, OLD = "gemini-3-pro-preview", "gemini-2.5-flash"


def read(*contents: dict[str, Any], model: str = NEW, **fields: Any) -> Request:
    body = {"contents": contents or [said({"text": "hello"})], **fields}
    return CODEC.read_request(json.dumps(body).encode(), model)


def said(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def write(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CODEC.write_request(request)
    return json.loads(written.body), written.dropped


def asked(*turns: Turn, **fields: Any) -> Request:
    return Request(**{"model": NEW, "turns": turns or (user(Text(text="hello")),), **fields})


class Addressed(GeminiCodec):
    """Reads requests as if all of them came to one address."""

    def read_request(self, body: bytes, model: str = MODEL, *, stream: bool = False) -> Request:
        return super().read_request(body, model, stream=stream)


class TestContract(WireContract):
    rephrased = frozenset(
        {
            "a system turn in the middle",  # marked words of the user
            "a file of plain text",  # its words
            "the address of a picture",  # and its kind
            "a result with a picture",  # behind it, for models that take it nowhere else
            "no thinking",  # as models do that cannot
        }
    )

    def make_codec(self) -> Addressed:
        return Addressed()

    def again(self, written: Written, request: Request) -> Request:
        """Read at its address. That results have the names of their tools here is no change."""
        again = CODEC.read_request(written.body, request.model, stream=request.stream)
        turns = [
            Turn(
                role=turn.role,
                parts=tuple(
                    msgspec.structs.replace(part, name="") if isinstance(part, ToolResult) else part
                    for part in turn.parts
                ),
            )
            for turn in again.turns
        ]
        return msgspec.structs.replace(again, turns=tuple(turns))

    def test_a_stream_ends_once(self) -> None:
        """This wire has no event for that: what a chunk says of the end may be said again, with the cost."""
        stream = written(told(ANSWERS["words"]))
        reader = CODEC.reader()
        for name, data, _ in sse.parse(stream):
            assert not any(isinstance(event, Ended) for event in reader.read(name, data))
        assert isinstance(list(reader.end())[-1], Ended)
        assert list(reader.end()) == []
        assert [event for name, data, _ in sse.parse(stream) for event in reader.read(name, data)] == []


class TestReading:
    def test_a_turn_of_an_agent(self) -> None:
        request = read(
            said({"text": "weather?"}),
            said(
                {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                {"text": "I look."},
                {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": "czI="},
                {"functionCall": {"name": "clock"}},
                role="model",
            ),
            said(
                {"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "rain"}}},
                {"functionResponse": {"name": "clock", "response": {"error": "broken"}}},
                {"text": "And?"},
            ),
            systemInstruction={"role": "user", "parts": [{"text": "Be brief."}]},
        )
        assert request.system == (Text(text="Be brief."),)
        assert request.turns == (
            user(Text(text="weather?")),
            assistant(
                Thinking(text="hm", signature="c2ln", issuer="gemini"),
                Text(text="I look."),
                ToolUse(id="c1", name="weather", input='{"city":"Bern"}', signature="czI="),
                ToolUse(id="call_1", name="clock"),
            ),
            user(
                ToolResult(id="c1", name="weather", parts=(Text(text="rain"),)),
                ToolResult(id="call_1", name="clock", parts=(Text(text="broken"),), is_error=True),
                Text(text="And?"),
            ),
        )
        assert request.unread == ()

    def test_both_spellings_and_single_parts_are_understood(self) -> None:
        request = CODEC.read_request(
            json.dumps(
                {
                    "contents": {"parts": {"inline_data": {"mime_type": "image/png", "data": "AAAA"}}},
                    "system_instruction": {"parts": {"text": "Be brief."}},
                    "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
                    "tool_config": {"function_calling_config": {"mode": "any"}},
                    "generation_config": {"max_output_tokens": 9, "thinking_config": {"thinking_budget": 1024}},
                    "a_field_nobody_knows": 1,
                }
            ).encode(),
            NEW,
        )
        assert request.turns == (user(Image(media_type="image/png", data="AAAA")),)
        assert request.system == (Text(text="Be brief."),)
        assert request.tools == (Tool(name="f", schema={"type": "object"}),)
        assert (request.tool_choice, request.max_tokens) == (ToolChoice.ANY, 9)
        assert request.reasoning == Reasoning(budget=1024)
        assert request.unread == ("a_field_nobody_knows",)

    @pytest.mark.parametrize(
        ("made", "answered"),
        [
            ([None, None], [None, None]),
            ([None, None], ["f-17-a", "f-17-b"]),  # a client that makes up ids for itself and keeps none
            (["a", "b"], ["a", "b"]),
            (["a", "b"], [None, None]),
            ([None, "b"], ["f-17-a", "b"]),
            ([None, "b"], [None, "b"]),
            (["a", None], ["a", None]),
        ],
    )
    def test_results_find_their_calls(self, made: list[str | None], answered: list[str | None]) -> None:
        request = read(
            said(*({"functionCall": {"id": one, "name": "f"}} for one in made), role="model"),
            said(*({"functionResponse": {"id": one, "name": "f", "response": {}}} for one in answered)),
        )
        ids = [[part.id for part in turn.parts if isinstance(part, ToolUse | ToolResult)] for turn in request.turns]
        assert ids[0] == ids[1]
        assert len(set(ids[0])) == 2

    def test_results_in_another_order_find_their_calls_by_id_and_name(self) -> None:
        request = read(
            said(
                {"functionCall": {"id": "a", "name": "f"}},
                {"functionCall": {"id": "b", "name": "f"}},
                {"functionCall": {"name": "g"}},
                role="model",
            ),
            said(
                {"functionResponse": {"name": "g", "response": {}}},
                {"functionResponse": {"id": "b", "name": "f", "response": {}}},
                {"functionResponse": {"id": "a", "name": "f", "response": {}}},
                {"functionResponse": {"id": "stray", "name": "h", "response": {}}},
            ),
        )
        assert [part.id for part in request.turns[1].parts if isinstance(part, ToolResult)] == [
            "call_1", "b", "a", "stray",
        ]  # fmt: skip

    def test_the_same_conversation_has_the_same_ids(self) -> None:
        turns = [said({"functionCall": {"name": "f"}}, role="model"), said({"functionResponse": {"name": "f"}})]
        first, longer = read(*turns), read(*turns, *turns)
        assert longer.turns[:2] == first.turns
        uses = [part.id for turn in longer.turns for part in turn.parts if isinstance(part, ToolUse)]
        assert len(set(uses)) == 2

    @pytest.mark.parametrize(
        ("response", "words"),
        [
            ({"output": "a"}, "a"),
            ({"result": "a"}, "a"),
            ({"output": {"b": [1]}}, '{"b":[1]}'),
            ({"output": "a", "more": 1}, '{"output":"a","more":1}'),
            ({"temperature": 7}, '{"temperature":7}'),
            ({"output": ""}, ""),
        ],
    )
    def test_what_a_function_answered(self, response: dict[str, Any], words: str) -> None:
        (result,) = read(said({"functionResponse": {"name": "f", "response": response}})).turns[0].parts
        assert isinstance(result, ToolResult)
        assert "".join(part.text for part in result.parts if isinstance(part, Text)) == words

    def test_an_answer_that_a_client_kept_piece_by_piece_is_one_turn(self) -> None:
        sealed = urlsafe_b64encode(b"recloser.anthropic.signature").decode()
        request = read(
            said({"text": "hi"}),
            said({"text": ""}, role="model"),
            said({"text": "h", "thought": True}, role="model"),
            said({"text": "m", "thought": True}, role="model"),
            said({"text": "", "thought": True, "thoughtSignature": sealed}, role="model"),
            said({"text": "Hel"}, role="model"),
            said({"text": "lo"}, role="model"),
            said({"functionCall": {"name": "f"}}, role="model"),
            said({"text": ""}, role="model"),
        )
        assert request.turns[1] == assistant(
            Thinking(text="hm", signature="signature", issuer="anthropic"),
            Text(text="Hello"),
            ToolUse(id="call_1", name="f"),
        )

    def test_the_signature_of_words_is_a_thought_of_its_own(self) -> None:
        request = read(said({"text": "Hello", "thoughtSignature": "c2ln"}, role="model"))
        assert request.turns[0] == assistant(Text(text="Hello"), Thinking(signature="c2ln", issuer="gemini"))

    def test_the_word_for_no_signature_is_none(self) -> None:
        none = {"functionCall": {"name": "f"}, "thoughtSignature": "skip_thought_signature_validator"}
        (use,) = read(said(none, role="model")).turns[0].parts
        assert isinstance(use, ToolUse)
        assert use.signature == ""

    def test_pictures_and_files(self) -> None:
        request = read(
            said(
                {"inlineData": {"mimeType": "image/png", "data": "-_8="}},
                {"inlineData": {"mimeType": "application/pdf", "data": "AAAA", "displayName": "a.pdf"}},
                {"inlineData": {"mimeType": "text/plain", "data": "aGk="}},
                {"inlineData": {"mimeType": "audio/mp3", "data": "AAAA"}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/a.png"}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a.pdf"}},
                {"fileData": {"fileUri": "gs://bucket/a"}},
                {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}},
                {"executableCode": {"code": "1"}},
            )
        )
        assert request.turns[0].parts == (
            Image(media_type="image/png", data="+/8="),
            Document(media_type="application/pdf", data="AAAA", name="a.pdf"),
            Document(media_type="text/plain", text="hi"),
            Image(media_type="image/png", url="https://example.com/a.png"),
            Document(media_type="application/pdf", url="https://example.com/a.pdf"),
        )
        assert request.unread == ("contents.audio", "contents.fileData", "contents.executableCode")

    def test_a_schema_of_this_wire_becomes_json_schema(self) -> None:
        parameters = {
            "type": "OBJECT",
            "properties": {
                "type": {"type": "STRING", "nullable": True, "enum": ["a"]},
                "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "maxItems": 3},
                "any": {"anyOf": [{"type": "NUMBER"}, {"type": "TYPE_UNSPECIFIED"}], "example": 1},
            },
            "required": ["type"],
            "propertyOrdering": ["type", "list"],
        }
        (tool,) = read(tools=[{"functionDeclarations": [{"name": "f", "parameters": parameters}]}]).tools
        assert tool.schema == {
            "type": "object",
            "properties": {
                "type": {"type": ["string", "null"], "enum": ["a"]},
                "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
                "any": {"anyOf": [{"type": "number"}, {}], "examples": [1]},
            },
            "required": ["type"],
        }

    @pytest.mark.parametrize(
        ("config", "choice", "name", "offered"),
        [
            ({}, None, "", ["a", "b"]),
            ({"mode": "AUTO"}, ToolChoice.AUTO, "", ["a", "b"]),
            ({"mode": "VALIDATED"}, ToolChoice.AUTO, "", ["a", "b"]),
            ({"mode": "NONE"}, ToolChoice.NONE, "", ["a", "b"]),
            ({"mode": "ANY"}, ToolChoice.ANY, "", ["a", "b"]),
            ({"mode": "ANY", "allowedFunctionNames": ["b"]}, ToolChoice.NAMED, "b", ["a", "b"]),
            ({"mode": "ANY", "allowedFunctionNames": ["b", "c"]}, ToolChoice.ANY, "", ["b"]),
        ],
    )
    def test_choosing(self, config: dict[str, Any], choice: ToolChoice | None, name: str, offered: list[str]) -> None:
        tools = [{"functionDeclarations": [{"name": "a"}]}, {"functionDeclarations": [{"name": "b"}]}]
        request = read(tools=tools, toolConfig={"functionCallingConfig": config})
        assert (request.tool_choice, request.tool_name) == (choice, name)
        assert [tool.name for tool in request.tools] == offered

    @pytest.mark.parametrize(
        ("config", "reasoning"),
        [
            ({"includeThoughts": True}, Reasoning(enabled=None, shown=True)),
            ({"thinkingBudget": 0}, Reasoning(enabled=False)),
            ({"thinkingBudget": -1}, Reasoning(adaptive=True)),
            ({"thinkingBudget": 8192, "includeThoughts": True}, Reasoning(budget=8192, shown=True)),
            ({"thinkingLevel": "LOW"}, Reasoning(effort=Effort.LOW)),
            ({"thinkingLevel": "high"}, Reasoning(effort=Effort.HIGH)),
        ],
    )
    def test_thinking(self, config: dict[str, Any], reasoning: Reasoning) -> None:
        assert read(generationConfig={"thinkingConfig": config}).reasoning == reasoning

    def test_how_the_answer_is_made(self) -> None:
        config = {
            "maxOutputTokens": 9, "temperature": 1, "topP": 0.95, "topK": 64.0, "stopSequences": ["a"], "seed": 7,
            "presencePenalty": 0.5, "frequencyPenalty": 0.25, "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT"}, "candidateCount": 1, "responseModalities": ["TEXT"],
        }  # fmt: skip
        assert read(generationConfig=config) == asked(
            max_tokens=9, temperature=1.0, top_p=0.95, top_k=64, stop=("a",), seed=7, presence_penalty=0.5,
            frequency_penalty=0.25, output=OutputSchema(schema={"type": "object"}),
        )  # fmt: skip

    def test_what_has_no_word_is_named(self) -> None:
        request = read(
            tools=[{"googleSearch": {}}, {"codeExecution": {"a": 1}}],
            safetySettings=[{"category": "a"}],
            cachedContent="cachedContents/1",
            generationConfig={
                "candidateCount": 2,
                "responseModalities": ["TEXT", "IMAGE"],
                "responseMimeType": "text/x.enum",
                "speechConfig": {"a": 1},
                "thinkingConfig": {"thinkingLevel": "unheard_of"},
            },
        )
        assert set(request.unread) == {
            "tools.googleSearch", "tools.codeExecution", "safetySettings", "cachedContent",
            "generationConfig.candidateCount", "generationConfig.responseModalities",
            "generationConfig.responseMimeType", "generationConfig.speechConfig",
            "generationConfig.thinkingConfig.thinkingLevel",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"contents": 7}, "contents"),
            ({"contents": [{"role": "nobody"}]}, "contents[0].role"),
            ({"contents": [{"parts": [7]}]}, "contents[0].parts[0]"),
            ({"contents": [{"parts": [{"text": 7}]}]}, "contents[0].parts[0].text"),
            ({"contents": [{"parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
            ({"contents": [{"parts": [{"inline_data": {"data": "a"}}]}]}, "contents[0].parts[0].inlineData.mimeType"),
            ({"systemInstruction": "Be brief."}, "systemInstruction"),
            ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
            ({"toolConfig": {"functionCallingConfig": {"mode": "?"}}}, "toolConfig.functionCallingConfig.mode"),
            ({"generationConfig": {"maxOutputTokens": "9"}}, "generationConfig.maxOutputTokens"),
            ({"generationConfig": {"thinkingConfig": []}}, "generationConfig.thinkingConfig"),
        ],
    )
    def test_what_is_wrong_is_named(self, fields: dict[str, Any], place: str) -> None:
        with pytest.raises(BadRequestError) as refused:
            CODEC.read_request(json.dumps({"contents": [], **fields}).encode(), "m")
        assert refused.value.field == place

    def test_what_is_nested_deeply_is_read_or_refused(self) -> None:
        for depth in range(100, 1100, 50):
            schema = '{"type":"OBJECT","items":' * depth + "{}" + "}" * depth
            call = f'{{"functionCall":{{"name":"f","args":{schema}}}}}'
            declared = f'{{"functionDeclarations":[{{"name":"f","parameters":{schema}}}]}}'
            for body in (
                f'{{"contents":[],"tools":[{declared}]}}',
                f'{{"contents":[{{"role":"model","parts":[{call}]}}]}}',
            ):
                with contextlib.suppress(BadRequestError):
                    CODEC.read_request(body.encode(), "m")
            with contextlib.suppress(ValueError):
                CODEC.read_answer(f'{{"candidates":[{{"content":{{"parts":[{call}]}}}}]}}'.encode())

    def test_a_request_needs_a_model(self) -> None:
        with pytest.raises(BadRequestError) as refused:
            CODEC.read_request(b'{"contents":[]}')
        assert refused.value.field == "model"
        assert CODEC.read_request(b'{"contents":[],"model":"models/m"}').model == "m"


class TestWriting:
    def test_calls_of_another_model_bear_the_word_for_no_signature(self) -> None:
        turn = assistant(ToolUse(id="a", name="f"), ToolUse(id="b", name="f"))
        signed = [part.get("thoughtSignature") for part in write(asked(turn))[0]["contents"][0]["parts"]]
        assert signed == ["skip_thought_signature_validator", None]
        older = write(asked(turn, model=OLD))[0]["contents"][0]["parts"]
        assert not any("thoughtSignature" in part for part in older)
        own = assistant(ToolUse(id="a", name="f", signature="c2ln"))
        assert write(asked(own))[0]["contents"][0]["parts"][0]["thoughtSignature"] == "c2ln"

    def test_results_of_one_turn_are_together_first_and_named(self) -> None:
        body, _ = write(
            asked(
                assistant(ToolUse(id="a", name="f"), ToolUse(id="b", name="g")),
                user(Text(text="and"), ToolResult(id="a", parts=(Text(text="1"),))),
                user(ToolResult(id="b", parts=(Text(text="2"),), is_error=True), Text(text="so?")),
                user(Text(text="well?")),
            )
        )
        assert [content["parts"] for content in body["contents"][1:]] == [
            [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "1"}}},
                {"functionResponse": {"id": "b", "name": "g", "response": {"error": "2"}}},
                {"text": "and"},
                {"text": "so?"},
            ],
            [{"text": "well?"}],
        ]

    def test_a_picture_in_a_result(self) -> None:
        turn = user(ToolResult(id="a", name="f", parts=(Text(text="see"), Image(media_type="image/png", data="AAAA"))))
        inside = write(asked(turn))[0]["contents"][0]["parts"]
        assert inside[0]["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
        behind = write(asked(turn, model=OLD))[0]["contents"][0]["parts"]
        assert [list(part) for part in behind] == [["functionResponse"], ["inlineData"]]

    @pytest.mark.parametrize(
        ("model", "reasoning", "config", "dropped"),
        [
            (NEW, Reasoning(effort=Effort.HIGH, shown=True), {"includeThoughts": True, "thinkingLevel": "HIGH"}, ()),
            (NEW, Reasoning(effort=Effort.MINIMAL), {"thinkingLevel": "LOW"}, ()),
            (NEW, Reasoning(budget=2048), {"thinkingLevel": "LOW"}, ()),
            (NEW, Reasoning(adaptive=True), {}, ()),
            (NEW, Reasoning(enabled=False), {"thinkingLevel": "LOW"}, ("reasoning",)),
            (OLD, Reasoning(effort=Effort.LOW), {"thinkingBudget": 2048}, ()),
            (OLD, Reasoning(budget=10**6), {"thinkingBudget": 24_576}, ()),
            (OLD, Reasoning(adaptive=True), {"thinkingBudget": -1}, ()),
            (OLD, Reasoning(enabled=False), {"thinkingBudget": 0}, ()),
            ("gemini-2.5-pro", Reasoning(enabled=False), {"thinkingBudget": 128}, ("reasoning",)),
            ("gemini-2.0-flash", Reasoning(effort=Effort.LOW), {}, ("reasoning",)),
            ("gemini-2.0-flash", Reasoning(enabled=False), {}, ()),
            ("gemini-flash-latest", Reasoning(effort=Effort.LOW), {"thinkingLevel": "LOW"}, ()),
        ],
    )
    def test_thinking(self, model: str, reasoning: Reasoning, config: dict[str, Any], dropped: tuple[str, ...]) -> None:
        body, named = write(asked(model=model, reasoning=reasoning))
        assert body.get("generationConfig", {}).get("thinkingConfig", {}) == config
        assert named == dropped

    def test_what_has_no_word_is_named(self) -> None:
        request = asked(
            user(Image(media_type="image/png", data="AAAA", detail="high")),
            user(Document(media_type="application/pdf", data="AAAA", name="a.pdf")),
            assistant(Thinking(text="hm", signature="s", issuer="anthropic")),
            user="u", parallel_tools=False, stop=tuple("abcdef"), tool_choice=ToolChoice.ANY, unread=("metadata",),
        )  # fmt: skip
        body, dropped = write(request)
        assert set(dropped) == {
            "metadata", "messages.0.image.detail", "messages.1.document.name", "messages.thinking", "user",
            "parallel_tools", "stop", "tool_choice",
        }  # fmt: skip
        assert len(body["contents"]) == 2

    @pytest.mark.parametrize(
        ("url", "media_type"),
        [("https://example.com/a.PNG?x=1.gif", "image/png"), ("https://example.com/a", "image/jpeg")],
    )
    def test_the_kind_of_a_picture_at_an_address(self, url: str, media_type: str) -> None:
        part = write(asked(user(Image(url=url))))[0]["contents"][0]["parts"][0]
        assert part == {"fileData": {"mimeType": media_type, "fileUri": url}}


# What the wire can say comes back ------------------------------------------------------------------------------------

WORDS = st.builds(Text, text=sayable.SAID)
SIGNATURES = (
    st.binary(min_size=1, max_size=9)
    .filter(lambda raw: not raw.startswith(b"recloser."))  # the seal of a foreign one, which no provider writes
    .map(lambda raw: urlsafe_b64encode(raw).decode())
)
THOUGHTS = st.builds(Thinking, text=sayable.SAID, signature=st.just("") | SIGNATURES, issuer=st.just("gemini"))
SHOWN = (
    st.builds(Image, media_type=st.just("image/png"), data=sayable.BASE64)
    | st.builds(Image, media_type=st.just("image/png"), url=sayable.NAMES.map("https://example.com/{}".format))
    | st.builds(Document, media_type=st.just("application/pdf"), data=sayable.BASE64)
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    turns: list[Turn] = []
    calls = 0
    for _ in range(draw(st.integers(0, 3))):
        parts = draw(st.lists(THOUGHTS | WORDS, max_size=3))
        used = [
            ToolUse(id=f"id_{calls + at}", name=draw(sayable.NAMES), input=draw(sayable.ARGUMENTS | sayable.BROKEN))
            for at in range(draw(st.integers(0 if parts else 1, 3)))
        ]
        calls += len(used)
        if used:
            used[0] = msgspec.structs.replace(used[0], signature=draw(st.just("") | SIGNATURES))
        results = [
            ToolResult(
                id=use.id,
                name=use.name,
                parts=(*draw(st.just(()) | st.tuples(WORDS)), *draw(st.lists(SHOWN, max_size=2))),
                is_error=draw(st.booleans()),
            )
            for use in used
        ]
        more = draw(st.lists(WORDS | SHOWN, min_size=0 if results else 1, max_size=2))
        turns += [assistant(*parts, *used), user(*draw(st.permutations(results)), *more)]
    tools = tuple(
        Tool(name=tool.name, description=tool.description, schema=tool.schema) for tool in draw(sayable.TOOLS)
    )
    choice = draw(st.none() | st.sampled_from(list(ToolChoice))) if tools else None
    model, reasoning = draw(
        st.tuples(
            st.just(NEW),
            st.none()
            | st.builds(
                Reasoning,
                effort=st.sampled_from([Effort.LOW, Effort.MEDIUM, Effort.HIGH]),
                shown=st.none() | st.booleans(),
            ),
        )
        | st.tuples(
            st.just("gemini-3.1-flash"),
            st.just(Reasoning(enabled=None, shown=True)),
        )
    )
    stream = draw(st.booleans())
    return Request(
        model=model,
        turns=(user(draw(WORDS)), *turns),
        system=tuple(draw(st.lists(WORDS, max_size=3))),
        tools=tools,
        tool_choice=choice,
        tool_name=tools[0].name if choice is ToolChoice.NAMED else "",
        max_tokens=draw(st.none() | sayable.TOKENS),
        temperature=draw(st.none() | st.floats(0, 2)),
        top_p=draw(st.none() | st.floats(0, 1)),
        top_k=draw(st.none() | sayable.TOKENS),
        stop=tuple(draw(st.lists(sayable.SAID, max_size=5))),
        seed=draw(st.none() | sayable.TOKENS),
        presence_penalty=draw(st.none() | st.floats(-2, 2)),
        frequency_penalty=draw(st.none() | st.floats(-2, 2)),
        reasoning=reasoning,
        output=draw(st.none() | st.just(OutputSchema()) | st.builds(OutputSchema, schema=sayable.SCHEMAS)),
        stream=stream,
        stream_usage=stream,
    )


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    parts: list[Part] = []
    for part in draw(st.lists(THOUGHTS | WORDS | sayable.CALLS, max_size=5)):
        if not parts or type(part) is not type(parts[-1]) or isinstance(part, ToolUse):
            parts.append(part)  # words of a kind that follow one another are one part
    called = any(isinstance(part, ToolUse) for part in parts)
    output = draw(sayable.TOKENS)
    return Answer(
        id=draw(sayable.NAMES),
        model=draw(sayable.NAMES),
        parts=tuple(parts),
        stop=draw(st.sampled_from([Stop.LENGTH, Stop.FILTER, Stop.TOOL_USE if called else Stop.END])),
        usage=Usage(
            input=draw(sayable.TOKENS),
            output=output,
            cache_read=draw(st.none() | sayable.TOKENS),
            reasoning=draw(st.none() | st.integers(0, output)),
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
        said_ = CODEC.write_request(request)
        assert said_.dropped == ()
        assert CODEC.read_request(said_.body, request.model, stream=request.stream) == request

    @given(answers())
    def test_answers(self, answer: Answer) -> None:
        assert CODEC.read_answer(CODEC.write_answer(answer)) == answer

    @given(sayable.in_pieces(answers()))
    def test_streams(self, events: list[Event]) -> None:
        assert gathered(heard(written(events))) == gathered(events)

    @given(sayable.in_pieces(answers()), st.data())
    def test_streams_cut_anywhere(self, events: list[Event], data: st.DataObject) -> None:
        stream = written(events)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        chunks = [stream[at:to] for at, to in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert heard(*chunks) == heard(stream)

    @given(answers())
    def test_the_watch_lets_every_stream_through(self, answer: Answer) -> None:
        stream = written(told(answer))
        watch = Gemini().watch()
        assert watch.feed(stream) == stream
        assert watch.finished
        assert watch.content == Gemini().judge(CODEC.write_answer(answer)).content

    @given(st.text("abc", min_size=1), st.sampled_from(["anthropic", "openai-responses"]), st.booleans())
    def test_a_foreign_signature_comes_back_to_its_issuer(self, signature: str, issuer: str, redacted: bool) -> None:
        thought = (
            Thinking(redacted=signature, issuer=issuer)
            if redacted
            else Thinking(text="hm", signature=signature, issuer=issuer)
        )
        answer = Answer(id="a", model="m", parts=(thought,))
        assert CODEC.read_answer(CODEC.write_answer(answer)).parts == (thought,)
        kept = [json.loads(data)["candidates"][0]["content"] for _, data, _ in sse.parse(written(told(answer)))]
        assert read(said({"text": "hi"}), *kept).turns[1] == assistant(thought)


# Providers differ ----------------------------------------------------------------------------------------------------


def chunks(*given: dict[str, Any]) -> bytes:
    return b"".join(sse.event(json.dumps(one).encode()) for one in given)


def chunk(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    finish = {"finishReason": fields.pop("finish")} if "finish" in fields else {}
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **finish}
    return {"candidates": [candidate], "responseId": "r1", "modelVersion": "m", **fields}


class TestProviders:
    def test_calls_without_ids_get_some_that_are_their_own(self) -> None:
        call = {"functionCall": {"name": "f", "args": {}}}
        stream = chunks(chunk(call, call), chunk({"functionCall": {"id": "own", "name": "f"}}, finish="STOP"))
        ids = [part.id for part in gathered(heard(stream)).parts if isinstance(part, ToolUse)]
        assert ids == ["call_r1_0", "call_r1_1", "own"]
        plain = CODEC.read_answer(json.dumps(chunk(call, call)).encode())
        assert [part.id for part in plain.parts if isinstance(part, ToolUse)] == ids[:2]

    def test_two_answers_without_ids_have_calls_with_different_ones(self) -> None:
        nameless = json.dumps({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]}).encode()
        first, second = (CODEC.read_answer(nameless).parts[0] for _ in range(2))
        assert first != second

    def test_what_a_thinking_model_streams(self) -> None:
        stream = chunks(
            chunk({"text": "h", "thought": True}, usageMetadata={"promptTokenCount": 9, "thoughtsTokenCount": 1}),
            chunk({"text": "m", "thought": True}),
            chunk({"text": "Hel"}),
            chunk({"text": "lo", "thoughtSignature": "c2ln"}),
            chunk({"functionCall": {"id": "c", "name": "f", "args": {"a": 1}}, "thoughtSignature": "czI="}),
            chunk({"text": ""}, finish="STOP", usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 5,
                "thoughtsTokenCount": 2, "cachedContentTokenCount": 4, "totalTokenCount": 16}),
        )  # fmt: skip
        assert heard(stream) == [
            Began(id="r1", model="m", usage=Usage(input=9, output=1, reasoning=1)),
            PartBegan(index=0, part=Thinking(issuer="gemini")),
            Grew(index=0, text="h"),
            Grew(index=0, text="m"),
            PartEnded(index=0),
            PartBegan(index=1, part=Text(text="")),
            Grew(index=1, text="Hel"),
            Grew(index=1, text="lo"),
            PartEnded(index=1),
            PartBegan(index=2, part=Thinking(issuer="gemini")),
            Grew(index=2, signature="c2ln"),
            PartEnded(index=2),
            PartBegan(index=3, part=ToolUse(id="c", name="f", signature="czI=")),
            Grew(index=3, text='{"a":1}'),
            PartEnded(index=3),
            Ended(stop=Stop.TOOL_USE, usage=Usage(input=9, output=7, cache_read=4, reasoning=2)),
        ]

    def test_the_cost_may_come_after_the_end(self) -> None:
        stream = chunks(chunk({"text": "a"}, finish="STOP"), {"usageMetadata": {"promptTokenCount": 3}})
        assert heard(stream)[-1] == Ended(usage=Usage(input=3))

    @pytest.mark.parametrize(
        ("reason", "stop"),
        [
            ("STOP", Stop.END), ("MAX_TOKENS", Stop.LENGTH), ("SAFETY", Stop.FILTER), ("RECITATION", Stop.FILTER),
            ("MALFORMED_FUNCTION_CALL", Stop.END), (7, Stop.END),
        ],
    )  # fmt: skip
    def test_why_it_ended(self, reason: Any, stop: Stop) -> None:
        assert CODEC.read_answer(json.dumps(chunk({"text": "a"}, finish=reason)).encode()).stop is stop
        assert heard(chunks(chunk({"text": "a"}, finish=reason)))[-1] == Ended(stop=stop)

    def test_a_question_that_is_refused(self) -> None:
        blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "responseId": "r1", "modelVersion": "m"}
        assert CODEC.read_answer(json.dumps(blocked).encode()).stop is Stop.FILTER
        assert heard(chunks(blocked)) == [Began(id="r1", model="m"), Ended(stop=Stop.FILTER)]

    def test_a_picture_in_an_answer(self) -> None:
        shown = chunk({"inlineData": {"mimeType": "image/png", "data": "AAAA"}})
        answer = CODEC.read_answer(json.dumps(shown).encode())
        assert answer.parts == (Image(media_type="image/png", data="AAAA"),)
        assert CODEC.read_answer(CODEC.write_answer(answer)) == answer

    def test_a_sign_of_life_does_not_begin_the_answer(self) -> None:
        assert heard(Gemini.keepalive + chunks(chunk({"text": "a"})))[0] == Began(id="r1", model="m")

    @pytest.mark.parametrize("data", [b"", b"null", b"[]", b'{"candidates":7}', b'{"candidates":[{"content":7}]}'])
    def test_garbage_in_a_stream_is_no_chunk(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            CODEC.reader().read(b"", data)

    @pytest.mark.parametrize("answer", [b"{}", b'{"candidates":[]}', b"[]"])
    def test_garbage_is_no_answer(self, answer: bytes) -> None:
        with pytest.raises(ValueError):
            CODEC.read_answer(answer)


# The official package ------------------------------------------------------------------------------------------------

PROVIDERS: dict[str, Codec] = {
    "anthropic": AnthropicCodec(),
    "openai-chat": ChatCodec(),
    "openai-responses": ResponsesCodec(),
    "gemini": CODEC,
}


@pytest.fixture
def genai() -> Any:
    """Google's package; without it these tests are skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("google.genai")


def client(genai: Any, answer: bytes, media_type: str, seen: list[httpx2.Request] | None = None) -> Any:
    def respond(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return httpx2.Response(200, content=answer, headers={"content-type": media_type})

    http = httpx2.Client(transport=httpx2.MockTransport(respond))
    options = genai.types.HttpOptions(base_url="http://sdk.test", httpx_client=http)
    return genai.Client(api_key="k", http_options=options)


def crossing(provider: Codec, events: Iterable[Event]) -> bytes:
    """A stream of a provider as its client gets it, after some signs of life."""
    return Gemini.keepalive * 2 + written(heard(written(events, provider), codec=provider))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("provider", PROVIDERS)
class TestOfficialPackage:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_an_answer_of_every_provider(self, genai: Any, provider: str, name: str) -> None:
        upstream = PROVIDERS[provider]
        body = CODEC.write_answer(upstream.read_answer(upstream.write_answer(ANSWERS[name])))
        heard_ = client(genai, body, "application/json").models.generate_content(model="m", contents="hi")
        self.expect([heard_], ANSWERS[name])

    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_stream_of_every_provider(self, genai: Any, provider: str, name: str) -> None:
        stream = crossing(PROVIDERS[provider], told(ANSWERS[name]))
        asking = client(genai, stream, sse.MEDIA_TYPE).models
        self.expect(list(asking.generate_content_stream(model="m", contents="hi")), ANSWERS[name])

    def test_calls_told_by_turns(self, genai: Any, provider: str) -> None:
        asking = client(genai, crossing(PROVIDERS[provider], INTERLEAVED), sse.MEDIA_TYPE).models
        responses = asking.generate_content_stream(model="m", contents="hi")
        calls = [(call.id, call.args) for response in responses for call in response.function_calls or ()]
        assert calls == [("call_1", {"city": "Bern"}), ("call_2", {"city": "Basel"})]

    def test_a_chat_gives_back_what_it_was_told(self, genai: Any, provider: str) -> None:
        answer = ANSWERS["thoughts, words and two calls"]
        seen: list[httpx2.Request] = []
        chat = client(genai, crossing(PROVIDERS[provider], told(answer)), sse.MEDIA_TYPE, seen).chats.create(model="m")
        for words in ("hi", "more"):
            list(chat.send_message_stream(words))
        asked_ = address(seen[1].url.path, seen[1].url.query.decode())
        assert asked_ is not None
        assert asked_.stream
        (_, kept, _) = CODEC.read_request(seen[1].content, asked_.model, stream=True).turns
        uses = [(part.id, json.loads(part.input)) for part in kept.parts if isinstance(part, ToolUse)]
        assert uses == [(part.id, json.loads(part.input)) for part in answer.parts if isinstance(part, ToolUse)]
        assert [part.text for part in kept.parts if isinstance(part, Text)] == ["I look."]

    def expect(self, responses: list[Any], answer: Answer) -> None:
        parts = [part for response in responses for part in response.candidates[0].content.parts or ()]
        spoken = [part.text for part in parts if part.text and not part.thought]
        assert "".join(spoken) == "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))
        calls = [call for response in responses for call in response.function_calls or ()]
        assert [(call.id, call.name, call.args) for call in calls] == [
            (part.id, part.name, json.loads(part.input)) for part in answer.parts if isinstance(part, ToolUse)
        ]
        last = responses[-1]
        if answer.stop is Stop.LENGTH:
            assert last.candidates[0].finish_reason == "MAX_TOKENS"
        elif not any(isinstance(part, Refusal) for part in answer.parts):
            assert last.candidates[0].finish_reason == "STOP"
        if answer.usage.input is not None:
            assert last.usage_metadata.prompt_token_count == answer.usage.input
            assert (last.usage_metadata.cached_content_token_count or 0) == (answer.usage.cache_read or 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_broken_stream_is_an_error_to_the_official_package(genai: Any) -> None:
    broken = chunks(chunk({"text": "a"})) + Gemini().stream_error(Refused(503, "overloaded", "overloaded today"), "r1")
    asking = client(genai, broken, sse.MEDIA_TYPE).models
    with pytest.raises(genai.errors.ServerError, match="overloaded today"):
        list(asking.generate_content_stream(model="m", contents="hi"))


def test_a_call_is_told_when_it_is_whole_and_words_at_once() -> None:
    writer = CODEC.writer(asked())
    writer.write(Began(id="a", model="m"))
    writer.write(PartBegan(index=0, part=ToolUse(id="c", name="f")))
    assert writer.write(Grew(index=0, text='{"a":')) == b""
    writer.write(PartBegan(index=1, part=Text(text="")))
    assert b'"Hel"' in writer.write(Grew(index=1, text="Hel"))
    assert writer.write(Grew(index=0, text="1}")) == b""
    assert b'"args":{"a":1}' in writer.write(PartEnded(index=0))


def test_a_turn_of_the_system_in_the_middle_is_marked() -> None:
    body, dropped = write(asked(user(Text(text="a")), Turn(role=Role.SYSTEM, parts=(Text(text="Now in French."),))))
    assert body["contents"][1] == said({"text": "<system>\nNow in French.\n</system>"})
    assert dropped == ()
