"""What the canned upstream answers, and how a client knows that it came through whole: one `Wire` a protocol."""

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

EVENTS = 100
MARK = "lorem-"  # stands once in every piece of streamed text, so that a lost or repeated piece shows
PLAIN_TEXT = " ".join(f"{MARK}{number:02d}" for number in range(70))
KEY = f"sk-{secrets.token_hex(32)}"  # of this run; LiteLLM does not start without one
CREATED = 1_760_000_000
_NOTHING: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Wire:
    """One protocol's path, model, canned answers and what makes an answer whole."""

    name: str
    path: str
    model: str
    headers: dict[str, str]
    plain: bytes
    stream: tuple[bytes, ...]
    check_plain: Callable[[bytes], str]
    check_stream: Callable[[bytes], str]


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _pieces(count: int, width: int) -> list[str]:
    return [f"{MARK}{number:02d} ".ljust(width, "x") for number in range(count)]


def _whole(body: bytes, pieces: int, end: re.Pattern[bytes], terminator: bytes) -> str:
    seen = body.count(MARK.encode())
    if seen != pieces:
        return f"{seen} of {pieces} pieces of text"
    tail = body[-3000:]
    if not end.search(tail):
        return "no finish reason"
    return "" if terminator in tail else "no terminator"


def _openai() -> Wire:
    model = "gpt-4o-mini"
    usage = {"prompt_tokens": 200, "completion_tokens": 140, "total_tokens": 340}
    plain = {
        "id": "chatcmpl-bench00000000000000000000",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": PLAIN_TEXT, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            },
        ],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_bench0000",
    }

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {"id": plain["id"], "object": "chat.completion.chunk", "created": CREATED, "model": model}
        return f"data: {_json({**chunk, 'choices': [choice]})}\n\n".encode()

    texts = _pieces(EVENTS - 3, 12)
    stream = (
        event({"role": "assistant", "content": ""}),
        *(event({"content": text}) for text in texts),
        event({}, "stop"),
        b"data: [DONE]\n\n",
    )
    end = re.compile(rb'"finish_reason":\s*"stop"')

    def check_plain(body: bytes) -> str:
        choice = json.loads(body).get("choices", [_NOTHING])[0]
        whole = choice.get("message", _NOTHING).get("content") == PLAIN_TEXT
        return "" if whole and choice.get("finish_reason") == "stop" else "not the answer"

    return Wire(
        name="openai",
        path="/v1/chat/completions",
        model=model,
        headers={"authorization": f"Bearer {KEY}"},
        plain=_json(plain).encode(),
        stream=stream,
        check_plain=check_plain,
        check_stream=lambda body: _whole(body, len(texts), end, b"data: [DONE]"),
    )


def _anthropic() -> Wire:
    model = "claude-sonnet-4-5"
    usage = {
        "input_tokens": 200,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 140,
        "service_tier": "standard",
    }
    message: dict[str, Any] = {
        "id": "msg_bench0000000000000000000",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    plain = {**message, "content": [{"type": "text", "text": PLAIN_TEXT}], "stop_reason": "end_turn"}

    def event(kind: str, **fields: object) -> bytes:
        return f"event: {kind}\ndata: {_json({'type': kind, **fields})}\n\n".encode()

    texts = _pieces(EVENTS - 5, 80)
    stream = (
        event("message_start", message={**message, "usage": {**usage, "output_tokens": 1}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=0, delta={"type": "text_delta", "text": t}) for t in texts),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 140},
        ),
        event("message_stop"),
    )
    end = re.compile(rb'"stop_reason":\s*"end_turn"')

    def check_plain(body: bytes) -> str:
        answer = json.loads(body)
        whole = answer.get("content", [_NOTHING])[0].get("text") == PLAIN_TEXT
        return "" if whole and answer.get("stop_reason") == "end_turn" else "not the answer"

    return Wire(
        name="anthropic",
        path="/v1/messages",
        model=model,
        headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"},
        plain=_json(plain).encode(),
        stream=stream,
        check_plain=check_plain,
        check_stream=lambda body: _whole(body, len(texts), end, b"event: message_stop"),
    )


WIRES = {wire.name: wire for wire in (_openai(), _anthropic())}
