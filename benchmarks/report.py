"""Figures for people: medians over the rounds, and ratios taken within each round before the median."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contenders import CONTENDERS
from benchmarks.rounds import MEASURES, Numbers, Plan, Results, events_cpu

RESULTS = Path(__file__).with_name("RESULTS.md")
IDLE = 0.1
FOREIGN = 0.1
_RATES = ("plain 1 KB", "plain 88 KB", "streams 1 KB", "streams 88 KB")

_INTRODUCTION = """\
One process a proxy, all of them on one core, upstream and load on another; loopback; medians of {rounds} interleaved
rounds of {seconds:g} s, every answer checked. The machine is shared: read the ratios. "plain": 1 KB JSON answers at 64
connections; "streams": whole SSE answers of 100 events of 200 bytes, each event written by itself as fast as possible,
at 64 connections; both for a small question (1 KB) and a coding agent's turn (88 KB, 12 tools). In brackets: CPU
microseconds of the proxy for one answer. `†`: the proxy's core was not full, load or upstream were the limit, and the
CPU time says what the proxy could do. `‡`: other processes took a tenth of that core or more, so the rate is too low.
"first word": 100 streams at once paced at 10 ms an event, to the first piece of text (recloser holds back the
events without any that come before it). LiteLLM runs with a master key, without which it does not start, and
without a database; the others ask for no client key."""


def machine() -> str:
    """What it ran on, without naming it."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = f" ({line.partition(':')[2].strip()})"
            break
    parts = (
        f"{len(os.sched_getaffinity(0))} cores{model}",
        f"{platform.system()} {platform.machine()}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"load average before: {os.getloadavg()[0]:.2f}",
        f"{datetime.now(UTC):%Y-%m-%d}",
    )
    return ", ".join(parts)


def errors(results: Results) -> int:
    """How many answers were wrong, in all."""
    return sum(sum(numbers.errors.values()) for rounds in results.values() for numbers in rounds)


def data(
    plan: Plan, results: Results, versions: Mapping[str, str], missing: Mapping[str, str], where: str
) -> dict[str, Any]:
    """Everything, for a script."""
    return {
        "machine": where,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "versions": versions,
        "missing": missing,
        "results": [
            {"wire": wire, "contender": key, "measure": measure, "rounds": [asdict(each) for each in numbers]}
            for (wire, key, measure), numbers in results.items()
        ],
    }


def page(plan: Plan, results: Results, versions: Mapping[str, str], missing: Mapping[str, str], where: str) -> str:
    """The whole of RESULTS.md."""
    told = [f"{key} {text}" for key, text in versions.items() if text]
    lines = ["# Benchmark: the gateway", "", _INTRODUCTION.format(rounds=plan.rounds, seconds=plan.seconds)]
    lines += ["", f"Machine: {where}.", f"Versions: {'; '.join(told)}."]
    lines += [f"**Not measured: {key}: {why}**" for key, why in missing.items()]
    wrong = errors(results)
    if wrong:
        lines += ["", f"**{wrong} ANSWERS WERE WRONG: these figures are not to be believed.**"]
    for wire in plan.wires:
        keys = [key for key in CONTENDERS if (wire, key, MEASURES[0].name) in results]
        lines += ["", f"## Wire: {wire}", "", *_main_table(results, wire, keys)]
        subject = "recloser" if "recloser" in keys else "bare"
        if subject in keys:
            lines += ["", *_ratio_table(results, wire, subject, keys)]
    lines += ["", "Made by `make bench ARGS=--write`."]
    return "\n".join(lines)


def _main_table(results: Results, wire: str, keys: Sequence[str]) -> Iterable[str]:
    header = [
        "contender",
        *(f"{name}, /s (CPU µs)" for name in _RATES),
        "one connection p50 / p99 µs",
        "added p50 µs",
        "added first word µs",
        "CPU µs per paced event",
        "KB per open stream",
        "errors",
    ]
    yield _row(header)
    yield _row(["---", *["---:"] * (len(header) - 1)])
    for key in keys:
        one = results[wire, key, "one connection"]
        cells = [CONTENDERS[key].title, *(_rate(results[wire, key, name], key) for name in _RATES)]
        cells.append(f"{_middle(one, _p50):,.0f} / {_middle(one, _p99):,.0f}")
        if key == "direct":
            cells += ["", "", "", ""]
        else:
            paced = results[wire, key, "paced"]
            cells.append(f"{_added(one, results[wire, 'direct', 'one connection'], _p50):,.0f}")
            cells.append(f"{_added(paced, results[wire, 'direct', 'paced'], _first):,.0f}")
            cells.append(f"{_middle(paced, events_cpu):,.1f}")
            cells.append(f"{_middle(results[wire, key, 'open streams'], lambda n: n.kilobytes):,.0f}")
        wrong = sum(
            sum(numbers.errors.values())
            for (in_wire, of, _), rounds in results.items()
            if (in_wire, of) == (wire, key)
            for numbers in rounds
        )
        cells.append(f"**{wrong}**" if wrong else "0")
        yield _row(cells)


def _ratio_table(results: Results, wire: str, subject: str, keys: Sequence[str]) -> Iterable[str]:
    yield f"{CONTENDERS[subject].title} as a multiple of the others (rates: more is better; CPU and time: less is):"
    yield ""
    yield _row(["against", *_RATES, *(f"CPU, {name}" for name in _RATES), "one connection p50", "first word"])
    yield _row(["---", *["---:"] * 10])
    for key in keys:
        if key == subject:
            continue

        def times(measure: str, value: Callable[[Numbers], float], other: str = key) -> str:
            pairs = zip(results[wire, subject, measure], results[wire, other, measure], strict=True)
            ratios = [value(mine) / value(theirs) for mine, theirs in pairs if value(theirs) > 0]
            return _ratio(median(ratios)) if ratios else ""

        yield _row(
            [
                CONTENDERS[key].title,
                *(times(name, lambda numbers: numbers.rate) for name in _RATES),
                *(times(name, lambda numbers: numbers.cpu_us) for name in _RATES),
                times("one connection", _p50),
                times("paced", _first),
            ]
        )


def _rate(rounds: Sequence[Numbers], key: str) -> str:
    rate = f"{_middle(rounds, lambda numbers: numbers.rate):,.0f}"
    if key == "direct":
        return rate
    limited = " †" if _middle(rounds, lambda numbers: numbers.idle) > IDLE else ""
    disturbed = " ‡" if _middle(rounds, lambda numbers: 1 - numbers.idle - numbers.busy) > FOREIGN else ""
    return f"{rate}{limited}{disturbed} ({_middle(rounds, lambda numbers: numbers.cpu_us):,.0f})"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _added(rounds: Sequence[Numbers], direct: Sequence[Numbers], value: Callable[[Numbers], float]) -> float:
    return median(value(mine) - value(base) for mine, base in zip(rounds, direct, strict=True))


def _middle(rounds: Sequence[Numbers], value: Callable[[Numbers], float]) -> float:
    return median(map(value, rounds))


def _p50(numbers: Numbers) -> float:
    return numbers.p50_us


def _p99(numbers: Numbers) -> float:
    return numbers.p99_us


def _first(numbers: Numbers) -> float:
    return numbers.first_us


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
