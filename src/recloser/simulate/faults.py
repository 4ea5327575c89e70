"""Everything the provider can get wrong, as data.

A mode is one fault or several, written as users write them in an `x-chaos` header: `529`, `cut=3`,
`slow=50ms,cut=3`, or `off` for an ordinary answer. Parsing normalises: `cut` alone takes its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from recloser.core.duration import parse_duration

OFF = "off"


class Takes(Enum):
    """What may stand behind a fault's `=`."""

    NOTHING = ""
    COUNT = "N"
    DURATION = "TIME"
    ERROR = "N[:TYPE]"
    HOW = "HOW"


class Group(Enum):
    """Which part of the exchange a fault concerns; of outcome and reply there is one at most."""

    OUTCOME = "how the exchange ends"
    REPLY = "what the answer holds"
    MANNER = "how it is said"
    PACE = "how fast it comes"
    DRESS = "how it is wrapped"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row of the table that the help and the documentation print."""

    name: str
    group: Group
    summary: str
    takes: Takes = Takes.NOTHING
    default: float | None = None
    limit: int = 1_000_000
    ways: tuple[str, ...] = ()
    """What a HOW may be; the first is the default."""

    @property
    def usage(self) -> str:
        """How it is written, such as `cut[=N]`."""
        return self.name if self.takes is Takes.NOTHING else f"{self.name}[={self.takes.value}]"


STATUS = FaultKind(
    "400..599",
    Group.OUTCOME,
    "that status with the wire's own error body; the time becomes a retry-after",
    Takes.DURATION,
)

_OUTCOMES = (
    FaultKind(
        "quota",
        Group.OUTCOME,
        "429 usage limit that names when it resets (also: reset=TIME)",
        Takes.DURATION,
        120.0,
    ),
    FaultKind(
        "insufficient_quota", Group.OUTCOME, "OpenAI's 429 for an empty account; Anthropic: like credit"
    ),
    FaultKind("credit", Group.OUTCOME, "credit balance too low: 400 on Anthropic, 402 on OpenAI"),
    FaultKind("too_long", Group.OUTCOME, "400 prompt is too long / context_length_exceeded"),
    FaultKind("overloaded503", Group.OUTCOME, "503 that says the model is overloaded"),
    FaultKind("oom", Group.OUTCOME, "500 CUDA out of memory"),
    FaultKind("loading", Group.OUTCOME, "503 Loading model, as a local server answers while it starts"),
    FaultKind("html", Group.OUTCOME, "200 with a sign-in page instead of an answer"),
    FaultKind(
        "badjson", Group.OUTCOME, "200 with broken JSON; in a stream, after N content events", Takes.COUNT, 0
    ),
    FaultKind("redirect", Group.OUTCOME, "302 to a sign-in page"),
    FaultKind("blank", Group.OUTCOME, "200 and an empty body; a stream ends before its first event"),
    FaultKind("error200", Group.OUTCOME, "200 whose body is the wire's error object"),
    FaultKind("hang", Group.OUTCOME, "accepts the request and never sends a byte"),
    FaultKind("hang-headers", Group.OUTCOME, "sends the headers and nothing more"),
    FaultKind("reset", Group.OUTCOME, "TCP reset before the headers"),
    FaultKind("close", Group.OUTCOME, "closes the connection before the headers"),
    FaultKind("cut", Group.OUTCOME, "TCP reset after N content events; plain: in mid body", Takes.COUNT, 3),
    FaultKind("eof", Group.OUTCOME, "clean end after N content events; plain: in mid body", Takes.COUNT, 3),
    FaultKind(
        "stall", Group.OUTCOME, "silence after N content events, connection open; plain: in mid body",
        Takes.COUNT, 3,
    ),
    FaultKind(
        "error", Group.OUTCOME, "error event after N content events (0: as first event); plain: like error200",
        Takes.ERROR, 0,
    ),
    FaultKind("no-terminator", Group.OUTCOME, "a finished answer without message_stop or [DONE]"),
    FaultKind("no-finish", Group.OUTCOME, "all of the content, neither a finish reason nor a terminator"),
)  # fmt: skip

_OTHERS = (
    FaultKind("empty", Group.REPLY, "an ordinary end without any content"),
    FaultKind("max_tokens", Group.REPLY, "no content, ended by the token limit"),
    FaultKind("refusal", Group.REPLY, "the model refuses"),
    FaultKind("huge", Group.REPLY, "N MiB of text", Takes.COUNT, 1, 1024),
    FaultKind("resume", Group.MANNER,
              "of an answer that was begun: rest, tail (last words again), restart, preamble, reject (400)",
              Takes.HOW, ways=("rest", "tail", "restart", "preamble", "reject")),
    FaultKind("think", Group.MANNER, "thinks so many words before it answers, and signs them", Takes.COUNT, 8),
    FaultKind("slow", Group.PACE, "that time between events, or before a plain answer", Takes.DURATION, 0.2),
    FaultKind("first", Group.PACE, "headers at once, that time before the first content", Takes.DURATION, 2.0),
    FaultKind("pings", Group.PACE, "N keep-alives (100 ms apart, or slow) before all else; without N, for ever",
              Takes.COUNT),
    FaultKind("slow-body", Group.PACE, "64 bytes at a time across event boundaries, that time between",
              Takes.DURATION, 0.1),
    FaultKind("gzip", Group.DRESS, "compressed, whether or not it was asked for"),
    FaultKind("big-headers", Group.DRESS, "one response header of N KiB", Takes.COUNT, 16, 1024),
)  # fmt: skip

KINDS = {kind.name: kind for kind in (STATUS, *_OUTCOMES, *_OTHERS)}

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with its value: a count, or seconds; `detail` is the type of an `error`, or how to `resume`."""

    name: str
    value: float | None = None
    detail: str = ""

    @property
    def status(self) -> int | None:
        """The HTTP status, if that is what the fault is."""
        return int(self.name) if self.name.isdigit() else None

    @property
    def kind(self) -> FaultKind:
        """The row of the table that describes it."""
        return _kind(self.name)

    def __str__(self) -> str:
        takes = self.kind.takes
        if takes is Takes.HOW:
            return f"{self.name}={self.detail}"
        if self.value is None:
            return self.name
        value = written(self.value) if takes is Takes.DURATION else str(int(self.value))
        return f"{self.name}={value}" + (f":{self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Mode:
    """The faults of one exchange; none of them is an ordinary answer."""

    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        names = [fault.name for fault in self.faults]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"{repeated!r} is given twice")
        for group in (Group.OUTCOME, Group.REPLY):
            same = [str(fault) for fault in self.faults if fault.kind.group is group]
            if len(same) > 1:
                raise ValueError(f"{same[0]!r} and {same[1]!r} cannot both happen: each is {group.value}")

    def __str__(self) -> str:
        return ",".join(map(str, self.faults)) or OFF

    def get(self, name: str) -> Fault | None:
        """The fault of that name, if it is part of this mode."""
        return next((fault for fault in self.faults if fault.name == name), None)

    def value(self, name: str) -> float:
        """Its number, 0 when it is not part of this mode."""
        fault = self.get(name)
        return 0.0 if fault is None or fault.value is None else fault.value

    def detail(self, name: str) -> str:
        """Its word, empty when it is not part of this mode."""
        fault = self.get(name)
        return fault.detail if fault is not None else ""

    def in_group(self, group: Group) -> Fault | None:
        """The fault that decides this part of the exchange."""
        return next((fault for fault in self.faults if fault.kind.group is group), None)


def parse_mode(text: str) -> Mode:
    """Read `slow=50ms,cut=3`; a ValueError says what is wrong and names the nearest known mode."""
    if text.strip().lower() == OFF:
        return Mode()
    return Mode(tuple(_parse_fault(item.strip()) for item in text.split(",")))


def seconds_of(value: str | float) -> float:
    """Seconds from `200ms`, `5m`, `2` or a number; a ValueError otherwise."""
    seconds = parse_duration(str(value))
    if seconds < 0:
        raise ValueError(f"{value!r} is not a duration: it is negative")
    return seconds


def written(seconds: float) -> str:
    """The shortest way to write a duration that reads back as the same number."""
    milliseconds = f"{round(seconds * 1000)}ms"
    if 0 < seconds < 1 and parse_duration(milliseconds) == seconds:
        return milliseconds
    return f"{int(seconds)}s" if seconds.is_integer() and seconds < 1e12 else repr(seconds)


def describe() -> Iterator[tuple[str, str]]:
    """Usage and summary of every fault, in the order worth reading."""
    yield OFF, "an ordinary answer"
    for kind in KINDS.values():
        yield kind.usage, kind.summary


def _parse_fault(text: str) -> Fault:
    name, equals, value = text.partition("=")
    name = name.strip().lower()
    if name == "reset" and equals:
        name = "quota"  # `reset=120s` is a limit that resets then; `reset` alone is a connection's
    kind = _kind(name)
    if kind.takes is Takes.HOW:
        return Fault(name, detail=_way_of(kind, value.strip().lower() if equals else kind.ways[0]))
    if not equals:
        return Fault(name, kind.default)
    if kind.takes is Takes.NOTHING:
        raise ValueError(f"{name!r} takes no value, got {value!r}")
    if kind.takes is Takes.DURATION:
        return Fault(name, _duration_of(name, value))
    count, _, detail = value.partition(":")
    if detail and (kind.takes is not Takes.ERROR or not _TYPE.fullmatch(detail)):
        raise ValueError(f"{name}: {detail!r} is no error type here")
    return Fault(name, _count_of(kind, count.strip()), detail)


def _kind(name: str) -> FaultKind:
    if name.isascii() and name.isdigit():
        if len(name) == 3 and 400 <= int(name) <= 599:
            return STATUS
        raise ValueError(f"status {name} is no failure: 400 to 599 are")
    if name in KINDS and name != STATUS.name:
        return KINDS[name]
    near = get_close_matches(name, KINDS, n=1, cutoff=0.0)
    raise ValueError(f"unknown mode {name!r}, did you mean {near[0]!r}?")


def _duration_of(name: str, value: str) -> float:
    try:
        return seconds_of(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _count_of(kind: FaultKind, value: str) -> float:
    if not (value.isascii() and value.isdigit()) or len(value) > 9 or int(value) > kind.limit:
        raise ValueError(f"{kind.name} takes a count from 0 to {kind.limit}, got {value!r}")
    return float(int(value))


def _way_of(kind: FaultKind, value: str) -> str:
    if value not in kind.ways:
        raise ValueError(f"{kind.name} is one of {', '.join(kind.ways)}, got {value!r}")
    return value
