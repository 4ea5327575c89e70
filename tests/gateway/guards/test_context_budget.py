"""What is left out of a conversation before it is too large, and what never is."""

from typing import Any

import pytest
from tests.gateway.guards.asking import (
    EVERY_WIRE,
    TASK,
    asked,
    model,
    sent,
    steps,
    texts,
    tools_of,
    unreadable,
    user,
)

from recloser.core.errors import ConfigError
from recloser.gateway.canonical import Role, Text, Turn
from recloser.gateway.estimate import tokens
from recloser.gateway.guards.bounds import tokens_at_most
from recloser.gateway.guards.context_budget import ContextBudget, ContextSettings
from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.guards.tool_loop import LoopSettings, ToolLoop
from recloser.gateway.request import Request
from recloser.gateway.settings import ModelSettings, ProviderSettings

THOUSAND = "word " * 700
"""A thousand tokens, about."""


def read_files(number: int, text: str = THOUSAND) -> tuple[Turn, ...]:
    return steps(*(("open", f'{{"n":{n}}}', f"file {n}: {text}") for n in range(number)))


def seen(request: Request, **settings: Any) -> Verdict | None:
    return ContextBudget(ContextSettings(**settings)).look(request, 0.0)


def left_out(request: Request) -> list[bool]:
    """Of each result, whether a note stands in its place."""
    results = [text for text in texts(request) if text.startswith(("file ", "[recloser] This result"))]
    return [text.startswith("[recloser]") for text in results]


class TestWarning:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_it_begins_at_a_share_of_the_limit(self, wire: str) -> None:
        request = asked(TASK, *read_files(9), wire=wire)
        used = tokens(request.read())
        assert seen(request, limit=round(used / 0.79)) is None
        verdict = seen(request, limit=round(used / 0.81))
        assert verdict is not None
        assert (verdict.action, verdict.instead) == (Action.WARN, None)
        assert verdict.why == f"about {used} tokens of {round(used / 0.81)}"

    def test_tools_and_pictures_count(self) -> None:
        many = asked(TASK, tools=[f"tool_{n}_{'x' * 40}" for n in range(200)])
        assert seen(many, limit=3000) is not None
        picture = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        shown = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [picture] * 3}]}
        assert seen(sent(shown), limit=5000) is not None

    def test_the_smallest_window_that_is_known_counts_with_room_for_the_answer(self) -> None:
        request = asked(TASK, *read_files(9), windows=(200_000, None, 16_000), max_tokens=4000)
        verdict = seen(request)
        assert verdict is not None
        assert "of 16000, 4000 of them for the answer" in verdict.why
        assert seen(request, window="largest") is None
        assert seen(asked(TASK, *read_files(9), windows=(None, None))) is None

    def test_an_answer_that_may_be_endless_has_half_the_window(self) -> None:
        verdict = seen(asked(TASK, *read_files(9), windows=(20_000,), max_tokens=64_000))
        assert verdict is not None
        assert "10000 of them for the answer" in verdict.why

    def test_what_is_small_enough_for_certain_is_not_read(self) -> None:
        request = asked(TASK, *read_files(9))
        assert seen(unreadable(request), limit=200_000) is None
        assert seen(unreadable(request)) is None

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_no_request_has_more_tokens_than_are_thought_possible(self, wire: str) -> None:
        for text in (THOUSAND, "漢字" * 500, "é" * 999, '\n\t"\\' * 500, "A1" * 999, "👍" * 300, "a b " * 99):
            request = asked(user(text), *read_files(3, text), user(), model(), user(), wire=wire)
            assert tokens(request.read()) <= tokens_at_most(request.body)


class TestTrimming:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_the_oldest_results_go_first_and_as_many_as_are_needed(self, wire: str) -> None:
        request = asked(TASK, *read_files(12), wire=wire)
        used = tokens(request.read())
        verdict = seen(request, action="trim", limit=12_000)
        assert verdict is not None
        assert verdict.action is Action.TRIM
        assert verdict.instead is not None
        gone = left_out(verdict.instead)
        assert gone == sorted(gone, reverse=True)
        assert 0 < sum(gone) < 9
        assert tokens(verdict.instead.read()) <= 0.8 * 12_000 < used
        assert f"{sum(gone)} old results of tools" in verdict.why

    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_nothing_else_changes(self, wire: str) -> None:
        request = asked(TASK, *read_files(12), wire=wire)
        verdict = seen(request, action="trim", limit=12_000)
        assert verdict is not None
        assert verdict.instead is not None
        before, after = request.read(), verdict.instead.read()
        assert (after.tools, after.system, after.max_tokens) == (before.tools, before.system, before.max_tokens)
        assert [turn for turn in after.turns if turn.role is Role.ASSISTANT] == [
            turn for turn in before.turns if turn.role is Role.ASSISTANT
        ]
        assert after.turns[0] == before.turns[0]
        assert after.turns[-6:] == before.turns[-6:]

    def test_the_task_stays_however_large_it_is(self) -> None:
        task = user("the task: " + THOUSAND * 20)
        verdict = seen(asked(task, *read_files(9)), action="trim", limit=12_000)
        assert verdict is not None
        assert verdict.instead is not None
        assert texts(verdict.instead)[0] == texts(asked(task))[0]
        assert left_out(verdict.instead) == [True] * 6 + [False] * 3

    def test_what_has_just_come_stays(self) -> None:
        verdict = seen(asked(TASK, *read_files(4, THOUSAND * 9)), action="trim", limit=20_000, keep_turns=8)
        assert verdict is not None
        assert (verdict.action, verdict.instead) == (Action.WARN, None)

    def test_short_results_stay_too(self) -> None:
        turns = (TASK, *read_files(9, "short"), user(THOUSAND * 9), *read_files(3, "short"))
        verdict = seen(asked(*turns), action="trim", limit=9_000)
        assert verdict is not None
        assert verdict.instead is None

    def test_the_beginning_stays_the_same_for_many_requests_on_end(self) -> None:
        # or a provider's cache would be of no use: it knows a conversation by how it begins
        guard = ContextBudget(ContextSettings(action="trim", limit=40_000))
        beginnings = []
        for n in range(33, 63):
            verdict = guard.look(asked(TASK, *read_files(n)), 0.0)
            assert verdict is not None
            assert verdict.instead is not None
            beginnings.append(sum(left_out(verdict.instead)))
        assert beginnings == sorted(beginnings)
        assert len(set(beginnings)) <= 5

    def test_results_that_are_gone_are_no_loop(self) -> None:
        polled = steps(*(("poll", "{}", f"{n}: {THOUSAND}") for n in range(12)))
        verdict = seen(asked(TASK, *polled), action="trim", limit=4_000, keep_turns=1)
        assert verdict is not None
        assert verdict.instead is not None
        assert ContextBudget.stage > ToolLoop.stage  # so the loop is looked for before
        assert ToolLoop(LoopSettings()).look(asked(TASK, *polled), 0.0) is None

    def test_the_tools_are_still_there(self) -> None:
        verdict = seen(asked(TASK, *read_files(12)), action="trim", limit=12_000)
        assert verdict is not None
        assert verdict.instead is not None
        assert tools_of(verdict.instead) == ["find", "open", "run"]


class TestSettings:
    @pytest.mark.parametrize(
        "settings", [{"limit": -1}, {"share": 0.0}, {"share": 1.1}, {"down_to": 0.8}, {"keep_turns": 0}]
    )
    def test_what_cannot_work_is_refused(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            ContextSettings(**settings)

    def test_without_a_limit_somebody_must_have_a_window(self) -> None:
        def wrong(provider: ProviderSettings, **settings: Any) -> str | None:
            return ContextBudget.contradiction(ContextSettings(**settings), {"p": provider})

        unknown = ProviderSettings(kind="compatible", wire="openai-chat", base_url="http://127.0.0.1:1/v1")
        said = wrong(unknown)
        assert said is not None
        assert "never sees anything" in said
        assert wrong(unknown, limit=1000) is None
        known = ProviderSettings(kind="compatible", models={"*": ModelSettings(context_window=8192)})
        assert wrong(known) is None


def test_a_turn_of_the_user_among_the_last_is_kept_with_its_results() -> None:
    turns = (TASK, *read_files(6, THOUSAND * 3), Turn(role=Role.USER, parts=(Text(text="go on"),)))
    verdict = seen(asked(*turns), action="trim", limit=10_000, keep_turns=3)
    assert verdict is not None
    assert verdict.instead is not None
    assert left_out(verdict.instead)[-1] is False
