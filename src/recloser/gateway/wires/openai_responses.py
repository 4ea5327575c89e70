"""OpenAI Responses: `POST /v1/responses`."""

from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Usage
from recloser.gateway.wires.openai_responses_codec.answers import read_usage
from recloser.gateway.wires.openai_responses_codec.hold import Hold as ResponseHold
from recloser.gateway.wires.wire import (
    UNREADABLE,
    Answer,
    BadRequestError,
    Ending,
    Envelope,
    EventWatch,
    Hold,
    Refusal,
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
_UNDER_WAY = frozenset({"queued", "in_progress", "incomplete", "cancelled"})
_WORDS = ("delta", "text", "refusal", "arguments")


class _Item(msgspec.Struct):
    type: Any = None
    content: Any = None
    summary: Any = None
    encrypted_content: Any = None

    def anything(self) -> bool:
        """Whether it says, thinks or calls something."""
        match self.type:
            case "message":
                return any(map(_says_something, self.content or ()))
            case "reasoning":
                thoughts = (*(self.summary or ()), *(self.content or ()))
                return bool(self.encrypted_content) or any(map(_says_something, thoughts))
        return True


class _Request(msgspec.Struct):
    model: str
    input: str | list[msgspec.Raw] | None = None
    stream: bool | None = None
    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None


class _Last(msgspec.Struct):
    type: Any = None


class _Response(msgspec.Struct):
    output: list[_Item] | None = None
    status: Any = None
    error: Any = None
    usage: Any = None


class _Ended(msgspec.Struct):
    """The end of a stream, of which the output is not read again."""

    usage: Any = None


class _StreamEvent(msgspec.Struct):
    type: str
    item: _Item | None = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    response: msgspec.Raw = msgspec.Raw(b"{}")


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_last = msgspec.json.Decoder(_Last).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_ended = msgspec.json.Decoder(_Ended).decode
_decode_event = msgspec.json.Decoder(_StreamEvent).decode


class OpenAIResponses:
    """The wire of Codex."""

    name = "openai-responses"
    path = "/v1/responses"
    upstream_path = "/responses"
    models_path = "/models"
    keepalive = b": keep-alive\n\n"
    """For nobody in particular; `hold` has what clients count as a sign of life."""
    comments = True
    model_in_body = True
    terminator = b""
    """None: a stream that did not say how it ends is not finished."""

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
        if request.input is None and not (request.previous_response_id or request.conversation or request.prompt):
            raise BadRequestError("input: Field required", "input")
        items = request.input if isinstance(request.input, list) else ()
        last = read_request(_decode_last, items[-1]) if items else _Last()
        tool_result = isinstance(last.type, str) and last.type.endswith("_output")
        return Envelope(request.model, bool(request.stream), tool_result)

    def hold(self, request_id: str, model: str, created: int) -> Hold:
        """What keeps a stream alive while nobody answers: a response that is in progress."""
        return ResponseHold(request_id, model, created)

    def judge(self, body: bytes) -> Answer:
        """What a plain answer is."""
        try:
            answer = _decode_response(body)
            if answer.error is not None or answer.status == "failed":
                return Answer(error=error_object(msgspec.json.encode({"error": answer.error or _NO_REASON})))
            if answer.output is None:
                return Answer(broken="not an answer: no output")
            ending = Ending.CUT_SHORT if answer.status in _UNDER_WAY else Ending.ORDINARY
            return Answer(any(item.anything() for item in answer.output), ending, usage=_usage(answer.usage))
        except UNREADABLE as error:
            return Answer(broken=f"not an answer: {error}")

    def watch(self) -> "ResponsesWatch":
        """A watch for one stream."""
        return ResponsesWatch()

    def error(self, refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG002
        """The body of an error answer. The request's id is in a header on this wire."""
        return msgspec.json.encode({"error": _error(refusal)})

    def stream_error(self, refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG002
        """The event that ends a broken stream.

        Not `response.failed`: it would need the id that the response has had so far.
        """
        error = _error(refusal)
        said = {key: error[key] for key in ("code", "message", "param")}
        return sse.event(msgspec.json.encode({"type": "error", **said, "sequence_number": 0, "error": error}), b"error")


class ResponsesWatch(EventWatch):
    """Watches `response.created … response.completed`."""

    __slots__ = ("_usage",)

    def __init__(self) -> None:
        super().__init__()
        self._usage = Usage()

    def usage(self) -> Usage:
        """What the target told that it used: it does at the end."""
        return self._usage

    def _note(self, name: bytes, data: bytes) -> None:
        if data == b"[DONE]":
            return
        seen = _decode_event(data)
        if seen.delta is not None:
            self.say(seen.delta)
        match seen.type:
            case "response.completed" | "response.incomplete":
                self._end(seen)
            case "response.failed" | "response.cancelled":
                response = _decode_response(seen.response)
                self._usage = _usage(response.usage)
                self.error = {"error": response.error or _NO_REASON}
            case "error":
                self.error = error_object(data)
            case "response.output_item.added" if seen.item is not None:
                self.content = self.content or seen.item.type not in ("message", "reasoning")
            case "response.output_item.done" if seen.item is not None:
                self.content = self.content or seen.item.anything()
            case kind if not self.content and kind.endswith((".delta", ".done")):
                self.content = any(isinstance(said := getattr(seen, field), str) and said for field in _WORDS)
        if name == b"error" and self.error is None:
            self.error = error_object(data)

    def _end(self, seen: _StreamEvent) -> None:
        self.finished = self.terminated = True
        self._usage = _usage(_decode_ended(seen.response).usage)
        if seen.type == "response.incomplete":
            self.ending = Ending.CUT_SHORT
        if not self.content:
            output = _decode_response(seen.response).output
            self.content = any(item.anything() for item in output or ())


def _usage(told: Any) -> Usage:
    return read_usage(told) if isinstance(told, dict) else Usage()


_NO_REASON = {"message": "the response failed without a reason"}


def _says_something(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    return bool(part.get("text") or part.get("refusal")) or part.get("type") not in (
        "output_text", "refusal", "summary_text", "reasoning_text",
    )  # fmt: skip


def _error(refusal: Refusal) -> dict[str, Any]:
    kind, code = _CODES.get(refusal.status, ("invalid_request_error", refusal.kind))
    if refusal.status >= 500:
        kind, code = "server_error", refusal.kind
    code = refusal.own_name or code
    return {"message": refusal.message, "type": kind, "code": code, "param": refusal.field}
