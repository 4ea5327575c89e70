"""What an answer used: read on every wire, priced, estimated where nobody tells, and counted once."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conversation import (
    ANSWER,
    DONE,
    HELLO,
    JSON,
    PLAIN,
    ROLE,
    STOP,
    STREAMING,
    Conversation,
)

from recloser.gateway.canonical import Usage
from recloser.gateway.events import RequestFinished
from recloser.gateway.metering import cost_usd
from recloser.gateway.settings import GatewaySettings, ModelSettings, PriceSettings
from recloser.gateway.wires import WIRES

PRICE = PriceSettings(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
PRICED: dict[str, Any] = {"models": {"*": ModelSettings(price=PRICE)}}


def stream(*events: Any, named: bool = False) -> bytes:
    """Server-sent events of these data."""
    lines = []
    for event in events:
        name = f"event: {event['type']}\n".encode() if named else b""
        lines.append(name + b"data: " + msgspec.json.encode(event) + b"\n\n")
    return b"".join(lines)


ANTHROPIC = stream(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": None,
            "usage": {
                "input_tokens": 25, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 2000,
                "output_tokens": 1, "service_tier": "standard",
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "seven letters and more"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}},
    {"type": "message_stop"},
    named=True,
)  # fmt: skip
CHAT_USAGE = {
    "prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip
CHAT_HEAD = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CHAT = (
    stream(
        {**CHAT_HEAD, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "usage": None},
        {**CHAT_HEAD, "choices": [{"index": 0, "delta": {"content": "hello"}}], "usage": None},
        {**CHAT_HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None},
        {**CHAT_HEAD, "choices": [], "usage": CHAT_USAGE},
    )
    + DONE
)
MISTRAL = (
    stream(
        {**CHAT_HEAD, "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}]},
        {**CHAT_HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": CHAT_USAGE},
    )
    + DONE
)
RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress", "output": [], "usage": None}
RESPONSES_USAGE = {
    "input_tokens": 36, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 123,
}  # fmt: skip
RESPONSES = stream(
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "delta": "hello"},
    {"type": "response.completed", "response": {**RESPONSE, "status": "completed", "usage": RESPONSES_USAGE}},
    named=True,
)
GEMINI = stream(
    {
        "candidates": [{"content": {"parts": [{"text": "hel"}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 17, "thoughtsTokenCount": 5},
    },
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 12, "candidatesTokenCount": 3, "totalTokenCount": 20, "cachedContentTokenCount": 4,
        },
    },
)  # fmt: skip

TOLD = [
    ("anthropic", ANTHROPIC, Usage(input=2125, output=15, cache_read=2000, cache_write=100)),
    ("openai-chat", CHAT, Usage(input=20, output=10, cache_read=8, reasoning=4)),
    ("openai-chat", MISTRAL, Usage(input=20, output=10, cache_read=8, reasoning=4)),
    ("openai-responses", RESPONSES, Usage(input=36, output=87, cache_read=5, reasoning=64)),
    ("gemini", GEMINI, Usage(input=12, output=8, cache_read=4, reasoning=5)),
]
IDS = ["anthropic", "chat", "chat as some tell it", "responses", "gemini"]


# On every wire -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wire", "whole", "usage"), TOLD, ids=IDS)
def test_a_watch_reads_the_usage_wherever_its_wire_tells_it(wire: str, whole: bytes, usage: Usage) -> None:
    watch = WIRES[wire].watch()
    for place in range(0, len(whole), 7):
        watch.feed(whole[place : place + 7])
    assert watch.usage() == usage
    assert watch.finished


@pytest.mark.parametrize("wire", ["anthropic", "openai-chat", "openai-responses", "gemini"])
def test_what_is_no_usage_counts_nothing_and_breaks_nothing(wire: str) -> None:
    strange: Any
    for strange in ([], "lots", 7, {"input_tokens": "many", "prompt_tokens": -1, "promptTokenCount": 1.5}, None):
        watch = WIRES[wire].watch()
        watch.feed(stream({"type": "message_start", "message": {"usage": strange}, "usage": strange, "choices": [],
                           "usageMetadata": strange, "candidates": []}))  # fmt: skip
        assert watch.usage() == Usage()
        assert watch.fault() is None


@pytest.mark.parametrize(
    ("wire", "body", "usage"),
    [
        ("anthropic", {"type": "message", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn",
                       "usage": {"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 3}},
         Usage(input=95, output=3, cache_read=90)),
        ("openai-chat", {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}],
                         "usage": CHAT_USAGE}, Usage(input=20, output=10, cache_read=8, reasoning=4)),
        ("openai-responses", {"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}],
                              "status": "completed", "usage": RESPONSES_USAGE},
         Usage(input=36, output=87, cache_read=5, reasoning=64)),
        ("gemini", {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 9}},
         Usage(input=4, output=11, reasoning=9)),
    ],
)  # fmt: skip
def test_a_plain_answer_tells_its_usage(wire: str, body: dict[str, Any], usage: Usage) -> None:
    assert WIRES[wire].judge(msgspec.json.encode(body)).usage == usage
    without = {name: value for name, value in body.items() if name not in ("usage", "usageMetadata")}
    assert WIRES[wire].judge(msgspec.json.encode(without)).usage == Usage()


# Prices --------------------------------------------------------------------------------------------------------------


def test_the_cache_has_prices_of_its_own() -> None:
    usage = Usage(input=2125, output=15, cache_read=2000, cache_write=100)
    assert cost_usd(usage, PRICE) == pytest.approx((25 * 3.0 + 2000 * 0.3 + 100 * 3.75 + 15 * 15.0) / 1e6)
    assert cost_usd(usage, PriceSettings(input=3.0, output=15.0)) == pytest.approx((2125 * 3.0 + 15 * 15.0) / 1e6)
    assert cost_usd(Usage(output=1_000_000), PRICE) == pytest.approx(15.0)
    assert cost_usd(usage, None) is None


@given(st.builds(
    Usage, input=st.none() | st.integers(0, 10**9), output=st.none() | st.integers(0, 10**9),
    cache_read=st.none() | st.integers(0, 10**9), cache_write=st.none() | st.integers(0, 10**9),
))  # fmt: skip
def test_no_usage_that_a_provider_tells_costs_less_than_nothing(usage: Usage) -> None:
    cost = cost_usd(usage, PRICE)
    assert cost is not None
    assert cost >= 0


# In an exchange ------------------------------------------------------------------------------------------------------


def spent(account: RequestFinished) -> tuple[Any, ...]:
    return (account.input_tokens, account.output_tokens, account.cache_read_tokens, account.cache_write_tokens)


def test_a_stream_is_told_with_its_tokens_and_cost() -> None:
    body = b'{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
    talk = Conversation(body, wire="anthropic", provider=PRICED).answers().says(ANTHROPIC)
    assert talk.account.outcome == "ok"
    assert spent(talk.account) == (2125, 15, 2000, 100)
    assert talk.account.cost_usd == pytest.approx(0.001275)
    assert not talk.account.estimated
    assert "used" not in talk.account.facts()


def test_a_translated_answer_is_counted_on_the_wire_of_who_gave_it() -> None:
    talk = Conversation(STREAMING, targets=["a/m"], wires={"a": "anthropic"}, provider=PRICED)
    talk.answers().says(ANTHROPIC)
    assert spent(talk.account) == (2125, 15, 2000, 100)
    assert talk.account.target_wire == "anthropic"


def test_without_a_price_tokens_are_counted_and_no_cost_is_made_up() -> None:
    body = ANSWER[:-1] + b',"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}'
    talk = Conversation(PLAIN).answers(200, JSON).says(body)
    assert spent(talk.account) == (7, 2, 0, 0)
    assert talk.account.cost_usd is None


def test_a_refused_attempt_used_nothing() -> None:
    talk = Conversation(PLAIN, targets=["a/m"], provider=PRICED).fails(500)
    assert spent(talk.account) == (None, None, None, None)
    assert (talk.account.cost_usd, talk.account.estimated, talk.account.used) == (None, False, ())


@pytest.mark.parametrize("stream_", [False, True], ids=["plain", "stream"])
def test_where_a_whole_answer_tells_nothing_it_is_estimated(*, stream_: bool) -> None:
    said = b"hello, this is an answer of some forty letters"
    if stream_:
        talk = Conversation(STREAMING, provider=PRICED).answers()
        talk.says(ROLE + HELLO.replace(b"hello", said) + STOP + DONE)
    else:
        talk = Conversation(PLAIN, provider=PRICED).answers(200, JSON).says(ANSWER.replace(b"hello", said))
    assert talk.account.outcome == "ok"
    assert talk.account.output_tokens == round(len(said) / 3.5)
    assert talk.account.estimated
    assert talk.account.cost_usd


def test_a_stream_that_breaks_off_costs_what_it_told_and_what_it_said() -> None:
    body = b'{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
    begun = ANTHROPIC[: ANTHROPIC.index(b"event: content_block_stop")]
    talk = Conversation(body, targets=["a/m"], wire="anthropic", provider=PRICED).answers().says(begun).breaks()
    assert talk.account.outcome == "interrupted"
    assert spent(talk.account) == (2125, round(len("seven letters and more") / 3.5), 2000, 100)
    assert talk.account.estimated


def test_the_arguments_of_a_call_and_thoughts_are_said_as_well() -> None:
    function = {"name": "find", "arguments": "x" * 31}
    called = {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": function}]}}]}
    watch = WIRES["openai-chat"].watch()
    watch.feed(stream(called))
    assert watch.said == 35
    watch.feed(stream({"choices": [{"index": 0, "delta": {"reasoning_content": "y" * 35}}]}))
    assert watch.said == 70
    watch.feed(stream({"choices": [{"index": 0, "delta": {"content": "模型"}}]}))
    assert watch.said == 77, "each of these is a token, as 3.5 letters are"


def test_a_client_that_leaves_in_the_middle_has_still_cost_something() -> None:
    talk = Conversation(STREAMING, targets=["a/m"], provider=PRICED).answers().says(ROLE + HELLO)
    talk.client_leaves()
    assert talk.account.outcome == "cancelled"
    assert talk.account.output_tokens == 1
    assert talk.account.cost_usd


def test_every_attempt_that_said_something_is_counted_once() -> None:
    """An empty answer is no answer, but its question was paid for; then another target answers."""
    empty = ANSWER.replace(b'"hello"', b'""')[:-1] + b',"usage":{"prompt_tokens":7,"completion_tokens":1}}'
    full = ANSWER[:-1] + b',"usage":{"prompt_tokens":7,"completion_tokens":2}}'
    talk = Conversation(PLAIN, provider=PRICED).answers(200, JSON).says(empty).answers(200, JSON).says(full)
    assert talk.account.outcome == "ok"
    assert spent(talk.account) == (14, 3, 0, 0)
    assert [(used.provider, used.output_tokens) for used in talk.account.used] == [("a", 1), ("b", 2)]
    assert talk.account.cost_usd == pytest.approx((14 * 3.0 + 3 * 15.0) / 1e6)
    assert [used["target"] for used in talk.account.facts()["used"]] == ["a/m", "b/m"]


def test_no_provider_tells_more_than_a_billion() -> None:
    body = ANSWER[:-1] + b',"usage":{"prompt_tokens":7,"completion_tokens":900000000000000000000}}'
    talk = Conversation(PLAIN, provider=PRICED).answers(200, JSON).says(body)
    assert talk.account.output_tokens == 10**9


def test_embeddings_cost_what_was_asked() -> None:
    body = b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}'
    asked = b'{"model":"m","input":"hello"}'
    talk = Conversation(asked, targets=["a/m"], wire="openai-embeddings", wires={"a": "openai-chat"}, provider=PRICED)
    talk.answers(200, JSON).says(body)
    assert (spent(talk.account), talk.account.estimated) == ((8, 0, 0, 0), False)
    assert talk.account.cost_usd == pytest.approx(8 * 3.0 / 1e6)


def test_an_answer_that_another_target_finished_costs_both() -> None:
    talk = Conversation(STREAMING, provider=PRICED, gateway=GatewaySettings(max_hold=0.0))
    talk.answers().says(ROLE + HELLO.replace(b"hello", b"hello there")).breaks()
    talk.answers().says(ROLE + HELLO.replace(b"hello", b"hello there, world") + STOP + DONE)
    assert (talk.account.outcome, talk.account.breaks) == ("ok", 1)
    assert [used.provider for used in talk.account.used] == ["a", "b"]
    assert talk.account.output_tokens == sum(used.output_tokens for used in talk.account.used) == 3 + 5
    assert talk.account.estimated
