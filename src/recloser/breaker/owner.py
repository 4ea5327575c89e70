"""Who holds a half-open permit, told so that another process of the same host can see whether it is still alive."""

import contextlib
import itertools
import os
import platform
from pathlib import Path

_numbers = itertools.count(1)


def new_owner() -> str:
    """A name for an owner in this process: `host/namespace/pid/start/number`."""
    return f"{_here()}/{os.getpid()}/{_started(os.getpid())}/{next(_numbers)}"


def gone(owner: str) -> bool:
    """Whether the owner's process has certainly ended. An owner elsewhere, of whom nothing is known, has not."""
    here, _, rest = owner.rpartition("/")[0].rpartition("/")[0].rpartition("/")
    started = owner.split("/")[-2] if owner.count("/") >= 4 else ""
    if here != _here() or not rest.isdecimal():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(int(rest)) != started


def _here() -> str:
    """This host and, where there are such, its namespace of process ids: a container's pid 7 is not the host's."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    return f"{platform.node().replace('/', '_')}/{namespace}"


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks, where /proc tells: a number that a later process does not have."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    return ""
