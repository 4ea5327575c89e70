"""OpenAI Chat Completions: the answers, streams and errors of `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recloser.simulate import openai_errors
from recloser.simulate.wire import (
    Address,
    Ask,
    BadAskError,
    End,
    Grounds,
    Kind,
    Part,
    Refusal,
    Reply,
    Tool,
    Turn,
    in_tokens,
    merged,
    objects,
    only,
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


class OpenAIChat:
    """The wire that most other servers speak as well."""

    name = "openai-chat"
    paths = ("/v1/chat/completions",)
    counting_paths: tuple[str, ...] = ()
    listing_paths: tuple[str, ...] = ()

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Nothing marks its clients; it is what remains."""
        return "openai-beta" in headers or "openai-organization" in headers

    def headers(self, request_id: str) -> Mapping[str, str]:
        """The request's id, and what real answers carry."""
        return {"x-request-id": request_id, "openai-version": "2020-10-01", "openai-processing-ms": "1"}

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:  # noqa: ARG002 (the body has it all)
        """Understand a request."""
        if "model" not in body:
            raise BadAskError("you must provide a model parameter", "model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
            raise BadAskError("Missing required parameter: 'messages'.", "messages")
        tools = [
            Tool(str(function["name"]), function.get("parameters") or {})
            for tool in objects(body.get("tools"))
            if isinstance(function := tool.get("function"), dict) and "name" in function
        ]
        choice, options = body.get("tool_choice"), body.get("stream_options")
        named = choice.get("function") if isinstance(choice, dict) else None
        return Ask(
            model=str(body["model"]),
            stream=body.get("stream") is True,
            turns=merged(_turn(m) for m in messages if m.get("role") in {"user", "assistant", "tool"}),
            tools=() if choice == "none" else only(tools, named.get("name") if isinstance(named, dict) else None),
            forced=choice == "required" or isinstance(named, dict),
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            input_tokens=max(1, size // 4),
        )

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """A whole completion."""
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if reply.end is End.REFUSAL:
            message |= {"content": None, "refusal": _REFUSED}
        if reply.thought is not None:
            message |= {"reasoning_content": reply.thought.text}
        if reply.tool is not None:
            calls = [_tool_call(reply, reply.tool.arguments)]
            message |= {"content": reply.text or None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH_REASONS[reply.end]}
        return _frame(ask, reply, "chat.completion", [choice]) | {"usage": _usage(ask, reply)}

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The completion chunk by chunk; the usage chunk only for those who asked."""
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        if reply.tool is not None and not reply.pieces:
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
        return openai_errors.inside(kind)

    def error_event(self, kind: str, request_id: str) -> bytes:
        """The same as a nameless event."""
        return b"data: " + to_json(self.error(kind, request_id)) + b"\n\n"

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The API's own words where they are known."""
        return openai_errors.refuse(reason, grounds)

    def count(self, ask: Ask) -> Any:
        """No path of this wire asks for it."""
        return {"input_tokens": ask.input_tokens}

    def models(self, names: Sequence[str], owner: str) -> Any:
        """The plain list."""
        data = [{"id": name, "object": "model", "created": 1735689600, "owned_by": owner} for name in names]
        return {"object": "list", "data": data}


WIRE = OpenAIChat()


def _turn(message: Mapping[str, Any]) -> Turn:
    role = message.get("role")
    if role == "tool":
        return Turn(by_model=False, results=True)
    by_model = role == "assistant"
    return Turn(by_model, _text(message, "" if by_model else " "), bool(message.get("tool_calls")))


def _text(message: Mapping[str, Any], between: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return between.join(str(block.get("text", "")) for block in objects(content) if block.get("type") == "text")


def _tool_call(reply: Reply, arguments: str) -> dict[str, Any]:
    name = reply.tool.name if reply.tool else ""
    return {"id": f"call_{reply.id}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _deltas(reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.end is End.REFUSAL:
        yield {"refusal": _REFUSED}
    if reply.thought is not None:  # as DeepSeek and vLLM show it; OpenAI shows none on this wire
        yield from ({"reasoning_content": piece} for piece in reply.thought.pieces)
    yield from ({"content": piece} for piece in reply.pieces)
    if reply.tool is None:
        return
    # The first names the call; its arguments then break wherever a token ends.
    yield {"tool_calls": [{"index": 0, **_tool_call(reply, "")}]}
    for part in in_tokens(reply.tool.arguments):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}


def _usage(ask: Ask, reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": ask.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reply.thought_tokens, "audio_tokens": 0},
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
