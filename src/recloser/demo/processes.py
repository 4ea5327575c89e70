"""Real processes on loopback that never outlive the demo."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_START = 20.0
_STOP = 5.0


THRESHOLD = 3
COOLDOWN = 2
COOLDOWN_MAX = 4
"""The circuits' settings here: people watch and wait."""


class DemoError(Exception):
    """The script cannot go on: something that it waits for did not happen."""


@dataclass(slots=True)
class Child:
    """A recloser command that runs and says where it listens."""

    name: str
    url: str
    process: Process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    def kill(self) -> None:
        """End it with kill -9: it has no chance to say goodbye."""
        self.process.kill()


class Children:
    """Every process of the demo, each with its errors in a file of `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[Process] = []

    async def start(self, name: str, *command: str) -> Child:
        """Start a recloser command and wait until it listens."""
        said = self._folder / f"{name}.err"
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "recloser.demo.leash", *command,
                stdin=PIPE, stdout=PIPE, stderr=descriptor, cwd=self._folder,
                start_new_session=True,  # a Ctrl-C is for the demo, which then ends them in order
            )  # fmt: skip
        finally:
            os.close(descriptor)
        self._processes.append(process)
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START):
                line = await process.stdout.readline()
        url = line.decode().rpartition(" ")[2].strip()
        if not url.startswith("http://"):
            raise DemoError(f"{name} did not start: {said.read_text('utf-8', 'replace').strip()[-600:]}")
        return Child(name, url, process)

    async def end(self) -> None:
        """End all of them, gently if they let us."""
        await asyncio.gather(*(_end(process) for process in self._processes))


async def _end(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP)
    if process.stdin is not None:
        process.stdin.close()


@contextlib.asynccontextmanager
async def children(folder: Path) -> AsyncIterator[Children]:
    """Processes that are ended whatever happens, cancellation included."""
    family = Children(folder)
    try:
        yield family
    finally:
        await asyncio.shield(asyncio.ensure_future(family.end()))


def gateway_config(providers: Sequence[Child]) -> str:
    """The configuration of the demo's gateway: the providers in order, circuits quicker than the defaults."""
    entries = "".join(
        f'[providers.{child.name}]\nkind = "simulated"\nbase_url = "{child.url}/v1"\n\n' for child in providers
    )
    targets = ", ".join(f'"{child.name}/{{model}}"' for child in providers)
    return (
        '[gateway]\nlisten = "127.0.0.1:0"\nmax_hold = "20s"\ndrain = "1s"\n\n'
        '[state]\nurl = "sqlite:state.db"\ndir = "."\n\n'
        f'[circuit]\nfailure_threshold = {THRESHOLD}\ncooldown = "{COOLDOWN}s"\ncooldown_max = "{COOLDOWN_MAX}s"\n\n'
        f'{entries}[routes."*"]\ntargets = [{targets}]\n'
    )
