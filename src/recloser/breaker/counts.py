"""Counting without a lock."""

import itertools


class Count:
    """A number that any thread may raise without a lock.

    `up` is the C function that hands out the next number, from 0: one atomic step where each thread holds the GIL for
    it. Reading takes no number, so that nothing is miscounted by whoever comes in between.
    """

    __slots__ = ("_numbers", "up")

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.up = self._numbers.__next__

    def value(self) -> int:
        """How often `up` was called."""
        return int(repr(self._numbers)[6:-1])  # `count(7)`: the only way to see the next number without taking it

    def mark(self, more: int) -> int:
        """The number that the last of so many further calls will get."""
        return self.value() + more - 1
