"""Something happens in the middle of the breaker's own work, wherever the interpreter lets it.

It looks for signals, and so for interrupts, when a function is entered, when a C function has returned and when a loop
turns; a finaliser comes by at such places too. Here something comes at the first of them, at the second, and so on.
"""

import contextvars
import dis
import functools
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import recloser.breaker

_BREAKER = str(Path(recloser.breaker.__file__).parent)


class Passage:
    """One run of some work, with something that comes in between at the `nth` place (from 1)."""

    def __init__(self, nth: int, act: Callable[[], object]) -> None:
        self.places = 0
        self._nth = nth
        self._act = act
        self._tracers = self._enter, self._step  # kept: the interpreter only borrows them
        self._last: dict[FrameType, str] = {}
        """The instruction that each frame has just gone through; forgotten where that was a call into Python."""

    def run(self, work: Callable[[], object]) -> bool:
        """Run it. Whether there was such a place; what the work or the act raises is raised."""
        before = sys.gettrace()
        sys.settrace(self._tracers[0])
        try:
            contextvars.copy_context().run(work)  # what an interrupted block leaves behind, the next one does not find
        finally:
            sys.settrace(before)
            self._last.clear()
        return self.places >= self._nth

    def _enter(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        if self.places >= self._nth:
            return None  # it was here: the rest is run as it is
        caller = frame.f_back
        if caller is not None:
            self._last.pop(caller, None)
        if _is_ours(frame):
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif caller is None or not _is_ours(caller):
            return None
        self._come_by()
        return self._tracers[1] if _is_ours(frame) else None

    def _step(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "opcode" and self.places < self._nth:
            last = self._last.get(frame, "")
            self._last[frame] = _instructions(frame.f_code)[frame.f_lasti]
            if last.startswith("CALL") or "BACKWARD" in last:
                self._come_by()
        return self._tracers[1]

    def _come_by(self) -> None:
        self.places += 1
        if self.places == self._nth:
            self._act()


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_BREAKER)


@functools.cache
def _instructions(code: CodeType) -> Mapping[int, str]:
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}


def everywhere(once: Callable[[int], bool]) -> int:
    """Do it for the first place, the second, ..., until there is no such place. How many there were."""
    places = 0

    def all_of_them() -> None:
        nonlocal places
        while once(places + 1):
            places += 1

    in_time(all_of_them)
    return places


def in_time(work: Callable[[], object], seconds: float = 60.0) -> None:
    """Run `work` in a thread; AssertionError, with where it stands, if it does not end in time."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        stands = sys._current_frames()[thread.ident or 0]
        raise AssertionError("it does not end:\n" + "".join(traceback.format_stack(stands)[-6:]))
    if raised:
        raise raised[0]
