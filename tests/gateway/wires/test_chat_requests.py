"""Requests on the Chat Completions wire: what is read of a client's, and what a provider is sent."""

import json
from typing import Any

import pytest

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
    OutputSchema,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
)
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.phrasing import UNPARSED
from recloser.gateway.wires.wire import BadRequestError
from recloser.testing_wires import assistant, user

CODEC = ChatCodec()


def read(*messages: dict[str, Any], **fields: Any) -> Request:
    return CODEC.read_request(json.dumps({"model": "gpt-5", "messages": messages, **fields}).encode())


def write(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CODEC.write_request(request)
    return json.loads(written.body), written.dropped


def talk(*turns: Turn, model: str = "qwen3", **fields: Any) -> Request:
    return Request(model=model, turns=turns, **fields)


def call(name: str = "look", arguments: str = "{}", **more: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


HELLO = user(Text(text="hello"))
CALL = ToolUse(id="c1", name="look", input='{"at":"sky"}')
LOOK = Tool(name="look")
PICTURE = Image(media_type="image/png", data="AAAA")


class TestReading:
    def test_a_turn_of_an_agent(self) -> None:
        request = read(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {"role": "user", "content": "Which colour is the sky?"},
            {
                "role": "assistant",
                "content": "Let me look.",
                "reasoning_content": "I look.",
                "refusal": None,
                "tool_calls": [call(arguments='{"at":"sky"}'), call(id="c2", arguments="")],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "clouds"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "rain"}]},
            {"role": "user", "content": "And?"},
            {"role": "system", "content": "In French."},
            max_completion_tokens=100,
            stop="END",
            stream=True,
            stream_options={"include_usage": True},
            safety_identifier="u",
        )
        assert request == Request(
            model="gpt-5",
            system=(Text(text="Be brief."), Text(text="Be kind.")),
            turns=(
                user(Text(text="Which colour is the sky?")),
                assistant(
                    Thinking(text="I look.", issuer="openai-chat"),
                    Text(text="Let me look."),
                    CALL,
                    ToolUse(id="c2", name="look"),
                ),
                user(
                    ToolResult(id="c1", parts=(Text(text="clouds"),)),
                    ToolResult(id="c2", parts=(Text(text="rain"),)),
                    Text(text="And?"),
                ),
                Turn(role=Role.SYSTEM, parts=(Text(text="In French."),)),
            ),
            max_tokens=100,
            stop=("END",),
            stream=True,
            stream_usage=True,
            user="u",
        )

    def test_the_user_may_speak_twice(self) -> None:
        request = read({"role": "user", "content": "a"}, {"role": "user", "content": "b"})
        assert request.turns == (user(Text(text="a")), user(Text(text="b")))

    def test_the_oldest_form_of_calls(self) -> None:
        request = read(
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": "{}"}},
            {"role": "function", "name": "look", "content": "blue"},
        )
        assert request.turns[1:] == (
            assistant(ToolUse(id="call_1", name="look")),
            user(ToolResult(id="call_1", parts=(Text(text="blue"),))),
        )

    def test_a_call_with_free_text(self) -> None:
        custom = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
        request = read({"role": "assistant", "tool_calls": [custom]})
        assert request.turns == (assistant(ToolUse(id="c1", name="patch", input='{"input":"*** Begin"}')),)

    @pytest.mark.parametrize(
        ("part", "read_as"),
        [
            ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, PICTURE),
            (
                {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
                Image(url="https://a/b.png", detail="low"),
            ),
            ({"type": "image_url", "image_url": "data:text/plain,a%20b"}, Image(media_type="text/plain", data="YSBi")),
            (
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
                Document(media_type="application/pdf", data="AAAA", name="a.pdf"),
            ),
            ({"type": "file", "file": {"file_data": "AAAA"}}, Document(media_type="application/pdf", data="AAAA")),
        ],
    )
    def test_pictures_and_files(self, part: dict[str, Any], read_as: Any) -> None:
        assert read({"role": "user", "content": [part]}).turns == (user(read_as),)

    @pytest.mark.parametrize(
        ("given", "choice", "name", "tools"),
        [
            ("auto", ToolChoice.AUTO, "", ["look", "hear"]),
            ("required", ToolChoice.ANY, "", ["look", "hear"]),
            ("none", ToolChoice.NONE, "", ["look", "hear"]),
            ({"type": "function", "function": {"name": "look"}}, ToolChoice.NAMED, "look", ["look", "hear"]),
            (
                {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "hear"}}],
                    },
                },
                ToolChoice.ANY,
                "",
                ["hear"],
            ),
        ],
    )
    def test_choices_of_tools(self, given: Any, choice: ToolChoice, name: str, tools: list[str]) -> None:
        offered = [{"type": "function", "function": {"name": name}} for name in ("look", "hear")]
        request = read(tools=offered, tool_choice=given, parallel_tool_calls=False)
        assert (request.tool_choice, request.tool_name, request.parallel_tools) == (choice, name, False)
        assert [tool.name for tool in request.tools] == tools

    @pytest.mark.parametrize(
        ("fields", "read_as"),
        [
            ({"reasoning_effort": "high"}, {"reasoning": Reasoning(effort=Effort.HIGH)}),
            ({"reasoning_effort": "none"}, {"reasoning": Reasoning(enabled=False, effort=Effort.NONE)}),
            ({"response_format": {"type": "text"}}, {"output": None}),
            ({"response_format": {"type": "json_object"}}, {"output": OutputSchema()}),
            (
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": {"name": "n", "schema": {}, "strict": True},
                    }
                },
                {"output": OutputSchema(schema={}, name="n", strict=True)},
            ),
            ({"stop": None}, {"stop": ()}),
            ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
            ({"max_tokens": 5}, {"max_tokens": 5}),
            ({"top_k": 5}, {"top_k": 5}),
            ({"n": 1}, {"unread": ()}),
        ],
    )
    def test_wishes(self, fields: dict[str, Any], read_as: dict[str, Any]) -> None:
        request = read(**fields)
        assert {name: getattr(request, name) for name in read_as} == read_as
        assert request.unread == ()

    def test_what_has_no_word_is_named(self) -> None:
        request = read(
            {
                "role": "user",
                "name": "Ann",
                "content": [
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                    {"type": "file", "file": {"file_id": "f"}},
                    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                ],
            },
            tools=[
                {"type": "custom", "custom": {"name": "patch"}},
                {"type": "web_search"},
                {"type": "function", "function": {"name": "look", "return_type": "string"}},
            ],
            n=2,
            logit_bias={"1": 1},
            logprobs=None,
            tool_choice={"type": "custom", "custom": {"name": "patch"}},
            reasoning_effort="default",
            response_format={"type": "grammar"},
            stream_options={"include_obfuscation": False},
        )
        assert request.turns == (user(Text(text="a")),)
        assert [tool.name for tool in request.tools] == ["look"]
        assert set(request.unread) == {
            "messages.name",
            "messages.0.input_audio",
            "messages.0.file",
            "messages.cache_control",
            "tools.patch",
            "tools.web_search",
            "tools.return_type",
            "n",
            "logit_bias",
            "tool_choice",
            "reasoning_effort",
            "response_format",
            "stream_options.include_obfuscation",
        }

    @pytest.mark.parametrize(
        ("messages", "fields", "field"),
        [
            ([{"content": "a"}], {}, "messages[0].role"),
            ([{"role": "bot", "content": "a"}], {}, "messages[0].role"),
            ([{"role": "user"}], {}, "messages[0].content"),
            ([{"role": "system", "content": None}], {}, "messages[0].content"),
            ([{"role": "user", "content": [{"text": "a"}]}], {}, "messages[0].content[0].type"),
            ([{"role": "user", "content": [{"type": "text", "text": 7}]}], {}, "messages[0].content[0].text"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
                {},
                "messages[0].content[0].image_url.url",
            ),
            ([{"role": "tool", "content": "a"}], {}, "messages[0].tool_call_id"),
            ([{"role": "assistant", "tool_calls": [{"id": "c"}]}], {}, "messages[0].tool_calls[0].function"),
            ([{"role": "assistant", "tool_calls": [call(arguments=7)]}], {}, None),  # type: ignore[arg-type]
            ([], {"max_tokens": "many"}, "max_tokens"),
            ([], {"tools": [{"type": "function"}]}, "tools[0].function"),
            ([], {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
            ([], {"tool_choice": "some"}, "tool_choice"),
            ([], {"tool_choice": {"type": "function"}}, "tool_choice.function"),
            ([], {"tool_choice": {}}, "tool_choice.type"),
            ([], {"stop": 7}, "stop"),
            ([], {"response_format": {}}, "response_format.type"),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, messages: list[dict[str, Any]], fields: dict[str, Any], field: str | None
    ) -> None:
        with pytest.raises(BadRequestError) as refused:
            read(*messages, **fields)
        assert refused.value.field == (field or "messages[0].tool_calls[0].function.arguments")


class TestMessages:
    def test_the_system_speaks_once_and_first(self) -> None:
        body, _ = write(talk(HELLO, system=(Text(text="Be brief."), Text(text="Be kind."))))
        assert body["messages"][0] == {"role": "system", "content": "Be brief.\n\nBe kind."}

    def test_a_turn_of_the_assistant_is_one_message(self) -> None:
        thought = Thinking(text="hm", issuer="openai-chat")
        body, dropped = write(
            talk(
                HELLO,
                assistant(thought, Text(text="I "), Text(text="look."), CALL, Text(text="Done."), Refusal(text="No.")),
            )
        )
        assert body["messages"][1] == {
            "role": "assistant",
            "content": "I look.\n\nDone.",
            "reasoning_content": "hm",
            "refusal": "No.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}],
        }
        assert dropped == ()

    def test_a_call_alone_has_no_words(self) -> None:
        body, _ = write(talk(HELLO, assistant(CALL)))
        assert body["messages"][1]["content"] is None

    def test_foreign_thoughts_are_left_out_and_empty_turns_are_not_there(self) -> None:
        foreign = Thinking(text="hm", signature="s", issuer="anthropic")
        body, dropped = write(talk(HELLO, assistant(foreign, Thinking(redacted="x", issuer="anthropic")), HELLO))
        assert [message["role"] for message in body["messages"]] == ["user", "user"]
        assert dropped == ("messages.thinking",)

    def test_a_thought_alone_is_still_a_turn(self) -> None:
        body, _ = write(talk(HELLO, assistant(Thinking(text="hm", issuer="openai-chat"))))
        assert body["messages"][1] == {"role": "assistant", "content": "", "reasoning_content": "hm"}

    def test_results_come_before_what_the_user_adds(self) -> None:
        results = (
            Text(text="look:"),
            ToolResult(id="c1", parts=(Text(text="a"), Text(text="b"))),
            ToolResult(id="c2", parts=(PICTURE,)),
        )
        body, dropped = write(talk(HELLO, assistant(CALL), user(*results)))
        assert body["messages"][2:] == [
            {"role": "tool", "tool_call_id": "c1", "content": "a\n\nb"},
            {"role": "tool", "tool_call_id": "c2", "content": "[The result is shown in the next message of the user.]"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "[What the tool call c2 returned:]"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "look:"},
                ],
            },
        ]
        assert dropped == ()

    @pytest.mark.parametrize(
        ("said", "told"), [("no such city", "Error: no such city"), ("error 7", "error 7"), ("", "Error: ")]
    )
    def test_a_failed_result_says_so(self, said: str, told: str) -> None:
        result = ToolResult(id="c1", parts=(Text(text=said),), is_error=True)
        assert write(talk(user(result)))[0]["messages"][0]["content"] == told

    @pytest.mark.parametrize("text", ['{"at": "s', "[1]", "look!"])
    def test_arguments_are_an_object_whatever_the_model_wrote(self, text: str) -> None:
        """Backends decode the history; one broken call must not break each turn after it."""
        body, _ = write(talk(HELLO, assistant(ToolUse(id="c1", name="look", input=text))))
        arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
        assert json.loads(arguments) == {UNPARSED: text}

    @pytest.mark.parametrize("text", ["", " ", "null"])
    def test_no_arguments_are_none(self, text: str) -> None:
        body, _ = write(talk(HELLO, assistant(ToolUse(id="c1", name="look", input=text))))
        assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"

    @pytest.mark.parametrize(
        ("document", "part", "dropped"),
        [
            (Document(media_type="text/plain", text="words", name="n"), "n\n\nwords", ()),
            (Document(media_type="text/csv", data="YSxi"), "a,b", ()),
            (
                Document(media_type="application/pdf", data="AAAA"),
                {"filename": "document.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                (),
            ),
            (
                Document(media_type="application/pdf", url="https://a/b.pdf", name="b"),
                "[document left out: b https://a/b.pdf]",
                ("messages.0.document",),
            ),
            (Document(url="https://a/b.pdf"), "[document left out: https://a/b.pdf]", ("messages.0.document",)),
        ],
    )
    def test_files(self, document: Document, part: Any, dropped: tuple[str, ...]) -> None:
        body, left_out = write(talk(user(document)))
        content = body["messages"][0]["content"]
        assert (content if isinstance(content, str) else content[0]["file"]) == part
        assert left_out == dropped

    def test_long_ids_are_shortened_alike(self) -> None:
        long = "toolu_" + "x" * 60
        body, _ = write(talk(assistant(ToolUse(id=long, name="look")), user(ToolResult(id=long))))
        short = body["messages"][0]["tool_calls"][0]["id"]
        assert short == body["messages"][1]["tool_call_id"]
        assert len(short) == 40


class TestWishes:
    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("gpt-5-mini", "max_completion_tokens"),
            ("openai/o3", "max_completion_tokens"),
            ("gpt-4o", "max_tokens"),
            ("qwen3", "max_tokens"),
            ("gpt-oss-120b", "max_tokens"),
        ],
    )
    def test_the_limit_has_two_names(self, model: str, name: str) -> None:
        body, _ = write(talk(HELLO, model=model, max_tokens=5))
        assert {key: value for key, value in body.items() if key.startswith("max")} == {name: 5}

    @pytest.mark.parametrize(
        ("model", "reasoning", "effort", "dropped"),
        [
            ("gpt-5", Reasoning(budget=1024), "low", ()),
            ("gpt-5", Reasoning(budget=10_000), "medium", ()),
            ("gpt-5", Reasoning(budget=31_999), "high", ()),
            ("gpt-5", Reasoning(effort=Effort.XHIGH), "xhigh", ()),
            ("qwen3", Reasoning(effort=Effort.XHIGH), "high", ()),
            ("qwen3", Reasoning(effort=Effort.MINIMAL), "low", ()),
            ("qwen3", Reasoning(adaptive=True), None, ()),
            ("qwen3", Reasoning(adaptive=True, effort=Effort.MAX), "high", ()),
            ("qwen3", Reasoning(), "medium", ()),
            ("qwen3", Reasoning(enabled=False), None, ("reasoning",)),
            ("qwen3", Reasoning(enabled=False, effort=Effort.NONE), "none", ()),
            ("qwen3", Reasoning(adaptive=True, shown=False), None, ("reasoning.shown",)),
        ],
    )
    def test_thinking_in_a_word(
        self, model: str, reasoning: Reasoning, effort: str | None, dropped: tuple[str, ...]
    ) -> None:
        body, left_out = write(talk(HELLO, model=model, reasoning=reasoning))
        assert body.get("reasoning_effort") == effort
        assert left_out == dropped

    def test_tools_that_are_not_there_cannot_be_chosen(self) -> None:
        asked = talk(HELLO, tool_choice=ToolChoice.ANY, parallel_tools=False)
        assert write(asked) == (write(talk(HELLO))[0], ("tool_choice",))
        body, dropped = write(talk(HELLO, tools=(LOOK,), tool_choice=ToolChoice.NAMED, tool_name="gone"))
        assert "tool_choice" not in body
        assert dropped == ("tool_choice",)

    def test_a_tool_says_no_more_than_it_must(self) -> None:
        body, _ = write(talk(HELLO, tools=(LOOK,)))
        assert body["tools"] == [
            {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
        ]

    def test_what_cannot_be_said_is_named(self) -> None:
        body, dropped = write(talk(HELLO, top_k=3, stop=("a", "b", "c", "d", "e"), unread=("service_tier",)))
        assert body["stop"] == ["a", "b", "c", "d"]
        assert dropped == ("service_tier", "top_k", "stop")

    def test_a_long_name_of_a_user_is_told_by_its_hash(self) -> None:
        """An agent's runs to more than these providers take."""
        body, _ = write(talk(HELLO, user="user_" + "0" * 64 + "_session"))
        assert len(body["user"]) == 64

    def test_usage_is_asked_for_in_a_stream_alone(self) -> None:
        body, _ = write(talk(HELLO, stream=True, stream_usage=True))
        assert body["stream_options"] == {"include_usage": True}
        assert "stream_options" not in write(talk(HELLO, stream=True))[0]
