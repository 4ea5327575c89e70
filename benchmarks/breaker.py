"""What a circuit breaker costs: recloser beside six others, in one run.

    make bench-breaker                                    everything; about five minutes
    make bench-breaker ARGS='--quick'                     one short round, to see that it works
    make bench-breaker ARGS='--only recloser,pybreaker'   some of the libraries
    make bench-breaker ARGS='--write'                     and put the tables into benchmarks/BREAKER.md

Each library as it makes a breaker by itself, a function that does nothing, a circuit that is closed; then refusals of
one that is open, and calls that wait. Every figure stands beside that of a bare call, timed right before. Needs, the
first time, the network to install the libraries into .venv-bench.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])  # `benchmarks` is a package to its parts

from benchmarks.compare.environment import ROOT, bench_python, surroundings, versions  # noqa: E402 -- after the path
from benchmarks.compare.library import DISTRIBUTIONS, NAMES  # noqa: E402

RESULTS = ROOT / "benchmarks" / "BREAKER.md"
_BUSY = 0.5
_SHARED = " (**provisional: others shared these cores**; read the ratios, and those of 8 threads with care)"

_INTRODUCTION = """\
A function that does nothing, through each library, as the library makes a breaker by itself. "1 thread": CPU
nanoseconds a call; "8 threads": nanoseconds on the wall for each of the calls of all threads together (each with an
event loop of its own for coroutines). Least / median of {rounds} interleaved loops of {seconds:g} s. "bare = 1": the
median of their ratios to a loop of bare calls timed right before each. `with, kept`: the object for `with` is got once
and kept, which is not how that library's documentation shows it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One way of calling one library, in one of the measurements."""

    least: float
    middle: float
    bare: float
    ratio: float


Results = Mapping[tuple[str, str, str], Figures]
"""By measure, library and way."""


def main() -> int:
    """Measure in the libraries' own environment, and tell."""
    asked = _arguments()
    names = asked.only.split(",")
    rounds, seconds = (1, 0.05) if asked.quick else (asked.rounds, asked.seconds)
    where = _machine(os.getloadavg()[0])  # before it is made busy
    raw = _measured(names, rounds, seconds)
    page = "\n".join(_page(_figures(raw), names, rounds, seconds, where))
    print(page)
    if asked.json:
        asked.json.write_text(json.dumps({"machine": where, "rounds": rounds, "seconds": seconds, "measured": raw}))
    if asked.write:
        RESULTS.write_text(f"{page}\n", encoding="utf-8")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAMES", default=",".join(NAMES), help=f"some of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each loop")
    parser.add_argument("--quick", action="store_true", help="one round of short loops")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--write", action="store_true", help=f"the tables into {RESULTS.name}")
    asked = parser.parse_args()
    unknown = [name for name in asked.only.split(",") if name not in NAMES]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    if asked.rounds < 1 or not 0 < asked.seconds <= 10:
        parser.error("at least one round, and at most 10 seconds a loop")
    return asked


def _measured(names: Sequence[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    argv = [str(bench_python()), "-m", "benchmarks.compare.speed", ",".join(names), str(rounds), str(seconds)]
    said = subprocess.run(argv, cwd=ROOT, env=surroundings(), stdout=subprocess.PIPE, text=True, check=True).stdout
    measured: list[dict[str, Any]] = json.loads(said)
    return measured


def _figures(raw: Iterable[Mapping[str, Any]]) -> Results:
    return {
        (one["measure"], one["library"], one["way"]): Figures(
            min(one["ns"]),
            median(one["ns"]),
            median(one["bare_ns"]),
            median(mine / bare for mine, bare in zip(one["ns"], one["bare_ns"], strict=True)),
        )
        for one in raw
    }


def _machine(load: float) -> str:
    """What it ran on, without naming it, and whether it was free."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = (
        f"{cores} cores",
        f"{platform.system()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"load average before: {load:.2f}" + (_SHARED if load > _BUSY else ""),
        f"{datetime.now(UTC):%Y-%m-%d}",
    )
    return ", ".join(parts)


def _page(results: Results, names: Sequence[str], rounds: int, seconds: float, where: str) -> Iterable[str]:
    measured = versions([DISTRIBUTIONS[name] for name in names])
    yield "# Benchmark: the circuit breaker"
    yield ""
    yield _INTRODUCTION.format(rounds=rounds, seconds=seconds)
    yield ""
    yield f"Machine: {where}."
    yield f"Versions: {', '.join(f'{name} {version}' for name, version in measured.items())}."
    for kind, title in (("sync", "Functions"), ("async", "Coroutine functions")):
        yield from ("", f"## {title}", "", *_closed(results, kind))
    yield from ("", "## Refused by an open circuit", "", *_refused(results))
    yield from ("", "## 8 threads of calls that wait 2 ms", "", *_waiting(results))
    if "recloser" in names:
        yield from ("", "## What recloser aims at", "", *_aims(results))
    yield from ("", "Made by `make bench-breaker ARGS=--write`.")


def _closed(results: Results, kind: str) -> Iterable[str]:
    one, many = f"{kind} 1", f"{kind} 8"
    rows = sorted((key for key in results if key[0] == one), key=lambda key: results[key].ratio)
    yield from _head("library", "way", "1 thread, ns", "bare = 1", "8 threads, ns", "bare = 1", "8 threads / 1")
    yield _row(
        ["*bare call*", "", *(text for name in (one, many) for text in (f"{_bare(results, name):,.0f}", "1")), ""]
    )
    for key in rows:
        single, threads = results[key], results[many, key[1], key[2]]
        yield _row(
            [_name(key[1]), f"`{key[2]}`", *_told(single), *_told(threads), f"{threads.middle / single.middle:.2f}"]
        )


def _refused(results: Results) -> Iterable[str]:
    rows = sorted((key for key in results if key[0] == "refused"), key=lambda key: results[key].ratio)
    yield from _head("library", "ns", "bare = 1")
    yield _row(["*bare raise and catch*", f"{_bare(results, 'refused'):,.0f}", "1"])
    yield from (_row([_name(key[1]), *_told(results[key])]) for key in rows)


def _waiting(results: Results) -> Iterable[str]:
    rows = sorted((key for key in results if key[0] == "I/O"), key=lambda key: results[key].ratio)
    yield from _head("library", "way", "calls/s", "of bare throughput")
    yield _row(["*bare*", "", f"{1e9 / _bare(results, 'I/O'):,.0f}", "1"])
    for key in rows:
        yield _row([_name(key[1]), f"`{key[2]}`", f"{1e9 / results[key].middle:,.0f}", f"{1 / results[key].ratio:.2f}"])


def _aims(results: Results) -> Iterable[str]:
    """They were set in nanoseconds, beside a bare call of 28 (awaited: 93, raised: 280); so ratios are compared."""
    yield from _head("what", "way", "at most", "measured")
    for what, measure, most in (("a function", "sync 1", 350 / 28), ("a coroutine function", "async 1", 450 / 93)):
        for way in ("decorator", "call"):
            yield _row([what, f"`{way}`", f"{most:.1f}", _met(results[measure, "recloser", way].ratio, most)])
    yield _row(
        ["a refusal", "`call`", f"{900 / 280:.1f}", _met(results["refused", "recloser", "call"].ratio, 900 / 280)]
    )
    for kind in ("sync", "async"):
        for way in ("decorator", "call"):
            many, one = (results[f"{kind} {threads}", "recloser", way].middle for threads in (8, 1))
            yield _row([f"8 threads beside 1, {kind}", f"`{way}`", "1.5", _met(many / one, 1.5)])


def _met(value: float, most: float) -> str:
    return f"{value:.2f}" if value <= most else f"**{value:.2f}: missed**"


def _told(figures: Figures) -> tuple[str, str]:
    ratio = f"{figures.ratio:,.0f}" if figures.ratio >= 100 else f"{figures.ratio:.1f}"
    return f"{figures.least:,.0f} / {figures.middle:,.0f}", ratio


def _bare(results: Results, measure: str) -> float:
    return median(figures.bare for key, figures in results.items() if key[0] == measure)


def _name(library: str) -> str:
    return "**recloser**" if library == "recloser" else DISTRIBUTIONS[library]


def _head(*cells: str) -> Iterable[str]:
    yield _row(cells)
    yield _row(["---" if cell in {"library", "way", "what"} else "---:" for cell in cells])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
