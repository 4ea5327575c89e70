"""Processes of a run: pinned to a core, waited for, accounted for from `/proc`, and ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
_TICK = os.sysconf("SC_CLK_TCK")


class NotStarted(Exception):  # noqa: N818 -- it says what happened
    """A process is not there to be measured; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a process is started and when it is ready."""

    argv: Sequence[str]
    port: int
    ready: str = "/healthz"
    patience: float = 20.0
    env: Mapping[str, str] | None = None


class Process:
    """A running process and everything it started itself."""

    def __init__(self, name: str, launch: Launch, core: int, folder: Path) -> None:
        self.port = launch.port
        self.core = core
        self._log = folder / f"{name}.log"
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", **(launch.env or {})}
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})  # inherited by what is started now, its later threads included
        try:
            with self._log.open("wb") as log:
                self._popen = subprocess.Popen(
                    launch.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env, start_new_session=True
                )
        except FileNotFoundError:
            raise NotStarted(f"{launch.argv[0]} is not installed") from None
        finally:
            os.sched_setaffinity(0, mine)
        try:
            self._wait(launch)
        except BaseException:
            self.stop()
            raise

    def _wait(self, launch: Launch) -> None:
        give_up = time.monotonic() + launch.patience
        while time.monotonic() < give_up:
            if self._popen.poll() is not None:
                raise NotStarted(f"ended at once with {self._popen.returncode}: {self._last_words()}")
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.port}{launch.ready}", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise NotStarted(f"not ready after {launch.patience:.0f} s: {self._last_words()}")

    def _last_words(self) -> str:
        return " | ".join(self._log.read_text(errors="replace").strip().splitlines()[-3:])[-600:]

    def cpu(self) -> float:
        """CPU seconds used so far by the process and its children."""
        total = 0
        for pid in self._pids():
            fields = _read(f"/proc/{pid}/stat").rpartition(") ")[2].split()
            total += sum(map(int, fields[11:13]))
        return total / _TICK

    def memory(self) -> float:
        """Bytes of memory that belong to the process and its children alone."""
        total = 0
        for pid in self._pids():
            for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
                if line.startswith("Private_"):
                    total += int(line.split()[1])
        return total * 1024.0

    def _pids(self) -> list[int]:
        pids = [self._popen.pid]
        for pid in pids:  # grows while it is walked
            with contextlib.suppress(FileNotFoundError):  # it has ended
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pids += map(int, _read(f"{task}/children").split())
        return pids

    def stop(self) -> None:
        """Ask it to end, then make sure: the process and the session that it was started in."""
        self._popen.terminate()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)  # children that outlived it


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def core_idle(core: int) -> float:
    """Seconds that a core has had nothing to do since the machine started."""
    for line in _read("/proc/stat").splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            return sum(map(int, ticks[3:5])) / _TICK
    return 0.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port
