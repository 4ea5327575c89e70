"""Reading the event log back."""

import itertools
import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from recloser.observe.audit import CURRENT
from recloser.observe.reading import Line, Tail, _backwards, read, read_last

OLD = "events-20260101T000000-000000.jsonl"


def anything(_: Line) -> bool:
    return True


def line(seq: int, **more: object) -> str:
    return json.dumps({"ts": f"2026-01-01T00:00:{seq:02}.000Z", "seq": seq, "kind": "circuit_closed", **more}) + "\n"


def put(path: Path, *texts: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(texts))


def seqs(lines: object) -> list[int]:
    return [found.facts["seq"] for found in lines]  # type: ignore[attr-defined]


def test_rotated_files_come_first_and_torn_lines_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path / OLD, line(1), '{"seq": 2, "ki\n', line(3))
    put(tmp_path / CURRENT, "\n", line(4), "[]\n", "nonsense\n", line(5)[:-1])
    assert seqs(read(tmp_path, anything)) == [1, 3, 4, 5]
    assert seqs(read_last(tmp_path, anything, 10)) == [1, 3, 4, 5]
    assert seqs(read_last(tmp_path, anything, 3)) == [3, 4, 5]
    assert seqs(read_last(tmp_path, anything, 0)) == []


def test_only_what_is_wanted_is_counted(tmp_path: Path) -> None:
    put(tmp_path / CURRENT, *(line(n, kind="a" if n % 2 else "b") for n in range(20)))
    assert seqs(read_last(tmp_path, lambda found: found.facts["kind"] == "a", 2)) == [17, 19]


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none", anything)) == []
    assert read_last(tmp_path / "none", anything, 3) == []
    assert list(Tail(tmp_path / "none").fresh()) == []


def test_the_last_lines_of_a_large_file_cost_little(tmp_path: Path) -> None:
    with (tmp_path / CURRENT).open("wb") as file:
        file.truncate(2**30)  # a gigabyte of holes, and at its end
        file.seek(2**30)
        file.write(("\n" + line(1) + line(2)).encode())
    assert seqs(read_last(tmp_path, anything, 2)) == [1, 2]


def test_a_time_that_is_none_is_the_beginning(tmp_path: Path) -> None:
    put(tmp_path / CURRENT, '{"ts": 3}\n', '{"ts": "soon"}\n', "{}\n", line(1))
    assert [found.time for found in read(tmp_path, anything)] == [0.0, 0.0, 0.0, 1767225601.0]


@settings(max_examples=50)
@given(st.lists(st.text("ab\n", max_size=30), max_size=8).map("".join), st.integers(1, 40))
def test_backwards_is_forwards_turned_round(text: str, block: int) -> None:
    import tempfile  # noqa: PLC0415

    from recloser.observe import reading  # noqa: PLC0415

    before, reading._BLOCK = reading._BLOCK, block
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x"
            path.write_bytes(text.encode())
            assert list(_backwards(path, None))[::-1] == (text.encode().split(b"\n") if text else [b""])
    finally:
        reading._BLOCK = before


def test_following_tells_each_line_once_over_rotations(tmp_path: Path) -> None:
    current = tmp_path / CURRENT
    put(current, line(1))
    tail = Tail(tmp_path)
    assert seqs(tail.fresh()) == []
    put(current, line(2), line(3)[:10])
    assert seqs(tail.fresh()) == [2]
    put(current, line(3)[10:])
    current.rename(tmp_path / OLD)
    put(current, line(4))
    assert seqs(tail.fresh()) == [3, 4]
    put(tmp_path / OLD, line(5))  # by a writer that has not noticed yet
    put(current, line(6))
    assert seqs(tail.fresh()) == [5, 6]
    current.rename(tmp_path / OLD.replace("000000.", "000001."))
    assert seqs(tail.fresh()) == []
    put(current, line(7))
    (tmp_path / OLD).unlink()
    assert seqs(tail.fresh()) == [7]


def test_following_starts_behind_a_torn_line(tmp_path: Path) -> None:
    put(tmp_path / CURRENT, line(1), '{"torn')
    tail = Tail(tmp_path)
    assert seqs(read_last(tmp_path, anything, 5, ends=tail.ends)) == [1]
    put(tmp_path / CURRENT, "\n", line(2))
    assert seqs(tail.fresh()) == [2]


def test_following_from_a_moment_on_begins_with_what_was_written_after_it(tmp_path: Path) -> None:
    put(tmp_path / CURRENT, line(1))
    assert seqs(Tail(tmp_path, since=0.0).fresh()) == [1]
    assert seqs(Tail(tmp_path, since=1e12).fresh()) == []


def test_following_forgets_files_that_are_long_gone(tmp_path: Path) -> None:
    tail = Tail(tmp_path)
    for number in itertools.takewhile(lambda _: len(tail._read) <= 100, range(300)):
        put(tmp_path / CURRENT, line(1))
        assert seqs(tail.fresh()) == [1]
        (tmp_path / CURRENT).rename(tmp_path / f"kept-{number}")
    assert len(tail._read) <= 100
