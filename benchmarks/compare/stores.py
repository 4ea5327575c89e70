"""A store for several processes, made for one scene: where it is, and how it dies."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 5.0


class NoServer(Exception):  # noqa: N818 - it is the machine that lacks something
    """What the store needs is not installed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store. `die` takes it away while everybody is using it."""

    url: str
    die: Callable[[], None]


@contextlib.contextmanager
def opened(kind: str) -> Iterator[Place]:
    """A new and empty store."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _redis(folder) if kind == "redis" else _sqlite(folder)


def _sqlite(folder: Path) -> Iterator[Place]:
    file = folder / "circuits.db"
    yield Place(f"sqlite:{file}", lambda: _overwritten(folder))


def _overwritten(folder: Path) -> None:
    """What a full disk or a careless copy leaves."""
    for file in folder.iterdir():
        file.write_bytes(b"this is no database\n" * 4096)


def _redis(folder: Path) -> Iterator[Place]:
    server = shutil.which("redis-server")
    if server is None:
        raise NoServer("redis-server is not installed; on Debian and Ubuntu: apt install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        _answers(port)
        yield Place(f"redis://127.0.0.1:{port}/0", process.kill)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> None:
    give_up_at = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return
