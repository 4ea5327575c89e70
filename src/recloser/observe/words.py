"""Events in plain words, one line each."""

from collections.abc import Callable, Mapping
from typing import Any

from recloser.core.duration import format_duration

Facts = Mapping[str, Any]
_BY_HAND = {"forced_open": "opened", "half_open": "released and is tried", "observe_only": "set to observe only"}
_ALREADY_SAID = frozenset({"ts", "seq", "kind", "subject"})


def in_words(facts: Facts) -> str:
    """What an event says, for people. One of a kind that is unknown here is told with all its facts."""
    try:
        words = _WORDS.get(str(facts.get("kind")), _anything)(facts)
    except (KeyError, TypeError, ValueError, AttributeError):  # written by another version
        words = _anything(facts)
    return printable(words)


def printable(text: str) -> str:
    """A text in one line, without what a terminal would obey: it may be a stranger's."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _opened(facts: Facts) -> str:
    wait = facts["retry_after"]
    until = "until it is proven well" if wait is None else f"for {format_duration(wait)}"
    word = " (the server's word)" if facts.get("authoritative") else ""
    return f"{facts['subject']} opened {until}{word}{_after(facts)}: {facts['reason']}"


def _extended(facts: Facts) -> str:
    wait = format_duration(facts["retry_after"])
    return f"{facts['subject']} stays open for another {wait} (the server's word): {facts['reason']}"


def _would_open(facts: Facts) -> str:
    return f"{facts['subject']} would have opened{_after(facts)}, and is only observed: {facts['reason']}"


def _after(facts: Facts) -> str:
    return f" after {facts['failures']} failures" if facts.get("failures", 0) > 1 else ""


def _half_opened(facts: Facts) -> str:
    return f"{facts['subject']} is tried again after {format_duration(facts['open_for'])}"


def _closed(facts: Facts) -> str:
    return f"{facts['subject']} is well again after {format_duration(facts['open_for'])}"


def _forced(facts: Facts) -> str:
    verb = _BY_HAND.get(facts["state"], facts["state"])
    wait = facts.get("retry_after")
    return f"{facts['subject']} was {verb}{'' if wait is None else f' for {format_duration(wait)}'}: {facts['reason']}"


def _expired(facts: Facts) -> str:
    return f"{facts['subject']} took back a trial that was never settled, after {format_duration(facts['held_for'])}"


def _lost(facts: Facts) -> str:
    return f"the store cannot be written ({facts['reason']}); circuits go on in memory"


def _regained(_: Facts) -> str:
    return "the store can be written again"


def _failed(facts: Facts) -> str:
    status = f" {facts['status']}" if facts.get("status") else ""
    said = f": {facts['message']}" if facts.get("message") else ""
    charged = f" [{facts['circuit']}]" if facts.get("circuit") else ""
    took = format_duration(facts["duration"])
    return f"{facts['target']} failed after {took}: {facts['failure']}{status}{said}{charged}"


def _finished(facts: Facts) -> str:
    took = format_duration(facts["duration"])
    tries = f", {facts['attempts']} attempts" if facts["attempts"] > 1 else ""
    held = f", held {format_duration(facts['held'])}" if facts.get("held") else ""
    if facts["outcome"] == "ok":
        early = facts["first_token"] if facts.get("stream") else None
        first = "" if early is None else f", first words after {format_duration(early)}"
        return f"{facts['model']} answered by {facts['target']} in {took}{first}{tries}{held}"
    if facts["outcome"] == "cancelled":
        return f"{facts['model']}: the client left after {took}{tries}{held}"
    status = f", the client got {facts['status']}" if facts.get("status") else ""
    return f"{facts['model']} was not answered: {facts['outcome']} after {took}{tries}{held}{status}"


def _resumed(facts: Facts) -> str:
    said = f"after {facts['said']} characters"
    return f"{facts['target']} broke off {said} ({facts['failure']}); {facts['by']} finishes the answer"


def _spent(facts: Facts) -> str:
    whose = "" if facts["scope"] == "all" else f" for {facts['scope']}"
    until = f"the next {facts['per']} begins in {format_duration(facts['retry_after'])}"
    done = "requests are refused" if facts["action"] == "refuse" else "requests go on"
    return f"the spend limit of {facts['limit_usd']:g} USD a {facts['per']}{whose} is reached: {done}; {until}"


def _tripped(facts: Facts) -> str:
    whose = " ".join(filter(None, (facts.get("client"), facts.get("agent"))))
    return f"{facts['guard']}{f' ({whose})' if whose else ''}: {facts['action']}: {facts['message']}"


def _forgotten(facts: Facts) -> str:
    return f"{facts['subject']} was forgotten although {facts['state']}: there are too many circuits"


def _dropped(facts: Facts) -> str:
    return f"{facts['count']} events were dropped: the disk refused them for too long"


def _anything(facts: Facts) -> str:
    rest = " ".join(f"{name}={value}" for name, value in facts.items() if name not in _ALREADY_SAID)
    return f"{facts.get('subject', '?')}: {str(facts.get('kind', '?')).replace('_', ' ')} {rest}".rstrip()


_WORDS: Mapping[str, Callable[[Facts], str]] = {
    "circuit_opened": _opened,
    "circuit_extended": _extended,
    "circuit_would_open": _would_open,
    "circuit_half_opened": _half_opened,
    "circuit_closed": _closed,
    "circuit_forced": _forced,
    "permit_expired": _expired,
    "circuit_forgotten": _forgotten,
    "store_lost": _lost,
    "store_regained": _regained,
    "attempt_failed": _failed,
    "request_finished": _finished,
    "guard_tripped": _tripped,
    "stream_resumed": _resumed,
    "spend_limit_reached": _spent,
    "events_dropped": _dropped,
}
