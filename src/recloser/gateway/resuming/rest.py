"""One attempt's way to a target that finishes what another began, and back."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from recloser.gateway import sse
from recloser.gateway.canonical import Event
from recloser.gateway.providers import Prefill
from recloser.gateway.repairs.mending import Mending
from recloser.gateway.resuming.joined import Joined
from recloser.gateway.translation import Passage
from recloser.gateway.wires import CODECS


class Style(StrEnum):
    """How a target is asked for the rest of an answer."""

    PREFILL = "prefill"
    """What was said is the beginning of its own answer."""
    TOLD = "told"
    """It is told to go on, and with which words to begin."""
    CALL = "call"
    """It must call the tool that had been announced."""


class Rest:
    """One attempt's way to a target that finishes what another began, and back."""

    __slots__ = ("_joined", "_mark", "_mended", "_reader", "body", "dropped", "may_be_silent", "path", "style", "wire")
    verbatim = False

    def __init__(
        self,
        inner: Passage,
        mended: Mending,
        joined: Joined,
        *,
        prefill: Prefill | None,
        mark: bytes,
        may_be_silent: bool,
        style: Style,
    ) -> None:
        """`inner` is how the target is asked, in which `style`; `mark` is said at the end.

        `prefill` is how it goes on from a turn of its own, if it is asked to; `may_be_silent`: perhaps nothing lacks.
        """
        self.style = style
        self.wire = inner.wire
        self.path = inner.path
        self.body = inner.body if prefill is None else _with_fields(inner.body, prefill)
        self.dropped = inner.dropped
        self.may_be_silent = may_be_silent
        self._mended = mended
        self._joined = joined
        self._mark = mark
        self._reader = CODECS[inner.wire.name].reader()

    def headers(self, upstream: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002 - the client has had its headers
        """None: the client has had its headers."""
        return {}

    def answer(self, body: bytes) -> bytes:
        """Nothing: only streams break off after some of them was sent."""
        raise NotImplementedError

    def piece(self, whole: bytes) -> bytes:
        """Whole events of the second target's stream, as the rest of the client's."""
        read, write = self._reader.read, self._write
        return b"".join([write(event) for name, data, _ in sse.parse(whole) if data for event in read(name, data)])

    def rest(self, *, terminated: bool) -> bytes:  # noqa: ARG002 - the reader knows what it was fed
        """Whatever ends the parts and the answer, and who has finished it."""
        return b"".join(map(self._write, self._reader.end())) + self._mark

    def _write(self, event: Event) -> bytes:
        return b"".join(map(self._joined.write, self._mended.feed(event)))


def _with_fields(body: bytes, prefill: Prefill) -> bytes:
    """The request with what a vendor wants to see before it goes on from a turn of its own."""
    if not prefill.message and not prefill.body:
        return body
    fields: dict[str, Any] = msgspec.json.decode(body)
    fields["messages"][-1].update(prefill.message)
    return msgspec.json.encode({**fields, **prefill.body})
