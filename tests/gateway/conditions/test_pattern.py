"""Regular expressions that strangers' names are matched with."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.gateway.conditions.pattern import LONGEST_PATTERN, Pattern

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\.", "-", "^", "$"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3).map("".join)
        | st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{,2}", "{1,}", "{1,3}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        )
    ),
    max_leaves=6,
)


@given(PATTERNS, st.text("ab1-.", max_size=8))
def test_it_finds_what_the_standard_library_finds(source: str, text: str) -> None:
    assert Pattern(source).found_in(text) is (re.search(source, text) is not None)


@pytest.mark.parametrize(
    ("source", "found", "not_found"),
    [
        ("^claude-.*-(mini|haiku)$", "claude-x-haiku", "claude-haiku-x"),
        ("(?i)GPT", "chat-gpt-5", "chatgp"),
        (r"^[\w.-]+/", "vendor.x/model", "model"),
        ("^(a|bc|)$", "bc", "ab"),
        ("[]x]", "]", "y"),
        ("[^]]", "y", "]"),
        ("", "", None),
    ],
)
def test_what_is_found(source: str, found: str, not_found: str | None) -> None:
    assert Pattern(source).found_in(found)
    assert not_found is None or not Pattern(source).found_in(not_found)


@pytest.mark.parametrize("source", ["(a*)*$b", "(a|a)*$b", "(a?){30}a{30}$b", "a*a*a*a*a*a*a*$b", "(.*)(.*)(.*)(.*)$b"])
def test_no_name_keeps_it_busy(source: str) -> None:
    pattern = Pattern(source)
    started = time.process_time()
    assert not pattern.found_in("a" * 256)
    assert time.process_time() - started < 1.0  # a backtracking one needs longer than the sun has


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("(", "has a '(' without its ')'"),
        ("a)", "has a ')' without its '('"),
        ("*a", "has a '*' with nothing to repeat"),
        ("a**", "has a repetition of a repetition"),
        ("a{x}", "has a '{' that is no repetition"),
        ("a{3,2}", "which is never"),
        ("[a", "is no regular expression"),
        ("\\", "is no regular expression"),
        (r"(a)\1", "which is not known here"),
        (r"\ba", "which is not known here"),
        ("(?=a)", "has '(?=', which is not known here"),
        ("(?P<x>a)", "which is not known here"),
        ("(a{99}){99}", "repeats too much"),
        ("a" * (LONGEST_PATTERN + 1), "has more than 200 characters"),
        ("(" * LONGEST_PATTERN, "has a '(' without its ')'"),
    ],
)
def test_what_is_refused(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Pattern(source)


@given(st.text("ab(){}[]|*+?\\^$.,1?:i-&~", max_size=30))
def test_any_text_is_a_pattern_or_a_value_error(source: str) -> None:
    try:
        pattern = Pattern(source)
    except ValueError:
        return
    pattern.found_in("ab1")
