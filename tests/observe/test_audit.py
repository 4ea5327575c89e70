"""The event log on a disk that fills up, under writers that die, over rotations."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from recloser.core.events import CircuitClosed, StoreLost
from recloser.observe.audit import CURRENT, AuditLog, log_files
from recloser.observe.hub import Stamped

NOW = 1_790_000_000.0
PATIENCE = 30.0


def event(seq: int, subject: str = "model/a/b") -> Stamped:
    return Stamped(NOW + seq, CircuitClosed(subject=subject, seq=seq, open_for=1.0))


def write(folder: Path, seqs: Iterable[int], subject: str = "model/a/b", **options: Any) -> None:
    log = AuditLog(folder, **options)
    for seq in seqs:
        log(event(seq, subject))
    log.close()


def lines(path: Path) -> list[dict[str, Any]]:
    """What can be read; a torn line cannot."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def seqs(folder: Path) -> list[int]:
    return [line["seq"] for path in log_files(folder) for line in lines(path) if line["kind"] == "circuit_closed"]


def test_events_are_lines_of_json_that_only_their_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "events"
    write(folder, [1, 2])
    text = (folder / CURRENT).read_text("utf-8")
    assert text.splitlines()[0] == (
        '{"ts":"2026-09-21T14:13:21.000Z","seq":1,"kind":"circuit_closed","subject":"model/a/b","open_for":1.0}'
    )
    assert text.endswith("\n")
    assert ((folder / CURRENT).stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_many_events_come_out_in_order(tmp_path: Path) -> None:
    write(tmp_path, range(5000))
    assert seqs(tmp_path) == list(range(5000))


def test_closing_is_prompt_and_ends_the_thread(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log(event(1))
    began = time.monotonic()
    log.close()
    assert time.monotonic() - began < 2
    assert not log._thread.is_alive()
    assert seqs(tmp_path) == [1]


def test_closing_does_not_wait_for_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "events").touch()  # no folder can be made there
    log = AuditLog(tmp_path / "events", retry_after=3600.0)
    log(event(1))
    log.close()
    assert not log._thread.is_alive()


def test_a_folder_that_cannot_be_written_is_told_before_the_first_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder", "utf-8")
    log = AuditLog(tmp_path / "file" / "events")
    log.close()
    assert "cannot be written" in caplog.text
    assert "Not a directory" in caplog.text


def test_rotation_by_size_keeps_the_newest_files(tmp_path: Path) -> None:
    for start in range(0, 60, 10):
        write(tmp_path, range(start, start + 10), max_bytes=500, keep=3)
    assert [lines(file)[0]["seq"] for file in log_files(tmp_path)] == [20, 30, 40, 50]
    assert seqs(tmp_path) == list(range(20, 60))


def test_rotation_goes_on_in_order_after_the_wall_clock_was_set_back(tmp_path: Path) -> None:
    (tmp_path / "events-20990101T000000-000007.jsonl").write_text('{"seq":1,"kind":"circuit_closed"}\n', "utf-8")
    (tmp_path / "events-notes.jsonl").write_text("mine\n", "utf-8")
    write(tmp_path, [2], max_bytes=1)
    write(tmp_path, [3], max_bytes=1)
    assert seqs(tmp_path) == [1, 2, 3]
    assert (tmp_path / "events-notes.jsonl").exists()


def test_rotation_by_age_counts_from_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / CURRENT
    path.write_text('{"ts":"2020-01-01T00:00:00.000Z","seq":1,"kind":"circuit_closed"}\n', "utf-8")
    write(tmp_path, [2])
    assert [len(lines(file)) for file in log_files(tmp_path)] == [1, 1]
    write(tmp_path, [3], max_age=1e9)
    assert [len(lines(file)) for file in log_files(tmp_path)] == [1, 2]


def test_a_torn_line_does_not_hide_the_next(tmp_path: Path) -> None:
    (tmp_path / CURRENT).write_bytes(b'{"ts":"2026-09-21T14:13:21.000Z","seq":1,"ki')
    write(tmp_path, [2, 3], max_age=1e12)
    assert seqs(tmp_path) == [2, 3]


def test_a_line_torn_by_another_process_meanwhile(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_age=1e12)
    log(event(1))
    until(lambda: (tmp_path / CURRENT).exists() and seqs(tmp_path) == [1])
    with (tmp_path / CURRENT).open("ab") as other:
        other.write(b'{"torn')
    log(event(2))
    log.close()
    assert seqs(tmp_path) == [1, 2]


def test_a_log_that_is_taken_away_is_begun_anew(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events", max_age=1e12)
    log(event(1))
    until(lambda: (tmp_path / "events" / CURRENT).exists() and seqs(tmp_path / "events") == [1])
    (tmp_path / "events").rename(tmp_path / "gone")
    log(event(2))
    log.close()
    assert seqs(tmp_path / "events") == [2]


def test_memory_is_bounded_and_the_loss_is_written_down(tmp_path: Path) -> None:
    blocked = tmp_path / "events"
    blocked.touch()
    log = AuditLog(blocked, max_waiting=10, retry_after=0.01)
    for seq in range(25):
        log(event(seq))
    assert len(log._waiting) == 10
    blocked.unlink()
    until(lambda: (blocked / CURRENT).exists() and len(lines(blocked / CURRENT)) == 11)
    log.close()
    assert seqs(blocked) == list(range(10))
    (note,) = [line for line in lines(blocked / CURRENT) if line["kind"] == "events_dropped"]
    assert (note["count"], note["subject"]) == (15, "event_log")
    assert note["seq"] > 0


def test_an_event_that_cannot_be_written_does_not_end_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_age=1e12)
    log(Stamped(NOW, StoreLost(subject="store", seq=1, reason="\ud800")))
    log(event(2))
    log.close()
    assert [line["seq"] for line in lines(tmp_path / CURRENT)] == [1, 2]
    assert lines(tmp_path / CURRENT)[0]["kind"] == "store_lost"


def test_several_threads_lose_nothing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, max_age=1e12)

    def tell(subject: str) -> None:
        for seq in range(500):
            log(event(seq, subject))

    threads = [threading.Thread(target=tell, args=(f"t/{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    for number in range(4):
        own = [line["seq"] for line in lines(tmp_path / CURRENT) if line["subject"] == f"t/{number}"]
        assert own == list(range(500))


# A disk that is full -------------------------------------------------------------------------------------------------

_LIMITED = """
import resource, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_audit import AuditLog, event
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
log = AuditLog(Path(sys.argv[1]), max_age=1e12, retry_after=0.01)
for seq in range(30):
    log(event(seq))
print("written", flush=True)
sys.stdin.readline()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.close(20)
"""


def test_a_full_disk_tears_at_most_one_line_and_repeats_none(tmp_path: Path) -> None:
    """A file size limit stands in for the disk: the kernel writes what fits and then refuses, as with ENOSPC."""
    process = python(_LIMITED, str(tmp_path))
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"written\n"
    until(lambda: (tmp_path / CURRENT).exists() and (tmp_path / CURRENT).stat().st_size == 700)
    assert len(seqs(tmp_path)) == 6
    process.communicate(b"\n", timeout=PATIENCE)
    assert process.returncode == 0
    assert seqs(tmp_path) == list(range(30))


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount a tiny disk")
def test_a_tiny_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        log = AuditLog(disk, max_age=1e12, retry_after=0.01)
        (disk / "ballast").write_bytes(b"x" * 8192)
        for seq in range(300):
            log(event(seq))
        until(lambda: (disk / CURRENT).exists() and (disk / CURRENT).stat().st_size >= 4096)
        assert len(seqs(disk)) < 300
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)  # noqa: S607
        until(lambda: len(seqs(disk)) == 300)
        log.close()
        assert seqs(disk) == list(range(300))
    finally:
        subprocess.run(["umount", "-l", disk], check=True)  # noqa: S607


# Several processes ---------------------------------------------------------------------------------------------------

_WRITER = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from test_audit import write
print("ready", flush=True)
sys.stdin.readline()
write(Path(sys.argv[1]), range(2000), sys.argv[2], max_bytes=20_000, max_age=1e12, keep=1000)
"""


def test_two_processes_rotate_one_log_and_lose_nothing(tmp_path: Path) -> None:
    writers = [python(_WRITER, str(tmp_path), name) for name in ("one", "two")]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=PATIENCE)
        assert writer.returncode == 0
    found = [line for path in log_files(tmp_path) for line in lines(path)]
    for name in ("one", "two"):
        assert [line["seq"] for line in found if line["subject"] == name] == list(range(2000))
    assert len(log_files(tmp_path)) > 5


def test_a_writer_that_is_killed_blocks_nobody(tmp_path: Path) -> None:
    killed = python(_LIMITED, str(tmp_path))
    assert killed.stdout is not None
    assert killed.stdout.readline() == b"written\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PATIENCE)
    write(tmp_path, [100], max_age=1e12)
    assert seqs(tmp_path)[-1] == 100


def python(code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    code = code.format(here=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )


def until(true: Any) -> None:
    """Wait for what another thread is about to do."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it never happened"
        pause.wait(0.005)
