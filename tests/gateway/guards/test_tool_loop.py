"""Calls that come again and again, and those that only look so."""

from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.guards.asking import (
    EVERY_WIRE,
    TASK,
    Step,
    asked,
    model,
    sent,
    steps,
    texts,
    together,
    unreadable,
    user,
)

from recloser.core.errors import ConfigError
from recloser.gateway.canonical import Turn
from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.guards.tool_loop import LONGEST_CYCLE, LoopSettings, ToolLoop, normalised

A, B, C, D = (Step(name) for name in ("a", "b", "c", "d"))


def seen(*turns: Turn, wire: str = "anthropic", **settings: Any) -> Verdict | None:
    return ToolLoop(LoopSettings(**settings)).look(asked(TASK, *turns, wire=wire), 0.0)


def why(*turns: Turn, **settings: Any) -> str:
    verdict = seen(*turns, **settings)
    return "" if verdict is None else verdict.why


class TestLoops:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_three_identical_calls_are_one(self, wire: str) -> None:
        assert seen(*steps(A, A), wire=wire) is None
        verdict = seen(*steps(A, A, A), wire=wire)
        assert verdict is not None
        assert verdict.action is Action.WARN
        assert verdict.why == "the same call of a, with the same result, 3 times in the last rounds"
        assert (verdict.instead, verdict.refusal) == (None, None)

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    @pytest.mark.parametrize(
        "result", ["", "short", "a result in plain words, long enough to search for it", "漢字" * 40]
    )
    def test_whatever_their_results_are(self, wire: str, result: str) -> None:
        again = ("read", '{"file":"a.py"}', result)
        assert seen(*steps(again, again), wire=wire) is None
        assert seen(*steps(again, again, again), wire=wire) is not None

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    @pytest.mark.parametrize("cycle", [(A, B), (A, B, C), (A, B, C, D), (A, A, B), (A, B, A, C)])
    def test_cycles_of_up_to_four_calls_are_some(self, wire: str, cycle: tuple[Step, ...]) -> None:
        assert seen(*steps(*cycle * 2), wire=wire, window=3) is None
        verdict = seen(*steps(*cycle * 3), wire=wire, window=3)
        assert verdict is not None
        assert f"the same {len(cycle)} calls" in verdict.why

    def test_a_cycle_is_seen_wherever_it_stands_at_the_moment(self) -> None:
        for begun in range(3):
            assert why(*steps(*(A, B, C) * 3, *(A, B, C)[:begun]))

    def test_a_cycle_of_five_is_beyond_what_is_looked_at(self) -> None:
        assert not why(*steps(*(*(A, B, C, D), Step("e")) * 5), window=5)

    def test_calls_made_at_once_are_a_cycle_like_those_one_after_another(self) -> None:
        assert "the same 2 calls (a, b)" in why(*(turn for n in range(3) for turn in together(A, B, number=n)))

    def test_a_loop_may_be_left_for_a_moment_within_the_window(self) -> None:
        assert "3 times" in why(*steps(A, B, A, C, A))
        assert not why(*steps(A, B, A, C, A), window=3)  # then only those in a row count
        assert not why(*steps(A, A, B, C, D, A))

    def test_what_is_over_is_over(self) -> None:
        assert not why(*steps(A, A, A, B))
        assert not why(*steps(A, A, A), model(), user("do something else"))

    def test_the_words_of_the_user_in_between_do_not_hide_it(self) -> None:
        assert why(*steps(A, A), model(), user(), *steps(A))


class TestNoLoops:
    def test_polling_that_gives_something_new_is_none(self) -> None:
        assert not why(*steps(*(("status", "{}", f"{n} % done") for n in range(9))))
        assert why(*steps(*(("status", "{}", "0 % done") for n in range(9))))

    def test_a_failure_differs_from_a_result_with_the_same_words(self) -> None:
        assert not why(*steps(("a", "{}", "x"), ("a", "{}", "x", True), ("a", "{}", "x")))

    def test_other_arguments_are_another_call(self) -> None:
        assert not why(*steps(*(("read", f'{{"line":{n}}}') for n in range(9))))

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_the_same_arguments_may_be_written_in_another_way(self, wire: str) -> None:
        one, other = ("a", '{"x":1,"y":[{"p":1,"q":2}]}'), ("a", '{ "y": [{"q": 2, "p": 1}], "x": 1 }')
        assert seen(*steps(one, other, one), wire=wire) is not None

    def test_arguments_that_are_no_json_are_compared_as_they_are(self) -> None:
        broken = ("a", '{"x": ')
        assert why(*steps(broken, broken, broken))
        assert not why(*steps(broken, ("a", '{"x": 1'), broken))

    def test_calls_whose_results_are_kept_elsewhere_are_compared_without(self) -> None:
        items = [{"type": "function_call", "call_id": f"c{n}", "name": "a", "arguments": "{}"} for n in range(3)]
        last = {"type": "function_call_output", "call_id": "elsewhere", "output": "x"}
        request = sent({"model": "m", "input": [*items, last]}, wire="openai-responses")
        assert ToolLoop(LoopSettings()).look(request, 0.0) is not None

    def test_ids_that_come_again_do_not_mix_up_results(self) -> None:
        def step(result: str) -> list[dict[str, Any]]:
            call = {"id": "call_0", "type": "function", "function": {"name": "poll", "arguments": "{}"}}
            return [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_0", "content": result},
            ]

        def look(*results: str) -> Verdict | None:
            messages = [message for result in results for message in step(result)]
            return ToolLoop(LoopSettings()).look(sent({"model": "m", "messages": messages}, wire="openai-chat"), 0.0)

        assert look("1", "2", "3") is None
        assert look("1", "2", "1") is None
        assert look("1", "1", "1") is not None


class TestActions:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_hint_is_the_last_word_and_changes_nothing_before_it(self, wire: str) -> None:
        request = asked(TASK, *steps(A, A, A), wire=wire)
        verdict = ToolLoop(LoopSettings(action="hint")).look(request, 0.0)
        assert verdict is not None
        assert verdict.instead is not None
        *before, last = texts(verdict.instead)
        assert "You have made the same call of a 3 times" in last
        assert "[recloser] " in last
        assert before == texts(request)[: len(before)]

    def test_a_hint_is_not_counted_as_a_result_the_next_time(self) -> None:
        # The client knows nothing of it; but should one send it back, polling is still polling.
        guard = ToolLoop(LoopSettings(action="hint"))
        verdict = guard.look(asked(TASK, *steps(A, A, A), wire="openai-chat"), 0.0)
        assert verdict is not None
        assert verdict.instead is not None
        assert guard.look(verdict.instead, 0.0) is None

    def test_a_refusal_names_itself(self) -> None:
        verdict = seen(*steps(A, A, A), action="refuse")
        assert verdict is not None
        assert verdict.refusal is not None
        assert (verdict.refusal.status, verdict.refusal.kind) == (400, "tool_loop_detected")
        assert "a" in verdict.refusal.message

    def test_names_of_tools_are_told_but_none_without_end(self) -> None:
        endless = Step("x" * 5000)
        assert len(why(*steps(endless, endless, endless))) < 200

    def test_nothing_is_read_where_no_tool_has_spoken(self) -> None:
        for turns in ((TASK,), (TASK, *steps(A, A, A), model(), user())):
            assert ToolLoop(LoopSettings()).look(unreadable(asked(*turns)), 0.0) is None


class TestSettings:
    @pytest.mark.parametrize("settings", [{"repeats": 1}, {"window": 2}, {"window": 101}, {"window": 3, "repeats": 4}])
    def test_those_with_which_it_could_never_see_anything_are_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            LoopSettings(**settings)

    @pytest.mark.parametrize(("length", "repeats"), [*product(range(1, LONGEST_CYCLE + 1), (2, 3, 7))])
    def test_with_all_others_every_cycle_can_be_seen(self, length: int, repeats: int) -> None:
        cycle = (A, B, C, D)[:length]
        assert why(*steps(*cycle * repeats), window=repeats, repeats=repeats)
        assert not why(*steps(*cycle * (repeats - 1)), window=repeats, repeats=repeats)


class TestArguments:
    VALUES = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
        max_leaves=8,
    )

    @given(VALUES)
    def test_one_value_has_one_way_of_writing(self, value: Any) -> None:
        def backwards(inner: Any) -> Any:
            if isinstance(inner, dict):
                return {key: backwards(inner[key]) for key in reversed(inner)}
            return [backwards(one) for one in inner] if isinstance(inner, list) else inner

        written = msgspec.json.encode(backwards(value)).decode()
        spaced = msgspec.json.format(written, indent=3)
        assert normalised(written) == normalised(spaced) == normalised(msgspec.json.encode(value).decode())

    @given(VALUES, VALUES)
    def test_two_values_have_two(self, one: Any, other: Any) -> None:
        def same(a: Any, b: Any) -> bool:  # 1 is True for Python
            return type(a) is type(b) and (
                a.keys() == b.keys() and all(same(a[key], b[key]) for key in a) if isinstance(a, dict)
                else len(a) == len(b) and all(map(same, a, b)) if isinstance(a, list)
                else a == b
            )  # fmt: skip

        alike = normalised(msgspec.json.encode(one).decode()) == normalised(msgspec.json.encode(other).decode())
        assert alike == same(one, other)

    @pytest.mark.parametrize("odd", ["", "nul", "\ud800", "[" * 100_000, '{"x":1e999}', "x" * 200_000])
    def test_nothing_is_too_odd_for_it(self, odd: str) -> None:
        assert normalised(odd) == odd.encode("utf-8", "surrogatepass")
