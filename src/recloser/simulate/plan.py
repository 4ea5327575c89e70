"""What a mode makes of an exchange: the parts that are sent, and how the connection ends.

Everything is decided here; `delivery` only performs it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import chain, count, repeat
from typing import Any

from recloser.simulate.faults import Fault, Group, Mode
from recloser.simulate.wire import Ask, Grounds, Kind, Part, Refusal, Reply, Wire, to_json

JSON = "application/json"
SSE = "text/event-stream; charset=utf-8"
HTML = "text/html; charset=utf-8"
LOGIN_PATH = "/chaos/login"
LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to the network</h1></body></html>"
)

_PING_PACE = 0.1
_DRIBBLE = 64
# These statuses come from the proxy before the provider, which knows no wire.
_PROXY_STATUSES = frozenset({502, *range(520, 525)})
_NAMED_REFUSALS = frozenset({"quota", "insufficient_quota", "credit", "too_long", "overloaded503", "oom", "loading"})
_BROKEN_OFF = frozenset({"cut", "eof", "stall", "error"})
_ENDED = frozenset({Kind.FINISH, Kind.TERMINATOR})


class Ending(Enum):
    """What happens after the last part."""

    CLEAN = auto()
    SILENCE = auto()
    RESET = auto()
    CLOSE = auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """One exchange to perform; without a status it ends before the headers."""

    status: int | None = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Iterable[Part] = ()
    ending: Ending = Ending.CLEAN
    delay: float = 0.0


_ENDINGS = {"cut": Ending.RESET, "stall": Ending.SILENCE, "hang-headers": Ending.SILENCE}
_WORDLESS = {"hang": Ending.SILENCE, "reset": Ending.RESET, "close": Ending.CLOSE}


def plan_answer(wire: Wire, ask: Ask, reply: Reply, mode: Mode, grounds: Grounds) -> Plan:
    """How a request for an answer is answered."""
    if plan := _instead(wire, mode, grounds):
        return plan
    if not ask.stream:
        return plan_json(wire, wire.answer(ask, reply), mode, grounds)
    outcome = _outcome(mode)
    broken = _break_off(wire, wire.events(ask, reply), outcome, grounds)
    parts = _keep_alive(broken, mode, wire.keepalive())
    headers = {"content-type": JSON if ask.array else SSE, "cache-control": "no-cache"}
    plan = Plan(200, headers, _as_array(parts) if ask.array else parts, _ending(outcome))
    return _finish(plan, mode, stream=True)


def plan_json(wire: Wire, value: Any, mode: Mode, grounds: Grounds) -> Plan:
    """How a plain answer is sent."""
    if plan := _instead(wire, mode, grounds):
        return plan
    body = to_json(value)
    outcome = _outcome(mode)
    name = outcome.name if outcome else ""
    headers = {"content-type": JSON, "content-length": str(len(body))}
    if name in {"badjson", "cut", "eof", "stall"}:
        body = body[: len(body) // 2]
    elif name in {"blank", "hang-headers"}:
        body = b""
    if name == "eof" or mode.get("pings"):
        del headers["content-length"]
    elif name in {"badjson", "blank"}:
        headers["content-length"] = str(len(body))
    # White space before JSON is the only keep-alive that a plain answer knows.
    parts = _keep_alive([Part(Kind.CONTENT, body)] if body else [], mode, b"\n")
    return _finish(Plan(200, headers, parts, _ending(outcome)), mode)


def plan_refusal(refusal: Refusal, mode: Mode) -> Plan:
    """How an error is sent."""
    return _page(refusal.status, JSON, refusal.body, mode, refusal.headers)


def _instead(wire: Wire, mode: Mode, grounds: Grounds) -> Plan | None:
    """What comes in place of any answer, whatever was asked."""
    outcome = _outcome(mode)
    if outcome is None:
        return None
    name, status = outcome.name, outcome.status
    if name in _WORDLESS:
        return Plan(None, ending=_WORDLESS[name], delay=mode.value("slow"))
    if status is not None and status in _PROXY_STATUSES:
        page = b"<html><head><title>%d</title></head><body><h1>Error %d</h1></body></html>" % (status, status)
        return _page(status, HTML, page, mode, wire.refuse(name, replace(grounds, wait=outcome.value)).headers)
    if status is not None or name in _NAMED_REFUSALS:
        return plan_refusal(wire.refuse(name, replace(grounds, wait=outcome.value)), mode)
    if name == "html":
        return _page(200, HTML, LOGIN_PAGE, mode)
    if name == "redirect":
        return _page(302, HTML, b"", mode, {"location": LOGIN_PATH})
    if name == "error200" or (name == "error" and not grounds.stream):
        return _page(200, JSON, to_json(wire.error(outcome.detail, grounds.request_id)), mode)
    return None


def _outcome(mode: Mode) -> Fault | None:
    return mode.in_group(Group.OUTCOME)


def _ending(outcome: Fault | None) -> Ending:
    return _ENDINGS.get(outcome.name, Ending.CLEAN) if outcome else Ending.CLEAN


def _page(status: int, content_type: str, body: bytes, mode: Mode, headers: Mapping[str, str] | None = None) -> Plan:
    own = {"content-type": content_type, "content-length": str(len(body))}
    parts = [Part(Kind.CONTENT, body)] if body else []
    return _finish(Plan(status, own | dict(headers or {}), parts), mode)


def _break_off(wire: Wire, events: Iterator[Part], outcome: Fault | None, grounds: Grounds) -> Iterator[Part]:
    name, number = (outcome.name, int(outcome.value or 0)) if outcome else ("", 0)
    if name in {"blank", "hang-headers"}:
        return iter(())
    if name == "no-terminator":
        return (part for part in events if part.kind is not Kind.TERMINATOR)
    if name == "no-finish":
        return (part for part in events if part.kind not in {Kind.FINISH, Kind.TERMINATOR})
    if name == "badjson":
        return _spoil(events, number, wire.malformed())
    if name == "error":
        event = Part(Kind.CLOSING, wire.error_event(outcome.detail if outcome else "", grounds.request_id))
        return chain(_first(events, number) if number else (), [event])
    return _first(events, number) if name in _BROKEN_OFF else events


def _first(events: Iterator[Part], number: int) -> Iterator[Part]:
    """Up to so many content events, never as far as the answer's end."""
    seen = 0
    closing: list[Part] = []  # of a part of the answer, if another follows
    for part in events:
        if part.kind in _ENDED or (part.kind is Kind.CONTENT and seen == number):
            return
        if part.kind is Kind.CLOSING:
            closing.append(part)
            continue
        yield from closing
        closing.clear()
        seen += part.kind is Kind.CONTENT
        yield part


def _spoil(events: Iterator[Part], number: int, malformed: bytes) -> Iterator[Part]:
    seen = count()
    for part in events:
        spoilt = part.kind is Kind.CONTENT and next(seen) == number
        yield replace(part, data=malformed) if spoilt else part


def _keep_alive(parts: Iterable[Part], mode: Mode, data: bytes) -> Iterable[Part]:
    fault = mode.get("pings")
    if fault is None:
        return parts
    ping = Part(Kind.KEEPALIVE, data, 0.0 if mode.get("slow") else _PING_PACE)
    return repeat(ping) if fault.value is None else chain(repeat(ping, int(fault.value)), parts)


def _as_array(parts: Iterable[Part]) -> Iterator[Part]:
    """Events as the elements of a JSON array; what ends it is a part of its own."""
    opened = False
    for part in parts:
        if part.data.startswith(b"data: "):
            yield replace(part, data=(b",\r\n" if opened else b"[") + part.data[6:].rstrip())
            opened = True
        else:
            yield part


def _finish(plan: Plan, mode: Mode, *, stream: bool = False) -> Plan:
    """Pace and wrapping, which any answer can have."""
    parts, headers, slow = plan.parts, dict(plan.headers), mode.value("slow")
    if slow and (stream or mode.get("pings")):
        parts = (replace(part, delay=part.delay + slow * (n > 0)) for n, part in enumerate(parts))
    if first := mode.value("first"):
        parts = _delay_content(parts, first)
    if mode.get("gzip"):
        parts = _compress(parts, ended=plan.ending is Ending.CLEAN)
        headers.pop("content-length", None)
        headers["content-encoding"] = "gzip"
    if mode.get("slow-body"):
        parts = _dribble(parts, mode.value("slow-body"))
    if mode.get("big-headers"):
        headers["x-chaos-padding"] = "x" * (int(mode.value("big-headers")) * 1024)
    return replace(plan, headers=headers, parts=parts, delay=0.0 if stream or mode.get("pings") else slow)


def _delay_content(parts: Iterable[Part], delay: float) -> Iterator[Part]:
    rest = iter(parts)
    for part in rest:
        if part.kind is not Kind.OPENING and part.kind is not Kind.KEEPALIVE:
            yield replace(part, delay=part.delay + delay)
            break
        yield part
    yield from rest


def _compress(parts: Iterable[Part], *, ended: bool) -> Iterator[Part]:
    deflate = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    for part in parts:
        # Flushed at every part: a stream must not wait in the compressor.
        yield replace(part, data=deflate.compress(part.data) + deflate.flush(zlib.Z_SYNC_FLUSH))
    if ended:
        yield Part(Kind.TERMINATOR, deflate.flush(zlib.Z_FINISH))


def _dribble(parts: Iterable[Part], pause: float) -> Iterator[Part]:
    for part in parts:
        for at in range(0, len(part.data), _DRIBBLE):
            yield replace(part, data=part.data[at : at + _DRIBBLE], delay=pause if at else part.delay + pause)
