"""Gemini: `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`."""

import re
from collections import ChainMap
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Usage
from recloser.gateway.wires.gemini_codec.answers import read_usage
from recloser.gateway.wires.wire import (
    UNREADABLE,
    Answer,
    BadRequestError,
    Ending,
    Envelope,
    EventWatch,
    Hold,
    Refusal,
    SteadyHold,
    error_object,
    read_request,
)

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_CUT_SHORT = frozenset(
    {
        "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip
_RPC = "type.googleapis.com/google.rpc"
_ADDRESS = re.compile(
    r"/v1(?:beta\d*|alpha)?/(?:models/)?(?!models/)(.+):(generateContent|streamGenerateContent|countTokens)"
)


class Address(NamedTuple):
    """What the address of a request says."""

    model: str
    streamed: bool
    """Whether it asks for the answer in pieces: as events, or as the elements of a JSON array."""
    events: bool
    counted: bool = False
    """Whether it asks only how many tokens the request has."""

    @property
    def stream(self) -> bool:
        """Whether a stream of events is wanted. An array is as good in one piece: `array` makes one."""
        return self.streamed and self.events


def address(path: str, query: str = "") -> Address | None:
    """What an address (decoded) says; None if it is none of this wire."""
    found = _ADDRESS.fullmatch(path)
    if found is None:
        return None
    wanted = parse_qs(query).get("alt", [""])[-1]
    return Address(found[1], found[2] == "streamGenerateContent", wanted == "sse", found[2] == "countTokens")


def upstream_address(model: str, *, stream: bool) -> str:
    """Where a provider is asked for this model, relative to the base URL as Google's SDK takes it.

    BadRequestError if the name leads out of where models are: names come from clients, and the provider's key goes
    along.
    """
    if not {".", ".."}.isdisjoint(model.split("/")):
        raise BadRequestError(f"model: {model[:100]!r} is no name for a model", "model")
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    within = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
    return f"/v1beta/{quote(within)}:{method}"


def array(answer: bytes) -> bytes:
    """A plain answer for a client that asked for an array of its pieces."""
    return b"[" + answer + b"]"


class _Part(msgspec.Struct):
    text: Any = None
    function_call: Any = msgspec.field(default=None, name="functionCall")
    inline_data: Any = msgspec.field(default=None, name="inlineData")
    executable_code: Any = msgspec.field(default=None, name="executableCode")
    code_execution_result: Any = msgspec.field(default=None, name="codeExecutionResult")

    def anything(self) -> bool:
        """Whether it says, thinks, shows or calls something."""
        return bool(
            self.text or self.function_call or self.inline_data or self.executable_code or self.code_execution_result
        )


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: Any = None
    index: int | None = None

    def anything(self) -> bool:
        """Whether it says something."""
        return self.content is not None and any(part.anything() for part in self.content.parts or ())


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Chunk(msgspec.Struct, rename="camel"):
    """A chunk of a stream, or a plain answer."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    error: Any = None

    def blocked(self) -> bool:
        """Whether the question was refused."""
        return self.prompt_feedback is not None and self.prompt_feedback.block_reason is not None


class _Request(msgspec.Struct):
    contents: list[msgspec.Raw] | dict[str, msgspec.Raw]
    model: str = ""


class _Last(msgspec.Struct):
    parts: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_last = msgspec.json.Decoder(_Last).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_chunks = msgspec.json.Decoder(list[_Chunk]).decode


class Gemini:
    """The wire of Google's own models."""

    name = "gemini"
    path = "/v1beta/models/{model}:generateContent"
    """A pattern: `address` reads the real ones."""
    upstream_path = "/v1beta/models/{model}:generateContent"
    """A pattern: `upstream_address` makes the real ones."""
    models_path = "/v1beta/models?pageSize=1000"
    keepalive = sse.event(b'{"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0}]}')
    """Comments break the clients of this wire."""
    comments = False
    model_in_body = False
    terminator = b""
    """None: a stream ends with the chunk that says why."""

    def asked_at(self, model: str, *, stream: bool) -> str:
        """Where a provider is asked for this model, relative to the base URL."""
        return upstream_address(model, stream=stream)

    def read(self, body: bytes, model: str = "", *, stream: bool = False) -> Envelope:
        """What routing needs of a request. The model and whether it streams are what the address says."""
        request = read_request(_decode_request, body)
        name = model or request.model.removeprefix("models/")
        if not name:
            raise BadRequestError("model: Field required", "model")
        return Envelope(name, stream, _after_result(request.contents))

    def hold(self, request_id: str, model: str, created: int) -> Hold:  # noqa: ARG002 - nobody is named
        """What keeps a stream alive while nobody answers."""
        return SteadyHold(self.keepalive)

    def judge(self, body: bytes) -> Answer:
        """What a plain answer is: one object, or an array of what a stream would be."""
        try:
            chunks = _decode_chunks(body) if body.lstrip()[:1] == b"[" else [_decode_chunk(body)]
            for chunk in chunks:
                if chunk.error is not None:
                    return Answer(error=error_object(msgspec.json.encode({"error": chunk.error})))
            candidates = [candidate for chunk in chunks for candidate in chunk.candidates or ()]
            blocked = any(chunk.blocked() for chunk in chunks)
            if not candidates and not blocked:
                return Answer(broken="not an answer: no candidates")
            cut_short = blocked or any(_is_cut_short(candidate) for candidate in candidates)
            content = any(candidate.anything() for candidate in candidates)
            told = [chunk.usage_metadata for chunk in chunks if isinstance(chunk.usage_metadata, dict)]
            usage = read_usage(dict(ChainMap(*reversed(told))))
            return Answer(content, Ending.CUT_SHORT if cut_short else Ending.ORDINARY, usage=usage)
        except UNREADABLE as error:
            return Answer(broken=f"not an answer: {error}")

    def watch(self) -> "GeminiWatch":
        """A watch for one stream."""
        return GeminiWatch()

    def error(self, refusal: Refusal, request_id: str) -> bytes:  # noqa: ARG002
        """The body of an error answer. The request's id is in a header on this wire."""
        fallback = "INVALID_ARGUMENT" if refusal.status < 500 else "UNAVAILABLE"
        error: dict[str, Any] = {
            "code": refusal.status,
            "message": refusal.message,
            "status": _STATUSES.get(refusal.status, fallback),
        }
        details: list[dict[str, Any]] = []
        if refusal.own_name is not None:
            details.append({"@type": f"{_RPC}.ErrorInfo", "reason": refusal.own_name.upper(), "domain": "recloser"})
        if refusal.field is not None:
            violation = {"field": refusal.field, "description": refusal.message}
            details.append({"@type": f"{_RPC}.BadRequest", "fieldViolations": [violation]})
        if details:
            error["details"] = details
        return msgspec.json.encode({"error": error})

    def stream_error(self, refusal: Refusal, request_id: str) -> bytes:
        """The event that ends a broken stream."""
        return sse.event(self.error(refusal, request_id))


class GeminiWatch(EventWatch):
    """Watches chunks up to the one that says why the answer ended. There is no event after it to wait for."""

    __slots__ = ("_unfinished", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._unfinished: set[int | None] = set()
        """The candidates that have begun and have not said how they end; there may be several."""
        self._usage: dict[str, Any] = {}
        """Each chunk tells some of it, the later one what there is by then."""

    def usage(self) -> Usage:
        """What the target told so far that it used."""
        return read_usage(self._usage)

    def _passed(self, whole: bytes) -> bytes:
        """As for all wires; but in the middle of a stream this provider reports an error as bare JSON, no event."""
        bare = 0 if whole.startswith(b"{") else whole.find(b"\n{") + 1
        if not bare and not whole.startswith(b"{"):
            return super()._passed(whole)
        good = super()._passed(whole[:bare])
        if self.error is None and not self.broken:
            try:
                self.error = error_object(whole[bare:])
            except UNREADABLE as error:
                self.broken = f"not an event: {error}"
        return good

    def _note(self, name: bytes, data: bytes) -> None:  # noqa: ARG002 - chunks have no names
        chunk = _decode_chunk(data)
        if chunk.error is not None:
            self.error = error_object(data)
            return
        if chunk.blocked():
            self.finished, self.ending = True, Ending.CUT_SHORT
        if isinstance(chunk.usage_metadata, dict):
            self._usage.update(chunk.usage_metadata)
        for candidate in chunk.candidates or ():
            self._note_said(candidate)
            self.content = self.content or candidate.anything()
            if candidate.finish_reason is None:
                self._unfinished.add(candidate.index)
                self.finished = False
                continue
            self._unfinished.discard(candidate.index)
            self.finished = not self._unfinished
            if _is_cut_short(candidate):
                self.ending = Ending.CUT_SHORT

    def _note_said(self, candidate: _Candidate) -> None:
        for part in (candidate.content and candidate.content.parts) or ():
            self.say(part.text)
            if isinstance(part.function_call, dict):  # comes whole, and seldom
                self.say(msgspec.json.encode(part.function_call).decode())


def _is_cut_short(candidate: _Candidate) -> bool:
    return isinstance(candidate.finish_reason, str) and candidate.finish_reason in _CUT_SHORT


def _after_result(contents: list[msgspec.Raw] | dict[str, msgspec.Raw]) -> bool:
    """Whether the last word is a function's."""
    if isinstance(contents, dict):
        return False
    last = read_request(_decode_last, contents[-1]) if contents else _Last()
    parts = last.parts if isinstance(last.parts, list) else ()
    return any(isinstance(part, dict) and ("functionResponse" in part or "function_response" in part) for part in parts)
