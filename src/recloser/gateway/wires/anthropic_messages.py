"""Anthropic Messages: `POST /v1/messages`."""

from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Usage
from recloser.gateway.wires.anthropic_codec.answers import read_usage
from recloser.gateway.wires.wire import (
    UNREADABLE,
    Answer,
    Ending,
    Envelope,
    EventWatch,
    Hold,
    Refusal,
    SteadyHold,
    error_object,
    read_request,
)

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_CUT_SHORT = frozenset({"max_tokens", "pause_turn", "refusal", "model_context_window_exceeded"})


class _Message(msgspec.Struct):
    role: Any = None
    content: Any = None


class _Request(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]
    stream: bool | None = None


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None


class _PlainAnswer(msgspec.Struct):
    type: Any = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    error: Any = None
    usage: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: Any = None
    thinking: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _Begun(msgspec.Struct):
    usage: Any = None


class _StreamEvent(msgspec.Struct):
    type: str
    message: _Begun | None = None
    usage: Any = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    error: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_answer = msgspec.json.Decoder(_PlainAnswer).decode
_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class AnthropicMessages:
    """The wire of Claude."""

    name = "anthropic"
    path = "/v1/messages"
    upstream_path = "/v1/messages"
    models_path = "/v1/models"
    keepalive = sse.event(b'{"type": "ping"}', b"ping")
    comments = True
    model_in_body = True
    terminator = sse.event(b'{"type":"message_stop"}', b"message_stop")

    def asked_at(self, model: str, *, stream: bool) -> str:  # noqa: ARG002 - the body says both
        """Where a provider is asked, relative to the base URL."""
        return self.upstream_path

    def read(  # the body says it all
        self,
        body: bytes,
        model: str = "",  # noqa: ARG002
        *,
        stream: bool = False,  # noqa: ARG002
    ) -> Envelope:
        """What routing needs of a request."""
        request = read_request(_decode_request, body)
        last = read_request(_decode_message, request.messages[-1]) if request.messages else _Message()
        blocks = last.content if isinstance(last.content, list) else ()
        tool_result = any(isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks)
        return Envelope(request.model, bool(request.stream), tool_result)

    def hold(self, request_id: str, model: str, created: int) -> Hold:  # noqa: ARG002 - nobody is named
        """What keeps a stream alive while nobody answers."""
        return SteadyHold(self.keepalive)

    def judge(self, body: bytes) -> Answer:
        """What a plain answer is."""
        try:
            answer = _decode_answer(body)
            if answer.type == "error" or answer.error is not None:
                return Answer(error=error_object(body))
            if answer.content is None:
                return Answer(broken="not an answer: no content")
            content = any(map(_says_something, answer.content))
            return Answer(content, _ending(answer.stop_reason), usage=_usage(answer.usage))
        except UNREADABLE as error:
            return Answer(broken=f"not an answer: {error}")

    def watch(self) -> "AnthropicWatch":
        """A watch for one stream."""
        return AnthropicWatch()

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """The body of an error answer. A name of our own stands in the message: the types of this wire are fixed."""
        message = refusal.message if refusal.own_name is None else f"{refusal.message} ({refusal.own_name})"
        kind = _ERROR_TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")
        return msgspec.json.encode(
            {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}
        )

    def stream_error(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a broken stream."""
        return sse.event(self.error(refusal, request_id), b"error")


class AnthropicWatch(EventWatch):
    """Watches `message_start … message_stop`."""

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        super().__init__()
        self._usage: dict[str, Any] = {}
        """As told at the beginning, and in part again at the end."""

    def usage(self) -> Usage:
        """What the target told so far that it used."""
        return read_usage(self._usage)

    def _note(self, name: bytes, data: bytes) -> None:  # noqa: ARG002 - the data names itself
        seen = _decode_event(data)
        match seen.type:
            case "content_block_delta":
                delta = seen.delta
                if delta is not None:
                    self.say(delta.text or delta.thinking or delta.partial_json)
                if not self.content and delta is not None:
                    self.content = bool(
                        delta.text if delta.type == "text_delta"
                        else delta.thinking if delta.type == "thinking_delta"
                        else delta.type != "signature_delta"
                    )  # fmt: skip
            case "content_block_start" if seen.content_block is not None:
                self.content = self.content or _says_something(seen.content_block)
            case "message_start" if seen.message is not None:
                self._note_usage(seen.message.usage)
            case "message_delta":
                self._note_usage(seen.usage)
                if seen.delta is not None and seen.delta.stop_reason is not None:
                    self.finished = True
                    self.ending = _ending(seen.delta.stop_reason)
            case "message_stop":
                self.terminated = True
            case "error":
                self.error = error_object(data)

    def _note_usage(self, told: Any) -> None:
        if isinstance(told, dict):
            self._usage.update({name: value for name, value in told.items() if value is not None})


def _usage(told: Any) -> Usage:
    return read_usage(told) if isinstance(told, dict) else Usage()


def _says_something(block: _Block) -> bool:
    return block.type not in ("text", "thinking") or bool(block.text or block.thinking)


def _ending(stop_reason: Any) -> Ending:
    return Ending.CUT_SHORT if stop_reason in _CUT_SHORT else Ending.ORDINARY
