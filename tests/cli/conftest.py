"""The commands in processes of their own."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
"""Seconds after which something that must happen counts as not happening: the machine may be busy."""
USUAL_PORTS = (11434, 1234, 8080, 8000)


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUNBUFFERED": "1", **more}


class Shell:
    """Runs commands in a folder, as a user without any key would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "recloser", *arguments],
            cwd=self.folder,
            env=environment(self.folder, environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def write(self, text: str) -> Path:
        """A recloser.toml in the folder."""
        path = self.folder / "recloser.toml"
        path.write_text(text, "utf-8")
        return path


class Running:
    """A command that goes on until it is stopped."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self._lines: list[str] = []
        self._told = threading.Condition()
        self._over = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recloser", *arguments],
            cwd=folder,
            env=environment(folder, environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._told:
                    self._lines.append(line)
                    self._told.notify_all()
        with self._told:
            self._over = True
            self._told.notify_all()

    @property
    def output(self) -> str:
        with self._told:
            return "".join(self._lines)

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        with self._told:
            self._told.wait_for(lambda: self._over or re.search(pattern, "".join(self._lines), re.MULTILINE), PATIENCE)
            match = re.search(pattern, "".join(self._lines), re.MULTILINE)
        assert match is not None, f"{pattern!r} was never said:\n{self.output}"
        return match

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; the exit code. A command that does not end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self._reader.join(PATIENCE)


class Gateway(Running):
    """`recloser serve` on a free port."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        super().__init__(folder, "serve", "--listen", "127.0.0.1:0", *arguments, **environ)
        try:
            self.listen = self.says(r"^recloser listens on http://(\S+)$")[1]
        except BaseException:
            self.stop()
            raise

    def fetch(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """One request, its status and its JSON."""
        with contextlib.closing(http.client.HTTPConnection(self.listen, timeout=PATIENCE)) as connection:
            data = None if body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, data, headers)
            with connection.getresponse() as answer:
                return answer.status, json.loads(answer.read())

    def ask(self, model: str, **headers: str) -> tuple[int, Any]:
        """A request for an answer."""
        body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        return self.fetch("/v1/messages", body, **headers)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts commands that are stopped when the test is over; `serve` on a free port."""
    started: list[Running] = []

    def begin(command: str, *arguments: str, **environ: str) -> Running:
        if command == "serve":
            started.append(Gateway(tmp_path, *arguments, **environ))
        else:
            started.append(Running(tmp_path, command, *arguments, **environ))
        return started[-1]

    yield begin
    for running in started:
        running.stop()


@pytest.fixture
def nothing_local() -> None:
    """No server of ours or the user's is on the ports that are probed."""
    for port in USUAL_PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"something listens on port {port}")
