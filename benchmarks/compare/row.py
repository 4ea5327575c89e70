"""What a row is: a question, and a function that plays the scene with a real library and tells what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

from benchmarks.compare.calls import Calls, OneAtATime, TaskCalls, ThreadCalls
from benchmarks.compare.library import Library, Settings


@dataclass(frozen=True, slots=True)
class Told:
    """A cell. `good` is None where there is nothing to judge."""

    text: str
    good: bool | None = None


def judged(good: bool, said: str = "") -> Told:  # noqa: FBT001 - the verdict is what it is about
    """Yes or no, and what more there is to say."""
    word = "yes" if good else "no"
    return Told(f"{word}: {said}" if said else word, good)


NONE = Told("—")

_PLAIN = Settings()


class On(Enum):
    """Which of a library's ways of calling a scene is played on; each gets a breaker of its own."""

    ALL = ("sync", "async")
    ASYNC = ("async",)
    SYNC = ("sync",)


class Make(Protocol):
    """Makes a breaker and its callers."""

    def __call__(self, settings: Settings = _PLAIN) -> Calls:
        """Of these settings."""


Scene = Callable[[Make], Told]

Fact = Callable[[Library], Told]
"""Is given the library, where a scene of callers does not fit."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question whose good answer is yes, or the number it names."""

    key: str
    module: str
    question: str
    ask: Callable[[Library], dict[str, Told]]
    """What was told, by way of calling."""


ALL: list[Row] = []
"""Every row that was imported, as written."""


def scene(question: str, on: On = On.ALL) -> Callable[[Scene], Scene]:
    """A row about callers of a breaker."""

    def keep(play: Scene) -> Scene:
        def ask(library: Library) -> dict[str, Told]:
            return {way: _played(play, make) for way, make in ways(library, on).items()}

        ALL.append(Row(play.__name__, play.__module__, question, ask))
        return play

    return keep


def fact(question: str) -> Callable[[Fact], Fact]:
    """A row about anything else."""

    def keep(find: Fact) -> Fact:
        ALL.append(Row(find.__name__, find.__module__, question, lambda library: {"": find(library)}))
        return find

    return keep


def one_way(library: Library, settings: Settings = _PLAIN) -> Calls:
    """Callers of a new breaker, in the first of the library's ways."""
    return next(iter(ways(library).values()))(settings)


def ways(library: Library, on: On = On.ALL) -> dict[str, Make]:
    """What makes a breaker and its callers, for each of the library's ways of calling."""
    some = library.make(_PLAIN)
    made: dict[str, Make] = {}
    if "sync" in on.value:
        made |= {name: partial(_thread_calls, library, name) for name in library.sync(some)}
    if "async" in on.value:
        made |= {f"async {name}": partial(_task_calls, library, name) for name in library.asynchronous(some)}
    return made


def _thread_calls(library: Library, name: str, settings: Settings = _PLAIN) -> Calls:
    breaker = library.make(settings)
    return ThreadCalls(library, breaker, library.sync(breaker)[name])


def _task_calls(library: Library, name: str, settings: Settings = _PLAIN) -> Calls:
    breaker = library.make(settings)
    return TaskCalls(library, breaker, library.asynchronous(breaker)[name])


def _played(play: Scene, make: Make) -> Told:
    try:
        return play(make)
    except OneAtATime:
        return Told("one call at a time")
