"""What comes with the package."""

import tomllib
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from benchmarks.compare.environment import ROOT
from benchmarks.compare.library import DISTRIBUTIONS, Library
from benchmarks.compare.row import Told, fact, judged


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
