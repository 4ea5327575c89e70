"""Taking a port; and saying who has it, if somebody has."""

import contextlib
import errno
import resource
import socket
from pathlib import Path


class PortInUseError(OSError):
    """Somebody else listens there already."""

    def __init__(self, host: str, port: int, holder: str | None) -> None:
        who = f"; it is held by {holder}" if holder else ""
        super().__init__(f"{host}:{port} is in use{who}. Stop that, or choose another with --listen HOST:PORT")


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound and will listen; PortInUseError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
        taken.listen(4096)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(host, port, _holder(port)) from None
        raise
    taken.setblocking(False)
    return taken


def lift_file_limit() -> None:
    """Let this process have as many connections as the system grants it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _holder(port: int) -> str | None:
    """The process that listens on a port, where /proc tells: `nginx (pid 123)`."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text('utf-8').strip()} (pid {process.name})"
    return None
