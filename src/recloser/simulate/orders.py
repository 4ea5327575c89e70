"""Which request meets which mode, as ordered at run time: a script first, then standing orders.

`{"mode": "529", "for": "10s"}` replaces the standing orders, `{"modes": [...]}` likewise with several, of
which the first that fits a request wins. `{"script": ["529", "off", "cut=3"]}` replaces the script: one
entry for each of the next requests for an answer. `{"mode": "off"}` clears both. `{"task": [...]}` is what to say and
call, not what to get wrong (`task`): it stands beside them until another takes its place.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from recloser.simulate.faults import OFF, Mode, parse_mode, seconds_of
from recloser.simulate.task import MAX_TURNS, TaskTurn

_FormT = TypeVar("_FormT")


class OrderForm(msgspec.Struct, forbid_unknown_fields=True):
    """One order as it is posted."""

    mode: str
    for_: str | float | None = msgspec.field(name="for", default=None)
    rate: float = 1.0
    count: int | None = None
    path: str = ""
    model: str | None = None


class _Several(msgspec.Struct, forbid_unknown_fields=True):
    modes: list[str | OrderForm]


class _Script(msgspec.Struct, forbid_unknown_fields=True):
    script: list[str]


class _Task(msgspec.Struct, forbid_unknown_fields=True):
    task: Annotated[list[TaskTurn], msgspec.Meta(max_length=MAX_TURNS)]


@dataclass(slots=True)
class Order:
    """A mode and the requests it is for."""

    mode: Mode
    until: float | None = None
    rate: float = 1.0
    left: int | None = None
    path: str = ""
    model: str | None = None

    def expired(self, now: float) -> bool:
        """Whether no request can meet it any more."""
        return self.left == 0 or (self.until is not None and now >= self.until)

    def fits(self, path: str, model: str) -> bool:
        """Whether it is for such a request."""
        return path.startswith(self.path) and self.model in {None, model}


class Orders:
    """What is in force now."""

    def __init__(self, *, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._standing: list[Order] = []
        self._script: deque[Mode] = deque()
        self.task: Sequence[TaskTurn] = ()

    def accept(self, body: Any) -> None:
        """Take a posted order; a ValueError names the field that is wrong, and nothing changes."""
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object with `mode`, `modes`, `script` or `task`")  # noqa: TRY004
        if "task" in body:
            self.task = _convert(body, _Task).task
        elif "script" in body:
            self.follow(_convert(body, _Script).script)
        elif "modes" in body:
            forms = [OrderForm(item) if isinstance(item, str) else item for item in _convert(body, _Several).modes]
            self._standing = [self._order(form, f"modes[{at}].") for at, form in enumerate(forms)]
        else:
            order = self._order(_convert(body, OrderForm))
            self._standing = [order] if order.mode.faults else []
            if not order.mode.faults:
                self._script.clear()

    def follow(self, script: Iterable[str]) -> None:
        """Replace the script."""
        self._script = deque([_mode(text, f"script[{at}]") for at, text in enumerate(script)])

    def choose(self, path: str, model: str, *, scripted: bool) -> Mode:
        """The mode of the next request, which uses up what it takes."""
        if scripted and self._script:
            return self._script.popleft()
        for order in self._in_force():
            if order.fits(path, model) and (order.rate >= 1.0 or self._rng.random() < order.rate):
                if order.left is not None:
                    order.left -= 1
                return order.mode
        return Mode()

    def report(self) -> dict[str, Any]:
        """What is in force, in the words it was ordered."""
        now, standing = self._clock(), self._in_force()
        return {
            "mode": str(standing[0].mode) if standing else OFF,
            "modes": [_describe(order, now) for order in standing],
            "script": [str(mode) for mode in self._script],
            "task": len(self.task),
        }

    def _in_force(self) -> list[Order]:
        now = self._clock()
        self._standing = [order for order in self._standing if not order.expired(now)]
        return self._standing

    def _order(self, form: OrderForm, prefix: str = "") -> Order:
        if not 0.0 <= form.rate <= 1.0:
            raise ValueError(f"{prefix}rate: {form.rate} is not between 0 and 1")
        if form.count is not None and form.count < 1:
            raise ValueError(f"{prefix}count: {form.count} is not a positive number")
        mode = _mode(form.mode, f"{prefix}mode")
        until = None if form.for_ is None else self._clock() + _duration(form.for_, f"{prefix}for")
        return Order(mode, until, form.rate, form.count, form.path, form.model)


def _convert(body: Any, form: type[_FormT]) -> _FormT:
    try:
        return msgspec.convert(body, form)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _mode(text: str, field: str) -> Mode:
    try:
        return parse_mode(text)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _duration(value: str | float, field: str) -> float:
    try:
        return seconds_of(value)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _describe(order: Order, now: float) -> dict[str, Any]:
    return {
        "mode": str(order.mode),
        "for": None if order.until is None else round(order.until - now, 3),
        "rate": order.rate,
        "count": order.left,
        "path": order.path,
        "model": order.model,
    }
