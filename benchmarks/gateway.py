"""Throughput and added latency of the gateway, against the upstream itself, its parts alone, nginx and LiteLLM.

    make bench                                  everything; about a quarter of an hour
    make bench ARGS='--quick'                   one short round, to see that it works
    make bench ARGS='--only recloser,nginx'     these and the upstream itself
    make bench ARGS='--write'                   and put the tables into benchmarks/RESULTS.md

One process a proxy, all on one core; upstream and load on another; loopback only. Needs Linux, nginx and, the first
time, the network to install LiteLLM into .venv-bench. Ends with 1 when an answer was wrong or a contender missing.
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # `benchmarks` is a package to its parts

from benchmarks import report  # noqa: E402 -- after the path is set
from benchmarks.answers import WIRES  # noqa: E402
from benchmarks.contenders import CONTENDERS  # noqa: E402
from benchmarks.processes import NotStarted  # noqa: E402
from benchmarks.rounds import Plan, run  # noqa: E402


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(CONTENDERS)
    parser.add_argument("--only", metavar="NAMES", help=f"some of {names}; missing ones are then no failure")
    parser.add_argument("--wire", choices=[*WIRES, "both"], default="both")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="one round of one second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--write", action="store_true", help=f"the tables into {report.RESULTS.name}")
    asked = parser.parse_args()
    unknown = [name for name in (asked.only or "").split(",") if name and name not in CONTENDERS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {names}")
    if asked.rounds < 1 or not 0 < asked.seconds <= 60:
        parser.error("at least one round, and at most 60 seconds a measurement")
    return asked


def main() -> int:
    """Prepare, measure, report."""
    asked = _arguments()
    if not hasattr(os, "sched_setaffinity"):
        print("this benchmark pins processes and reads /proc: it needs Linux", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended too
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    wanted = asked.only.split(",") if asked.only else list(CONTENDERS)
    machine = report.machine()  # before the machine is made busy
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for key, contender in CONTENDERS.items():
        if key in wanted or key == "direct":  # everything is told relative to it
            try:
                versions[key] = contender.prepare()
            except NotStarted as why:
                print(f"!!! {key} is NOT measured: {why}", file=sys.stderr, flush=True)
                missing[key] = str(why)
    plan = Plan(
        contenders=list(versions),
        wires=list(WIRES) if asked.wire == "both" else [asked.wire],
        rounds=1 if asked.quick else asked.rounds,
        seconds=1.0 if asked.quick else asked.seconds,
    )
    made = run(plan)
    missing |= made.missing
    page = report.page(plan, made.results, versions, missing, machine)
    print(page)
    if asked.json:
        asked.json.write_text(json.dumps(report.data(plan, made.results, versions, missing, machine), indent=1))
    if asked.write:
        report.RESULTS.write_text(page + "\n", encoding="utf-8")
    wrong = report.errors(made.results)
    if wrong:
        print(f"!!! {wrong} WRONG ANSWERS: these figures are not to be believed", file=sys.stderr)
    return 1 if wrong or (missing and not asked.only) else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
