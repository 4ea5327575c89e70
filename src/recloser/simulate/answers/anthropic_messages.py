"""Anthropic Messages: the answers, streams and errors of `/v1/messages`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from recloser.simulate.wire import (
    ERROR_MESSAGES,
    Address,
    Ask,
    BadAskError,
    End,
    Grounds,
    Kind,
    Part,
    Refusal,
    Reply,
    Seal,
    Thought,
    Tool,
    Turn,
    in_tokens,
    merged,
    objects,
    only,
    retry_after,
    to_json,
)

_STOP_REASONS = {
    End.STOP: "end_turn",
    End.TOOL: "tool_use",
    End.LENGTH: "max_tokens",
    End.REFUSAL: "refusal",
    End.NONE: None,
}

_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
# Each reason with its status, the error's type and its message.
_REFUSALS = {
    "400": (400, "invalid_request_error", "messages: at least one message is required"),
    "401": (401, "authentication_error", "invalid x-api-key"),
    "402": (
        402,
        "billing_error",
        "Your organization has been disabled for a billing reason. Please check your payment details.",
    ),
    "403": (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource.",
    ),
    "404": (404, "not_found_error", "model: {model}"),
    "409": (409, "conflict_error", "The request conflicts with the current state of the resource."),
    "413": (413, "request_too_large", "Request exceeds the maximum size"),
    "429": (
        429,
        "rate_limit_error",
        (
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute "
            "(model: {model}). For details, refer to: https://docs.claude.com/en/api/rate-limits. "
            "You can see the response headers for current usage."
        ),
    ),
    "500": (500, "api_error", "Internal server error"),
    "503": (503, "api_error", "Service Unavailable"),
    "504": (504, "timeout_error", "The request timed out while being processed."),
    "529": (529, "overloaded_error", "Overloaded"),
    "quota": (
        429,
        "rate_limit_error",
        "This request would exceed your account's rate limit. Please try again later.",
    ),
    "credit": (400, "invalid_request_error", _CREDIT),
    "insufficient_quota": (400, "invalid_request_error", _CREDIT),
    "too_long": (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
    "overloaded503": (503, "overloaded_error", "Model overloaded. Please try again later."),
    "oom": (500, "api_error", "CUDA out of memory. Tried to allocate 2.00 GiB."),
    "loading": (503, "api_error", "Loading model"),
    "unknown_path": (404, "not_found_error", "Not found"),
}


class AnthropicMessages:
    """The wire of Claude's API."""

    name = "anthropic"
    paths = ("/v1/messages",)
    counting_paths = ("/v1/messages/count_tokens",)
    listing_paths: tuple[str, ...] = ()

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Only its clients send a version."""
        return "anthropic-version" in headers

    def headers(self, request_id: str) -> Mapping[str, str]:
        """The request's id."""
        return {"request-id": request_id}

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:
        """Understand a request; `max_tokens` is demanded where an answer is."""
        required = ("model", "messages") if address.path in self.counting_paths else ("model", "max_tokens", "messages")
        for key in required:
            if key not in body:
                raise BadAskError(f"{key}: Field required", key)
        messages = body["messages"]
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise BadAskError("messages: at least one message is required", "messages")
        turns = merged(_turn(message) for message in messages if message.get("role") in {"user", "assistant"})
        thinking = body.get("thinking")
        thinks = isinstance(thinking, dict) and thinking.get("type") == "enabled"
        _check_last(messages, thinks=thinks)
        _check_management(body)
        declared = (tool for tool in objects(body.get("tools")) if "name" in tool)
        tools = [Tool(str(tool["name"]), tool.get("input_schema") or {}) for tool in declared]
        choice = body.get("tool_choice")
        wanted = choice if isinstance(choice, dict) else {}
        return Ask(
            model=str(body["model"]),
            stream=body.get("stream") is True,
            turns=turns,
            tools=() if wanted.get("type") == "none" else only(tools, wanted.get("name")),
            forced=wanted.get("type") in {"any", "tool"},
            thinks=thinks,
            seals=tuple(_seals(messages)),
            input_tokens=max(1, size // 4),
        )

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """A whole message."""
        content = [{**block, **whole} for block, whole, _ in _content(reply)]
        usage = _usage(ask, reply.output_tokens)
        return _message(ask, reply, content, _STOP_REASONS[reply.end], usage)

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The message event by event, with the ping that the real API sends after the first block's start."""
        start = _message(ask, reply, [], None, _usage(ask, 1))
        yield _event(Kind.OPENING, "message_start", message=start)
        for index, (block, _, deltas) in enumerate(_content(reply)):
            yield _event(Kind.OPENING, "content_block_start", index=index, content_block=block)
            if not index:
                yield Part(Kind.KEEPALIVE, self.keepalive())
            for delta in deltas:
                yield _event(Kind.CONTENT, "content_block_delta", index=index, delta=delta)
            yield _event(Kind.CLOSING, "content_block_stop", index=index)
        delta = {"stop_reason": _STOP_REASONS[reply.end], "stop_sequence": None}
        yield _event(Kind.FINISH, "message_delta", delta=delta, usage=_usage(ask, reply.output_tokens))
        yield _event(Kind.TERMINATOR, "message_stop")

    def keepalive(self) -> bytes:
        """Its own ping event."""
        return _event(Kind.KEEPALIVE, "ping").data

    def malformed(self) -> bytes:
        """A delta that breaks off within its text."""
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"te\n\n'

    def error(self, kind: str, request_id: str) -> Any:
        """The error object, overloaded by default."""
        kind = kind or "overloaded_error"
        return _error(kind, ERROR_MESSAGES.get(kind, f"The server failed: {kind}"), request_id)

    def error_event(self, kind: str, request_id: str) -> bytes:
        """`event: error`."""
        return b"event: error\ndata: " + to_json(self.error(kind, request_id)) + b"\n\n"

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The API's own words where they are known."""
        status, kind, message = _REFUSALS.get(reason) or _unlisted(int(reason))
        text = grounds.message or message.format(model=grounds.model)
        headers = retry_after(grounds.wait)
        if reason == "quota":
            headers |= _unified_headers(grounds)
        return Refusal(status, to_json(_error(kind, text, grounds.request_id)), headers)

    def count(self, ask: Ask) -> Any:
        """An estimate by size."""
        return {"input_tokens": ask.input_tokens}

    def models(self, names: Sequence[str], owner: str) -> Any:
        """A page that is the only one."""
        data = [
            {"type": "model", "id": name, "display_name": f"{name} ({owner})", "created_at": "2025-01-01T00:00:00Z"}
            for name in names
        ]
        return {"data": data, "has_more": False, "first_id": names[0], "last_id": names[-1]}


WIRE = AnthropicMessages()


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _turn(message: Mapping[str, Any]) -> Turn:
    by_model = message.get("role") == "assistant"
    kinds = {block.get("type") for block in _blocks(message)}
    texts = (str(block.get("text", "")) for block in _blocks(message) if block.get("type") == "text")
    return Turn(by_model, ("" if by_model else " ").join(texts), "tool_use" in kinds, "tool_result" in kinds)


def _seals(messages: Sequence[Mapping[str, Any]]) -> Iterator[Seal]:
    for at, message in enumerate(messages):
        for number, block in enumerate(_blocks(message)):
            where, kind = f"messages.{at}.content.{number}", block.get("type")
            if kind == "thinking":
                signature, words = str(block.get("signature", "")), str(block.get("thinking", ""))
                yield Seal(signature, words, f"{where}: Invalid `signature` in `thinking` block")
            elif kind == "redacted_thinking":
                yield Seal(str(block.get("data", "")), "", f"{where}: Invalid `data` in `redacted_thinking` block")


def _check_last(messages: Sequence[Mapping[str, Any]], *, thinks: bool) -> None:
    """What the real API demands of the last words of the model."""
    spoken = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
    if not spoken:
        return
    blocks = _blocks(messages[spoken[-1]])
    is_last = spoken[-1] == len(messages) - 1
    if is_last and blocks and str(blocks[-1].get("text", "")).endswith((" ", "\n", "\t")):
        raise BadAskError("messages: final assistant content cannot end with trailing whitespace", "messages")
    first = blocks[0].get("type") if blocks else None
    in_a_turn = is_last or any(block.get("type") == "tool_result" for block in _blocks(messages[-1]))
    if thinks and in_a_turn and first not in {"thinking", "redacted_thinking"}:
        raise BadAskError(_MUST_THINK.format(at=spoken[-1], first=first), "messages")


def _check_management(body: Mapping[str, Any]) -> None:
    """Thoughts can be cleared where there are some."""
    management, thinking = body.get("context_management"), body.get("thinking")
    edits = objects(management.get("edits")) if isinstance(management, dict) else []
    thinks = isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}
    if not thinks and any(edit.get("type") == "clear_thinking_20251015" for edit in edits):
        message = "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive"
        raise BadAskError(message, "context_management")


_MUST_THINK = (
    "messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When `thinking` is "
    "enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` "
    "and `tool_result` blocks). To avoid this requirement, disable `thinking`."
)

_Block = dict[str, Any]


def _content(reply: Reply) -> Iterator[tuple[_Block, _Block, Iterator[_Block]]]:
    """The blocks: each as it begins, what is other in it once it is whole, and how it grows."""
    if (thought := reply.thought) is not None:
        whole = {"thinking": thought.text, "signature": thought.signature}
        yield {"type": "thinking", "thinking": "", "signature": ""}, whole, _thinking(thought)
    if reply.pieces:
        said = ({"type": "text_delta", "text": piece} for piece in reply.pieces)
        yield {"type": "text", "text": ""}, {"text": reply.text}, said
    if (tool := reply.tool) is not None:
        block = {"type": "tool_use", "id": f"toolu_{reply.id}", "name": tool.name, "input": {}}
        # The real API opens with an empty one.
        parts = ({"type": "input_json_delta", "partial_json": part} for part in ("", *in_tokens(tool.arguments)))
        yield block, {"input": msgspec.Raw(tool.arguments.encode())}, parts


def _thinking(thought: Thought) -> Iterator[_Block]:
    yield from ({"type": "thinking_delta", "thinking": piece} for piece in thought.pieces)
    yield {"type": "signature_delta", "signature": thought.signature}


def _usage(ask: Ask, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": ask.input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _message(
    ask: Ask, reply: Reply, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {**usage, "service_tier": "standard"},
    }


def _event(kind: Kind, name: str, **fields: Any) -> Part:
    return Part(kind, b"event: %s\ndata: %s\n\n" % (name.encode(), to_json({"type": name, **fields})))


def _error(kind: str, message: str, request_id: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def _unlisted(status: int) -> tuple[int, str, str]:
    kind = "api_error" if status >= 500 else "invalid_request_error"
    return status, kind, f"HTTP {status}"


def _unified_headers(grounds: Grounds) -> dict[str, str]:
    reset = str(math.ceil(grounds.now + (grounds.wait or 0.0)))
    prefix = "anthropic-ratelimit-unified"
    return {
        f"{prefix}-status": "rejected",
        f"{prefix}-reset": reset,
        f"{prefix}-representative-claim": "five_hour",
        f"{prefix}-5h-status": "rejected",
        f"{prefix}-5h-reset": reset,
    }
