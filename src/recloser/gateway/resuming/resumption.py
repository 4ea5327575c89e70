"""How another target finishes an answer that broke off after some of it was sent.

What was sent is read back on the client's own wire when the stream breaks, and never before: a healthy stream is not
looked at. The second target is asked the client's request with what was said so far at its end: as the beginning of its
own answer, where model and wire go on from that; otherwise it is told to go on, and with which words to begin.
"""

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from recloser.core.failure import Then
from recloser.gateway.providers import Prefill, provider_kinds
from recloser.gateway.repairs.mending import mending
from recloser.gateway.request import Request
from recloser.gateway.resuming.joined import Joined, finished
from recloser.gateway.resuming.rest import Rest, Style
from recloser.gateway.resuming.said import UNREADABLE, Missing, Said, read_said
from recloser.gateway.resuming.seam import anchor
from recloser.gateway.targets import Target
from recloser.gateway.telling import Failed, in_a_header
from recloser.gateway.translation import Passage, Translation
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.codec import StreamWriter
from recloser.gateway.wires.editor import Editor
from recloser.gateway.wires.foreign_thoughts import complains_of_thoughts

LARGEST_SENT = 8 * 2**20
"""Bytes of a stream that are kept to be read back. A longer one that breaks off is not finished by anybody else."""
MOST_BREAKS = 5
"""How often one answer may break off."""
_MOST_REFUSALS = 4096
_INSTRUCTION = (
    "Your last message was cut off by a connection failure. Continue it exactly where it stopped. Begin your reply "
    "with its last words, which are: {anchor}\nThen go on from there. No introduction, no apology, no comment, and "
    "nothing else of what you have already said."
)


class Refusals:
    """The targets that do not go on from a turn of their own: they are not asked to twice."""

    def __init__(self) -> None:
        self._known: dict[Hashable, None] = {}

    def add(self, target: Target) -> None:
        """Remember a target."""
        if len(self._known) >= _MOST_REFUSALS:  # names of models come from clients
            self._known.pop(next(iter(self._known)))
        self._known[target.path.model] = None

    def __contains__(self, target: Target) -> bool:
        return target.path.model in self._known

    def __len__(self) -> int:
        return len(self._known)


class Resumption:
    """What was sent of one answer, and how the rest of it is got."""

    __slots__ = ("_again", "_refusals", "_request", "_said", "_sent", "_size", "_wall_clock", "failures")

    def __init__(self, request: Request, refusals: Refusals, wall_clock: Callable[[], float]) -> None:
        self._request = request
        self._refusals = refusals
        self._wall_clock = wall_clock
        self._sent: list[bytes] = []
        self._size = 0
        self._said: Said | None = None
        self._again = False
        """Whether those that broke off have been asked again since the last break."""
        self.failures: list[Failed] = []
        """How the stream broke off, each time."""

    def note(self, data: bytes) -> None:
        """Something was sent to the client."""
        self._size += len(data)
        if self._size <= LARGEST_SENT:
            self._sent.append(data)

    @property
    def breaks(self) -> int:
        """How often it broke off."""
        return len(self.failures)

    @property
    def first(self) -> Failed:
        """Who broke off first, and with what: that is what the client is told in the end."""
        return self.failures[0]

    @property
    def broken(self) -> frozenset[Target]:
        """All that broke off."""
        return frozenset(failed.target for failed in self.failures)

    def last_resorts(self) -> frozenset[Target]:
        """Those that broke off, for once after each break: they may be asked again if nobody else is left."""
        if self._again:
            return frozenset()
        self._again = True
        return self.broken

    def broke(self, failed: Failed) -> bool:
        """The stream broke off. Whether anybody may finish it."""
        self.failures.append(failed)
        self._said, self._again = None, False
        too_much = self._size > LARGEST_SENT or self.breaks > MOST_BREAKS
        if failed.failure.then is Then.TELL_CALLER or too_much:
            return False
        try:
            if self._several_answers():
                return False
            said = read_said(CODECS[self._request.wire.name].reader(), b"".join(self._sent))
            if said.missing() is Missing.NOBODY_KNOWS:
                return False
            self._said = said
            self._writer()
        except UNREADABLE:
            self._said = None
        return self._said is not None

    def _several_answers(self) -> bool:
        """Whether the client asked for several at once, as some wires allow: one of them is all that is read."""
        asked = msgspec.json.decode(self._request.body, type=_Asked)
        configs = [config for config in (asked.config, asked.same_config) if isinstance(config, dict)]
        counts = [asked.n, *(config.get(name) for config in configs for name in _COUNTS)]
        return any(count is not None and count != 1 for count in counts)

    @property
    def under_way(self) -> bool:
        """Whether an answer has broken off and is to be finished."""
        return self._said is not None

    @property
    def said(self) -> int:
        """How many characters had been sent before the last break."""
        return 0 if self._said is None else sum(len(part.text) for part in self._said.parts)

    def closing(self) -> bytes:
        """The end of an answer that lacks nothing else; nothing if it does."""
        if self._said is None or self._said.missing() is not Missing.END:
            return b""
        writer = self._writer()
        return b"".join(map(writer.write, finished(self._said)))

    def to(self, target: Target) -> Passage:
        """The way to a target that is to finish the answer; BadRequestError if it cannot be asked."""
        said = self._said
        assert said is not None
        prefill = self._prefill(target)
        style = Style.CALL if said.missing() is Missing.CALL else Style.PREFILL if prefill else Style.TOLD
        words = said.words.rstrip() if style is not Style.CALL else ""

        def change(editor: Editor) -> None:
            editor.think_no_more()
            if style is Style.CALL:
                editor.must_call(said.called)
            elif words:
                editor.answer_in_any_form()
                editor.say("assistant", words)
                if style is Style.TOLD:
                    editor.say("user", _INSTRUCTION.format(anchor=anchor(words)))

        return Rest(
            Translation(self._request.edited(change), self._wall_clock).to(target),
            mending(target.endpoint.settings.repairs, self._request.read()),
            Joined(self._writer(), said, told=prefill is None or prefill.echoes),
            prefill=prefill if words else None,
            mark=f": finished by {in_a_header(target.label)}\n\n".encode() if self._request.wire.comments else b"",
            may_be_silent=said.looks_finished or style is Style.PREFILL,
            style=style,
        )

    def refused(self, target: Target, message: str) -> bool:
        """A target does not take such a request. Whether it may be asked in another way."""
        without = self._request.without_thoughts() if complains_of_thoughts(message) else None
        if without is not None:
            self._request = without
            return True
        if self._prefill(target) is None:
            return False
        self._refusals.add(target)
        return True

    def _prefill(self, target: Target) -> Prefill | None:
        """How a target goes on from a turn of its own; None if it does not."""
        prefill = provider_kinds()[target.endpoint.settings.kind].prefill
        wire = target.wire_for(self._request.wire.name)
        if prefill is None or target in self._refusals or not prefill.goes_on(target.model, wire):
            return None
        return prefill

    def _writer(self) -> StreamWriter:
        """A writer that has written all that the client knows."""
        assert self._said is not None
        writer = CODECS[self._request.wire.name].writer(self._request.read())
        for event in self._said.events:
            writer.write(event)
        writer.go_on(b"".join(self._sent))
        return writer


_COUNTS = ("candidateCount", "candidate_count")


class _Asked(msgspec.Struct):
    """Whatever stands there: the first target has taken it, so it need not be what the wire says."""

    n: Any = None
    config: Any = msgspec.field(default=None, name="generationConfig")
    same_config: Any = msgspec.field(default=None, name="generation_config")
