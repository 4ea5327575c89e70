"""OpenAI Chat Completions: `POST /v1/chat/completions`."""

from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Usage
from recloser.gateway.wires.openai_chat_codec.answers import read_usage
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

_CODES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("invalid_request_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}
_CUT_SHORT = frozenset({"length", "content_filter"})


class _Message(msgspec.Struct):
    role: Any = None


class _Request(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]
    stream: bool | None = None
    stream_options: Any = None


class _Said(msgspec.Struct):
    """A delta of a stream, or the message of a plain answer."""

    content: Any = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def anything(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
        )


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Said | None = None
    message: _Said | None = None
    finish_reason: Any = None


class _Chunk(msgspec.Struct):
    """A chunk of a stream, or a plain answer."""

    choices: list[_Choice] | None = None
    error: Any = None
    object: Any = None
    usage: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode


class OpenAIChat:
    """The wire that nearly every provider speaks."""

    name = "openai-chat"
    path = "/v1/chat/completions"
    upstream_path = "/chat/completions"
    models_path = "/models"
    keepalive = b": keep-alive\n\n"
    comments = True
    model_in_body = True
    terminator = sse.event(b"[DONE]")

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
        options = request.stream_options
        usage_asked = not request.stream or (isinstance(options, dict) and options.get("include_usage") is True)
        return Envelope(request.model, bool(request.stream), last.role in ("tool", "function"), usage_asked)

    def hold(self, request_id: str, model: str, created: int) -> Hold:  # noqa: ARG002 - nobody is named
        """What keeps a stream alive while nobody answers."""
        return SteadyHold(self.keepalive)

    def judge(self, body: bytes) -> Answer:
        """What a plain answer is."""
        try:
            answer = _decode_chunk(body)
            if _is_error(answer):
                return Answer(error=error_object(body))
            if answer.choices is None:
                return Answer(broken="not an answer: no choices")
            content = any(choice.message is not None and choice.message.anything() for choice in answer.choices)
            return Answer(content, _ending(answer.choices), usage=read_usage(answer.usage))
        except UNREADABLE as error:
            return Answer(broken=f"not an answer: {error}")

    def watch(self) -> "ChatWatch":
        """A watch for one stream."""
        return ChatWatch()

    def error(self, refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG002
        """The body of an error answer. The request's id is in a header on this wire."""
        kind, code = _CODES.get(refusal.status, ("invalid_request_error", refusal.kind))
        if refusal.status >= 500:
            kind, code = "server_error", refusal.kind
        code = refusal.own_name or code
        return msgspec.json.encode(
            {"error": {"message": refusal.message, "type": kind, "code": code, "param": refusal.field}}
        )

    def stream_error(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a broken stream. No `[DONE]` follows: it would say that the answer is whole."""
        return sse.event(self.error(refusal, request_id))


class ChatWatch(EventWatch):
    """Watches chunks up to `[DONE]`."""

    __slots__ = ("_unfinished", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._unfinished: set[int | None] = set()
        """The choices that have begun and have not said how they end; there are several with `n`."""
        self._usage: Any = None

    def usage(self) -> Usage:
        """What the target told so far that it used."""
        return read_usage(self._usage)

    def _note(self, name: bytes, data: bytes) -> None:
        if data == b"[DONE]":
            self.terminated = True
            return
        chunk = _decode_chunk(data)
        if name == b"error" or _is_error(chunk):
            self.error = error_object(data)
            return
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices or ():
            if choice.delta is not None:
                self._note_said(choice.delta)
                if not self.content:
                    self.content = choice.delta.anything()
            if choice.finish_reason is None:
                self._unfinished.add(choice.index)
                self.finished = False
            else:
                self._unfinished.discard(choice.index)
                self.finished = not self._unfinished
                self.ending = _ending(chunk.choices or [])

    def _note_said(self, delta: _Said) -> None:
        self.say(delta.content or delta.reasoning_content or delta.reasoning or delta.refusal)
        if isinstance(delta.tool_calls, list):
            for call in delta.tool_calls:
                function = call.get("function") if isinstance(call, dict) else None
                if isinstance(function, dict):
                    self.say(function.get("name"))
                    self.say(function.get("arguments"))


def _is_error(chunk: _Chunk) -> bool:
    return chunk.error is not None or chunk.object == "error"


def _ending(choices: list[_Choice]) -> Ending:
    reasons = [choice.finish_reason for choice in choices]
    return Ending.CUT_SHORT if any(reason in _CUT_SHORT for reason in reasons) else Ending.ORDINARY
