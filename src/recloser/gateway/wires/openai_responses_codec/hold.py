"""A stream on the Responses wire that is kept alive while nobody answers.

Clients of this wire take nothing but its own events for a sign of life, want `response.created` first and once, and
one response id throughout. So a client that is held is told of a response with an id of ours, and what comes in the
end is rewritten to be that response; one whose stream has begun is told of the response that it knows.
"""

import re
from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.wires.openai_responses_codec.answers import ID_PREFIX, write_response

_Fields = dict[str, msgspec.Raw]

_decode = msgspec.json.Decoder(_Fields).decode
_encode = msgspec.json.Encoder().encode
_NUMBER = re.compile(rb'"sequence_number":\s*(\d{1,15})')


class Hold:
    """What a client is told while it waits, and how its stream goes on from there."""

    __slots__ = ("_announced", "_id", "_response", "_rewriting", "_sequence")

    def __init__(self, request_id: str, model: str, created: int = 0) -> None:
        self._id = ID_PREFIX + request_id
        self._response = write_response(self._id, model, created)
        self._sequence = 0
        self._announced = False
        """Whether the client knows of a response, by us or by who answers."""
        self._rewriting = False

    def keepalive(self) -> bytes:
        """A sign of life: the first announces the response if nobody has, the others say that it is in progress."""
        self._rewriting = True
        announced = b"" if self._announced else self._sent("response.created", {"response": self._response})
        self._announced = True
        return announced + self._sent("response.in_progress", {"response": self._response})

    def rewrite(self, whole: bytes) -> bytes:
        """Whole events of the answer, as those of the response that the client knows; untouched until it must be."""
        if self._rewriting:
            return b"".join(self._rewritten(name, data) for name, data, _ in sse.parse(whole))
        if not self._announced and whole:
            self._learn(whole)
        for number in _NUMBER.finditer(whole, max(whole.rfind(b'"sequence_number"'), 0)):
            self._sequence = int(number[1]) + 1
        return whole

    def _learn(self, whole: bytes) -> None:
        """Which response the client is told of by who answers."""
        self._announced = True
        for _, data, _ in sse.parse(whole):
            response = _fields(bytes((_fields(data) or {}).get("response", b"")))
            if response is not None and "id" in response:
                given = msgspec.json.decode(response["id"])
                if isinstance(given, str):
                    self._id = given
                    self._response = {**self._response, "id": given}
                return

    def _rewritten(self, name: bytes, data: bytes) -> bytes:
        fields = _fields(data)
        if fields is None:
            return sse.event(data, name) if data else b""
        kind = msgspec.json.decode(fields["type"]) if "type" in fields else ""
        if kind == "response.created":
            return b""
        response = _fields(bytes(fields["response"])) if "response" in fields else None
        if response is not None:
            fields["response"] = msgspec.Raw(_encode({**response, "id": self._id}))
        fields["sequence_number"] = msgspec.Raw(_encode(self._next()))
        return sse.event(_encode(fields).replace(b"\n", b" "), name)

    def _sent(self, kind: str, data: dict[str, Any]) -> bytes:
        return sse.event(_encode({"type": kind, "sequence_number": self._next(), **data}), kind.encode())

    def _next(self) -> int:
        number, self._sequence = self._sequence, self._sequence + 1
        return number


def _fields(data: bytes) -> _Fields | None:
    """The fields of an object, as they stand there; None if it is none."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, ValueError):
        return None
