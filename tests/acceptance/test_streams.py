"""Streams: what breaks before content is invisible, what breaks after is never made to look whole; bytes stay bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Canned, Client, Gateway, Provider, Starts, Until

HASTY = {"first_token_timeout": "0.5s", "idle_timeout": "0.5s", "total_timeout": "0.5s"}


@dataclass(frozen=True)
class Line:
    """A gateway whose targets are `first/NAME` and then `second/NAME` for every model name."""

    gateway: Gateway
    first: Provider
    second: Provider


@pytest.fixture(scope="module")
def line(first: Provider, second: Provider, start_shared: Starts) -> Line:
    gateway = start_shared({
        "gateway": {"max_hold": "0s", "midstream": "error"},
        "circuit": {"failure_threshold": 5, "cooldown": "5m"},
        "providers": {
            "first": {"kind": "simulated", "base_url": first.base_url},
            "hasty": {"kind": "simulated", "base_url": first.base_url, **HASTY},
            "second": {"kind": "simulated", "base_url": second.base_url},
        },
        "routes": {
            "asked": {"targets": ["first/served/by-another-name"]},
            "hasty-*": {"targets": ["hasty/{model}", "second/{model}"]},
            "*": {"targets": ["first/{model}", "second/{model}"]},
        },
    })  # fmt: skip
    return Line(gateway, first, second)


def charge(line: Line, model: str) -> tuple[str | None, int]:
    """What is held against the first target."""
    provider = "hasty" if model.startswith("hasty-") else "first"
    circuit = line.gateway.circuit(f"model/{provider}/{model}")
    return circuit["kind"], circuit["failures"]


# Before content ------------------------------------------------------------------------------------------------------

INVISIBLE = [
    ("cut=0", "interrupted"),
    ("eof=0", "interrupted"),
    ("blank", "malformed"),
    ("empty", "malformed"),
    ("badjson=0", "malformed"),
    ("error=0:overloaded_error", "overloaded"),
    ("error=0:surprise", "malformed"),
    ("html", "malformed"),
    ("hang", "timeout"),
    ("hang-headers", "timeout"),
    ("stall=0", "timeout"),
    ("pings", "timeout"),
    ("pings=3,stall=0", "timeout"),
    ("first=1m", "timeout"),
]


@pytest.mark.parametrize(("mode", "kind"), INVISIBLE)
def test_before_content_a_break_is_invisible(mode: str, kind: str, streaming: Client, line: Line) -> None:
    model = f"{'hasty' if kind == 'timeout' else 'quick'}-{mode}-{streaming.wire}"
    line.first.misbehave(model, mode)
    whole = streaming.fetch(line.second, model)
    seen = streaming.fetch(line.gateway, model)
    assert seen.status == 200
    assert seen.headers["x-recloser-attempts"] == "2"
    assert seen.headers["x-recloser-target"] == f"second/{model}"
    assert seen.headers["x-chaos-provider"] == "second"
    assert streaming.pieces(seen.body) == streaming.pieces(whole.body)
    assert seen.body.endswith(streaming.terminator)
    assert seen.body.count(streaming.terminator) == 1
    assert charge(line, model) == (kind, 1)


@pytest.mark.parametrize("mode", ["error=3:overloaded_error", "badjson=3"])
def test_content_that_was_not_sent_on_yet_does_not_count(mode: str, streaming: Client, line: Line) -> None:
    """Content and error arrive together: nothing has been sent, so the client may still get a whole answer."""
    model = f"together-{mode}-{streaming.wire}"
    line.first.misbehave(model, mode)
    seen = streaming.fetch(line.gateway, model)
    if seen.headers["x-recloser-attempts"] == "1":
        streaming.breaks_off(seen.body)
    else:
        assert seen.body.endswith(streaming.terminator)
        assert len(streaming.pieces(seen.body)) == 20


# After content -------------------------------------------------------------------------------------------------------

BREAKS = [
    ("cut=3", "interrupted", 3),
    ("eof=3", "interrupted", 3),
    ("no-finish", "interrupted", 20),
    ("slow=20ms,badjson=3", "malformed", 3),
    ("slow=20ms,error=3:overloaded_error", "overloaded", 3),
    ("slow=20ms,error=3:surprise", "malformed", 3),
    ("stall=3", "timeout", 3),
]


@pytest.mark.parametrize(("mode", "kind", "pieces"), BREAKS)
def test_after_content_a_break_is_told_and_never_looks_whole(
    mode: str, kind: str, pieces: int, streaming: Client, line: Line
) -> None:
    model = f"{'hasty' if kind == 'timeout' else 'quick'}-broken-{mode}-{streaming.wire}"
    line.first.misbehave(model, mode)
    seen = streaming.fetch(line.gateway, model)
    assert seen.status == 200
    assert seen.headers["x-recloser-attempts"] == "1"
    assert seen.headers["x-recloser-target"].endswith(f"/{model}")
    whole = streaming.pieces(streaming.fetch(line.second, model).body)
    assert streaming.pieces(seen.body) == whole[:pieces]
    streaming.breaks_off(seen.body)
    assert charge(line, model) == (kind, 1)
    with pytest.raises((anthropic.APIError, openai.APIError)):
        streaming.ask(line.gateway.url, model)


@pytest.mark.parametrize(
    ("mode", "pieces"), [("slow=20ms,error=3:authentication_error", 3), ("slow=20ms,error=3:invalid_request_error", 3)]
)
def test_an_error_event_after_content_is_charged_as_its_type_says(
    mode: str, pieces: int, streaming: Client, first: Provider, second: Provider, start: Starts
) -> None:
    gateway = start({
        "gateway": {"max_hold": "0s", "midstream": "error"},
        "providers": {"a": {"kind": "simulated", "base_url": first.base_url, "headers": {"x-chaos": mode}}},
        "routes": {"*": {"targets": ["a/{model}"]}},
    })  # fmt: skip
    seen = streaming.fetch(gateway, "m")
    assert len(streaming.pieces(seen.body)) == pieces
    streaming.breaks_off(seen.body)
    assert gateway.charged("a") == (["account/a"] if "authentication" in mode else [])


# Whole all the same --------------------------------------------------------------------------------------------------


def test_a_finished_answer_without_its_terminator_gets_it(streaming: Client, line: Line) -> None:
    model = f"unterminated-{streaming.wire}"
    line.first.misbehave(model, "no-terminator")
    seen = streaming.fetch(line.gateway, model)
    assert seen.headers["x-recloser-attempts"] == "1"
    assert streaming.pieces(seen.body) == streaming.pieces(streaming.fetch(line.second, model).body)
    last = streaming.events(seen.body)[-1]
    assert last == ({"type": "message_stop"} if streaming.wire == "anthropic" else "[DONE]")
    assert charge(line, model)[1] == 0
    answer = streaming.ask(line.gateway.url, model)
    assert answer.ending == streaming.ordinary_ending


@pytest.mark.parametrize("mode", ["max_tokens", "refusal"])
def test_silence_on_purpose_passes(mode: str, client: Client, line: Line) -> None:
    model = f"silent-{mode}-{client.name}"
    line.first.misbehave(model, mode)
    answer = client.ask(line.gateway.url, model)
    assert answer.headers["x-recloser-attempts"] == "1"
    if mode == "max_tokens":
        assert answer.ending == ("max_tokens" if client.wire == "anthropic" else "length")
        assert answer.text == ""
    assert charge(line, model)[1] == 0


def test_an_empty_turn_after_a_tools_result_passes(client: Client, line: Line) -> None:
    model = f"after-a-tool-{client.name}"
    line.first.misbehave(model, "empty")
    if client.wire == "anthropic":
        call: Any = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}]}
        messages = [{"role": "user", "content": "look"}, {"role": "assistant", "content": [call]}, result]
    else:
        call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "seen"}
        messages = [{"role": "user", "content": "look"}, {"role": "assistant", "tool_calls": [call]}, result]
    seen = client.fetch(line.gateway, model, messages=messages)
    assert seen.status == 200
    assert seen.headers["x-recloser-attempts"] == "1"
    assert charge(line, model)[1] == 0


def test_a_tool_call_is_content(client: Client, line: Line) -> None:
    model = f"calls-{client.name}"
    if client.wire == "anthropic":
        tools: Any = [{"name": "look", "input_schema": {"type": "object"}}]
    else:
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    messages = [{"role": "user", "content": "please use the tool"}]
    headers = {"x-chaos-tool-input": '{"where": "here"}'}
    seen = client.fetch(line.gateway, model, headers, tools=tools, messages=messages)
    assert seen.headers["x-recloser-attempts"] == "1"
    assert b"look" in seen.body
    assert charge(line, model)[1] == 0


@pytest.mark.parametrize("mode", ["pings=3", "slow-body=1ms", "gzip", "big-headers=6", "huge=2"])
def test_an_odd_but_whole_answer_passes(mode: str, client: Client, line: Line) -> None:
    model = f"odd-{mode}-{client.name}"
    line.first.misbehave(model, mode)
    line.second.misbehave(model, "huge=2" if mode == "huge=2" else "off")
    expected = client.ask(line.second.url, model)
    answer = client.ask(line.gateway.url, model)
    assert answer.headers["x-recloser-attempts"] == "1"
    assert answer.text == expected.text
    assert answer.ending == client.ordinary_ending
    assert charge(line, model)[1] == 0


# Bytes ---------------------------------------------------------------------------------------------------------------

BODIES = {
    "odd white space": (
        b'\n{ "messages" :[ {"role":"user","content":"hi"}\t] ,"max_tokens":5,"model"  :\r\n "@@" ,"stream":STREAM}\n '
    ),
    "unknown fields": (
        b'{"zz_new":{"a":[1,2.50,1e3,null]},"model":"@@","stream":STREAM,"max_tokens":5,"thinking":{"budget":0},'
        b'"messages":[{"role":"user","content":"hi","cache_control":{"type":"ephemeral"}}]}'
    ),
    "escapes": (
        b'{"messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00 \\/ \\"model\\": \\"asked\\" \xc3\xa9"}],'
        b'"mod\\u0065l":"@@","stream":STREAM,"max_tokens":5}'
    ),
    "other models": (
        b'{"metadata":{"model":"asked"},"messages":[{"role":"user","content":"\\"model\\":\\"asked\\"",'
        b'"model":"asked"}],"max_tokens":5,"stream":STREAM,"model":"@@","top_k":1}'
    ),
    "big numbers": (
        b'{"model":"@@","stream":STREAM,"max_tokens":5,"seed":123456789012345678901234567890,'
        b'"temperature":0.1000000000000000055511151231257827,"messages":[{"role":"user","content":"hi"}]}'
    ),
}
"""Requests in odd dress; `@@` is the one place where the model's name may be changed."""


@pytest.mark.parametrize("name", BODIES)
def test_a_request_passes_through_but_for_its_models_name(name: str, client: Client, line: Line) -> None:
    template = BODIES[name].replace(b"STREAM", b"true" if client.stream else b"false")
    sent, expected = (template.replace(b"@@", served) for served in (b"asked", b"served/by-another-name"))
    answer = line.gateway.fetch(client.path, sent, {"content-type": "application/json"})
    assert answer.status == 200, answer.body
    assert line.first.last_body == expected


def test_headers_pass_through_but_for_credentials(client: Client, line: Line) -> None:
    headers = {
        "anthropic-beta": "context-1m-2025-08-07,fine-grained-tool-streaming-2025-05-14",
        "anthropic-version": "2023-06-01",
        "openai-organization": "org-1",
        "x-stainless-lang": "python",
        "user-agent": "an agent/1.0",
        "x-api-key": "the client's own",
        "authorization": "Bearer the client's own",
        "cookie": "session=1",
    }
    client.fetch(line.gateway, f"headers-{client.name}", headers)
    seen = json.loads(line.first.fetch("/chaos/last-headers").body)
    for name in ("anthropic-beta", "anthropic-version", "openai-organization", "x-stainless-lang", "user-agent"):
        assert seen[name] == headers[name]
    assert not {"x-api-key", "authorization", "cookie"} & set(seen)


def test_the_upstreams_request_id_is_passed_on(client: Client, line: Line) -> None:
    seen = client.fetch(line.gateway, f"id-{client.name}")
    assert seen.headers["request-id" if client.wire == "anthropic" else "x-request-id"].startswith("req_")
    assert seen.headers["x-recloser-request-id"].startswith("req_")


def canned_gateway(start: Starts, provider: Canned, **timeouts: str) -> Gateway:
    return start({
        "gateway": {"max_hold": "0s"},
        "providers": {"a": {"kind": "simulated", "base_url": f"{provider.url}/v1", **timeouts}},
        "routes": {"*": {"targets": ["a/{model}"]}},
    })  # fmt: skip


PLAIN_ANSWERS = {
    "anthropic": (
        b'\n { "content" : [{"type":"text","text":"caf\\u00e9 \\/ \xc3\xa9"}],\t"x_new":1e400, "type":"message",'
        b'"stop_reason":"end_turn" , "usage":{"output_tokens":1.0}}\r\n'
    ),
    "openai": (
        b'\n { "x_new":[1.50,1e400], "choices" : [{"message":{"content":"caf\\u00e9 \\/ \xc3\xa9"},'
        b'"finish_reason":"stop"}],\t"object":"chat.completion"}\r\n'
    ),
}


def test_a_plain_answer_passes_through_byte_for_byte(
    plain: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    with canned_provider() as provider:
        provider.says("200 OK", "application/json; charset=utf-8", PLAIN_ANSWERS[plain.wire], "x-new: yes")
        seen = plain.fetch(canned_gateway(start, provider), "m")
    assert seen.status == 200, seen.body
    assert seen.body == PLAIN_ANSWERS[plain.wire]
    assert seen.headers["content-type"] == "application/json; charset=utf-8"
    assert seen.headers["x-new"] == "yes"


def odd_stream(wire: str) -> list[bytes]:
    """A whole stream in the oddest lawful dress: CRLF, comments, unknown events and fields, data over two lines."""
    if wire == "anthropic":
        return [
            b': hello\r\n\r\nevent: message_start\r\ndata: {"type":"message_start","message":{"x" : 1}}\r\n\r\n',
            b'event: surprise\ndata: {"type": "surprise", "n": 1e400}\n\n',
            b'event: content_block_start\ndata:{"index":0,"type":"content_block_start",\n',
            b'data: "content_block":{"type":"text","text":""}}\n\n',
            b'id: 7\nretry: 10\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del',
            b'ta":{"type":"text_delta","text":"caf\\u00e9 \xc3',
            b'\xa9"}}\n',
            b"\nevent: ping\ndata: {}\n\n: still here\n\n",
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n',
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        ]  # fmt: skip
    return [
        b": OPENROUTER PROCESSING\n\n: hello\r\n\r\n",
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}], "x" : 1e400}\n\n',
        b'data: {"choices":[{"delta":{"content":"caf\\u00e9 \xc3',
        b'\xa9"}}]}\r\n',
        b'\r\nid: 7\ndata:{"choices":\ndata: [{"delta":{"content":" and more"}}]}\n\n',
        b': still here\n\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n',
    ]  # fmt: skip


def test_a_stream_passes_through_byte_for_byte(streaming: Client, start: Starts, canned_provider: type[Canned]) -> None:
    with canned_provider() as provider:
        provider.streams(*odd_stream(streaming.wire))
        seen = streaming.fetch(canned_gateway(start, provider), "m")
    assert seen.status == 200, seen.body
    assert seen.headers["content-type"] == "text/event-stream"
    assert seen.body == b"".join(odd_stream(streaming.wire))


def test_a_stream_fed_byte_by_byte_is_the_same_stream(
    streaming: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    whole = b"".join(odd_stream(streaming.wire))
    with canned_provider() as provider:
        provider.pieces = [
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
            *(whole[at : at + 7] for at in range(0, len(whole), 7)),
        ]
        seen = streaming.fetch(canned_gateway(start, provider), "m")
    assert seen.body == whole


def test_a_finished_stream_that_stays_open_is_ended_for_it(
    streaming: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    pieces = odd_stream(streaming.wire)
    unterminated = pieces[:-1]
    if streaming.wire == "openai":
        unterminated = [*pieces[:-1], b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n']
    with canned_provider() as provider:
        provider.streams(*unterminated)
        provider.lingers = True
        gateway = canned_gateway(start, provider)
        seen = streaming.fetch(gateway, "m")
        assert gateway.charged("a") == []
    assert seen.body.startswith(b"".join(unterminated))
    last = streaming.events(seen.body[len(b"".join(unterminated)) :])
    assert last == [{"type": "message_stop"} if streaming.wire == "anthropic" else "[DONE]"]


def test_keepalives_of_an_upstream_reset_the_idle_time_but_are_no_content(
    streaming: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    ping = b'event: ping\ndata: {"type": "ping"}\n\n' if streaming.wire == "anthropic" else b": keep-alive\n\n"
    pieces = odd_stream(streaming.wire)
    at = 8 if streaming.wire == "anthropic" else 5  # after the first content
    with canned_provider() as provider:
        provider.streams(*pieces[:at], *([ping] * 150), *pieces[at:])  # 10 ms apart: three times the idle time
        gateway = canned_gateway(start, provider, idle_timeout="0.5s")
        seen = streaming.fetch(gateway, "m")
        assert gateway.charged("a") == []
    assert seen.body == b"".join([*pieces[:at], *([ping] * 150), *pieces[at:]])


def test_a_client_without_accept_encoding_gets_plain_bytes(client: Client, line: Line) -> None:
    model = f"squeezed-{client.name}"
    line.first.misbehave(model, "gzip")
    seen = client.fetch(line.gateway, model)  # http.client says accept-encoding: identity
    assert "content-encoding" not in seen.headers
    assert client.pieces(seen.body) if client.stream else json.loads(seen.body)


def test_a_break_after_content_opens_the_circuit_in_the_end(streaming: Client, line: Line, until: Until) -> None:
    model = f"often-{streaming.wire}"
    line.first.misbehave(model, "cut=2")
    for _ in range(5):
        streaming.breaks_off(streaming.fetch(line.gateway, model).body)
    touched = line.first.asked(model)
    seen = streaming.fetch(line.gateway, model)
    assert seen.headers["x-recloser-target"] == f"second/{model}"
    assert seen.headers["x-recloser-attempts"] == "1"
    assert line.first.asked(model) == touched


def test_keepalives_come_between_events_while_a_stream_is_slow(
    streaming: Client, first: Provider, start: Starts
) -> None:
    gateway = start({
        "gateway": {"keepalive_after": "100ms"},
        "providers": {"a": {"kind": "simulated", "base_url": first.base_url}},
        "routes": {"*": {"targets": ["a/{model}"]}},
    })  # fmt: skip
    model = f"slowly-{streaming.wire}"
    whole = streaming.ask(first.url, model)
    first.misbehave(model, "slow=300ms,slow-body=5ms")
    assert streaming.ask(gateway.url, model).text == whole.text


def test_the_query_and_a_path_before_the_wires_own_are_kept(
    client: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    with canned_provider() as provider:
        provider.says("400 Bad Request", "application/json", b'{"error":{"type":"invalid_request_error"}}')
        kind = "anthropic" if client.wire == "anthropic" else "openai"
        base = f"{provider.url}/proxy/llm" + ("" if kind == "anthropic" else "/v1")
        gateway = start({
            "providers": {"a": {"kind": kind, "base_url": base}},
            "routes": {"*": {"targets": ["a/{model}"]}},
        })  # fmt: skip
        assert gateway.fetch(f"{client.path}?beta=true&x=%20", client.body("m")).status == 400
        (request,) = provider.requests
    assert request.startswith(f"POST /proxy/llm{client.path}?beta=true&x=%20 HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "204 No Content", "206 Partial Content", "304 Not"])
def test_another_success_than_200_is_no_answer(
    status: str, client: Client, second: Provider, start: Starts, canned_provider: type[Canned]
) -> None:
    with canned_provider() as provider:
        body = b"" if status.startswith(("204", "304")) else b"{}"
        provider.says(status, "application/json", body)
        gateway = start({
            "providers": {
                "a": {"kind": "simulated", "base_url": f"{provider.url}/v1"},
                "b": {"kind": "simulated", "base_url": second.base_url},
            },
            "routes": {"*": {"targets": ["a/{model}", "b/{model}"]}},
        })  # fmt: skip
        assert client.ask(gateway.url, "m").headers["x-recloser-target"] == "b/m"
        assert gateway.charged("a") == ["model/a/m"]


def test_one_finished_choice_of_two_is_no_finished_answer(
    streaming: Client, start: Starts, canned_provider: type[Canned]
) -> None:
    if streaming.wire == "anthropic":
        said = [
            json.dumps({"type": "content_block_start", "index": n, "content_block": {"type": "text", "text": ""}})
            for n in (0, 1)
        ]
        said += [
            json.dumps({"type": "content_block_delta", "index": n, "delta": {"type": "text_delta", "text": "x"}})
            for n in (0, 1)
        ]
        said += [json.dumps({"type": "content_block_stop", "index": 0})]
    else:
        said = [json.dumps({"choices": [{"index": n, "delta": {"content": "x"}}]}) for n in (0, 1)]
        said += [json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})]
        said += [json.dumps({"choices": [{"index": 1, "delta": {"content": "and the other goes on"}}]})]
    with canned_provider() as provider:
        provider.streams(*(f"data: {data}\n\n".encode() for data in said))
        gateway = canned_gateway(start, provider)
        seen = streaming.fetch(gateway, "m")
        assert gateway.charged("a") == ["model/a/m"]
    streaming.breaks_off(seen.body)


def test_a_large_event_passes_whole(streaming: Client, start: Starts, canned_provider: type[Canned]) -> None:
    word = "x" * 5_000_000
    if streaming.wire == "anthropic":
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        end: Any = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    else:
        delta = {"choices": [{"index": 0, "delta": {"content": word}}]}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    whole = f"data: {json.dumps(delta)}\n\ndata: {json.dumps(end)}\n\n".encode() + streaming.terminator
    with canned_provider() as provider:
        provider.streams(*(whole[at : at + 250_000] for at in range(0, len(whole), 250_000)))
        gateway = canned_gateway(start, provider)
        seen = streaming.fetch(gateway, "m")
        assert gateway.charged("a") == []
    assert seen.body == whole
