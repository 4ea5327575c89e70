"""Requests on the Messages wire: what is read of a client's, and what a provider is sent."""

import json
from typing import Any

import pytest

from recloser.gateway.canonical import (
    Answer,
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
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.wire import BadRequestError
from recloser.testing_wires import assistant, user

CODEC = AnthropicCodec()


def read(*messages: dict[str, Any], **fields: Any) -> Request:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": messages, **fields}
    return CODEC.read_request(json.dumps(body).encode())


def said(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def write(request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
    written = CODEC.write_request(request)
    return json.loads(written.body), written.dropped


def talk(*turns: Turn, model: str = "claude-sonnet-4-5", **fields: Any) -> Request:
    return Request(model=model, turns=turns, **fields)


HELLO = user(Text(text="hello"))
CALL = ToolUse(id="t1", name="look", input='{"at":"sky"}')
RESULT = ToolResult(id="t1", parts=(Text(text="blue"),))
LOOK = Tool(name="look")


class TestReading:
    def test_a_turn_of_an_agent(self) -> None:
        request = read(
            said({"type": "text", "text": "Which colour is the sky?"}),
            said(
                {"type": "thinking", "thinking": "I look.", "signature": "sig"},
                {"type": "redacted_thinking", "data": "xyz"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sky"}},
                role="assistant",
            ),
            said(
                {"type": "tool_result", "tool_use_id": "t1", "content": "clouds", "is_error": True},
                {"type": "text", "text": "Again."},
            ),
            system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
            stream=True,
            temperature=1,
            metadata={"user_id": "u"},
            stop_sequences=["END"],
        )
        assert request == Request(
            model="claude-sonnet-4-5",
            max_tokens=100,
            system=(Text(text="Be brief."), Text(text="Be kind.")),
            turns=(
                user(Text(text="Which colour is the sky?")),
                assistant(
                    Thinking(text="I look.", signature="sig", issuer="anthropic"),
                    Thinking(redacted="xyz", issuer="anthropic"),
                    Text(text="Let me look."),
                    CALL,
                ),
                user(ToolResult(id="t1", parts=(Text(text="clouds"),), is_error=True), Text(text="Again.")),
            ),
            stream=True,
            stream_usage=True,
            temperature=1.0,
            user="u",
            stop=("END",),
        )

    def test_strings_are_blocks(self) -> None:
        request = read({"role": "user", "content": "a"}, {"role": "system", "content": "b"}, system="c")
        assert request.turns == (user(Text(text="a")), Turn(role=Role.SYSTEM, parts=(Text(text="b"),)))
        assert request.system == (Text(text="c"),)

    @pytest.mark.parametrize(
        ("block", "part"),
        [
            (
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                Image(media_type="image/png", data="AAAA"),
            ),
            ({"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}, Image(url="https://a/b.png")),
            (
                {"type": "document", "title": "t", "source": {"type": "text", "data": "words"}},
                Document(media_type="text/plain", text="words", name="t"),
            ),
            (
                {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
                Document(media_type="application/pdf", url="https://a/b.pdf"),
            ),
            (
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "w"}]}},
                Document(media_type="text/plain", text="w"),
            ),
            (
                {
                    "type": "search_result",
                    "title": "Sky",
                    "source": "https://a",
                    "content": [{"type": "text", "text": "is blue"}],
                },
                Document(media_type="text/plain", text="is blue", name="Sky (https://a)"),
            ),
        ],
    )
    def test_pictures_and_files(self, block: dict[str, Any], part: Any) -> None:
        assert read(said(block)).turns[0].parts == (part,)

    @pytest.mark.parametrize(
        ("given", "choice", "name", "parallel"),
        [
            ({"type": "auto"}, ToolChoice.AUTO, "", None),
            ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice.ANY, "", False),
            ({"type": "tool", "name": "look", "disable_parallel_tool_use": False}, ToolChoice.NAMED, "look", True),
            ({"type": "none"}, ToolChoice.NONE, "", None),
        ],
    )
    def test_choices_of_tools(
        self, given: dict[str, Any], choice: ToolChoice, name: str, parallel: bool | None
    ) -> None:
        tool = {"name": "look", "input_schema": {"type": "object"}, "strict": True}
        request = read(tools=[tool], tool_choice=given)
        assert (request.tool_choice, request.tool_name, request.parallel_tools) == (choice, name, parallel)
        assert request.tools == (Tool(name="look", schema={"type": "object"}, strict=True),)

    @pytest.mark.parametrize(
        ("fields", "reasoning"),
        [
            ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(budget=2000)),
            (
                {"thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "max"}},
                Reasoning(adaptive=True, shown=False, effort=Effort.MAX),
            ),
            ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
            ({"output_config": {"effort": "low"}}, Reasoning(enabled=None, effort=Effort.LOW)),
        ],
    )
    def test_thinking(self, fields: dict[str, Any], reasoning: Reasoning) -> None:
        assert read(**fields).reasoning == reasoning

    @pytest.mark.parametrize("fields", [{"output_config": {"format": {"type": "json_schema", "schema": {"a": 1}}}}])
    def test_structured_output(self, fields: dict[str, Any]) -> None:
        assert read(**fields).output == OutputSchema(schema={"a": 1})

    def test_what_has_no_word_is_named(self) -> None:
        request = read(
            said(
                {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "citations": None},
                {"type": "image", "source": {"type": "file", "file_id": "f"}},
                {"type": "container_upload", "file_id": "f"},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]},
            ),
            tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
            context_management={"edits": []},
            service_tier=None,
            thinking={"type": "between_tools"},
            output_config={"effort": "unheard-of", "task_budget": {"tokens": 1}},
        )
        assert request.turns[0].parts == (Text(text="a"), ToolResult(id="t"))
        assert request.tools == ()
        assert request.reasoning is None
        assert set(request.unread) == {
            "messages.cache_control",
            "messages.0.image",
            "messages.0.container_upload",
            "messages.0.tool_reference",
            "tools.web_search",
            "context_management",
            "thinking.between_tools",
            "output_config.effort",
            "output_config.task_budget",
        }

    def test_a_thought_that_another_wire_issued_is_its_own_again(self) -> None:
        """A client of this wire was answered by a provider of another; what it gives back is not signed by this one."""
        foreign = Thinking(text="hm", issuer="openai-chat")
        hidden = Thinking(redacted="r", issuer="openai-responses")
        body = json.loads(CODEC.write_answer(Answer(id="a", model="m", parts=(foreign, hidden))))
        assert body["content"][0]["signature"]
        request = read(said(*body["content"], role="assistant"))
        assert request.turns[0].parts == (foreign, hidden)

    @pytest.mark.parametrize(
        ("messages", "fields", "field"),
        [
            ([{"content": "a"}], {}, "messages[0].role"),
            ([{"role": "bot", "content": "a"}], {}, "messages[0].role"),
            ([{"role": "user"}], {}, "messages[0].content"),
            ([{"role": "user", "content": 7}], {}, "messages[0].content"),
            ([said({"text": "a"})], {}, "messages[0].content[0].type"),
            ([said({"type": "text"})], {}, "messages[0].content[0].text"),
            ([said({"type": "text", "text": "a"}, {"type": "text", "text": 7})], {}, "messages[0].content[1].text"),
            ([said({"type": "image", "source": {"type": "base64"}})], {}, "messages[0].content[0].source.data"),
            (
                [said({"type": "tool_use", "id": "t", "name": "f", "input": "{}"}, role="assistant")],
                {},
                "messages[0].content[0].input",
            ),
            (
                [said({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]})],
                {},
                "messages[0].content[0].content[0].text",
            ),
            ([], {"max_tokens": "many"}, "max_tokens"),
            ([], {"tools": [{"name": "f"}]}, "tools[0].input_schema"),
            ([], {"tool_choice": {"type": "some"}}, "tool_choice.type"),
            ([], {"thinking": {"budget_tokens": 7}}, "thinking.type"),
            ([], {"stop_sequences": "END"}, "stop_sequences"),
            ([], {"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, messages: list[dict[str, Any]], fields: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(BadRequestError) as refused:
            read(*messages, **fields)
        assert refused.value.field == field


class TestTurns:
    def test_turns_alternate_and_results_come_first(self) -> None:
        body, dropped = write(
            talk(HELLO, assistant(CALL), user(Text(text="wait")), user(RESULT), user(Text(text="well?")))
        )
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
        assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "text", "text"]
        assert dropped == ()

    def test_an_empty_turn_is_not_there_and_its_neighbours_are_one(self) -> None:
        body, dropped = write(
            talk(HELLO, assistant(Thinking(text="hm", issuer="openai-chat")), user(Text(text="well?")))
        )
        assert body["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "hello"}, {"type": "text", "text": "well?"}]}
        ]
        assert dropped == ("messages.thinking",)

    def test_blank_words_are_not_said(self) -> None:
        body, _ = write(talk(HELLO, assistant(Text(text=""), CALL), user(RESULT), system=(Text(text=" "),)))
        assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_use"]
        assert "system" not in body

    def test_the_user_speaks_first(self) -> None:
        body, _ = write(talk(assistant(Text(text="How can I help?")), HELLO))
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]

    def test_what_is_to_be_gone_on_from_has_no_space_at_its_end(self) -> None:
        body, _ = write(talk(HELLO, assistant(Text(text="Well, \n"))))
        assert body["messages"][1]["content"] == [{"type": "text", "text": "Well,"}]

    def test_a_refusal_becomes_words(self) -> None:
        body, dropped = write(talk(HELLO, assistant(Refusal(text="No.")), HELLO))
        assert body["messages"][1]["content"] == [{"type": "text", "text": "No."}]
        assert dropped == ()

    @pytest.mark.parametrize(
        ("model", "turns", "roles"),
        [
            ("claude-opus-4-8", "us", ["user", "system"]),
            ("claude-opus-4-8", "usa", ["user", "system", "assistant"]),
            ("claude-opus-4-8", "asu", ["user", "assistant", "user"]),
            ("claude-opus-4-8", "uss", ["user"]),
            ("claude-sonnet-5", "usa", ["user", "assistant"]),
            ("claude-opus-4-5", "usa", ["user", "assistant"]),
            ("glm-5", "usa", ["user", "assistant"]),
        ],
    )
    def test_system_turns_keep_their_place(self, model: str, turns: str, roles: list[str]) -> None:
        kinds = {"u": Role.USER, "a": Role.ASSISTANT, "s": Role.SYSTEM}
        body, dropped = write(
            talk(*(Turn(role=kinds[turn], parts=(Text(text=f"said {turn}"),)) for turn in turns), model=model)
        )
        assert [message["role"] for message in body["messages"]] == roles
        assert json.dumps(body).count("said s") == turns.count("s")
        assert dropped == ()

    def test_ids_of_other_makers_are_spelled_in_plain_letters(self) -> None:
        call = ToolUse(id="functions.look:0", name="look")
        body, _ = write(talk(HELLO, assistant(call), user(ToolResult(id="functions.look:0"))))
        assert body["messages"][1]["content"][0]["id"] == "functions_look_0"
        assert body["messages"][2]["content"][0]["tool_use_id"] == "functions_look_0"


class TestFiles:
    def test_what_is_no_picture_here_leaves_a_word(self) -> None:
        body, dropped = write(talk(user(Image(media_type="image/svg+xml", data="AAAA", detail="high"))))
        assert body["messages"][0]["content"] == [{"type": "text", "text": "[image left out: image/svg+xml]"}]
        assert dropped == ("messages.0.image.detail", "messages.0.image")

    @pytest.mark.parametrize(
        ("document", "source"),
        [
            (Document(media_type="text/csv", data="YSxi"), {"type": "text", "media_type": "text/plain", "data": "a,b"}),
            (
                Document(media_type="application/pdf", data="AAAA"),
                {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
            ),
        ],
    )
    def test_files(self, document: Document, source: dict[str, str]) -> None:
        body, dropped = write(talk(user(document)))
        assert body["messages"][0]["content"] == [{"type": "document", "source": source}]
        assert dropped == ()

    @pytest.mark.parametrize("media_type", ["application/msword", "text/plain"])
    def test_files_that_nobody_reads(self, media_type: str) -> None:
        body, dropped = write(talk(user(Document(media_type=media_type, data="/w==", name="x.doc"))))
        assert body["messages"][0]["content"] == [{"type": "text", "text": "[document left out: x.doc]"}]
        assert dropped == ("messages.0.document",)

    def test_results_show_pictures(self) -> None:
        result = ToolResult(
            id="t1", parts=(Text(text="see"), Image(media_type="image/jpg", data="AAAA")), is_error=True
        )
        body, _ = write(talk(HELLO, assistant(CALL), user(result)))
        (block,) = body["messages"][2]["content"]
        assert block["is_error"] is True
        assert [inner["type"] for inner in block["content"]] == ["text", "image"]
        assert block["content"][1]["source"]["media_type"] == "image/jpeg"


class TestWishes:
    @pytest.mark.parametrize(
        ("model", "limit"), [("claude-3-haiku-20240307", 4096), ("claude-opus-4-20250514", 32_000), ("kimi-k2", 8192)]
    )
    def test_there_is_always_a_limit(self, model: str, limit: int) -> None:
        assert write(talk(HELLO, model=model))[0]["max_tokens"] == limit
        assert write(talk(HELLO, model=model, max_tokens=5))[0]["max_tokens"] == 5

    @pytest.mark.parametrize(
        ("model", "reasoning", "thinking", "config"),
        [
            ("claude-sonnet-4-5", Reasoning(budget=2000), {"type": "enabled", "budget_tokens": 2000}, None),
            ("claude-sonnet-4-5", Reasoning(effort=Effort.LOW), {"type": "enabled", "budget_tokens": 2048}, None),
            ("claude-sonnet-4-5", Reasoning(adaptive=True), {"type": "enabled", "budget_tokens": 16_384}, None),
            (
                "claude-opus-4-5",
                Reasoning(budget=99_999, effort=Effort.HIGH),
                {"type": "enabled", "budget_tokens": 31_999},
                {"effort": "high"},
            ),
            ("claude-opus-4-7", Reasoning(budget=2000), {"type": "adaptive"}, {"effort": "low"}),
            ("claude-opus-4-7", Reasoning(effort=Effort.MINIMAL), {"type": "adaptive"}, {"effort": "low"}),
            (
                "claude-opus-5",
                Reasoning(adaptive=True, effort=Effort.XHIGH, shown=True),
                {"type": "adaptive", "display": "summarized"},
                {"effort": "xhigh"},
            ),
            ("claude-opus-4-7", Reasoning(enabled=None, effort=Effort.MAX), None, {"effort": "max"}),
            ("claude-opus-4-7", Reasoning(enabled=False, effort=Effort.NONE), {"type": "disabled"}, None),
        ],
    )
    def test_thinking_in_the_models_own_words(
        self, model: str, reasoning: Reasoning, thinking: Any, config: Any
    ) -> None:
        body, dropped = write(talk(HELLO, model=model, reasoning=reasoning))
        assert (body.get("thinking"), body.get("output_config")) == (thinking, config)
        assert dropped == ()

    def test_thinking_leaves_room_for_an_answer(self) -> None:
        body, _ = write(talk(HELLO, max_tokens=3000, reasoning=Reasoning(budget=9000)))
        assert body["thinking"]["budget_tokens"] == 2999
        body, dropped = write(talk(HELLO, max_tokens=1000, reasoning=Reasoning(budget=9000)))
        assert "thinking" not in body
        assert dropped == ("reasoning",)

    @pytest.mark.parametrize("choice", [ToolChoice.ANY, ToolChoice.NAMED])
    def test_a_forced_call_is_not_thought_about(self, choice: ToolChoice) -> None:
        body, dropped = write(
            talk(HELLO, tools=(LOOK,), tool_choice=choice, tool_name="look", reasoning=Reasoning(budget=2000))
        )
        assert "thinking" not in body
        assert dropped == ("reasoning",)

    @pytest.mark.parametrize("issuer", ["openai-chat", "anthropic"])
    def test_a_turn_that_another_model_began_is_ended_without_thinking(self, issuer: str) -> None:
        """Claude refuses to think in a turn that did not begin with a thought of its own."""
        thought = Thinking(text="hm", signature="s", issuer=issuer)
        asked = talk(HELLO, assistant(thought, CALL), user(RESULT), reasoning=Reasoning(budget=2000))
        body, dropped = write(asked)
        assert ("thinking" in body) == (issuer == "anthropic")
        assert ("reasoning" in dropped) == (issuer != "anthropic")

    @pytest.mark.parametrize(
        ("model", "reasoning", "fields", "kept", "dropped"),
        [
            ("glm-5", None, {"temperature": 1.5, "top_k": 3}, {"temperature": 1.0, "top_k": 3}, ("temperature",)),
            ("claude-opus-4-5", None, {"temperature": 0.2, "top_p": 1.0}, {"temperature": 0.2}, ()),
            ("claude-opus-4-5", None, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}, ("top_p",)),
            ("claude-opus-4-7", None, {"temperature": 1.0}, {}, ()),
            (
                "claude-opus-4-7",
                None,
                {"temperature": 0.2, "top_p": 0.9, "top_k": 3},
                {},
                ("temperature", "top_p", "top_k"),
            ),
            (
                "claude-opus-4-5",
                Reasoning(budget=2000),
                {"temperature": 0.2, "top_p": 0.96, "top_k": 3},
                {"top_p": 0.96},
                ("temperature", "top_k"),
            ),
        ],
    )
    def test_sampling(
        self, model: str, reasoning: Any, fields: dict[str, Any], kept: dict[str, Any], dropped: tuple[str, ...]
    ) -> None:
        body, left_out = write(talk(HELLO, model=model, reasoning=reasoning, **fields))
        assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept
        assert left_out == dropped

    def test_tools_that_are_not_there_cannot_be_chosen(self) -> None:
        assert write(talk(HELLO, tool_choice=ToolChoice.ANY)) == (write(talk(HELLO))[0], ("tool_choice",))
        body, dropped = write(talk(HELLO, tools=(LOOK,), tool_choice=ToolChoice.NAMED, tool_name="gone"))
        assert "tool_choice" not in body
        assert dropped == ("tool_choice",)

    def test_one_call_at_a_time_needs_a_choice(self) -> None:
        body, _ = write(talk(HELLO, tools=(LOOK,), parallel_tools=False))
        assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
        body, _ = write(talk(HELLO, tools=(LOOK,), parallel_tools=False, tool_choice=ToolChoice.NONE))
        assert body["tool_choice"] == {"type": "none"}

    def test_a_tool_says_no_more_than_it_must(self) -> None:
        body, _ = write(talk(HELLO, tools=(Tool(name="f", schema={"properties": {}}),)))
        assert body["tools"] == [{"name": "f", "input_schema": {"properties": {}, "type": "object"}}]

    def test_objects_of_a_schema_are_closed(self) -> None:
        inner = {"type": "object", "properties": {"type": {"type": "string"}}, "default": {"type": "object"}}
        schema = {"type": "object", "properties": {"a": {"type": "array", "items": inner}}, "$defs": {"object": inner}}
        body, _ = write(talk(HELLO, output=OutputSchema(schema=schema)))
        closed = {**inner, "additionalProperties": False}
        assert body["output_config"]["format"] == {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "array", "items": closed}},
                "$defs": {"object": closed},
                "additionalProperties": False,
            },
        }

    def test_what_cannot_be_said_is_named(self) -> None:
        _, dropped = write(
            talk(
                HELLO,
                seed=1,
                presence_penalty=0.0,
                frequency_penalty=0.5,
                output=OutputSchema(),
                stop=("END", "\n"),
                unread=("logit_bias",),
            )
        )
        assert dropped == ("logit_bias", "stop", "output", "seed", "presence_penalty", "frequency_penalty")

    def test_a_long_name_of_a_user_is_told_by_its_hash(self) -> None:
        body, _ = write(talk(HELLO, user="u" * 200))
        assert len(body["metadata"]["user_id"]) == 64
