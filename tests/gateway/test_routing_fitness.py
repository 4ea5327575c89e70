"""Targets that a request cannot go to whatever their circuits say, and what the client is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conversation import ANSWER, JSON, Conversation

from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway.canonical import Request as Said
from recloser.gateway.canonical import Role, Text, Turn
from recloser.gateway.estimate import tokens
from recloser.gateway.request import Request
from recloser.gateway.settings import GatewaySettings, ModelSettings
from recloser.gateway.windows import LARGEST_ANSWER, overflow
from recloser.gateway.wires import CODECS, WIRES

NO_HOLD = GatewaySettings(max_hold=0.0)
WORD = "words "  # about 1.7 tokens


def body(tokens: int, **fields: Any) -> bytes:
    """A request of about so many tokens."""
    text = WORD * round(tokens * 3.5 / len(WORD))
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


def window(tokens: int) -> dict[str, Any]:
    return {"models": {"*": ModelSettings(context_window=tokens)}}


def error(talk: Conversation) -> Any:
    return json.loads(talk.reply.body)["error"]


# Context windows ----------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_not_sent_there() -> None:
    talk = Conversation(body(20_000), providers={"a": window(10_000), "b": window(30_000)})
    assert talk.asked == ["b/m"]
    talk.answers(200, JSON).says(ANSWER)
    assert talk.reply.status == 200
    assert talk.attempts == []


def test_what_fits_goes_where_it_always_went() -> None:
    assert Conversation(body(5_000), providers={"a": window(10_000), "b": window(30_000)}).asked == ["a/m"]


def test_a_window_that_nobody_knows_is_tried() -> None:
    assert Conversation(body(500_000), providers={"b": window(10_000)}).asked == ["a/m"]


def test_the_answer_needs_room_too() -> None:
    fits = {"a": window(10_000), "b": window(30_000)}
    assert Conversation(body(8_500, max_tokens=1_000), providers=fits).asked == ["a/m"]
    assert Conversation(body(8_500, max_tokens=2_000), providers=fits).asked == ["b/m"]


def test_of_the_answer_no_more_is_counted_than_a_quarter_of_the_window() -> None:
    assert Conversation(body(7_000, max_tokens=10_000_000), providers={"a": window(10_000)}).asked == ["a/m"]
    talk = Conversation(body(8_000, max_tokens=10_000_000), providers={"a": window(10_000)})
    assert talk.asked == ["b/m"]


@pytest.mark.parametrize(
    ("wire", "names"),
    [("openai-chat", {"code": "context_length_exceeded", "type": "invalid_request_error"}),
     ("anthropic", {"type": "invalid_request_error"})],
)  # fmt: skip
def test_what_fits_nowhere_is_told_at_once_with_the_largest_window(wire: str, names: dict[str, str]) -> None:
    asked = body(40_000, max_tokens=100)
    talk = Conversation(asked, wire=wire, providers={"a": window(10_000), "b": window(30_000)})
    assert (talk.asked, talk.reply.status) == ([], 400)
    assert names.items() <= error(talk).items()
    message = error(talk)["message"]
    assert message.startswith("prompt is too long: about 40")  # by these words Claude Code knows what to do
    assert "> 30000 maximum" in message
    assert "a/m: has a window of 10000 tokens" in message


def test_nobody_waits_for_a_target_that_is_too_small() -> None:
    talk = Conversation(body(20_000), providers={"a": window(10_000)}, gateway=GatewaySettings(max_hold=600.0),
                        circuit=CircuitSettings(failure_threshold=1, jitter=0.0))  # fmt: skip
    assert talk.asked == ["b/m"]
    talk.fails(400, json.dumps({"error": {"code": "context_length_exceeded", "message": "too long"}}).encode())
    assert talk.over
    assert talk.reply.status == 400


def test_a_request_that_cannot_be_read_is_sent_to_whoever_can_say_what_is_wrong() -> None:
    asked = json.dumps({"model": "m", "messages": [{"role": "nobody", "content": "x" * 90_000}]}).encode()
    assert Conversation(asked, providers={"a": window(1_000)}).asked == ["a/m"]


@given(st.integers(0, 60_000), st.integers(1, 50_000), st.integers(0, 100_000))
def test_a_glance_at_the_bytes_never_contradicts_the_estimate(length: int, size: int, answer: int) -> None:
    """Whatever is let through unread would have been let through when read."""
    said = Said(
        model="m", turns=(Turn(role=Role.USER, parts=(Text(text="ab-cd " * (length // 6)),)),), max_tokens=answer
    )
    written = CODECS["openai-chat"].write_request(said).body
    wire = WIRES["openai-chat"]
    request = Request(id="r", wire=wire, envelope=wire.read(written), body=written, targets=())
    unread = overflow(request, size) is None and request._read is None
    if unread:
        assert tokens(request.read()) + min(answer, size // LARGEST_ANSWER) <= size


# Money --------------------------------------------------------------------------------------------------------------


def test_where_money_is_not_allowed_only_those_are_asked_who_cost_none() -> None:
    talk = Conversation(providers={"b": {"paid": False}}, unpaid="it is forbidden")
    assert talk.asked == ["b/m"]
    talk.refuses()
    assert talk.reply.status == 503
    assert "a/m: costs money, and it is forbidden" in error(talk)["message"]


def test_where_all_cost_money_the_client_is_told_what_would_allow_it() -> None:
    talk = Conversation(unpaid="allow_paid is false; set it on the route")
    assert (talk.asked, talk.reply.status) == ([], 402)
    assert error(talk)["code"] == "paid_not_allowed"
    assert "a/m: costs money, and allow_paid is false; set it on the route" in error(talk)["message"]


def test_what_is_too_large_for_the_free_ones_is_told_so_and_that_money_would_help() -> None:
    talk = Conversation(body(20_000), providers={"b": {"paid": False, **window(1_000)}}, unpaid="allow_paid is false")
    assert (talk.asked, talk.reply.status) == ([], 400)
    assert error(talk)["message"].startswith("prompt is too long")
    assert "a/m: costs money, and allow_paid is false" in error(talk)["message"]
