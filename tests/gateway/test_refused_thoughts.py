"""A provider that cannot read what another vendor's model thought is asked again without it."""

import json
from typing import Any

import pytest
from tests.gateway.conversation import Conversation

from recloser.gateway.asks import Begin, Reply, Send

COMPLAINT = b'{"error":{"type":"invalid_request_error","message":"content.0: Invalid `signature` in `thinking` block"}}'
ANSWER = b'{"type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}'
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
CALL = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "nothing"}


def thinking(*turns: tuple[str, Any]) -> bytes:
    """A request of a client that thinks on."""
    messages = [{"role": role, "content": content} for role, content in turns]
    return json.dumps({"model": "m", "max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000},
                       "metadata": {"kept": True}, "messages": messages}).encode()  # fmt: skip


def put(talk: Conversation) -> Any:
    """What the target was sent."""
    assert isinstance(talk.ask, Send)
    return json.loads(talk.ask.body)


def test_the_same_target_is_asked_again_without_the_thoughts() -> None:
    said = [THOUGHT, {"type": "text", "text": "a"}]
    talk = Conversation(thinking(("user", "hi"), ("assistant", said), ("user", "b")), wire="anthropic")
    talk.fails(400, COMPLAINT)
    assert talk.asked == ["a/m", "a/m"]
    body = put(talk)
    assert body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": "a"}]}
    assert body["metadata"] == {"kept": True}
    assert body["thinking"]["type"] == "enabled", "it may think anew"
    talk.answers(headers={}).says(ANSWER)
    (reply,) = talk.sent
    assert isinstance(reply, Reply)
    assert reply.headers["x-recloser-dropped"] == "thinking"
    assert reply.status == 200


def test_in_the_middle_of_a_turn_with_tools_it_thinks_no_more() -> None:
    """Such a turn would have to begin with a thought."""
    talk = Conversation(thinking(("user", "hi"), ("assistant", [THOUGHT, CALL]), ("user", [RESULT])), wire="anthropic")
    talk.fails(400, COMPLAINT)
    assert "thinking" not in put(talk)
    assert put(talk)["messages"][1]["content"] == [CALL]


def test_who_still_refuses_is_heard() -> None:
    talk = Conversation(thinking(("user", "hi"), ("assistant", [THOUGHT, CALL]), ("user", [RESULT])), wire="anthropic")
    talk.fails(400, COMPLAINT).fails(400, COMPLAINT)
    assert talk.over
    assert (talk.asked, talk.reply.status, talk.reply.body) == (["a/m", "a/m"], 400, COMPLAINT)


def test_another_complaint_or_a_request_without_thoughts_is_the_clients_affair() -> None:
    for body, complaint in (
        (
            thinking(("user", "hi"), ("assistant", [THOUGHT]), ("user", "b")),
            b'{"error":{"message":"max_tokens: too few"}}',
        ),
        (thinking(("user", "hi")), COMPLAINT),
    ):
        talk = Conversation(body, wire="anthropic").fails(400, complaint)
        assert talk.over
        assert talk.asked == ["a/m"]


@pytest.mark.parametrize(
    ("wire", "body", "left"),
    [
        (
            "openai-responses",
            {"input": [{"type": "reasoning", "encrypted_content": "x"}, {"role": "user", "content": "a"}]},
            {"input": [{"role": "user", "content": "a"}]},
        ),
        (
            "gemini",
            {"contents": [{"role": "model", "parts": [{"text": "hm", "thought": True, "thoughtSignature": "eA=="},
                                                      {"functionCall": {"name": "f"}, "thoughtSignature": "eA=="}]}]},
            {"contents": [{"role": "model", "parts": [{"functionCall": {"name": "f"},
                                                       "thoughtSignature": "skip_thought_signature_validator"}]}]},
        ),
    ],
)  # fmt: skip
def test_so_it_is_on_every_wire_with_sealed_thoughts(wire: str, body: dict[str, Any], left: dict[str, Any]) -> None:
    named = {"model": "m"} if wire != "gemini" else {}
    talk = Conversation(json.dumps({**named, **body}).encode(), wire=wire, address=("m", False))
    talk.fails(400, b'{"error":{"message":"The encrypted_content / thought signature could not be verified"}}')
    assert talk.asked == ["a/m", "a/m"]
    assert put(talk) == {**named, **left}
    assert not any(isinstance(ask, Begin) for ask in talk.sent)
