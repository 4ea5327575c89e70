"""Counting without a lock."""

import itertools


class Count:
    """A number that any thread may raise without a lock.

    `up` is the C function that hands out the next number, one atomic step where each thread holds the GIL for it.
    Reading takes a number too, and is subtracted again; so only one thread at a time may read.
    """

    __slots__ = ("_reads", "up")

    def __init__(self) -> None:
        self.up = itertools.count().__next__
        self._reads = 0

    def value(self) -> int:
        """How often `up` was called. The caller holds the lock that goes with this count."""
        raw = self.up() - self._reads
        self._reads += 1
        return raw

    def mark(self, more: int) -> int:
        """The number that the last of so many further calls will get, if nobody reads meanwhile."""
        self._reads += 1
        return self.up() + more
