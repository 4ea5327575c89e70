"""Circuits as Prometheus sees them."""

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.observe.fresh_process import complaint_without, loaded_by, packages_of

from recloser import Breakers, CircuitBreaker, CircuitOpenError, CircuitSettings, CircuitState
from recloser.breaker import CircuitSnapshot
from recloser.core.events import Event
from recloser.observe.circuits import STATES, meaning_of_states
from recloser.observe.prometheus import CircuitMetrics
from recloser.ports import Emit
from recloser.testing import ManualClock, in_threads

SETTINGS = CircuitSettings(failure_threshold=1, cooldown=30.0, cooldown_max=30.0, jitter=0.0, permit_lease=600.0)
Samples = dict[tuple[str, ...], float]


def scraped(registry: CollectorRegistry) -> Samples:
    """The samples by name and labels, as a real scrape and a real parser give them."""
    return {
        (sample.name.removeprefix("recloser_circuit_"), *(sample.labels[label] for label in sorted(sample.labels))):
        sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }  # fmt: skip


def fail(breaker: CircuitBreaker) -> None:
    def failing() -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        breaker.call(failing)


def refused(breaker: CircuitBreaker) -> None:
    with pytest.raises(CircuitOpenError):
        breaker.call(len, "never measured")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_an_outage_as_it_is_scraped(clock: ManualClock, registry: CollectorRegistry) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(breaker, registry=registry)

    def standing() -> tuple[float, float, float]:
        samples = scraped(registry)
        return (
            samples[("state", "search")],
            samples[("cooldown_seconds", "search")],
            samples[("remaining_seconds", "search")],
        )

    assert standing() == (STATES["closed"], 0.0, 0.0)
    fail(breaker)
    assert standing() == (STATES["open"], 30.0, 30.0)
    clock.advance(20.0)
    assert standing() == (STATES["open"], 30.0, 10.0)
    clock.advance(20.0)
    assert standing() == (STATES["open"], 30.0, 0.0), "nobody has asked yet, but the next call may pass"
    trial = breaker.acquire()
    assert standing()[0] == STATES["half_open"]
    trial.succeed()
    assert standing() == (STATES["closed"], 30.0, 0.0)


def test_what_time_alone_does_not_open_again_remains_for_ever(clock: ManualClock, registry: CollectorRegistry) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(breaker, registry=registry)
    breaker.force_open(60.0)
    assert scraped(registry)[("remaining_seconds", "search")] == 60.0
    breaker.force_open()
    assert scraped(registry)[("remaining_seconds", "search")] == math.inf


def test_calls_are_counted_by_what_became_of_them(clock: ManualClock, registry: CollectorRegistry) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(breaker, registry=registry)
    for _ in range(3):
        breaker.acquire().succeed()
    breaker.acquire().ignore()
    breaker.acquire().cancel()
    fail(breaker)
    refused(breaker)
    refused(breaker)
    clock.advance(30.0)
    breaker.acquire()  # a trial whose owner is never heard of again
    clock.advance(600.0)
    breaker.acquire().succeed()
    calls = {key[2]: count for key, count in scraped(registry).items() if key[0] == "calls_total"}
    assert calls == {"succeeded": 4, "failed": 1, "ignored": 1, "cancelled": 1, "expired": 1, "denied": 2}


def test_of_a_refused_call_nothing_is_told_but_that_it_was_denied(
    clock: ManualClock, registry: CollectorRegistry
) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(breaker, registry=registry)
    fail(breaker)
    before = scraped(registry)
    refused(breaker)
    changed = {key: value - before[key] for key, value in scraped(registry).items() if value != before[key]}
    assert changed == {("calls_total", "search", "denied"): 1.0}


def test_transitions_are_counted_by_where_they_lead(clock: ManualClock, registry: CollectorRegistry) -> None:
    tools = Breakers(SETTINGS, clock=clock)
    CircuitMetrics(tools, registry=registry)
    for _ in range(2):
        fail(tools["shell"])
        clock.advance(30.0)
        tools["shell"].call(len, "well again")
    tools["shell"].observe_only()
    tools["web"].disable()
    entered = {key[1:]: count for key, count in scraped(registry).items() if key[0] == "transitions_total"}
    assert entered == {
        ("shell", "open"): 2, ("shell", "half_open"): 2, ("shell", "closed"): 2, ("shell", "observe_only"): 1,
        ("web", "disabled"): 1,
    }  # fmt: skip


def test_events_may_come_another_way(clock: ManualClock, registry: CollectorRegistry) -> None:
    metrics = CircuitMetrics(registry=registry)
    breaker = CircuitBreaker("search", SETTINGS, clock=clock, listeners=[metrics])
    metrics.watch(breaker, listen=False)
    fail(breaker)
    assert scraped(registry)[("transitions_total", "search", "open")] == 1


def test_one_collector_shows_several_breakers_and_registries(clock: ManualClock, registry: CollectorRegistry) -> None:
    tools = Breakers(SETTINGS, clock=clock)
    fail(tools["shell"])
    search, late = CircuitBreaker("search", clock=clock), CircuitBreaker("late", clock=clock)
    metrics = CircuitMetrics(tools, search, registry=registry)
    metrics.watch(late, tools)
    late.disable()
    states = {key[1]: number for key, number in scraped(registry).items() if key[0] == "state"}
    assert states == {"shell": STATES["open"], "search": STATES["closed"], "late": STATES["disabled"]}
    assert scraped(registry)[("calls_total", "shell", "failed")] == 1, "who is watched already is not read twice"
    assert scraped(registry)[("transitions_total", "late", "disabled")] == 1


def test_the_names_are_those_that_dashboards_are_built_on(clock: ManualClock, registry: CollectorRegistry) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(breaker, registry=registry)
    fail(breaker)
    assert {f"{family.type} {family.name}": {*family.samples[0].labels} for family in registry.collect()} == {
        "gauge recloser_circuit_state": {"circuit"},
        "gauge recloser_circuit_cooldown_seconds": {"circuit"},
        "gauge recloser_circuit_remaining_seconds": {"circuit"},
        "counter recloser_circuit_calls": {"circuit", "outcome"},
        "counter recloser_circuit_transitions": {"circuit", "to"},
    }
    assert all(family.documentation for family in registry.collect())


def test_circuits_of_one_name_are_told_together_the_graver_first(
    clock: ManualClock, registry: CollectorRegistry
) -> None:
    well, ill = CircuitBreaker("search", SETTINGS, clock=clock), CircuitBreaker("search", SETTINGS, clock=clock)
    CircuitMetrics(ill, well, registry=registry)
    well.disable()
    well.call(len, "")
    fail(ill)
    samples = scraped(registry)
    assert samples[("state", "search")] == STATES["open"]
    assert samples[("remaining_seconds", "search")] == 30.0
    assert samples[("calls_total", "search", "succeeded")] == 1
    assert samples[("calls_total", "search", "failed")] == 1


def test_a_second_collector_in_one_registry_is_refused(registry: CollectorRegistry) -> None:
    CircuitMetrics(registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        CircuitMetrics(CircuitBreaker("search"), registry=registry)


def test_without_a_registry_it_is_the_one_that_prometheus_client_exports() -> None:
    metrics = CircuitMetrics(CircuitBreaker("search"))
    try:
        assert REGISTRY.get_sample_value("recloser_circuit_state", {"circuit": "search"}) == STATES["closed"]
    finally:
        REGISTRY.unregister(metrics)


def test_names_that_users_make_up_are_bounded(clock: ManualClock, registry: CollectorRegistry) -> None:
    users = Breakers(SETTINGS, clock=clock)
    CircuitMetrics(users, registry=registry, most_circuits=3)
    for number in range(10):
        users[f"user/{number}"].call(len, "")
    assert len([key for key in scraped(registry) if key[0] == "state"]) == 4
    fail(users["user/8"])
    users["user/9"].disable()
    samples = scraped(registry)
    assert samples[("state", "(others)")] == STATES["open"], "the gravest of them"
    assert samples[("remaining_seconds", "(others)")] == 30.0
    assert samples[("calls_total", "(others)", "succeeded")] == 7
    assert samples[("transitions_total", "(others)", "open")] == 1
    assert samples[("calls_total", "user/2", "succeeded")] == 1


def test_the_label_that_many_share_may_depend_on_their_names(clock: ManualClock, registry: CollectorRegistry) -> None:
    def shared(circuit: str) -> str | None:
        return None if circuit == "search" else f"{circuit.partition('/')[0]}/all"

    users = Breakers(SETTINGS, clock=clock)
    CircuitMetrics(users, registry=registry, most_circuits=1, shared=shared)
    for name in ("user/1", "user/2", "team/1", "search"):
        users[name].call(len, "")
    states = [key[1] for key in scraped(registry) if key[0] == "state"]
    assert states == ["user/1", "user/all", "team/all", "search"]


def test_a_counter_never_falls_although_circuits_are_forgotten(clock: ManualClock, registry: CollectorRegistry) -> None:
    users = Breakers(SETTINGS, clock=clock, max_size=4)
    CircuitMetrics(users, registry=registry, most_circuits=0)
    for number in range(40):
        users[f"user/{number % 10}"].call(len, "")
        assert scraped(registry)[("calls_total", "(others)", "succeeded")] == number + 1
    assert len(users.snapshot().circuits) < 10, "some were forgotten, and came again"


def test_scraping_changes_nothing(clock: ManualClock, registry: CollectorRegistry) -> None:
    tools = Breakers(SETTINGS, clock=clock)
    fail(tools["shell"])
    clock.advance(30.0)
    CircuitMetrics(tools, registry=registry)
    before = tools.snapshot()
    assert scraped(registry) == scraped(registry)
    assert tools.snapshot() == before


def test_threads_that_call_and_threads_that_scrape_agree_in_the_end(registry: CollectorRegistry) -> None:
    tools = Breakers()
    CircuitMetrics(tools, registry=registry, most_circuits=0)

    def call_and_scrape() -> None:
        told = 0.0
        for number in range(25):
            tools[f"tool/{number % 5}"].call(len, "")
            now = scraped(registry)[("calls_total", "(others)", "succeeded")]
            assert now > told
            told = now

    in_threads(call_and_scrape, 8)
    assert scraped(registry)[("calls_total", "(others)", "succeeded")] == 8 * 25


def test_every_state_has_its_number() -> None:
    assert {state.value for state in CircuitState} - set(STATES) == set()
    assert meaning_of_states() == "0 closed, 1 half open, 2 open, 3 forced open, 4 disabled, 5 observe only"


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRepainted(Event):
    colour: str


class Strange:
    """A breaker of a later version, in a state that is unknown here."""

    def snapshot(self) -> CircuitSnapshot:
        known = CircuitBreaker("search").snapshot()
        return replace(known, state=cast("CircuitState", "dreaming"))

    def listen(self, listener: Emit) -> None:
        listener(CircuitRepainted(subject="search", seq=1, colour="red"))


def test_what_nobody_foresaw_does_no_harm(registry: CollectorRegistry) -> None:
    metrics = CircuitMetrics(cast("Any", Strange()), registry=registry)
    assert scraped(registry)[("state", "search")] == -1
    assert [key for key in scraped(registry) if key[0] == "transitions_total"] == []
    metrics.watch(CircuitBreaker("search"))
    assert scraped(registry)[("state", "search")] == STATES["closed"], "a known state says more"


def test_it_loads_prometheus_client_and_nothing_of_the_gateway() -> None:
    loaded = loaded_by("recloser.observe.prometheus")
    assert packages_of(loaded) == {"recloser", "prometheus_client"}
    assert "recloser.gateway" not in loaded


def test_a_missing_extra_is_named() -> None:
    assert complaint_without("prometheus_client", "recloser.observe.prometheus").endswith(
        "pip install recloser[prometheus]"
    )
