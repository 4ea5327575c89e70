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
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

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
MEMORY = 2 << 30
PASSED, KILLED, BROKEN = 0, 1, 99


class Stage(NamedTuple):
    """Tests that run together, and for how long at most."""

    files: tuple[str, ...]
    limit: float


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


def _child(tree: Path, stages: Sequence[Stage], change: Callable[[], None]) -> None:
    """The whole life of the forked process, which leaves with what became of it."""
    code = BROKEN
    try:
        with contextlib.suppress(ValueError, OSError):  # macOS knows no such limit
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with (tree / f"{os.getpid()}.log").open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            change()
            code = _run_tests(tree, stages)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _run_tests(tree: Path, stages: Sequence[Stage]) -> int:
    os.chdir(tree)
    sys.path[:] = [str(tree / "src"), str(tree), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    for stage in stages:
        # in seconds of the processor, for a busy machine is no fault; and in plain ones, for who only waits
        signal.setitimer(signal.ITIMER_PROF, stage.limit)
        signal.setitimer(signal.ITIMER_REAL, 10 * stage.limit)
        files = [str(path.relative_to(tree)) for pattern in stage.files for path in sorted(tree.glob(pattern))]
        try:
            code = pytest.main([*QUIET, *files])
        except BaseException:  # noqa: BLE001 - out of memory, say: that is the mutant's doing
            return KILLED
        if code != pytest.ExitCode.OK:
            return BROKEN if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED) else KILLED
    import recloser  # noqa: PLC0415 - not before: it is the mutated one

    assert Path(recloser.__file__).is_relative_to(tree), f"the tests ran against {recloser.__file__}"
    return PASSED


def _forked(tree: Path, stages: Sequence[Stage], change: Callable[[], None]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        _child(tree, stages, change)
    return child


def _ended(tree: Path) -> tuple[int, str]:
    """The next process that ends, and what became of it."""
    child, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    if code == BROKEN:
        raise SystemExit(said_by(tree, child))
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return child, "timed out"
    return child, "survived" if code == PASSED else "killed"


def said_by(tree: Path, child: int) -> str:
    """What the tests said."""
    return (tree / f"{child}.log").read_text()


def outcomes(
    tree: Path, stages: Sequence[Stage], work: Sequence[tuple[Source, Mutant]], jobs: int
) -> Iterator[tuple[Mutant, str]]:
    """Each mutant and what became of it: killed, timed out, or survived."""
    running: dict[int, Mutant] = {}
    try:
        for source, mutant in work:
            if len(running) == jobs:
                child, outcome = _ended(tree)
                yield running.pop(child), outcome
            running[_forked(tree, stages, partial(put_in_place, source, mutant))] = mutant
        while running:
            child, outcome = _ended(tree)
            yield running.pop(child), outcome
    finally:
        for child in running:  # whoever interrupts leaves nothing behind
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def put_in_place(source: Source, mutant: Mutant) -> None:
    """From now on whoever imports the module gets the mutant."""
    mutant.apply()
    compile(source.tree, source.path, "exec")
    sys.meta_path.insert(0, _Finder(source.name, source.path, source.tree))


def measured(tree: Path) -> list[Stage]:
    """The stages with their limits: the tests must pass on the unchanged tree, and may take much longer on a mutant."""
    stages = []
    for files in STAGES:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = _forked(tree, [Stage(files, 600.0)], lambda: None)
        _, outcome = _ended(tree)
        if outcome != "survived":
            raise SystemExit(f"the tests fail without a mutant:\n{said_by(tree, child)}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stages.append(Stage(files, 5.0 + 2.0 * (after.ru_utime - before.ru_utime)))
    return stages


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
    counts = Counter(stale=0)
    for name in stale(known, sources):
        counts["stale"] += 1
        print(f"a reason without such a mutant: {name}")
    _make_hypothesis_quick()
    stages = measured(tree)
    print(f"{len(work)} mutants, limits of {', '.join(f'{stage.limit:.0f} s' for stage in stages)}")
    for number, (mutant, outcome) in enumerate(outcomes(tree, stages, work, jobs), start=1):
        counts[outcome] += 1
        if outcome == "survived" and mutant.name in known:
            counts["explained"] += 1
        elif outcome == "survived":
            print(f"survived: {mutant.name} (line {mutant.line})")
        elif mutant.name in known:
            counts["stale"] += 1
            print(f"{outcome}, although there is a reason why not: {mutant.name}")
        if number % 100 == 0:
            print(f"{number} of {len(work)} after {time.monotonic() - began:.0f} s", flush=True)
    unexplained = counts["survived"] - counts["explained"]
    print(
        f"{len(work) - counts['survived']} of {len(work)} killed, {counts['timed out']} of them by a time limit; "
        f"{counts['explained']} survive for a reason, {unexplained} without; {time.monotonic() - began:.0f} s"
    )
    return 1 if unexplained or counts["stale"] else 0


def _make_hypothesis_quick() -> None:
    """The same few examples each time, and no search for the simplest that fails."""
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile(
        "mutation", max_examples=40, database=None, derandomize=True, deadline=None, phases=phases
    )
    hypothesis.settings.load_profile("mutation")


if __name__ == "__main__":
    sys.exit(main())
