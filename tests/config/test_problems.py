"""Where a problem is said to be."""

import tomllib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from recloser.config.problems import BadConfigError, Problem, dotted, line_numbers, nearest

TEXT = """\
# a comment = "of no meaning"
[gateway]
listen = "a:1"  # hosts = 3
hosts = [
  "a",
  # "b" = 4
  "[x]",
]

[providers."my one"]
kind = "openai"
circuit = { cooldown = "5s", jitter = 0.1 }
headers.x-team = "a"
api_key = '''
[not.a.header]
kind = "no key"
'''
regions = { us = "https://u" }

[[unknown.list]]
a = 1
"""


def test_lines_are_found_whatever_the_values_look_like() -> None:
    lines = line_numbers(TEXT)
    place = ("providers", "my one")
    assert lines[("gateway",)] == 2
    assert lines[("gateway", "listen")] == 3
    assert lines[("gateway", "hosts")] == 4
    assert lines[place] == 10
    assert lines[(*place, "kind")] == 11
    assert lines[(*place, "circuit", "jitter")] == 12
    assert lines[(*place, "headers", "x-team")] == 13
    assert lines[(*place, "api_key")] == 14
    assert lines[(*place, "regions", "us")] == 18
    assert lines[("unknown", "list", "a")] == 21
    assert ("not", "a", "header") not in lines


@given(st.text())
def test_no_text_is_too_strange_for_line_numbers(text: str) -> None:
    line_numbers(text)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple))
def test_a_dotted_key_is_read_back_by_toml(key: tuple[str, ...]) -> None:
    if any(ord(c) < 32 or ord(c) == 127 for part in key for c in part):
        return
    here: object = tomllib.loads(f"{dotted(key)} = 1")
    for part in key:
        assert isinstance(here, dict)
        here = here[part]
    assert here == 1


def test_problems_come_once_and_in_the_order_of_the_file() -> None:
    error = BadConfigError(Path("r.toml"), [Problem(("b",), "x", 7), Problem(("a",), "y", 3), Problem(("b",), "x", 7)])
    assert str(error) == "r.toml has 2 problems:\n  line 3: a: y\n  line 7: b: x"


def test_the_nearest_name_or_all_of_them() -> None:
    assert nearest("antrhopic", ["openai", "anthropic"]) == "did you mean 'anthropic'?"
    assert nearest("zzz", ["b", "a"]) == "known are a, b"
    assert nearest("zzz", []) == "none is known"
