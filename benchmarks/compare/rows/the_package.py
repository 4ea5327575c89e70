"""What comes with the package."""

import subprocess
import sys
import tomllib
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.compare.environment import ROOT
from benchmarks.compare.library import DISTRIBUTIONS, Library
from benchmarks.compare.row import Told, fact, judged

_IMPORT = "import time; began = time.perf_counter(); import {}; print(time.perf_counter() - began)"


@fact("Type checkers see its types (`py.typed`)")
def typed(library: Library) -> Told:
    spec = find_spec(library.package)
    assert spec is not None
    where = spec.submodule_search_locations
    return judged(bool(where) and (Path(next(iter(where or ()))) / "py.typed").exists())


@fact("Packages that it requires")
def needs(library: Library) -> Told:
    if library.package == "recloser":  # from its sources, it is not installed here
        needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        needed = [one for one in requires(DISTRIBUTIONS[library.package]) or () if "extra ==" not in one]
    return Told(str(len(needed)), not needed)


@fact("Milliseconds to import it")
def import_time(library: Library) -> Told:
    argv = [sys.executable, "-c", _IMPORT.format(library.package)]
    took = [float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    return Told(f"{median(took) * 1000:.0f}")
