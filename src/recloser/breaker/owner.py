"""Who holds a half-open permit, told so that another process of the same host can see whether it is still alive."""

import contextlib
import functools
import itertools
import os
import platform
import weakref
from pathlib import Path

_numbers = itertools.count(1)
_here: "weakref.WeakValueDictionary[str, object]" = weakref.WeakValueDictionary()
"""The owners in this process that are still there."""

_LONGEST_PID = 9


def new_owner(whose: object) -> str:
    """A name for an owner in this process, for as long as `whose` object is there: `host/pid/start/number`."""
    pid = os.getpid()
    name = f"{_host(pid)}/{pid}/{_started(pid)}/{next(_numbers)}"
    _here[name] = whose
    return name


def retire(owner: str) -> None:
    """The owner in this process holds nothing any more."""
    _here.pop(owner, None)


def gone(owner: str) -> bool:
    """Whether the owner has certainly ended. An owner elsewhere, of whom nothing is known, has not."""
    host, pid, started, _ = ("", "", "", *owner.rsplit("/", 3))[-4:]
    me = os.getpid()
    if host != _host(me) or not pid.isdecimal() or len(pid) > _LONGEST_PID:
        return False
    if int(pid) == me and started == _started(me):
        return owner not in _here
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is another user's
    now = _started(int(pid))
    return bool(started and now) and now != started


@functools.lru_cache(maxsize=1)
def _host(_pid: int) -> str:
    """This boot of this host and, where there are such, its namespace of process ids.

    A host's name is not enough: clones have the same. Neither is a process's id: a container's 7 is not the host's.
    """
    parts = [platform.node().replace("/", "_")]
    for kernel in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with contextlib.suppress(OSError):
            path = Path(kernel)
            parts.append(str(path.stat().st_ino) if "ns" in path.parts else path.read_text("ascii").strip())
    return "/".join(parts)


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks, where /proc tells: a number that a later process does not have.

    A process that has ended and is only waited for by its parent has begun `never`.
    """
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return "never" if fields[0] in "ZX" else fields[19]
    return ""
