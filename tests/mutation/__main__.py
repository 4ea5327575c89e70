"""Whether the tests notice small faults in the core: `make mutation`, which is `python -m tests.mutation`.

Each mutant runs in a forked process on a copy of the tree, against the quick tests first. It is killed by a test that
fails, by an import that fails, or by its time limit. A survivor needs a test, or a reason in `equivalent.toml`.
"""

import argparse
import ast
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType, ModuleType

import hypothesis
import pytest
from tests.mutation.mutants import Mutant, mutants

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODULES = ("backoff", "window", "circuit", "circuit_state", "circuit_control", "adaptive")
STAGES = (
    (
        "tests/core/test_backoff.py",
        "tests/core/test_window.py",
        "tests/core/test_adaptive.py",
        "tests/core/test_circuit*.py",
    ),
    ("tests/properties/test_model.py", "tests/properties/test_outage.py", "tests/properties/test_circuit_machine.py"),
)
"""What is run against a mutant: the second only if the first let it live."""
QUIET = (
    "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:faulthandler",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # Hypothesis is loaded before the fork, to be quick
)  # fmt: skip
PASSED, KILLED, BROKEN = 0, 1, 99
MEMORY = 2 << 30


class _Mutated(importlib.machinery.SourceFileLoader):
    """Loads a module from a tree that was changed."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.get_filename(fullname), "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the mutated module instead of the real one."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self._name, self._path, self._tree = name, path, tree

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        loader = _Mutated(fullname, str(self._path), self._tree)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


@dataclass(slots=True, kw_only=True)
class Source:
    """A module of the copied tree, and its mutants."""

    name: str
    path: Path
    tree: ast.Module
    mutants: list[Mutant]


def read(tree: Path, module: str) -> Source:
    """A module and all its mutants."""
    path = tree / "src" / "recloser" / "core" / f"{module}.py"
    parsed = ast.parse(path.read_text())
    return Source(name=f"recloser.core.{module}", path=path, tree=parsed, mutants=mutants(parsed, module))


def reasons() -> dict[str, str]:
    """The mutants that no test can tell from the original, each with the reason why."""
    entries = tomllib.loads((HERE / "equivalent.toml").read_text())["equivalent"]
    found: dict[str, str] = {}
    for entry in entries:
        for name in entry["mutants"]:
            assert name not in found, f"named twice: {name}"
            found[name] = entry["because"]
    return found


def stale(known: dict[str, str], sources: Sequence[Source]) -> list[str]:
    """The reasons whose mutant is no longer made, among the modules at hand."""
    made = {mutant.name for source in sources for mutant in source.mutants}
    looked_at = {source.name.rpartition(".")[2] for source in sources}
    return [name for name in known if name not in made and name.split(":")[0].split(".")[0] in looked_at]


# One mutant


def _run_tests(tree: Path) -> int:
    """Runs in the forked process: PASSED, or why not."""
    os.chdir(tree)
    sys.path[:] = [str(tree / "src"), str(tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    for stage in STAGES:
        files = [str(path.relative_to(tree)) for pattern in stage for path in sorted(tree.glob(pattern))]
        code = pytest.main([*QUIET, *files])
        if code != pytest.ExitCode.OK:
            return BROKEN if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED) else KILLED
    import recloser  # noqa: PLC0415 - not before: it is the mutated one

    assert Path(recloser.__file__).is_relative_to(tree), f"the tests ran against {recloser.__file__}"
    return PASSED


def _child(tree: Path, source: Source | None, mutant: Mutant | None, log: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if source is not None and mutant is not None:
        mutant.apply()
        sys.meta_path.insert(0, _Finder(source.name, source.path, source.tree))
    with log.open("w") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = _run_tests(tree)
    os._exit(code)


@dataclass(slots=True, kw_only=True)
class Running:
    """A mutant that is being tested."""

    source: Source
    mutant: Mutant
    process: ForkProcess
    began: float


def outcomes(
    tree: Path, work: Sequence[tuple[Source, Mutant]], jobs: int, limit: float
) -> Iterator[tuple[Mutant, str]]:
    """Each mutant and what became of it: killed, timed out, or survived."""
    fork = multiprocessing.get_context("fork")
    waiting, running = list(reversed(work)), dict[int, Running]()
    while waiting or running:
        while waiting and len(running) < jobs:
            source, mutant = waiting.pop()
            log = tree / f"{id(mutant)}.log"
            process = fork.Process(target=_child, args=(tree, source, mutant, log))
            process.start()
            running[process.sentinel] = Running(source=source, mutant=mutant, process=process, began=time.monotonic())
        wait(list(running), timeout=1.0)
        for sentinel, one in list(running.items()):
            if one.process.is_alive() and time.monotonic() - one.began < limit:
                continue
            timed_out = one.process.is_alive()
            if timed_out:
                one.process.kill()
            one.process.join()
            del running[sentinel]
            yield one.mutant, "timed out" if timed_out else _verdict(tree, one)


def _verdict(tree: Path, one: Running) -> str:
    code = one.process.exitcode
    if code == BROKEN:
        raise SystemExit((tree / f"{id(one.mutant)}.log").read_text())
    return "survived" if code == PASSED else "killed"


def baseline(tree: Path) -> float:
    """How long the tests take on the unchanged tree, in seconds, where they must pass."""
    began = time.monotonic()
    log = tree / "baseline.log"
    process = multiprocessing.get_context("fork").Process(target=_child, args=(tree, None, None, log))
    process.start()
    process.join()
    if process.exitcode != PASSED:
        raise SystemExit(f"the tests fail without a mutant:\n{log.read_text()}")
    return time.monotonic() - began


# All of them


def copied(to: Path) -> Path:
    """A copy of what is needed, which nobody edits in the meantime."""
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def main(argv: Sequence[str] | None = None) -> int:
    """Test every mutant; 1 if one survives without a reason, or a reason is out of date."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="MODULE", help=f"of core; {', '.join(MODULES)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--only", default="", help="mutants whose names contain this text")
    parser.add_argument("--list", action="store_true", help="name the mutants and test none")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        sources = [read(tree, module) for module in given.modules]
        work = [(source, mutant) for source in sources for mutant in source.mutants if given.only in mutant.name]
        if given.list:
            print("\n".join(mutant.name for _, mutant in work))
            return 0
        return _report(tree, sources, work, given.jobs)


def _report(tree: Path, sources: Sequence[Source], work: Sequence[tuple[Source, Mutant]], jobs: int) -> int:
    known, began = reasons(), time.monotonic()
    wrong = [f"stale reason, no such mutant: {name}" for name in stale(known, sources)]
    hypothesis.settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("mutation")
    needed = baseline(tree)
    print(f"{len(work)} mutants; the tests take {needed:.0f} s where nothing fails")
    counts: Counter[str] = Counter()
    for number, (mutant, outcome) in enumerate(outcomes(tree, work, jobs, 5 * needed + 30), start=1):
        explained = mutant.name in known
        counts["explained" if explained and outcome == "survived" else outcome] += 1
        if outcome == "survived" and not explained:
            wrong.append(f"survived: {mutant.name} (line {mutant.line})")
            print(wrong[-1], flush=True)
        elif explained and outcome != "survived":
            wrong.append(f"{outcome} although there is a reason why not: {mutant.name}")
        if number % 100 == 0:
            print(f"{number} of {len(work)} after {time.monotonic() - began:.0f} s", flush=True)
    print(*wrong, sep="\n")
    dead = counts["killed"] + counts["timed out"]
    print(
        f"{dead} of {len(work)} killed ({counts['timed out']} by the time limit), "
        f"{counts['explained']} survived with a reason, {counts['survived']} without, "
        f"in {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
