"""What another model said without a thought, or thought in its own way, keeps nobody from going on."""

import json
from typing import Any

from tests.gateway.conversation import Conversation

from recloser.gateway.asks import Send
from recloser.gateway.settings import GatewaySettings

NO_THOUGHT = (
    b'{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0.type: Expected `thinking`'
    b" or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must "
    b'start with a thinking block"}}'
)
NOT_MINE = b'{"error":{"type":"invalid_request_error","message":"content.0: Invalid `signature` in `thinking` block"}}'
ANSWER = b'{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}'
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "nothing"}
CLEARING = {"type": "clear_thinking_20251015", "keep": "all"}
SAID = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"m","content":[],"stop_reason":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"I begin to"}}\n\n'
)


def in_a_turn(*begun: Any, **fields: Any) -> bytes:
    """A tool has answered in the middle of a turn that began so."""
    turns = [("user", "hi"), ("assistant", list(begun)), ("user", [RESULT])]
    messages = [{"role": role, "content": content} for role, content in turns]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    return json.dumps({"model": "m", "max_tokens": 9000, "thinking": thinking, "messages": messages} | fields).encode()


def put(talk: Conversation) -> Any:
    """What the target was sent."""
    assert isinstance(talk.ask, Send)
    return json.loads(talk.ask.body)


def test_a_turn_that_began_elsewhere_without_a_thought_is_gone_on_with_without_any() -> None:
    talk = Conversation(in_a_turn(CALL), wire="anthropic").fails(400, NO_THOUGHT)
    assert talk.asked == ["a/m", "a/m"]
    assert "thinking" not in put(talk)
    assert put(talk)["messages"][1]["content"] == [CALL]
    talk.answers().says(ANSWER)
    assert talk.reply.status == 200


def test_who_does_not_think_has_no_thoughts_to_clear() -> None:
    """The real API refuses to clear thoughts where nobody thinks; other edits of the context stay."""
    others = {"type": "clear_tool_uses_20250919"}
    for edits, left in (([CLEARING], None), ([CLEARING, others], {"edits": [others]})):
        body = in_a_turn(CALL, context_management={"edits": edits})
        talk = Conversation(body, wire="anthropic").fails(400, NO_THOUGHT)
        assert put(talk).get("context_management") == left


def test_it_is_asked_again_once() -> None:
    talk = Conversation(in_a_turn(CALL), wire="anthropic").fails(400, NO_THOUGHT).fails(400, NO_THOUGHT)
    assert talk.over
    assert (talk.asked, talk.reply.body) == (["a/m", "a/m"], NO_THOUGHT)


def test_who_finishes_an_answer_that_broke_off_may_refuse_older_thoughts_too() -> None:
    body = in_a_turn(THOUGHT, CALL, stream=True)
    talk = Conversation(body, wire="anthropic", gateway=GatewaySettings(max_hold=0.0))
    talk.answers().says(SAID).breaks().fails(400, NOT_MINE)
    assert talk.asked == ["a/m", "b/m", "b/m"]
    sent = put(talk)
    assert "thinking" not in sent
    assert sent["messages"][1]["content"] == [CALL]
    assert "I begin to" in json.dumps(sent["messages"][3:])
