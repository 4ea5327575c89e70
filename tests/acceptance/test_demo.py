"""`recloser demo`, as people run it: what it shows, what it finds, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recloser.demo.clients import Outcome, what_is_wrong

if TYPE_CHECKING:
    from tests.acceptance.conftest import Until

LONGEST = 120.0
"""Seconds for a whole demo here: it promises 60, but the machine may be busy with other tests."""


class Demo:
    """`recloser demo` with a folder for temporary files of its own."""

    def __init__(self, folder: Path, *arguments: str, out: int = subprocess.PIPE, **environ: str) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recloser", "demo", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(self.temporary), **environ},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        self._read = b""

    @property
    def output(self) -> str:
        """All output so far."""
        return self._read.decode("utf-8", "replace")

    def reads_on(self, wanted: str | None = None, terminal: int | None = None) -> str:
        """Read until a text has come, or to the end; all output so far."""
        source = terminal if terminal is not None else self._pipe()
        while wanted is None or wanted not in self.output:
            try:
                piece = os.read(source, 65536)
            except OSError:  # how a terminal ends on Linux
                break
            if not piece:
                break
            self._read += piece
        assert wanted is None or wanted in self.output, self.output
        return self.output

    def _pipe(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(LONGEST)

    @property
    def started(self) -> list[int]:
        """The processes that it says it started."""
        return [int(pid) for pid in re.findall(r"\(pid\s+(\d+)\)", self.output)]

    @property
    def left_over(self) -> list[int]:
        """Those of them that still run."""
        assert len(self.started) >= 2, self.output
        return [pid for pid in self.started if _runs(pid)]

    def total(self, what: str) -> int:
        """A number of its summary."""
        found = re.search(rf"^  {what} +(\d+)", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])

    def close(self) -> None:
        """End it, whatever became of the test."""
        self.process.kill()
        self.process.wait(LONGEST)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _runs(pid: int) -> bool:
    try:
        if Path("/proc/self/stat").exists():  # where a process that nobody has buried yet is still listed
            return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    running: list[Demo] = []
    yield running
    for demo in running:
        demo.close()


def test_it_heals_a_scripted_outage_and_loses_nothing(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    output = demo.reads_on()
    assert demo.ends() == 0, output
    assert demo.total("lost") == 0
    assert demo.total("requests") == demo.total("answered") > 100
    assert demo.total("failovers") >= 1
    assert demo.total("held") >= 1
    took = re.search(r"^(\d+\.\d) s in all, every process ended\. Nothing was lost\.$", output, re.MULTILINE)
    assert took, output
    assert float(took[1]) < 60
    assert len(demo.started) == 4, "two providers, the gateway, and a provider again"
    assert not demo.left_over
    assert not list(demo.temporary.iterdir())
    assert "\x1b" not in output
    assert "\r" not in output
    assert max(map(len, output.splitlines())) <= 80
    told = " ".join(output.split())
    for circuit in ("(model/alpha/demo-1)", "(endpoint/alpha)", "(account/alpha)"):
        assert circuit in told
    assert told.count("the circuit closes, and the traffic is back at alpha") == 4
    assert "In all that time not one request went to alpha" in told
    assert "Of the 5 requests it had in its hands, 5 were answered in full" in told


def test_it_fails_where_requests_are_lost(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--providers", "1")  # nobody to fail over to: the first failures are the clients'
    demos.append(demo)
    output = demo.reads_on()
    assert demo.ends() == 1, output
    assert demo.total("lost") >= 1
    assert demo.total("requests") == demo.total("answered") + demo.total("lost")
    assert re.search(r"x Lost: request \d+", output)
    assert "Nothing was lost" not in output
    assert not demo.left_over


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path: Path, demos: list[Demo], number: signal.Signals) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.reads_on("answered by alpha")
    demo.process.send_signal(number)
    output = demo.reads_on()
    assert demo.ends() == 130, output
    assert "Stopped" in output
    assert "Traceback" not in output
    assert not demo.left_over
    assert not list(demo.temporary.iterdir())


def test_its_processes_end_even_if_it_is_killed(tmp_path: Path, demos: list[Demo], until: Until) -> None:
    demo = Demo(tmp_path)
    demos.append(demo)
    demo.reads_on("answered by alpha")
    assert len(demo.left_over) == 3
    demo.process.kill()
    until(lambda: not demo.left_over, "the end of its processes")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_colours_unless_it_wants_none(tmp_path: Path, demos: list[Demo], no_color: str) -> None:
    terminal, other = pty.openpty()
    try:
        demo = Demo(tmp_path, out=other, NO_COLOR=no_color, TERM="xterm-256color")
        demos.append(demo)
        os.close(other)
        demo.reads_on("is overloaded", terminal)
        demo.process.send_signal(signal.SIGINT)
        output = demo.reads_on(terminal=terminal)
        assert demo.ends() == 130, output
    finally:
        os.close(terminal)
    assert ("\x1b[" in output) is not bool(no_color)
    assert "0 lost" in output, "the running line"


# What counts as lost --------------------------------------------------------------------------------------------------

TEXT = "Answer to it: amber basin"


def _event(kind: str, **fields: object) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def _chunk(content: str | None, finish: str | None = None) -> str:
    delta = {} if content is None else {"content": content}
    return f"data: {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish}]})}\n\n"


DELTAS = "".join(_event("content_block_delta", delta={"text": text}) for text in ("Answer to it: amber", " basin"))
STOP = _event("message_delta", delta={"stop_reason": "end_turn"})
END = _event("message_stop")
CHUNKS = _chunk("Answer to it: amber") + _chunk(" basin")
FINISH = _chunk(None, "stop")
DONE = "data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("wire", "stream", "body", "wrong"),
    [
        ("Anthropic", True, DELTAS + STOP + END, None),
        ("Anthropic", True, DELTAS + STOP, "end is missing"),
        ("Anthropic", True, DELTAS + END, "end is missing"),
        ("Anthropic", True, DELTAS + DELTAS + STOP + END, "wrong text"),
        ("Anthropic", True, STOP + END, "wrong text"),
        ("Anthropic", True, DELTAS + _event("error", error={"message": "broke off"}), "broke off"),
        ("Anthropic", True, "", "wrong text"),
        ("OpenAI", True, CHUNKS + FINISH + DONE, None),
        ("OpenAI", True, CHUNKS + FINISH, "end is missing"),
        ("OpenAI", True, CHUNKS + DONE, "end is missing"),
        ("OpenAI", True, CHUNKS + FINISH + DONE + DONE, "end is missing"),
        ("OpenAI", True, _chunk("Answer") + FINISH + DONE, "wrong text"),
        ("OpenAI", True, CHUNKS + 'data: {"error": {"message": "broke off"}}\n\n', "broke off"),
        ("Anthropic", False, json.dumps({"content": [{"text": TEXT}], "stop_reason": "end_turn"}), None),
        ("Anthropic", False, json.dumps({"content": [{"text": TEXT}], "stop_reason": None}), "end is missing"),
        ("Anthropic", False, "<html>", "not readable"),
        ("OpenAI", False, json.dumps({"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}]}), None),
        ("OpenAI", False, json.dumps({"choices": []}), "not readable"),
    ],
)
def test_only_a_whole_answer_counts(wire: str, *, stream: bool, body: str, wrong: str | None) -> None:
    found = what_is_wrong(wire, body, TEXT, Outcome(number=1, wire=wire, stream=stream, started=0.0))
    assert found is None if wrong is None else wrong in (found or ""), found
