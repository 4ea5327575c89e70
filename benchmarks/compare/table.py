"""Which circuit breaker does what: every cell is what came of running the library itself.

    make compare                                                   the table; about two minutes
    make compare ARGS='--write'                                    and put it into RESULTS.md beside this file, and
                                                                   into the guide, docs/circuit-breaker.md
    make compare ARGS='--only hyx,recloser --rows late,jitter'     some columns, some rows

Needs, the first time, the network to install the libraries into .venv-bench; and redis-server for what processes share
(without it those cells say "not run"). Ends with 1 when a cell could not be played.
"""

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # `benchmarks` is a package to its parts

from benchmarks.compare.environment import ROOT, bench_python, surroundings, versions  # noqa: E402 -- after the path
from benchmarks.compare.library import DISTRIBUTIONS, NAMES  # noqa: E402
from benchmarks.compare.row import NONE, Row, Told  # noqa: E402
from benchmarks.compare.rows import GROUPS, ROWS  # noqa: E402

RESULTS = ROOT / "benchmarks" / "compare" / "RESULTS.md"
PAGE = ROOT / "docs" / "circuit-breaker.md"
TIME_LIMIT = 30.0
_BLOCK = re.compile(r"(<!-- (?:generated|measured): comparison -->\n).*?(<!-- end -->)", re.DOTALL)

Cells = Mapping[str, Told]
"""What was told of one library, by way of calling."""

_READ = """\
Each cell is what came of running that library, on every one of its documented ways of calling; where they differ, the
way stands in brackets. The questions are put so that *yes* is the answer one would want of a circuit breaker, or the
number that is named; every other answer is **bold**. A dash: there is no such thing to ask about. *one call at a
time*: calls wait for each other, so the scene cannot be played. What a library can be told to do (one trial at a time,
growth, jitter, rates) it was told; nothing else is set. The clocks of the process are moved, the libraries are not
touched."""


class NotPlayed(Exception):  # noqa: N818 - the scene, not the library, is at fault
    """A cell that could not be had."""


def main() -> int:
    """Ask every library every question."""
    asked = _arguments()
    rows = [row for row in ROWS.values() if any(word in row.key for word in asked.rows.split(","))]
    names = asked.only.split(",")
    told: dict[tuple[str, str], Cells] = {}
    failed = 0
    for row in rows:
        for name in names:
            try:
                told[row.key, name] = _cell(row, name)
            except NotPlayed as why:
                failed += 1
                print(f"!!! {name} / {row.key} was NOT played: {why}", file=sys.stderr, flush=True)
                told[row.key, name] = {"": Told("not played")}
        print(f"{row.key}: " + "; ".join(f"{name} {shown(told[row.key, name])}" for name in names), file=sys.stderr)
    page = _page(rows, names, told)
    print(page)
    if asked.write:
        _write(page)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAMES", default=",".join(NAMES), help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--rows", metavar="WORDS", default="", help="only rows whose name contains one of these")
    parser.add_argument("--write", action="store_true", help="put the whole table where it belongs")
    asked = parser.parse_args()
    unknown = [name for name in asked.only.split(",") if name not in NAMES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if asked.write and (asked.rows or asked.only != ",".join(NAMES)):
        parser.error("--write is for the whole table")
    return asked


def _cell(row: Row, name: str) -> Cells:
    """In a process of its own, so that what hangs can be ended, and so that no clock is moved but its own."""
    argv = [str(bench_python()), "-m", "benchmarks.compare.cell", name, row.key]
    process = subprocess.Popen(
        argv, cwd=ROOT, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        said, wrong = process.communicate(timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
        process.wait()
        return {"": Told("hangs", good=False)}
    if process.returncode or not said:
        raise NotPlayed(wrong.strip().rpartition("\n")[2] or f"exit code {process.returncode}")
    return {way: Told(text, good) for way, (text, good) in json.loads(said).items()}


def shown(cells: Cells) -> str:
    """One cell: what all ways of calling have in common, else what each of them does."""
    kinds: dict[Told, list[str]] = {}
    for way, told in cells.items():
        kinds.setdefault(told, []).append(way)
    if not kinds:
        return NONE.text
    if len(kinds) == 1:
        return _marked(next(iter(kinds)))
    return "<br>".join(f"{_marked(told)} ({', '.join(_named(ways, cells))})" for told, ways in kinds.items())


def _marked(told: Told) -> str:
    return f"**{told.text}**" if told.good is False else told.text


def _named(ways: Sequence[str], cells: Cells) -> list[str]:
    """`async call` is `call` where both do the same, or where there is no other."""
    plain = {way: way.removeprefix("async ") for way in ways}
    named = (way if name in cells and name not in ways else name for way, name in plain.items())
    return [f"`{name}`" for name in dict.fromkeys(named)]


def _page(rows: Sequence[Row], names: Sequence[str], told: Mapping[tuple[str, str], Cells]) -> str:
    measured = versions([DISTRIBUTIONS[name] for name in names])
    said = ", ".join(f"{DISTRIBUTIONS[name]} {measured[DISTRIBUTIONS[name]]}" for name in names)
    where = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}"
    lines = [_READ, "", _line(["", *names]), _line(["---"] * (len(names) + 1))]
    for group in GROUPS:
        mine = [row for row in rows if row.module == group.__name__]
        if mine:
            title = (group.__doc__ or "").strip().splitlines()[0].rstrip(".")
            lines.append(_line([f"***{title}***", *("" for _ in names)]))
        lines += [_line([row.question, *(shown(told[row.key, name]) for name in names)]) for row in mine]
    lines += ["", f"Measured: {said}; {where}, {datetime.now(UTC):%Y-%m-%d}.", ""]
    lines.append("Made by `make compare ARGS=--write`; a row is a function in `benchmarks/compare/rows/`.")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _write(page: str) -> None:
    title = "# Circuit breakers compared"
    RESULTS.write_text(f"{title}\n\n{page}\n", encoding="utf-8")
    if PAGE.exists():
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_BLOCK.sub(lambda block: f"{block[1]}{page}\n{block[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
