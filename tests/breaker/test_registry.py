"""A breaker per name: their settings, the bound, one moment of all of them, and the pause that ends by itself."""

import gc
import math
import random
import weakref
from dataclasses import replace
from typing import Any

import pytest
from tests.breaker.scenes import (
    CLOSED,
    COOLDOWN,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    SETTINGS,
    BrokenError,
    adds_up,
    fail,
    names_in,
)

from recloser.breaker import Breakers, CircuitBreaker
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.events import CircuitForgotten, Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.testing import ManualClock, RecordingSink

STRICT, PATIENT = replace(SETTINGS, failure_threshold=1), replace(SETTINGS, failure_threshold=50)
NO_KEY = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)


@pytest.fixture
def tools(clock: ManualClock, sink: RecordingSink) -> Breakers:
    return Breakers(SETTINGS, max_size=10, clock=clock, listeners=[sink])


# Names and settings


def test_there_is_one_breaker_a_name(tools: Breakers) -> None:
    assert "shell" not in tools
    assert tools["shell"] is tools["shell"]
    assert tools["shell"] is not tools["search"]
    assert "shell" in tools
    assert (tools["shell"].name, tools["shell"].settings) == ("shell", SETTINGS)


def test_without_settings_the_defaults_hold() -> None:
    assert Breakers()["shell"].settings == CircuitSettings()


@pytest.mark.parametrize("name", ["", 7, None])
def test_a_name_that_is_none_makes_no_breaker(tools: Breakers, name: object) -> None:
    with pytest.raises(ConfigError, match="must be a string that is not empty"):
        tools[name]  # type: ignore[index]
    assert names_in(tools) == set()
    tools["shell"].call(int)


def test_settings_may_differ_by_glob_and_the_first_that_matches_wins(clock: ManualClock) -> None:
    tools = Breakers(SETTINGS, overrides={"mcp/local-*": PATIENT, "mcp/*": STRICT}, clock=clock)
    assert tools["mcp/local-files"].settings is PATIENT
    assert tools["mcp/github"].settings is STRICT
    assert tools["shell"].settings is SETTINGS
    assert tools["MCP/github"].settings is SETTINGS, "case counts"


def test_settings_may_differ_by_a_function_of_the_name(clock: ManualClock) -> None:
    tools = Breakers(overrides=lambda name: STRICT if name == "strict" else SETTINGS, clock=clock)
    assert (tools["strict"].settings, tools["other"].settings) == (STRICT, SETTINGS)


def test_a_function_of_the_name_that_raises_makes_no_breaker_and_locks_nobody_out() -> None:
    def overrides(name: str) -> CircuitSettings:
        if name == "unheard of":
            raise LookupError(name)
        return SETTINGS

    tools = Breakers(overrides=overrides)
    for _ in range(2):
        with pytest.raises(LookupError):
            tools["unheard of"]
    tools["shell"].call(int)
    assert names_in(tools) == {"shell"}


@pytest.mark.parametrize("max_size", [0, -1, 1.5, True, "10", None])
def test_a_bound_that_is_none_is_refused_at_construction(max_size: object) -> None:
    with pytest.raises(ConfigError, match=r"max_size must be a whole number of at least 1, not "):
        Breakers(max_size=max_size)  # type: ignore[arg-type]


def test_rules_of_the_registry_are_those_of_each_breaker(clock: ManualClock) -> None:
    tools = Breakers(SETTINGS, classify={BrokenError: FailureKind.INVALID_REQUEST}, clock=clock)
    for _ in range(5):
        tools["shell"].acquire().fail(BrokenError())
    assert tools["shell"].snapshot().ignored == 5


def test_asking_whether_it_would_refuse_makes_no_breaker(tools: Breakers) -> None:
    assert tools.denial("shell") is None
    assert "shell" not in tools
    fail(tools["shell"], 2)
    denied = tools.denial("shell")
    assert denied is not None
    assert denied.retry_after == COOLDOWN


def test_the_cooldowns_of_two_breakers_are_spread() -> None:
    tools = Breakers(
        CircuitSettings(failure_threshold=1, cooldown=5.0, jitter=0.5), clock=ManualClock(), rng=random.Random(7)
    )
    ends = set()
    for number in range(20):
        fail(tools[f"tool-{number}"])
        ends.add(tools[f"tool-{number}"].snapshot().open_until)
    assert len(ends) == 20
    assert all(end is not None and 2.5 <= end - 1000.0 <= 7.5 for end in ends)


# The bound


def test_it_is_bounded(tools: Breakers) -> None:
    """V13: elsewhere the map of tools only grew."""
    for number in range(1000):
        tools[f"tool-{number}"].call(int)
        assert len(names_in(tools)) <= 10
    assert "tool-999" in tools


def test_what_nobody_asked_for_again_is_forgotten_first(tools: Breakers, sink: RecordingSink) -> None:
    for number in range(100):
        tools["favourite"].call(int)
        tools[f"tool-{number}"].call(int)
    assert tools["favourite"].snapshot().succeeded == 100
    assert sink.events == [], "nothing is lost with a breaker that is well"


def test_no_news_is_forgotten(tools: Breakers, clock: ManualClock) -> None:
    """Open, half-open, forced, disabled, observing, flapping and busy breakers stay, even past the bound."""
    fail(tools["half-open"], 2)
    clock.advance(COOLDOWN)
    held = [tools["half-open"].acquire(), tools["busy"].acquire()]
    fail(tools["open"], 2)
    tools["forced"].force_open()
    tools["disabled"].disable()
    tools["observed"].observe_only()
    fail(tools["flapping"], 2)
    clock.advance(COOLDOWN)
    tools["flapping"].acquire().succeed()
    news = {"half-open", "busy", "open", "forced", "disabled", "observed", "flapping"}
    for number in range(100):
        tools[f"tool-{number}"].call(int)
        assert news <= names_in(tools)
    assert len(names_in(tools)) == 10
    for permit in held:
        permit.succeed()


def test_when_nothing_may_be_forgotten_the_bound_gives_way_but_not_without_end_and_that_is_told(
    tools: Breakers, sink: RecordingSink
) -> None:
    for number in range(20):
        tools[f"tool-{number}"].force_open()
    assert len(names_in(tools)) == 20
    assert "circuit_forgotten" not in sink.kinds()
    for number in range(20, 40):
        tools[f"tool-{number}"].force_open()
    assert len(names_in(tools)) == 20
    told = [event for event in sink.events if isinstance(event, CircuitForgotten)]
    assert {event.subject for event in told} == {f"tool-{number}" for number in range(40)} - names_in(tools)
    assert [event.state for event in told] == [FORCED_OPEN] * 20
    assert "tool-39" in tools


def test_what_must_stay_stays_whatever_the_bound(clock: ManualClock) -> None:
    tools = Breakers(SETTINGS, max_size=3, expendable=lambda name: not name.startswith("account/"), clock=clock)
    for number in range(9):
        tools[f"account/{number}"].force_open()
    for number in range(20):
        tools[f"model/{number}"].force_open()
    assert {f"account/{number}" for number in range(9)} <= names_in(tools)


def test_growth_is_not_forgotten_with_the_breaker_before_it_is_forgotten_in_it(
    tools: Breakers, clock: ManualClock
) -> None:
    fail(tools["flapping"], 2)
    clock.advance(COOLDOWN)
    tools["flapping"].acquire().succeed()
    assert not tools["flapping"].forgettable
    clock.advance(SETTINGS.cooldown_max)
    assert tools["flapping"].forgettable


def test_an_opening_that_is_long_over_is_forgotten_like_one_that_has_closed(
    tools: Breakers, clock: ManualClock
) -> None:
    for number in range(10):
        fail(tools[f"gone-{number}"], 2)
    clock.advance(COOLDOWN + SETTINGS.cooldown_max)
    for number in range(30):
        tools[f"tool-{number}"].call(int)
    assert len(names_in(tools)) == 10


def test_a_name_that_comes_back_goes_on_counting(tools: Breakers, clock: ManualClock, sink: RecordingSink) -> None:
    """Else listeners would hear the same seq twice, and an old permit could be taken for a present one."""
    fail(tools["comeback"], 2)
    clock.advance(COOLDOWN)
    tools["comeback"].acquire().succeed()
    clock.advance(SETTINGS.cooldown_max)
    for number in range(30):
        tools[f"tool-{number}"].call(int)
    assert "comeback" not in tools
    fail(tools["comeback"], 2)
    assert [event.seq for event in sink.events] == [1, 2, 3, 4]
    assert tools["comeback"].snapshot().generation == 4


def test_a_breaker_that_somebody_holds_is_never_made_twice(tools: Breakers) -> None:
    """A decorated function goes on with its breaker; an order by hand must reach it, and its opening must be seen."""
    mine = tools["mine"]
    for number in range(30):
        tools[f"tool-{number}"].call(int)
    assert tools["mine"] is mine
    fail(mine, 2)
    assert "mine" in tools.snapshot().open


# Several at once


def test_permits_of_a_whole_path(tools: Breakers) -> None:
    held = tools.acquire_all(["account", "endpoint", "model"])
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [1, 1, 1]
    for permit in held:
        permit.succeed()
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [0, 0, 0]


def test_a_path_that_is_refused_gives_everything_back(tools: Breakers, clock: ManualClock) -> None:
    fail(tools["account"], 2)
    clock.advance(COOLDOWN)
    tools["model"].force_open(reason="maintenance")
    for _ in range(3):  # the account's only trial is free again each time
        with pytest.raises(CircuitOpenError, match="'model'"):
            tools.acquire_all(["account", "endpoint", "model"])
    for name in ("account", "endpoint"):
        s = tools[name].snapshot()
        assert (s.live, s.cancelled, s.failures) == (0, 3, 2 if name == "account" else 0)
    assert tools["account"].state is HALF_OPEN


def test_a_path_that_is_interrupted_gives_everything_back(clock: ManualClock) -> None:
    def interrupted(event: Event) -> None:
        if event.kind == "circuit_half_opened":
            raise KeyboardInterrupt

    tools = Breakers(SETTINGS, clock=clock, listeners=[interrupted])
    fail(tools["model"], 2)
    clock.advance(COOLDOWN)
    with pytest.raises(KeyboardInterrupt):
        tools.acquire_all(["account", "endpoint", "model"])
    assert [tools[name].snapshot().live for name in ("account", "endpoint", "model")] == [0, 0, 0]


# One moment


def test_a_snapshot_has_every_breaker_with_all_there_is_to_know(tools: Breakers, clock: ManualClock) -> None:
    tools["well"].call(int)
    fail(tools["shell"], 2)
    clock.advance(4.0)
    with pytest.raises(CircuitOpenError):
        tools["shell"].acquire()
    snapshot = tools.snapshot()
    assert set(snapshot.circuits) == {"well", "shell"}
    shell = snapshot.circuits["shell"]
    assert (shell.state, shell.failures, shell.cooldown, shell.retry_after) == (OPEN, 2, COOLDOWN, COOLDOWN - 4.0)
    assert (shell.opened_at, shell.open_count, shell.denied, shell.last_denied_at) == (1000.0, 1, 1, 1004.0)
    assert shell.last_kind is FailureKind.SERVER_ERROR
    assert snapshot.circuits["shell"] == tools["shell"].snapshot()
    assert all(map(adds_up, snapshot.circuits.values()))


def test_the_registrys_snapshot_changes_nothing(tools: Breakers, clock: ManualClock, sink: RecordingSink) -> None:
    fail(tools["open"], 2)
    clock.advance(1000.0)
    before = tools["open"].circuit
    assert tools.snapshot() == tools.snapshot()
    assert tools["open"].circuit is before
    assert sink.kinds() == ["circuit_opened"]


def test_a_snapshot_stays_as_it_was(tools: Breakers) -> None:
    tools["shell"].call(int)
    then = tools.snapshot()
    fail(tools["shell"], 2)
    assert (then.circuits["shell"].state, then.open) == (CLOSED, ())


# The pause


def test_only_what_is_open_now_is_open(tools: Breakers, clock: ManualClock) -> None:
    """A pause that waits for recovery must end although nobody calls meanwhile (U1)."""
    fail(tools["open"], 2)
    tools["forced"].force_open(reason="maintenance")
    tools["forced for a time"].force_open(5.0)
    fail(tools["failing"])
    assert tools.snapshot().open == ("open", "forced", "forced for a time")
    clock.advance(5.0)
    assert tools.snapshot().open == ("open", "forced")
    clock.advance(5.0)
    assert tools.snapshot().open == ("forced",)
    trial = tools["open"].acquire()
    assert tools.snapshot().open == ("forced",), "trying is not open"
    trial.succeed()


def test_a_pause_ends_by_itself_as_cooldowns_pass(tools: Breakers, clock: ManualClock) -> None:
    """V5: elsewhere a paused system made no call, and so its circuits stayed open, and so it stayed paused."""
    fail(tools["shell"], 2)
    clock.advance(4.0)
    fail(tools["search"], 2)
    assert tools.should_pause(max_open=2)
    clock.advance(6.0)
    assert not tools.should_pause(max_open=2)
    assert tools.should_pause(max_open=1)
    clock.advance(4.0)
    assert not tools.should_pause(max_open=1)
    assert [tools[name].state for name in ("shell", "search")] == [OPEN, OPEN], "asking has changed nothing"


def test_nothing_open_pauses_nobody(tools: Breakers) -> None:
    tools["shell"].call(int)
    assert not tools.should_pause(1)
    assert not Breakers().should_pause(1)


@pytest.mark.parametrize("max_open", [0, -1, True, 1.5, math.inf, "1", None])
def test_a_pause_from_no_open_circuit_on_would_never_end_and_is_refused(tools: Breakers, max_open: object) -> None:
    """U2"""
    with pytest.raises(ConfigError, match=r"max_open must be a whole number of at least 1, not "):
        tools.should_pause(max_open)  # type: ignore[arg-type]


def test_what_waits_for_proof_is_open(tools: Breakers, clock: ManualClock) -> None:
    tools["account"].acquire().fail(NO_KEY)
    clock.advance(10 * SETTINGS.cooldown_max)
    snapshot = tools.snapshot()
    assert snapshot.open == ("account",)
    assert snapshot.circuits["account"].open_until == math.inf
    assert snapshot.circuits["account"].retry_after is None


# Housekeeping


def test_closing_what_has_no_store_changes_nothing(tools: Breakers) -> None:
    tools.close()
    tools["shell"].close()
    tools["shell"].call(int)
    assert not tools.store_lost


def test_breakers_that_nobody_holds_are_gone(clock: ManualClock) -> None:
    """No thread, timer or list of the library's own keeps them."""
    tools = Breakers(SETTINGS, clock=clock)
    gone: list[weakref.ref[Any]] = [weakref.ref(tools), weakref.ref(tools["shell"])]
    gone.append(weakref.ref(CircuitBreaker("x", clock=clock)))
    tools["shell"].call(int)
    del tools
    gc.collect()
    assert [ref() for ref in gone] == [None, None, None]
