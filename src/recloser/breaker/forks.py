"""What a copy of the process must not share with the original: locks that somebody held there, and threads."""

import os
import weakref
from typing import Protocol


class Copied(Protocol):
    """Something that a copy of the process must set up anew."""

    def forked(self) -> None:
        """This is the copy, and its only thread."""
        ...


_those: "weakref.WeakSet[Copied]" = weakref.WeakSet()


def set_up_anew(one: Copied) -> None:
    """Call `forked` in every copy of this process, for as long as the one is there."""
    _those.add(one)


def _forked() -> None:
    for one in list(_those):
        one.forked()


os.register_at_fork(after_in_child=_forked)
