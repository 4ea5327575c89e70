"""What mutation testing stands on: every fault is made, by a name of its own, and no reason is older than the code."""

import ast

from tests.mutation.__main__ import MODULES, ROOT, read, reasons, stale
from tests.mutation.mutants import mutants

SMALL = '''
LEAST: int = 2

def room(used: int, limit: float = 5) -> bool:
    """How much."""
    assert used >= 0
    if used > limit and not LEAST:
        raise ValueError(f"{used} > {limit}")
    return min(used, limit=3) < LEAST
'''


def made(text: str) -> dict[str, str]:
    """Each mutant by its name, as text."""
    found = {}
    for place in range(len(mutants(ast.parse(text), "m"))):
        tree = ast.parse(text)
        mutant = mutants(tree, "m")[place]
        mutant.apply()
        found[mutant.name] = ast.unparse(tree)
    return found


def test_every_small_fault_is_made_once() -> None:
    assert list(made(SMALL)) == [
        "m: 3 for 2 in `LEAST: int = 2`",
        "m: 1 for 2 in `LEAST: int = 2`",
        "m.room: 6 for 5 as the default of limit",
        "m.room: 4 for 5 as the default of limit",
        "m.room: always `if used > limit and (not LEAST):`",
        "m.room: never `if used > limit and (not LEAST):`",
        "m.room: `used > limit or not LEAST` in `if used > limit and (not LEAST):`",
        "m.room: without `used > limit` in `if used > limit and (not LEAST):`",
        "m.room: without `not LEAST` in `if used > limit and (not LEAST):`",
        "m.room: `used >= limit` for `used > limit` in `used > limit and (not LEAST)`",
        "m.room: `used <= limit` for `used > limit` in `used > limit and (not LEAST)`",
        "m.room: `LEAST` for `not LEAST` in `used > limit and (not LEAST)`",
        "m.room: without `raise ValueError(f'{used} > {limit}')`",
        "m.room: None for `return min(used, limit=3) < LEAST`",
        "m.room: `min(used, limit=3) <= LEAST` for `min(used, limit=3) < LEAST` in `return min(used, limit=3) < LEAST`",
        "m.room: `min(used, limit=3) >= LEAST` for `min(used, limit=3) < LEAST` in `return min(used, limit=3) < LEAST`",
        "m.room: max for min in `min(used, limit=3)`",
        "m.room: without `limit=3` in `min(used, limit=3)`",
        "m.room: 4 for 3 in `min(used, limit=3)`",
        "m.room: 2 for 3 in `min(used, limit=3)`",
    ]


def test_a_mutant_is_the_module_with_that_one_fault() -> None:
    original = ast.unparse(ast.parse(SMALL))
    for name, text in made(SMALL).items():
        assert text != original, name
        changed = sum(a != b for a, b in zip(text.splitlines(), original.splitlines(), strict=True))
        assert changed == 1, name


def test_the_same_fault_in_the_same_words_has_a_number() -> None:
    assert list(made("a = f(1) + f(1)"))[-2:] == ["m: 2 for 1 in `f(1)` (2)", "m: 0 for 1 in `f(1)` (2)"]


def test_no_reason_is_older_than_the_code() -> None:
    """A mutant that is no longer made needs no reason: take it out of equivalent.toml, or give it its new name."""
    assert stale(reasons(), [read(ROOT, module) for module in MODULES]) == []


def test_a_stale_reason_is_found() -> None:
    known = {"backoff.backoff: long gone": "because", "elsewhere: not looked at": "because"}
    assert stale(known, [read(ROOT, "backoff")]) == ["backoff.backoff: long gone"]
