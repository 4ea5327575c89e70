"""Where the words of two models meet, nothing is said twice and nothing is lost."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.resuming.deterministic import text

from recloser.gateway.resuming.seam import LONGEST_PREAMBLE, Seam, anchor, telling

SAID = "Recloser waits for the line to cool. Then it closes again, and if the fault is gone"
REST = ", the light comes back on."


def joined(said: str, *new: str, told: bool = True) -> str:
    """What the client gets of the second model, given its words piece by piece."""
    seam = Seam(said, told=told)
    return "".join(map(seam.feed, new)) + seam.end()


@pytest.mark.parametrize("told", [True, False])
def test_who_says_what_is_missing_is_heard_at_once(told: bool) -> None:
    seam = Seam(SAID, told=told)
    assert seam.feed(", the") == ", the" if not told else seam.feed(", the" + "x" * 300)
    assert seam.feed(" light") == " light"


def test_the_anchor_is_the_end_of_what_was_said_from_a_word_on() -> None:
    assert anchor(SAID) == "Then it closes again, and if the fault is gone"
    assert anchor("short") == "short"
    assert anchor("this is a long line\nand the last line of the text  \n") == "and the last line of the text"
    assert anchor("a line\nlast one\n") == "a line\nlast one"
    assert anchor("x" * 100) == "x" * 48
    assert anchor("") == ""


def test_who_begins_with_the_anchor_as_told_is_heard_after_it() -> None:
    assert joined(SAID, anchor(SAID) + REST) == REST
    assert joined(SAID, *anchor(SAID), *REST) == REST


def test_who_repeats_some_words_is_heard_after_them() -> None:
    assert joined(SAID, "if the fault is gone" + REST) == REST
    assert joined(SAID, "if the fault is gone" + REST, told=False) == "if the fault is gone" + REST
    assert joined(SAID, SAID[-40:] + REST, told=False) == REST, "that much is no chance"


@pytest.mark.parametrize("told", [True, False])
def test_who_begins_anew_is_heard_from_where_the_first_stopped(told: bool) -> None:
    assert joined(SAID, SAID + REST, told=told) == REST
    assert joined(SAID, *(SAID + REST), told=told) == REST


def test_a_preamble_is_cut_off_with_the_words_it_leads_to() -> None:
    assert joined(SAID, "Of course! Here is the rest:\n\n" + anchor(SAID) + REST) == REST
    assert joined(SAID, *("Of course:\n" + SAID + REST)) == REST


def test_without_the_anchor_a_preamble_is_taken_for_the_answer_after_a_while() -> None:
    words = "y" * (LONGEST_PREAMBLE + 60)
    seam = Seam(SAID, told=True)
    assert seam.feed(words[:LONGEST_PREAMBLE]) == ""
    assert seam.feed(words[LONGEST_PREAMBLE:]) == words


def test_a_word_that_is_the_same_by_chance_is_no_repetition() -> None:
    assert joined("ha ha ", "ha!", told=False) == "ha!"
    assert joined("Hel", "lo", told=False) == "lo"
    assert joined("The answer is 1", "1.", told=False) == "1."
    assert joined("a table:\n" + "-" * 40, "-" * 40 + "|", told=True) == "-" * 40 + "|"


def test_white_space_that_was_not_shown_to_the_second_is_not_said_twice() -> None:
    assert joined("one two ", " three", told=False) == "three"
    assert joined("one two ", "three", told=False) == "three"
    assert joined("a list:\n\n", "\n\n- one", told=False) == "- one"


def test_who_repeats_what_was_said_and_stops_has_nothing_new_to_say() -> None:
    assert joined(SAID, SAID) == ""
    assert joined(SAID, anchor(SAID)) == ""
    assert joined(SAID, SAID[:30]) == ""
    assert joined(SAID, "") == ""


def test_where_nothing_but_white_space_was_said_everything_is_new() -> None:
    assert joined("\n", "hello") == "hello"
    assert joined("", "hello") == "hello"


@given(
    st.randoms(use_true_random=False), st.booleans(), st.sampled_from(["rest", "anchor", "anew", "tail", "preamble"])
)
def test_wherever_it_is_cut_and_however_it_goes_on_the_text_is_the_same(
    rng: random.Random, told: bool, way: str
) -> None:
    whole = text(rng)
    cut = rng.randint(1, len(whole) - 1)
    said = whole[:cut]
    rest = whole[len(said.rstrip()) :]
    new = {
        "rest": rest,
        "anchor": (anchor(said) if told else "") + rest,
        "anew": whole if told or len(said.strip()) >= 16 else rest,
        "tail": (said.rstrip()[-50:].lstrip() if len(said.strip()) >= 60 else "") + rest,
        "preamble": ("Here it is: " + anchor(said) if told and telling(anchor(said)) else "") + rest,
    }[way]
    cuts = sorted(rng.sample(range(len(new) + 1), min(len(new), rng.randint(0, 12))))
    pieces = [new[a:b] for a, b in zip([0, *cuts], [*cuts, len(new)], strict=True)]
    assert said + joined(said, *pieces, told=told) == whole


def test_a_hostile_repetition_is_looked_at_a_bounded_number_of_times() -> None:
    seam = Seam("abcdefg" * 20_000, told=True)
    assert not any(map(seam.feed, "abcdefg" * 700)), "it may still begin anew"
    assert seam.feed("b").endswith("abcdefgb")
