"""`recloser events`: the event log."""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from recloser.cli import exit_codes
from recloser.cli.screen import Screen
from recloser.config import BadConfigError, Config
from recloser.config.load import find, load_nearby
from recloser.config.problems import nearest
from recloser.core.duration import parse_duration
from recloser.core.events import Event
from recloser.gateway import events as _gateway_events  # noqa: F401 - its events are known by being imported
from recloser.observe.reading import Line, Tail, read, read_last
from recloser.observe.words import in_words

_POLL = 0.2
_LAST_WHEN_FOLLOWING = 10
_COLOURS = {
    "circuit_opened": "red",
    "attempt_failed": "yellow",
    "circuit_half_opened": "cyan",
    "circuit_closed": "green",
    "circuit_forced": "cyan",
    "store_lost": "red",
    "store_regained": "green",
    "events_dropped": "red",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = "Show the event log: every request, failed attempt and change of a circuit, oldest first."
    parser.epilog = "example: recloser events --since 2h --kind circuit_opened,circuit_closed --follow"
    parser.add_argument("--follow", "-f", action="store_true", help="go on with what happens, until interrupted")
    parser.add_argument("--kind", type=_kinds, metavar="K,...", help="only events of these kinds")
    parser.add_argument("--since", type=_moment, metavar="T", help="only since then: 2h, or 2026-11-20T10:15:30Z")
    parser.add_argument("--last", type=_count, metavar="N", help="only the last N (when following: 10)")
    parser.add_argument("--json", action="store_true", help="the lines as they stand in the log")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: found, see the docs)")


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    try:
        path = find(given.config)
        config = load_nearby(path) if path else Config()
    except BadConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    folder = config.state_dir / "events"
    for unknown in sorted((given.kind or set()) - _known()):
        print(f"no event of the kind {unknown!r} is known; {nearest(unknown, _known())}", file=sys.stderr)
    if not folder.is_dir() and not given.follow:
        print(f"there are no events yet in {folder}", file=sys.stderr)
    try:
        _show(folder, given)
    except KeyboardInterrupt:
        if not given.follow:
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"the events cannot be read: {error.strerror} ({error.filename})", file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.OK


def _show(folder: Path, given: argparse.Namespace) -> None:
    screen = Screen()

    def wanted(line: Line) -> bool:
        fits = given.kind is None or line.facts.get("kind") in given.kind
        return fits and (given.since is None or line.time >= given.since)

    for line in _lines(folder, wanted, given):
        screen.print(line.raw.decode("utf-8", "replace") if given.json else _told(line, screen))


def _lines(folder: Path, wanted: Callable[[Line], bool], given: argparse.Namespace) -> Iterator[Line]:
    """The lines to show; with --follow they never end."""
    last, since = given.last, given.since
    if not given.follow:
        yield from read(folder, wanted, since=since or 0.0) if last is None else read_last(folder, wanted, last)
        return
    if last is None and since is None:
        last = _LAST_WHEN_FOLLOWING
    tail = Tail(folder, since=since if last is None else None)
    if last is not None:
        yield from read_last(folder, wanted, last, ends=tail.ends)
    pause = threading.Event()
    while True:
        yield from filter(wanted, tail.fresh())
        pause.wait(_POLL)


def _told(line: Line, screen: Screen) -> str:
    """A line for people: when, in local time, and what. On a terminal, today goes without saying."""
    when = "?"
    if line.time:
        moment = datetime.fromtimestamp(line.time).astimezone()
        today = screen.terminal and moment.date() == datetime.now().astimezone().date()
        when = moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")
    colour = _COLOURS.get(str(line.facts.get("kind")))
    words = in_words(line.facts)
    return f"{screen.paint(when, 'dim')}  {screen.paint(words, colour) if colour else words}"


def _known() -> set[str]:
    """Every kind of event that there is."""
    found, unseen = {"events_dropped"}, list(Event.__subclasses__())
    while unseen:
        kind = unseen.pop()
        found.add(kind.kind)
        unseen += kind.__subclasses__()
    return found


def _kinds(text: str) -> set[str]:
    return {kind.strip() for kind in text.split(",") if kind.strip()}


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events")
    return int(text)


def _moment(text: str) -> float:
    """A Unix time: so long ago, or that moment (without a zone: in the local one)."""
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a duration, such as 2h, nor a moment, such as 2026-11-20T10:15:30Z"
        ) from None
