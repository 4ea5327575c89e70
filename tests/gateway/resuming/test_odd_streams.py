"""Answers that break off in an unusual place, or that somebody unusual finishes."""

import json
from typing import Any

import msgspec
import pytest
from tests.gateway.conversation import Conversation
from tests.gateway.resuming.test_resuming import HELLO, RESUME, asking, of_words, put, read, said, up_to, written

from recloser.gateway.asks import Read
from recloser.gateway.canonical import (
    Answer,
    Ended,
    Event,
    Grew,
    OutputSchema,
    PartBegan,
    PartEnded,
    Stop,
    Text,
    ToolUse,
)
from recloser.gateway.wires import CODECS, WIRES
from recloser.gateway.wires.telling import told
from recloser.testing_wires import asked

WORDS = "I write this to the file: hello dear world, how are you"
WRITE = ToolUse(id="call_1", name="write", input=f'{{"text":"{WORDS}, my friend"}}')
WRITING = Answer(id="answer-1", model="served-1", parts=(Text(text=WORDS), WRITE), stop=Stop.TOOL_USE)


def sent(*events: dict[str, Any]) -> bytes:
    """Some events as a provider of a wire with named ones sends them."""
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


class TestWhatTheClientAskedFor:
    @pytest.mark.parametrize("count", [2, "1", 1.5, [], {}, True])
    def test_a_number_of_answers_that_is_none_is_not_gone_on_with(self, count: object) -> None:
        body = json.dumps({"model": "m", "stream": True, "n": count, "messages": [{"role": "user", "content": "hi"}]})
        talk = Conversation(body.encode(), gateway=RESUME)
        talk.answers().says(written("openai-chat", of_words(HELLO, 9))).breaks()
        assert talk.over
        assert b"broke off" in talk.received

    @pytest.mark.parametrize("config", [{"candidateCount": 2}, {"candidate_count": 2}])
    @pytest.mark.parametrize("spelling", ["generationConfig", "generation_config"])
    def test_the_gemini_wire_spells_it_in_four_ways(self, spelling: str, config: dict[str, int]) -> None:
        body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], spelling: config})
        talk = Conversation(body.encode(), wire="gemini", address=("m", True), gateway=RESUME)
        talk.answers().says(written("gemini", of_words(HELLO, 9))).breaks()
        assert talk.over

    def test_no_generation_config_at_all_is_one_answer(self) -> None:
        body = b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":null}'
        talk = Conversation(body, wire="gemini", address=("m", True), gateway=RESUME)
        talk.answers().says(written("gemini", of_words(HELLO, 9))).breaks()
        assert talk.asked == ["a/m", "b/m"]

    @pytest.mark.parametrize("wire", WIRES)
    def test_the_rest_of_a_json_answer_is_not_asked_for_as_a_json_answer(self, wire: str) -> None:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        request = msgspec.structs.replace(asked(), model="m", stream=True, output=OutputSchema(schema=schema))
        whole = CODECS[wire].write_request(request).body
        assert b'"city"' in whole
        talk = Conversation(whole, wire=wire, address=("m", True), gateway=RESUME)
        talk.answers().says(written(wire, of_words(HELLO, 9))).breaks()
        assert CODECS[wire].read_request(put(talk, wire), "m", stream=True).output is None


class TestWhereItBreaksOff:
    @pytest.mark.parametrize("wire", ["openai-chat", "anthropic", "gemini"])
    def test_what_is_wrong_after_the_end_is_no_part_of_the_answer(self, wire: str) -> None:
        talk = asking(wire, ["a/m", "b/m"])
        talk.answers().says(written(wire, told(HELLO)).removesuffix(WIRES[wire].terminator))
        assert isinstance(talk.ask, Read)
        talk.says(b'data: {"type":"error","error":{"message":"late","code":500}}\n\n')
        assert talk.over
        understood, finished = read(wire, talk.received)
        assert (said(understood), finished, talk.account.outcome) == (said(HELLO), True, "ok")
        assert b"late" not in talk.received

    @pytest.mark.parametrize("done", [False, True])
    def test_a_call_that_has_no_word_here_is_not_made_twice(self, done: bool) -> None:
        call = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "apply_patch", "input": ""}
        patching = [
            {"type": "response.output_item.added", "output_index": 1, "item": call},
            {"type": "response.output_item.done", "output_index": 1, "item": {**call, "input": "*** Begin Patch"}},
        ]
        talk = asking("openai-responses", ["a/m", "b/m"])
        talk.answers().says(written("openai-responses", up_to(HELLO, PartEnded)))
        talk.says(sent(*patching[: 1 + done])).breaks()
        assert talk.over
        assert b"broke off" in talk.received

    def test_what_a_provider_has_looked_up_by_itself_may_be_gone_on_with(self) -> None:
        found = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
        talk = asking("openai-responses", ["a/m", "b/m"])
        talk.answers().says(written("openai-responses", up_to(HELLO, PartEnded)))
        talk.says(sent({"type": "response.output_item.done", "output_index": 1, "item": found})).breaks()
        assert talk.asked == ["a/m", "b/m"]

    @pytest.mark.parametrize(("shown", "goes_on"), [(1, False), (2, False), (3, False), (4, True)])
    def test_a_search_without_its_result_is_not_gone_on_with(self, shown: int, goes_on: bool) -> None:
        search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
        result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
        searching = [
            {"type": "content_block_start", "index": 1, "content_block": search},
            {"type": "content_block_stop", "index": 1},
            {"type": "content_block_start", "index": 2, "content_block": result},
            {"type": "content_block_stop", "index": 2},
        ]
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", up_to(HELLO, PartEnded))).says(sent(*searching[:shown])).breaks()
        assert talk.over is not goes_on

    @pytest.mark.parametrize(
        "odd",
        [
            {"type": "response.created", "response": None},
            {"type": "response.in_progress", "sequence_number": None},
            {"type": "response.output_item.added", "output_index": 7, "item": {"type": "message", "id": "msg_7"}},
            {"type": "response.output_item.added", "output_index": 1, "item": None},
        ],
        ids=lambda odd: odd["type"],
    )
    def test_a_stream_that_cannot_be_gone_on_with_ends_in_an_error(self, odd: dict[str, Any]) -> None:
        talk = asking("openai-responses", ["a/m", "b/m"])
        talk.answers().says(written("openai-responses", of_words(HELLO, 9))).says(sent(odd)).breaks()
        assert talk.over
        assert b"broke off" in talk.received


class TestWhoFinishesIt:
    @pytest.mark.parametrize(
        ("wire", "announced"),
        [(wire, announced) for wire in WIRES for announced in (False, True) if not (announced and wire == "gemini")],
    )  # on Gemini's wire a call is not announced: it comes whole
    def test_the_input_of_a_call_has_no_seam(self, wire: str, announced: bool) -> None:
        talk = asking(wire, ["a/m", "b/m"])
        begun = [*up_to(WRITING, PartEnded), *([PartBegan(index=1, part=WRITE)] if announced else [])]
        talk.answers().says(written(wire, begun)).breaks()
        call = msgspec.structs.replace(WRITING, parts=(WRITE,))
        talk.answers().says(written(wire, told(call)))
        if isinstance(talk.ask, Read):
            talk.ends()
        assert said(read(wire, talk.received)[0]) == said(WRITING)

    def test_an_empty_part_before_the_words_is_no_reason_to_say_them_twice(self) -> None:
        talk = asking("anthropic", ["a/m", "b/m"])
        talk.answers().says(written("anthropic", of_words(HELLO, 27))).breaks()
        again = msgspec.structs.replace(HELLO, parts=(Text(text=""), *HELLO.parts))
        talk.answers().says(written("anthropic", told(again)))
        assert said(read("anthropic", talk.received)[0]) == said(HELLO)

    @pytest.mark.parametrize("client", WIRES)
    def test_parts_that_grow_by_turns_are_told_whole(self, client: str) -> None:
        began, *_, ended = told(HELLO)
        assert isinstance(ended, Ended)
        by_turns: list[Event] = [
            began,
            PartBegan(index=0, part=Text(text="")),
            PartBegan(index=1, part=Text(text="")),
            Grew(index=0, text=" this is"),
            Grew(index=1, text=" the whole"),
            PartEnded(index=0),
            Grew(index=1, text=" answer."),
            PartEnded(index=1),
            ended,
        ]
        talk = asking(client, ["a/m", "b/m"], wires={"a": client, "b": "openai-responses"})
        talk.answers().says(written(client, of_words(HELLO, 6))).breaks()
        talk.answers().says(written("openai-responses", by_turns))
        assert talk.account.outcome == "ok"
        assert said(read(client, talk.received)[0])[0].replace("\n\n", "") == "Hello, this is the whole answer."
