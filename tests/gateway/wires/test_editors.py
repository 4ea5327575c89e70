"""A request changed in a few places on its own wire: what was meant is read back, and nothing else has changed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from tests.gateway.wires import sayable

from recloser.gateway.canonical import (
    Image,
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
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.editor import Editor

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
EVERY_WIRE = pytest.mark.parametrize("wire", ["anthropic", "openai-chat", "openai-responses", "gemini"])

FIND, OPEN = Tool(name="find", description="finds"), Tool(name="open")
ASKED = Turn(role=Role.USER, parts=(Text(text="what is in it?"),))
CALLED = Turn(
    role=Role.ASSISTANT,
    parts=(ToolUse(id="call_1", name="find", input='{"for":"it"}'), ToolUse(id="call_2", name="open")),
)
GIVEN = Turn(
    role=Role.USER,
    parts=(
        ToolResult(id="call_1", parts=(Text(text="here"),), name="find"),
        ToolResult(id="call_2", parts=(Text(text="much"),), name="open"),
    ),
)
ANSWERED = Turn(role=Role.ASSISTANT, parts=(Text(text="It is in"),))
AGENT = Request(
    model="m", turns=(ASKED, CALLED, GIVEN), system=(Text(text="be brief"),), tools=(FIND, OPEN), max_tokens=100
)


def body_of(wire: str, request: Request = AGENT) -> bytes:
    """A request as a client of the wire would send it, with a field that no other wire has words for."""
    fields = msgspec.json.decode(CODECS[wire].write_request(request).body)
    return msgspec.json.encode({**fields, "vendors_own": {"kept": [1, 2.5, None]}})


def read(wire: str, body: bytes) -> Request:
    return CODECS[wire].read_request(body, "m")


def edited(wire: str, body: bytes, change: Callable[[Editor], object]) -> bytes:
    editor = CODECS[wire].editor(body)
    change(editor)
    return editor.body()


def fields(body: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(body)
    return decoded


def difference(before: bytes, after: bytes) -> set[str]:
    """The fields of a request that are not as they were."""
    old, new = fields(before), fields(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def words(turn: Turn) -> list[str]:
    return [part.text for part in turn.parts if isinstance(part, Text)]


CONVERSATION = {"anthropic": "messages", "openai-chat": "messages", "openai-responses": "input", "gemini": "contents"}


class TestAnyRequest:
    @EVERY_WIRE
    def test_nothing_changes_if_nobody_changes_anything(self, wire: str) -> None:
        body = body_of(wire)
        assert fields(edited(wire, body, lambda editor: editor.results())) == fields(body)
        assert fields(edited(wire, body, lambda editor: editor.without_tool("unheard of"))) == fields(body)

    def test_numbers_stay_as_exact_as_they_were(self) -> None:
        body = b'{"model":"m","messages":[],"seed":123456789012345678901234567890,"top_p":0.30000000000000004}'
        after = edited("openai-chat", body, lambda editor: editor.say("user", "hi"))
        assert b"123456789012345678901234567890" in after
        assert b"0.30000000000000004" in after


class TestWords:
    @EVERY_WIRE
    def test_a_hint_after_results_stands_at_the_end(self, wire: str) -> None:
        body = body_of(wire)
        after = edited(wire, body, lambda editor: editor.say("user", "[try another way]"))
        assert difference(body, after) == {CONVERSATION[wire]}
        turns = read(wire, after).turns
        assert turns[:2] == read(wire, body).turns[:2]
        before, said = fields(body)[CONVERSATION[wire]], fields(after)[CONVERSATION[wire]]
        assert said[:-1] == before[: len(said) - 1]
        last = turns[-1].parts[-1]
        shown = last.parts[-1] if isinstance(last, ToolResult) else last
        assert isinstance(shown, Text)
        assert shown.text.endswith("[try another way]")

    @EVERY_WIRE
    def test_a_hint_after_words_of_the_user_is_the_users_too(self, wire: str) -> None:
        body = body_of(wire, msgspec.structs.replace(AGENT, turns=(ASKED,)))
        turns = read(wire, edited(wire, body, lambda editor: editor.say("user", "briefly"))).turns
        assert [turn.role for turn in turns] == [Role.USER] * len(turns)
        assert [text for turn in turns for text in words(turn)] == ["what is in it?", "briefly"]

    @EVERY_WIRE
    def test_the_beginning_of_an_answer_is_a_turn_of_the_model(self, wire: str) -> None:
        body = body_of(wire)
        after = edited(wire, body, lambda editor: editor.say("assistant", "It is in"))
        assert difference(body, after) == {CONVERSATION[wire]}
        *before, last = read(wire, after).turns
        assert tuple(before) == read(wire, body).turns
        assert last == ANSWERED

    @EVERY_WIRE
    def test_an_answer_goes_on_where_it_was(self, wire: str) -> None:
        body = body_of(wire, msgspec.structs.replace(AGENT, turns=(*AGENT.turns, ANSWERED)))
        last = read(wire, edited(wire, body, lambda editor: editor.say("assistant", " the box"))).turns[-1]
        assert last.role is Role.ASSISTANT
        assert "".join(words(last)) == "It is in the box"

    @EVERY_WIRE
    def test_then_the_user_is_heard_in_a_turn_of_its_own(self, wire: str) -> None:
        def change(editor: Editor) -> None:
            editor.say("assistant", "It is in")
            editor.say("user", "go on")

        *_, told, asked = read(wire, edited(wire, body_of(wire), change)).turns
        assert (told.role, words(told)) == (Role.ASSISTANT, ["It is in"])
        assert (asked.role, words(asked)) == (Role.USER, ["go on"])

    def test_a_message_that_is_a_mere_string_becomes_blocks(self) -> None:
        for content, expected in (("hi", ["hi", "there"]), ("", ["there"])):
            body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]})
            turns = read("anthropic", edited("anthropic", body, lambda editor: editor.say("user", "there"))).turns
            assert [words(turn) for turn in turns] == [expected]

    def test_an_answer_after_a_thought_is_a_block_of_its_own(self) -> None:
        thought = Thinking(text="hm", signature="sig", issuer="anthropic")
        turns = (ASKED, Turn(role=Role.ASSISTANT, parts=(thought,)))
        body = body_of("anthropic", msgspec.structs.replace(AGENT, turns=turns))
        last = read("anthropic", edited("anthropic", body, lambda editor: editor.say("assistant", "It"))).turns[-1]
        assert last.parts == (thought, Text(text="It"))

    @pytest.mark.parametrize("content", ["much", [{"type": "text", "text": "much"}], None])
    def test_after_a_tool_a_chat_has_no_message_of_the_user(self, content: Any) -> None:
        # Mistral's models refuse it: "Unexpected role 'user' after role 'tool'".
        message = {"role": "tool", "tool_call_id": "c", "content": content}
        body = msgspec.json.encode({"model": "m", "messages": [message]})
        after = edited("openai-chat", body, lambda editor: editor.say("user", "a hint"))
        (only,) = fields(after)["messages"]
        assert only["role"] == "tool"
        (result,) = read("openai-chat", after).turns[0].parts
        assert isinstance(result, ToolResult)
        said = "\n\n".join(part.text for part in result.parts if isinstance(part, Text))
        assert said == ("a hint" if content is None else "much\n\na hint")

    @pytest.mark.parametrize(("given", "expected"), [("hi", ["hi", "go on"]), ("", ["go on"]), (None, ["go on"])])
    def test_what_responses_are_asked_may_be_a_string_or_stored(self, given: str | None, expected: list[str]) -> None:
        asked = {"model": "m", "previous_response_id": "resp_1"} | ({} if given is None else {"input": given})
        body = msgspec.json.encode(asked)
        assert fields(edited("openai-responses", body, lambda editor: editor.results())) == asked
        after = edited("openai-responses", body, lambda editor: editor.say("user", "go on"))
        turns = read("openai-responses", after).turns
        assert [text for turn in turns for text in words(turn)] == expected

    @pytest.mark.parametrize(
        "contents",
        [
            {"parts": {"text": "hi"}},
            {"role": "user", "parts": [{"text": "hi"}]},
            [{"parts": [{"text": "hi"}]}],
            [{"role": "user", "parts": {"text": "hi"}}],
        ],
    )
    def test_gemini_takes_single_turns_and_parts_without_a_list(self, contents: Any) -> None:
        body = msgspec.json.encode({"contents": contents})
        assert fields(edited("gemini", body, lambda editor: editor.results())) == fields(body)
        (turn,) = read("gemini", edited("gemini", body, lambda editor: editor.say("user", "you"))).turns
        assert words(turn) == ["hi", "you"]


class TestThoughts:
    def test_claude_is_asked_for_none(self) -> None:
        edits = [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]
        asked = {
            "model": "m", "max_tokens": 9, "messages": [], "thinking": {"type": "enabled", "budget_tokens": 2000},
            "context_management": {"edits": edits},
        }  # fmt: skip
        after = fields(edited("anthropic", msgspec.json.encode(asked), lambda editor: editor.think_no_more()))
        assert "thinking" not in after
        assert after["context_management"] == {"edits": [{"type": "clear_tool_uses_20250919"}]}

    @pytest.mark.parametrize("odd", [None, 3, {"edits": None}, {"edits": [3]}, {}])
    def test_what_stands_oddly_beside_it_stays(self, odd: Any) -> None:
        asked = {"model": "m", "messages": [], "context_management": odd}
        assert fields(edited("anthropic", msgspec.json.encode(asked), lambda editor: editor.think_no_more())) == asked

    @pytest.mark.parametrize("outer", ["generationConfig", "generation_config"])
    @pytest.mark.parametrize("inner", ["thinkingConfig", "thinking_config"])
    def test_gemini_is_asked_for_none(self, outer: str, inner: str) -> None:
        body = msgspec.json.encode({"contents": [], outer: {inner: {"includeThoughts": True}, "topP": 0.5}})
        after = edited("gemini", body, lambda editor: editor.think_no_more())
        assert fields(after)[outer] == {"topP": 0.5}
        assert read("gemini", after).reasoning is None


class TestTools:
    @EVERY_WIRE
    def test_one_must_be_called(self, wire: str) -> None:
        body = body_of(wire)
        after = edited(wire, body, lambda editor: editor.must_call("open"))
        asked = read(wire, after)
        assert (asked.tool_choice, asked.tool_name) == (ToolChoice.NAMED, "open")
        assert (asked.tools, asked.turns) == (read(wire, body).tools, read(wire, body).turns)
        assert len(difference(body, after)) == 1

    @EVERY_WIRE
    def test_one_is_taken_away(self, wire: str) -> None:
        body = body_of(wire)
        after = edited(wire, body, lambda editor: editor.without_tool("open"))
        assert [tool.name for tool in read(wire, after).tools] == ["find"]
        assert difference(body, after) == {"tools"}

    @EVERY_WIRE
    def test_with_the_last_one_goes_what_was_said_of_them(self, wire: str) -> None:
        choice = msgspec.structs.replace(AGENT, tools=(OPEN,), tool_choice=ToolChoice.ANY, parallel_tools=False)
        asked = read(wire, edited(wire, body_of(wire, choice), lambda editor: editor.without_tool("open")))
        assert (asked.tools, asked.tool_choice, asked.tool_name) == ((), None, "")

    @EVERY_WIRE
    def test_one_that_is_taken_away_must_not_be_called_any_more(self, wire: str) -> None:
        named = msgspec.structs.replace(AGENT, tool_choice=ToolChoice.NAMED, tool_name="open")
        asked = read(wire, edited(wire, body_of(wire, named), lambda editor: editor.without_tool("open")))
        assert [tool.name for tool in asked.tools] == ["find"]
        assert asked.tool_choice in (None, ToolChoice.AUTO)
        other = read(wire, edited(wire, body_of(wire, named), lambda editor: editor.without_tool("find")))
        assert (other.tool_choice, other.tool_name) == (ToolChoice.NAMED, "open")

    def test_nor_is_it_among_those_that_are_allowed(self) -> None:
        tools = [{"type": "function", "function": {"name": name}} for name in ("find", "open")]
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools}}
        body = msgspec.json.encode({"model": "m", "messages": [], "tools": tools, "tool_choice": allowed})
        after = fields(edited("openai-chat", body, lambda editor: editor.without_tool("open")))
        assert after["tool_choice"]["allowed_tools"]["tools"] == tools[:1]

        flat = [{"type": "function", "name": name} for name in ("find", "open")]
        choice = {"type": "allowed_tools", "mode": "auto", "tools": flat}
        body = msgspec.json.encode({"model": "m", "input": "hi", "tools": flat, "tool_choice": choice})
        after = fields(edited("openai-responses", body, lambda editor: editor.without_tool("open")))
        assert (after["tools"], after["tool_choice"]["tools"]) == (flat[:1], flat[:1])

        names = {"mode": "ANY", "allowedFunctionNames": ["find", "open"]}
        body = msgspec.json.encode({
            "contents": [], "tools": [{"function_declarations": [{"name": "find"}, {"name": "open"}]}],
            "tool_config": {"function_calling_config": names, "retrieval_config": {"language_code": "de"}},
        })  # fmt: skip
        after = fields(edited("gemini", body, lambda editor: editor.without_tool("open")))
        assert after["tools"] == [{"function_declarations": [{"name": "find"}]}]
        assert after["tool_config"]["function_calling_config"]["allowedFunctionNames"] == ["find"]

    def test_tools_of_other_kinds_go_by_their_names_too(self) -> None:
        custom = [{"type": "custom", "custom": {"name": "patch"}}, {"type": "function", "function": {"name": "find"}}]
        body = msgspec.json.encode({"model": "m", "messages": [], "tools": custom})
        assert fields(edited("openai-chat", body, lambda editor: editor.without_tool("patch")))["tools"] == custom[1:]

    def test_functions_stand_beside_other_tools_of_gemini(self) -> None:
        groups = [{"functionDeclarations": [{"name": "open"}]}, {"googleSearch": {}}, {"functionDeclarations": None}]
        body = msgspec.json.encode({"contents": [], "tools": groups})
        after = fields(edited("gemini", body, lambda editor: editor.without_tool("open")))
        assert after["tools"] == groups[1:]

    def test_what_else_is_configured_of_geminis_tools_stays(self) -> None:
        config = {"retrievalConfig": {"languageCode": "de"}, "functionCallingConfig": {"mode": "AUTO"}}
        body = msgspec.json.encode({"contents": [], "toolConfig": config})
        after = fields(edited("gemini", body, lambda editor: editor.must_call("open")))
        assert after["toolConfig"]["retrievalConfig"] == {"languageCode": "de"}
        assert after["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["open"]

    @pytest.mark.parametrize("wire", ["anthropic", "openai-chat", "openai-responses", "gemini"])
    def test_null_says_nothing(self, wire: str) -> None:
        empty: dict[str, Any] = {"model": "m", CONVERSATION[wire]: []}
        asked = {**empty, "tools": None, "tool_choice": None, "toolConfig": None}
        assert fields(edited(wire, msgspec.json.encode(asked), lambda editor: editor.without_tool("open"))) == asked


class TestResults:
    @EVERY_WIRE
    def test_one_is_put_in_anothers_place(self, wire: str) -> None:
        body = body_of(wire)
        after = edited(wire, body, lambda editor: editor.results()[0]("[left out]"))
        first, second = read(wire, after).turns[2].parts
        assert isinstance(first, ToolResult)
        assert (first.id, first.parts) == ("call_1", (Text(text="[left out]"),))
        assert second == read(wire, body).turns[2].parts[1]
        assert read(wire, after).turns[:2] == read(wire, body).turns[:2]

    @pytest.mark.parametrize("wire", ["anthropic", "gemini"])
    def test_a_failure_stays_one(self, wire: str) -> None:
        failed = ToolResult(id="call_1", parts=(Text(text="no such file"),), name="find", is_error=True)
        turns = (ASKED, CALLED, Turn(role=Role.USER, parts=(failed, GIVEN.parts[1])))
        body = body_of(wire, msgspec.structs.replace(AGENT, turns=turns))
        result = read(wire, edited(wire, body, lambda editor: editor.results()[0]("[left out]"))).turns[2].parts[0]
        assert result == msgspec.structs.replace(failed, parts=(Text(text="[left out]"),), name=result.name)  # type: ignore[union-attr]

    @pytest.mark.parametrize("wire", ["anthropic", "openai-responses"])
    def test_pictures_in_it_go_as_well(self, wire: str) -> None:
        shown = ToolResult(id="call_1", parts=(Image(media_type="image/png", data="iVBORw0KGgo="),), name="find")
        turns = (ASKED, CALLED, Turn(role=Role.USER, parts=(shown, GIVEN.parts[1])))
        body = body_of(wire, msgspec.structs.replace(AGENT, turns=turns))
        after = edited(wire, body, lambda editor: editor.results()[0]("[left out]"))
        assert b"iVBORw0KGgo=" in body
        assert b"iVBORw0KGgo=" not in after

    def test_pictures_in_what_a_function_of_gemini_gave_go_as_well(self) -> None:
        picture = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
        given = {"id": "c", "name": "find", "response": {"output": "here"}, "parts": [picture]}
        body = msgspec.json.encode({"contents": [{"role": "user", "parts": [{"functionResponse": given}]}]})
        after = fields(edited("gemini", body, lambda editor: editor.results()[0]("gone")))
        response = {"id": "c", "name": "find", "response": {"output": "gone"}}
        assert after["contents"] == [{"role": "user", "parts": [{"functionResponse": response}]}]

    def test_functions_of_the_oldest_form_have_results_too(self) -> None:
        call = {"role": "assistant", "content": None, "function_call": {"name": "find", "arguments": "{}"}}
        messages = [{"role": "user", "content": "?"}, call, {"role": "function", "name": "find", "content": "here"}]
        body = msgspec.json.encode({"model": "m", "messages": messages})
        after = edited("openai-chat", body, lambda editor: editor.results()[0]("gone"))
        assert fields(after)["messages"][2] == {"role": "function", "name": "find", "content": "gone"}

    @UNHURRIED
    @given(sayable.ANTHROPIC_REQUESTS)
    def test_there_are_as_many_on_messages_as_are_read(self, request: Request) -> None:
        as_many("anthropic", request)

    @UNHURRIED
    @given(sayable.CHAT_REQUESTS)
    def test_there_are_as_many_in_chats_as_are_read(self, request: Request) -> None:
        as_many("openai-chat", request)


def as_many(wire: str, request: Request) -> None:
    """Each result can be told apart from the others and put in the place of the one that is read there."""
    body = CODECS[wire].write_request(request).body
    expected = [part for turn in read(wire, body).turns for part in turn.parts if isinstance(part, ToolResult)]

    def number(editor: Editor) -> None:
        results = editor.results()
        assert len(results) == len(expected)
        for place, put in enumerate(results):
            put(f"number {place}")

    after = read(wire, edited(wire, body, number))
    found = [part for turn in after.turns for part in turn.parts if isinstance(part, ToolResult)]
    assert [(part.id, part.is_error) for part in found] == [(part.id, part.is_error) for part in expected]
    assert [part.parts for part in found] == [(Text(text=f"number {place}"),) for place in range(len(found))]
