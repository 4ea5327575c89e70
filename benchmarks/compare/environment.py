"""Where the libraries are: `.venv-bench`, pinned and hashed, and made when it is not there."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from recloser._version import __version__

ROOT = Path(__file__).resolve().parents[2]
_HOME = ROOT / ".venv-bench"
_PINNED = ROOT / "requirements" / "bench.txt"


def bench_python() -> Path:
    """The interpreter of `.venv-bench`, brought to what requirements/bench.txt says."""
    python = _HOME / "bin" / "python"
    stamp = _HOME / ".installed"
    wanted = hashlib.sha256(_PINNED.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print("setting up .venv-bench (once, some minutes) ...", file=sys.stderr, flush=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes", "-r"]
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(_HOME)], check=True)
        subprocess.run([*install, str(_PINNED)], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def surroundings() -> dict[str, str]:
    """The environment in which that interpreter finds recloser and the benchmarks, from their sources."""
    return os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PYTHONWARNINGS": "ignore"}


def versions(distributions: Iterable[str]) -> Mapping[str, str]:
    """What is measured."""
    ask = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    asked = [name for name in distributions if name != "recloser"]
    argv = [str(bench_python()), "-c", ask, *asked]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(asked, said, strict=True)) | {"recloser": __version__}
