"""How many calls are too many, and from where they are counted."""

from typing import Any

import pytest
from tests.gateway.guards.asking import EVERY_WIRE, TASK, asked, model, sent, steps, texts, together, unreadable, user

from recloser.core.errors import ConfigError
from recloser.gateway.canonical import Part, Role, Text, Turn
from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.guards.tool_count import MOST_AT_ONCE, MOST_CALLERS, CountSettings, ToolCount
from recloser.gateway.request import Request


def calls(number: int) -> tuple[Turn, ...]:
    return steps(*(("run", f'{{"n":{n}}}') for n in range(number)))


def seen(request: Request, **settings: Any) -> Verdict | None:
    return ToolCount(CountSettings(**settings)).look(request, 0.0)


def count(verdict: Verdict | None) -> int:
    return 0 if verdict is None else int(verdict.why.partition(" ")[0])


def with_words(turns: tuple[Turn, ...], *words: str) -> tuple[Turn, ...]:
    """The same turns, with words of the client beside the last results."""
    more: tuple[Part, ...] = tuple(Text(text=text) for text in words)
    return (*turns[:-1], Turn(role=Role.USER, parts=(*turns[-1].parts, *more)))


class TestInAConversation:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_fifty_are_fine_and_one_more_is_not(self, wire: str) -> None:
        assert seen(asked(TASK, *calls(50), wire=wire)) is None
        verdict = seen(asked(TASK, *calls(51), wire=wire))
        assert verdict is not None
        assert (verdict.action, verdict.why) == (
            Action.WARN,
            "51 tool calls since the user spoke last; the limit is 50",
        )

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_refusal_names_itself_the_count_and_the_limit(self, wire: str) -> None:
        verdict = seen(asked(TASK, *calls(60), wire=wire), action="refuse")
        assert verdict is not None
        assert verdict.refusal is not None
        assert (verdict.refusal.status, verdict.refusal.kind) == (400, "tool_count_exceeded")
        assert verdict.refusal.message == "60 tool calls since the user spoke last; the limit is 50"

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_the_words_of_the_user_begin_a_new_count(self, wire: str) -> None:
        turns = (TASK, *calls(60), model(), user("very well, go on"), *calls(3))
        assert seen(asked(*turns, wire=wire), action="refuse") is None
        assert count(seen(asked(*turns, wire=wire), action="refuse", since="start")) == 63

    def test_a_session_that_was_refused_lives_on_when_the_user_speaks(self) -> None:
        guard = ToolCount(CountSettings(action="refuse"))
        assert guard.look(asked(TASK, *calls(51)), 0.0) is not None
        assert guard.look(asked(TASK, *calls(51), user("go on")), 0.0) is None
        assert guard.look(asked(TASK, *calls(51), user("go on"), *calls(1)), 0.0) is None

    def test_what_clients_add_to_results_by_themselves_are_no_words_of_the_user(self) -> None:
        reminded = with_words(calls(30), "<system-reminder>mind the list</system-reminder>", "[recloser] a hint")
        assert count(seen(asked(TASK, *reminded, *calls(30)), action="refuse")) == 60
        interrupted = with_words(calls(30), "no, the other file")
        assert seen(asked(TASK, *interrupted, *calls(30)), action="refuse") is None

    def test_calls_made_at_once_count_one_by_one(self) -> None:
        assert count(seen(asked(TASK, *together(*["run"] * 60)))) == 60

    def test_it_warns_each_time_the_limit_is_passed_once_more_and_not_in_between(self) -> None:
        told = [n for n in range(1, 160) if seen(asked(TASK, *calls(n))) is not None]
        assert told == [51, 101, 151]

    def test_it_refuses_as_long_as_there_are_too_many(self) -> None:
        refused = [n for n in range(1, 20) if seen(asked(TASK, *calls(n)), limit=10, action="refuse") is not None]
        assert refused == list(range(11, 20))

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_hint_is_the_last_word(self, wire: str) -> None:
        verdict = seen(asked(TASK, *calls(51), wire=wire), action="hint")
        assert verdict is not None
        assert verdict.instead is not None
        assert "You have made 51 tool calls since the user spoke last" in texts(verdict.instead)[-1]

    def test_nothing_is_read_where_no_tool_has_spoken(self) -> None:
        request = asked(TASK, *calls(60), model(), user())
        assert ToolCount(CountSettings(action="refuse")).look(unreadable(request), 0.0) is None


class TestOverTime:
    """Ten calls an hour."""

    def guard(self, **settings: Any) -> ToolCount:
        return ToolCount(CountSettings(**{"limit": 10, "per": 3600.0, "action": "refuse", **settings}))

    def test_calls_of_several_conversations_add_up_and_grow_old(self) -> None:
        guard = self.guard()
        for number in range(10):
            assert guard.look(asked(user(f"task {number}"), *calls(1)), 60.0 * number) is None
        verdict = guard.look(asked(user("task 10"), *calls(1)), 600.0)
        assert verdict is not None
        assert verdict.why == "11 tool calls within 1 h; the limit is 10"
        assert guard.look(asked(user("task 11"), *calls(1)), 3600.0 + 60.0) is None  # the first two are old

    def test_only_what_is_new_in_a_conversation_counts(self) -> None:
        guard = self.guard()
        told = [guard.look(asked(TASK, *calls(n)), 0.0) is not None for n in range(1, 13)]
        assert told == [False] * 10 + [True] * 2

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_a_request_that_is_sent_again_counts_once(self, wire: str) -> None:
        guard = self.guard()
        for _ in range(30):
            assert guard.look(asked(TASK, *calls(3), wire=wire), 0.0) is None

    def test_calls_that_are_alike_at_other_places_of_a_conversation_are_other_calls(self) -> None:
        guard = self.guard()
        told = [guard.look(asked(TASK, *steps(*["run"] * n)), 0.0) is not None for n in range(1, 12)]
        assert told == [False] * 10 + [True]

    def test_each_client_and_each_agent_has_a_count_of_its_own(self) -> None:
        guard = self.guard()
        for client, agent in (("env:A", ""), ("env:B", ""), ("env:A", "nightly"), ("", "")):
            assert guard.look(asked(TASK, *together(*["run"] * 10), client=client, agent=agent), 0.0) is None
        assert guard.look(asked(user("more"), *calls(1), client="env:A", agent="nightly"), 0.0) is not None

    def test_results_without_their_calls_count_too(self) -> None:
        guard = self.guard(limit=1)
        for number, told in enumerate((False, True)):
            given = {"type": "function_call_output", "call_id": f"c{number}", "output": "x"}
            body = {"model": "m", "previous_response_id": "resp_1", "input": [given]}
            assert (guard.look(sent(body, wire="openai-responses"), 0.0) is not None) is told

    def test_what_it_remembers_is_bounded(self) -> None:
        guard = self.guard(limit=5)
        for number in range(400):
            guard.look(asked(user(f"task {number}"), *together("run", "find", number=number)), 0.0)
        (calls_of_all,) = guard._callers.values()
        assert len(calls_of_all) == 5 + MOST_AT_ONCE
        for number in range(MOST_CALLERS + 10):
            guard.look(asked(TASK, *calls(1), agent=f"a{number}"), 0.0)
        assert len(guard._callers) == MOST_CALLERS


@pytest.mark.parametrize("limit", [0, -1, 100_001])
def test_limits_that_make_no_sense_are_refused(limit: int) -> None:
    with pytest.raises(ConfigError, match="limit must be"):
        CountSettings(limit=limit)
