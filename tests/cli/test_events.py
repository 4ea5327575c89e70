"""`recloser events`."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest


def line(second: int, kind: str = "circuit_closed", **more: Any) -> str:
    facts = {"ts": f"2026-01-01T00:00:{second:02}.000Z", "seq": second, "kind": kind, "subject": "endpoint/a"}
    return json.dumps({**facts, "open_for": 3.0, **more}) + "\n"


@pytest.fixture
def folder(shell: Any) -> Path:
    """A log of two files, with a torn line."""
    log: Path = shell.folder / ".recloser" / "events"
    log.mkdir(parents=True)
    (log / "events-20260101T000000-000000.jsonl").write_text(line(1) + '{"ts": "2026', "utf-8")
    (log / "events.jsonl").write_text(line(2) + line(3, "store_regained") + line(4), "utf-8")
    return log


def put(folder: Path, text: str) -> None:
    with (folder / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(text)


def seqs(text: str) -> list[int]:
    return [json.loads(found)["seq"] for found in text.splitlines()]


def test_in_plain_words_one_line_an_event(folder: Path, shell: Any) -> None:
    done = shell("events", TZ="UTC")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "2026-01-01 00:00:01  endpoint/a is well again after 3.0 s",
        "2026-01-01 00:00:02  endpoint/a is well again after 3.0 s",
        "2026-01-01 00:00:03  the store can be written again",
        "2026-01-01 00:00:04  endpoint/a is well again after 3.0 s",
    ]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], [1, 2, 3, 4]),
        (["--last", "2"], [3, 4]),
        (["--last", "0"], []),
        (["--kind", "circuit_closed"], [1, 2, 4]),
        (["--kind", "circuit_closed, store_regained", "--last", "3"], [2, 3, 4]),
        (["--kind", "circuit_closed", "--last", "1"], [4]),
        (["--since", "2026-01-01T00:00:03Z"], [3, 4]),
        (["--since", "2026-01-01T01:00:03+01:00"], [3, 4]),
        (["--since", "2026-01-01T00:00:02Z", "--last", "10"], [2, 3, 4]),
        (["--since", "5m"], []),
    ],
)
def test_what_is_asked_for(options: list[str], found: list[int], folder: Path, shell: Any) -> None:
    done = shell("events", "--json", *options)
    assert (done.returncode, seqs(done.stdout)) == (0, found)


def test_json_is_the_lines_as_they_stand(folder: Path, shell: Any) -> None:
    put(folder, '{"kind":"x",  "seq":5}\n')
    assert shell("events", "--json", "--last", "1").stdout == '{"kind":"x",  "seq":5}\n'


@pytest.mark.parametrize("options", [["--since", "soon"], ["--last", "-1"], ["--last", "few"]])
def test_a_wrong_option_is_2(options: list[str], shell: Any) -> None:
    done = shell("events", *options)
    assert done.returncode == 2
    assert repr(options[1]) in done.stderr or "expected one argument" in done.stderr


def test_an_unknown_kind_is_told_but_is_no_mistake(folder: Path, shell: Any) -> None:
    done = shell("events", "--kind", "circuit_open")
    assert (done.returncode, done.stdout) == (0, "")
    assert "did you mean 'circuit_opened'?" in done.stderr


def test_no_log_yet(shell: Any) -> None:
    done = shell("events")
    assert (done.returncode, done.stdout) == (0, "")
    assert "there are no events yet in .recloser/events" in done.stderr


def test_the_log_of_a_configuration_whose_secrets_are_elsewhere(folder: Path, shell: Any) -> None:
    folder.parent.rename(shell.folder / "state")
    shell.write("[state]\ndir = 'state'\n[gateway]\nkeys = ['env:NOPE']\n[providers.x]\nkind = 'anthropic'\n")
    assert seqs(shell("events", "--json").stdout) == [1, 2, 3, 4]


def test_following_goes_on_over_a_rotation_until_it_is_interrupted(folder: Path, start: Any) -> None:
    following = start("events", "--follow", "--json", "--last", "1")
    following.says('"seq": 4')
    put(folder, line(5))
    following.says('"seq": 5')
    put(folder, line(6))
    (folder / "events.jsonl").rename(folder / "events-20260101T000001-000000.jsonl")
    put(folder, line(7))
    following.says('"seq": 7')
    assert following.stop(signal.SIGINT) == 0
    assert seqs(following.output) == [4, 5, 6, 7]


def test_following_starts_with_the_last_ten_and_keeps_to_the_kinds(folder: Path, start: Any) -> None:
    put(folder, "".join(line(n) for n in range(5, 20)))
    following = start("events", "--follow", "--json", "--kind", "circuit_closed")
    following.says('"seq": 19')
    put(folder, line(20, "store_regained") + line(21))
    following.says('"seq": 21')
    assert following.stop(signal.SIGINT) == 0
    assert seqs(following.output) == [*range(10, 20), 21]


def test_following_since_a_moment(folder: Path, start: Any) -> None:
    following = start("events", "--follow", "--json", "--since", "2026-01-01T00:00:02Z")
    following.says('"seq": 4')
    put(folder, line(5))
    following.says('"seq": 5')
    following.stop(signal.SIGINT)
    assert seqs(following.output) == [2, 3, 4, 5]


def test_following_a_log_that_is_not_there_yet(shell: Any, start: Any) -> None:
    shell.write("[gateway]\n")
    following = start("events", "--follow", "--since", "2026-01-01T00:00:00Z", "--json")
    folder = shell.folder / ".recloser" / "events"
    folder.mkdir(parents=True)
    put(folder, line(1))
    following.says('"seq": 1')
    assert following.stop(signal.SIGINT) == 0


def test_a_reader_that_leaves_is_no_error(folder: Path, shell: Any, start: Any) -> None:
    put(folder, "".join(line(n % 60) for n in range(20_000)))
    import subprocess  # noqa: PLC0415
    import sys  # noqa: PLC0415

    with subprocess.Popen(
        [sys.executable, "-m", "recloser", "events"],
        cwd=shell.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
