"""Tools that keep failing: when they are taken away, from whom, and how they come back."""

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
    together,
    tools_of,
    unreadable,
    user,
)

from recloser.breaker import Breakers
from recloser.core.errors import ConfigError
from recloser.gateway.canonical import Text, ToolResult, Turn
from recloser.gateway.guards.failing_tool import FailingSettings, FailingTool, has_failed
from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.request import Request
from recloser.testing import ManualClock, RecordingSink


class Gateway:
    """A guard among the circuits of a gateway, and the time."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.sink = RecordingSink()
        self.guard = FailingTool(FailingSettings(**settings))
        self.breakers = Breakers(
            overrides=self.guard.circuit_settings, listeners=(self.sink, self.guard.heard), clock=self.clock
        )
        self.guard.join(self.breakers)

    def look(self, request: Request) -> Verdict | None:
        return self.guard.look(request, self.clock.time())

    def fails(
        self, tool: str = "find", *, times: int = 5, wire: str = "anthropic", client: str = "", agent: str = ""
    ) -> Verdict | None:
        """The verdict on the last of so many requests of one conversation, after each of which the tool fails."""
        verdict = None
        for n in range(1, times + 1):
            verdict = self.look(asked(TASK, *broken(n, tool), wire=wire, client=client, agent=agent))
        return verdict


def broken(times: int, tool: str = "find") -> tuple[Turn, ...]:
    return steps(*((tool, f'{{"n":{n}}}', "Error: no connection", True) for n in range(times)))


def left(verdict: Verdict | None) -> list[str]:
    """The tools that are left."""
    assert verdict is not None
    assert verdict.instead is not None
    return tools_of(verdict.instead)


class TestATool:
    @pytest.mark.parametrize("wire", EVERY_WIRE)
    def test_that_failed_five_times_on_end_is_withheld_and_the_model_is_told(self, wire: str) -> None:
        gateway = Gateway()
        assert gateway.fails(times=4, wire=wire) is None
        verdict = gateway.look(asked(TASK, *broken(5), wire=wire))
        assert verdict is not None
        assert verdict.action is Action.TRIM
        assert left(verdict) == ["open", "run"]
        assert verdict.instead is not None
        assert "The last results of find were all errors. For now find cannot be called." in texts(verdict.instead)[-1]
        assert verdict.why == "the results of find keep failing, tried again in 1 min; find withheld"

    def test_has_a_circuit_of_the_gateway(self) -> None:
        gateway = Gateway()
        gateway.fails(client="env:KEY", agent="nightly")
        assert gateway.breakers.snapshot().open == ("tool/find@env:KEY/nightly",)
        assert [event.kind for event in gateway.sink.events] == ["circuit_opened"]

    def test_that_works_in_between_is_left_alone(self) -> None:
        gateway = Gateway()
        gateway.fails(times=4)
        assert gateway.look(asked(TASK, *broken(4), *steps(("find", "{}", "found")))) is None
        for n in range(4):
            assert gateway.look(asked(TASK, *broken(4), *steps(("find", "{}", "found")), *broken(n + 1))) is None

    def test_is_withheld_also_when_the_user_speaks(self) -> None:
        gateway = Gateway()
        gateway.fails()
        verdict = gateway.look(asked(TASK, *broken(5), model(), user("and now?")))
        assert left(verdict) == ["open", "run"]

    def test_is_tried_again_after_the_cooldown_and_kept_if_it_works(self) -> None:
        gateway = Gateway()
        gateway.fails()
        gateway.clock.advance(61.0)
        assert gateway.look(asked(TASK, *broken(5), model(), user())) is None
        assert gateway.look(asked(TASK, *broken(5), *steps(("find", "{}", "found")))) is None
        assert gateway.breakers["tool/find"].state == "closed"

    def test_that_fails_when_it_is_tried_again_is_left_alone_for_longer(self) -> None:
        gateway = Gateway()
        gateway.fails()
        gateway.clock.advance(61.0)
        verdict = gateway.look(asked(TASK, *broken(6)))
        assert verdict is not None
        assert "tried again in 2 min" in verdict.why

    def test_that_somebody_has_opened_by_hand_is_withheld_too(self) -> None:
        gateway = Gateway()
        gateway.breakers["tool/run@nightly"].force_open(reason="under repair")
        assert gateway.look(asked(TASK)) is None
        assert left(gateway.look(asked(TASK, agent="nightly"))) == ["find", "open"]
        gateway.breakers["tool/run@nightly"].reset()
        assert gateway.look(asked(TASK, agent="nightly")) is None

    def test_whose_circuit_was_open_before_the_start_is_withheld_at_once(self) -> None:
        gateway = Gateway()
        gateway.fails()
        again = FailingTool(FailingSettings())
        again.join(gateway.breakers)
        assert left(again.look(asked(TASK), 0.0)) == ["open", "run"]


class TestWhatCounts:
    def test_a_result_counts_once_however_often_it_is_sent(self) -> None:
        gateway = Gateway()
        for _ in range(20):
            assert gateway.look(asked(TASK, *broken(1))) is None
        assert gateway.breakers["tool/find"].snapshot().failures == 1

    def test_old_failures_of_a_conversation_do_not_count_when_it_is_seen_first(self) -> None:
        assert Gateway().look(asked(TASK, *broken(30))) is None

    def test_the_results_of_one_step_are_one_verdict(self) -> None:
        gateway = Gateway()
        assert gateway.look(asked(TASK, *together(*[("find", "{}", "x", True)] * 9))) is None
        assert gateway.breakers["tool/find"].snapshot().failures == 1

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_step_in_which_one_call_went_well_is_no_failure(self, order: int) -> None:
        gateway = Gateway()
        gateway.fails(times=4)
        mixed = together(*[("find", "{}", "x", True), ("find", "{}", "found")][::order], number=4)
        assert gateway.look(asked(TASK, *broken(4), *mixed)) is None
        assert gateway.breakers["tool/find"].snapshot().failures == 0

    def test_tools_that_never_failed_have_no_circuit(self) -> None:
        gateway = Gateway()
        gateway.look(asked(TASK, *steps("run")))
        assert gateway.breakers.snapshot().circuits == {}

    def test_results_of_calls_that_nobody_knows_are_nobodys(self) -> None:
        gateway = Gateway()
        given = {"type": "function_call_output", "call_id": "c", "output": "Error"}
        gateway.look(sent({"model": "m", "previous_response_id": "r", "input": [given]}, wire="openai-responses"))
        assert gateway.breakers.snapshot().circuits == {}

    @pytest.mark.parametrize(
        ("words", "failed"),
        [
            ("Error: no such file", True), ("error", True), ('  {"error": "x"}', True), ("An error occurred", True),
            ("Traceback (most recent call last):\n", True), ("found 3 errors", False), ("", False),
            ("Exit code: 1", False),
        ],
    )  # fmt: skip
    def test_where_the_wire_has_no_word_for_it_the_first_words_tell(self, words: str, *, failed: bool) -> None:
        assert has_failed(ToolResult(id="c", parts=(Text(text=words),))) is failed

    def test_a_result_with_nothing_in_it_has_not_failed(self) -> None:
        assert not has_failed(ToolResult(id="c"))


class TestWhoIsKeptFromIt:
    def test_one_agents_broken_tool_is_not_taken_from_the_others(self) -> None:
        gateway = Gateway()
        gateway.fails(agent="nightly", client="env:A")
        for who in ({"agent": "other"}, {"client": "env:A"}, {"client": "env:B", "agent": "nightly"}, {}):
            assert gateway.look(asked(TASK, **who)) is None  # type: ignore[arg-type]
        assert left(gateway.look(asked(TASK, agent="nightly", client="env:A"))) == ["open", "run"]

    def test_agents_with_like_names_are_not_mixed_up(self) -> None:
        gateway = Gateway()
        gateway.fails(agent="my-bot")
        assert gateway.look(asked(TASK, agent="bot")) is None

    def test_nothing_is_read_while_no_tool_is_broken(self) -> None:
        gateway = Gateway()
        gateway.fails(times=4)
        assert gateway.look(unreadable(asked(TASK))) is None

    def test_nor_while_only_somebody_elses_is(self) -> None:
        gateway = Gateway()
        gateway.fails(agent="nightly")
        other = unreadable(asked(TASK))
        other.agent = "other"
        assert gateway.look(other) is None

    def test_a_request_that_does_not_have_the_tool_is_left_as_it_is(self) -> None:
        gateway = Gateway()
        gateway.fails()
        assert gateway.look(asked(TASK, tools=("open", "run"))) is None
        assert gateway.look(asked(TASK, tools=())) is None


class TestWhatStays:
    def test_the_last_tool_is_not_taken_away(self) -> None:
        # Anthropic refuses a conversation with calls in it and no tools.
        gateway = Gateway()
        gateway.fails()
        verdict = gateway.look(asked(TASK, *broken(5), tools=("find",)))
        assert verdict is not None
        assert verdict.action is Action.HINT
        assert left(verdict) == ["find"]

    def test_nor_the_one_that_the_client_wants_called(self) -> None:
        gateway = Gateway()
        gateway.fails()
        verdict = gateway.look(asked(TASK, must_call="find"))
        assert verdict is not None
        assert verdict.action is Action.HINT
        assert left(verdict) == ["find", "open", "run"]

    def test_nor_one_that_is_never_withheld(self) -> None:
        gateway = Gateway(never=("f*",))
        verdict = gateway.fails()
        assert verdict is not None
        assert verdict.action is Action.HINT
        assert left(verdict) == ["find", "open", "run"]

    def test_to_hint_is_to_take_nothing_away(self) -> None:
        verdict = Gateway(action="hint").fails()
        assert verdict is not None
        assert verdict.action is Action.HINT
        assert left(verdict) == ["find", "open", "run"]
        assert verdict.instead is not None
        assert "cannot be called" not in texts(verdict.instead)[-1]

    def test_to_warn_is_to_change_nothing(self) -> None:
        verdict = Gateway(action="warn").fails()
        assert verdict is not None
        assert (verdict.action, verdict.instead) == (Action.WARN, None)


def test_by_itself_it_keeps_its_own_circuits() -> None:
    guard = FailingTool(FailingSettings(failures=1))
    assert left(guard.look(asked(TASK, *broken(1)), 0.0)) == ["open", "run"]


def test_no_failures_at_all_are_no_threshold() -> None:
    with pytest.raises(ConfigError, match="failures must be at least 1"):
        FailingSettings(failures=0)
