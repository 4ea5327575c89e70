"""OpenAI Chat Completions: the answers, streams and errors of `/v1/chat/completions`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recloser.simulate.faults import written
from recloser.simulate.wire import (
    ERROR_MESSAGES,
    Ask,
    BadAskError,
    End,
    Grounds,
    Kind,
    Part,
    Refusal,
    Reply,
    retry_after,
    to_json,
)

_FINISH_REASONS = {
    End.STOP: "stop",
    End.TOOL: "tool_calls",
    End.LENGTH: "length",
    End.REFUSAL: "stop",
    End.NONE: None,
}
_REFUSED = "I'm sorry, I can't assist with that."


@dataclass(frozen=True, slots=True)
class _Error:
    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


_REFUSALS = {
    "400": _Error(400, "Missing required parameter: 'messages'.", code="missing_required_parameter"),
    "401": _Error(
        401,
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    ),
    "402": _Error(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    "403": _Error(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "404": _Error(
        404,
        "The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    "413": _Error(413, "Request body is too large.", code="request_too_large"),
    "429": _Error(429, "Rate limit reached for {model}.", "requests", "rate_limit_exceeded"),
    "500": _Error(500, ERROR_MESSAGES["server_error"], "server_error"),
    "503": _Error(503, "Service Unavailable", "server_error"),
    "504": _Error(504, "The request timed out.", "server_error"),
    "529": _Error(529, "Overloaded", "server_error"),
    "quota": _Error(429, "The usage limit has been reached", "usage_limit_reached"),
    "insufficient_quota": _Error(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information "
        "on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "credit": _Error(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    "too_long": _Error(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "128001 tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    ),
    "overloaded503": _Error(503, "Model overloaded. Please try again later.", "server_error"),
    "oom": _Error(500, "CUDA out of memory. Tried to allocate 2.00 GiB.", "server_error"),
    "loading": _Error(503, "Loading model", "unavailable_error"),
    "unknown_path": _Error(404, "Invalid URL"),
}


class OpenAIChat:
    """The wire that most other servers speak as well."""

    name = "openai-chat"
    paths = ("/v1/chat/completions",)
    counting_paths: tuple[str, ...] = ()

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Nothing marks its clients; it is what remains."""
        return "openai-beta" in headers or "openai-organization" in headers

    def headers(self, request_id: str) -> Mapping[str, str]:
        """The request's id, and what real answers carry."""
        return {"x-request-id": request_id, "openai-version": "2020-10-01", "openai-processing-ms": "1"}

    def read(self, path: str, body: Mapping[str, Any], size: int) -> Ask:  # noqa: ARG002 (other wires need the path)
        """Understand a request."""
        if "model" not in body:
            raise BadAskError("you must provide a model parameter", "model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise BadAskError("Missing required parameter: 'messages'.", "messages")
        last = messages[-1]
        options = body.get("stream_options")
        return Ask(
            model=str(body["model"]),
            stream=body.get("stream") is True,
            text=next((text for m in reversed(messages) if m.get("role") == "user" and (text := _text(m))), ""),
            prefill=_text(last) if last.get("role") == "assistant" else "",
            tool=None if last.get("role") == "tool" else _first_tool(body),
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            input_tokens=max(1, size // 4),
        )

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """A whole completion."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if reply.end is End.REFUSAL:
            message |= {"content": None, "refusal": _REFUSED}
        if reply.tool is not None:
            message |= {"content": None, "tool_calls": [_tool_call(reply, reply.tool.arguments)]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH_REASONS[reply.end]}
        return _frame(ask, reply, "chat.completion", [choice]) | {"usage": _usage(ask, reply)}

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The completion chunk by chunk; the usage chunk only for those who asked."""
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        if reply.tool is not None:
            opening = {"role": "assistant", "content": None}
        yield _chunk(ask, reply, Kind.OPENING, opening)
        for delta in _deltas(reply):
            yield _chunk(ask, reply, Kind.CONTENT, delta)
        yield _chunk(ask, reply, Kind.FINISH, {}, _FINISH_REASONS[reply.end])
        if ask.include_usage:
            usage = {"usage": _usage(ask, reply)}
            yield _data(Kind.FINISH, _frame(ask, reply, "chat.completion.chunk", []) | usage)
        yield Part(Kind.TERMINATOR, b"data: [DONE]\n\n")

    def keepalive(self) -> bytes:
        """A comment, which every parser of server-sent events skips."""
        return b": keep-alive\n\n"

    def malformed(self) -> bytes:
        """A chunk that breaks off within its choices."""
        return b'data: {"id":"chatcmpl-chaos","object":"chat.completion.chunk","choices":[{"index":0,"del\n\n'

    def error(self, kind: str, request_id: str) -> Any:  # noqa: ARG002 (its id is in a header)
        """The error object, a server error by default."""
        kind = kind or "server_error"
        message = ERROR_MESSAGES.get(kind, f"The server failed: {kind}")
        return {"error": {"message": message, "type": kind, "param": None, "code": None}}

    def error_event(self, kind: str, request_id: str) -> bytes:
        """The same as a nameless event."""
        return b"data: " + to_json(self.error(kind, request_id)) + b"\n\n"

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The API's own words where they are known."""
        error = _REFUSALS.get(reason) or _unlisted(int(reason))
        message = grounds.message or error.message.format(model=grounds.model)
        if reason == "429" and grounds.wait is not None:
            message += f" Please try again in {written(grounds.wait)}."
        body = {"message": message, "type": error.type, "param": grounds.param or error.param, "code": error.code}
        if reason == "quota":
            return Refusal(error.status, to_json({"error": body | _limit(grounds)}))
        return Refusal(error.status, to_json({"error": body}), retry_after(grounds.wait))

    def count(self, ask: Ask) -> Any:
        """No path of this wire asks for it."""
        return {"input_tokens": ask.input_tokens}

    def models(self, names: Sequence[str], owner: str) -> Any:
        """The plain list."""
        data = [{"id": name, "object": "model", "created": 1735689600, "owned_by": owner} for name in names]
        return {"object": "list", "data": data}


WIRE = OpenAIChat()


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = (b.get("text") for b in blocks if isinstance(b, dict) and b.get("type") == "text")
    return " ".join(str(text) for text in texts)


def _first_tool(body: Mapping[str, Any]) -> str | None:
    tools = body.get("tools")
    first = tools[0] if isinstance(tools, list) and tools else None
    function = first.get("function") if isinstance(first, dict) else None
    return str(function["name"]) if isinstance(function, dict) and "name" in function else None


def _tool_call(reply: Reply, arguments: str) -> dict[str, Any]:
    name = reply.tool.name if reply.tool else ""
    return {"id": f"call_{reply.id}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.end is End.REFUSAL:
        yield {"refusal": _REFUSED}
    if reply.tool is None:
        yield from ({"content": piece} for piece in reply.pieces)
        return
    # The first names the call; its arguments then break wherever a token ends.
    yield {"tool_calls": [{"index": 0, **_tool_call(reply, "")}]}
    arguments = reply.tool.arguments
    for at in range(0, len(arguments), 8):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 8]}}]}


def _usage(ask: Ask, reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": ask.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _frame(ask: Ask, reply: Reply, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{reply.id}",
        "object": kind,
        "created": reply.created,
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": reply.fingerprint,
        "choices": choices,
    }


def _chunk(ask: Ask, reply: Reply, kind: Kind, delta: dict[str, Any], finish: str | None = None) -> Part:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage = {"usage": None} if ask.include_usage else {}
    return _data(kind, _frame(ask, reply, "chat.completion.chunk", [choice]) | usage)


def _data(kind: Kind, chunk: Any) -> Part:
    return Part(kind, b"data: " + to_json(chunk) + b"\n\n")


def _unlisted(status: int) -> _Error:
    return _Error(status, f"HTTP {status}", "server_error" if status >= 500 else "invalid_request_error")


def _limit(grounds: Grounds) -> dict[str, Any]:
    wait = grounds.wait or 0.0
    return {"plan_type": "plus", "resets_at": math.ceil(grounds.now + wait), "resets_in_seconds": math.ceil(wait)}
