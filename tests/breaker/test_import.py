"""What the library costs those who import it: the standard library, and no more of it than is used."""

import subprocess
import sys

import pytest

HEAVY = {
    "aiohttp", "asyncio", "concurrent.futures", "email", "http", "json", "logging", "msgspec", "multiprocessing",
    "prometheus_client", "socket", "sqlite3", "ssl", "starlette", "subprocess", "typing_extensions", "urllib.request",
    "uvicorn", "uvloop",
}  # fmt: skip
LOOK = """
import sys
before = set(sys.modules)
{program}
sys.stdout.write(" ".join(set(sys.modules) - before))
"""
HEALTHY = """
from recloser import Breakers, CircuitBreaker, CircuitSettings
breaker = CircuitBreaker("x", listeners=[id])
breaker.call(int)
breaker(int.__call__)
with breaker: pass
breaker.acquire().succeed()
breaker.force_open(); breaker.reset(); breaker.snapshot()
Breakers()["x"].call(int)
"""
FAILING = """
from recloser import CircuitBreaker, CircuitOpenError
breaker = CircuitBreaker("x")
for _ in range(9):
    try: breaker.call(int, "x")
    except (ValueError, CircuitOpenError): pass
assert breaker.snapshot().denied == 4
"""


def imported_by(program: str) -> set[str]:
    """The modules that a program brings into a fresh interpreter."""
    look = LOOK.format(program=program)
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


@pytest.mark.parametrize("program", ["import recloser", HEALTHY, FAILING], ids=["import", "healthy", "failing"])
def test_the_library_alone_brings_in_the_standard_library_alone_and_nothing_heavy(program: str) -> None:
    imported = imported_by(program)
    packages = {name.partition(".")[0] for name in imported}
    assert "recloser" in packages
    assert packages - sys.stdlib_module_names == {"recloser"}
    assert imported & HEAVY == set()


def test_the_library_alone_brings_in_no_other_room() -> None:
    rooms = {name.split(".")[1] for name in imported_by("import recloser") if name.startswith("recloser.")}
    assert rooms == {"breaker", "core", "ports"}


def test_every_public_name_is_there_and_says_what_it_is_for() -> None:
    program = "import recloser\nfor name in recloser.__all__: assert getattr(recloser, name).__doc__, name"
    assert "recloser" in imported_by(program)
