"""Circuits as OpenTelemetry sees them, with the real SDK."""

import logging
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint, Sum
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.observe.fresh_process import complaint_without, loaded_by, packages_of

from recloser import Breakers, CircuitBreaker, CircuitOpenError, CircuitSettings
from recloser._version import __version__
from recloser.breaker import CircuitSnapshot
from recloser.core.events import CircuitOpened, StoreLost
from recloser.observe.circuits import MOST_CIRCUITS, OUTCOMES, STATES
from recloser.observe.otel import OpenTelemetrySink
from recloser.observe.redact import HIDDEN
from recloser.testing import ManualClock

SETTINGS = CircuitSettings(failure_threshold=1, cooldown=30.0, cooldown_max=30.0, jitter=0.0)


class Site:
    """A program whose metrics are read from memory."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        found = [] if data is None else [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return {metric.name.removeprefix("recloser.circuit."): metric for metric in found}

    def points(self, name: str) -> dict[tuple[Any, ...], float]:
        metric = self.metrics().get(name)
        points: list[NumberDataPoint] = [] if metric is None else metric.data.data_points
        return {tuple((point.attributes or {}).values()): point.value for point in points}


@pytest.fixture
def site() -> Site:
    return Site()


def fail(breaker: CircuitBreaker) -> None:
    def failing() -> None:
        raise ConnectionError("refused")

    with pytest.raises(ConnectionError):
        breaker.call(failing)


def test_an_outage_as_it_is_observed(site: Site) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock)
    OpenTelemetrySink(breaker, meter_provider=site.provider)
    assert site.points("state") == {("search",): STATES["closed"]}
    fail(breaker)
    site.clock.advance(10.0)
    assert site.points("state") == {("search",): STATES["open"]}
    assert site.points("cooldown") == {("search",): 30.0}
    assert site.points("remaining") == {("search",): 20.0}
    site.clock.advance(20.0)
    assert site.points("remaining") == {("search",): 0.0}


def test_calls_are_counted_by_what_became_of_them(site: Site) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock)
    OpenTelemetrySink(breaker, meter_provider=site.provider)
    breaker.call(len, "")
    breaker.call(len, "")
    fail(breaker)
    with pytest.raises(CircuitOpenError):
        breaker.call(len, "")
    assert site.points("calls") == {
        ("search", "succeeded"): 2, ("search", "failed"): 1, ("search", "denied"): 1,
        ("search", "ignored"): 0, ("search", "cancelled"): 0, ("search", "expired"): 0,
    }  # fmt: skip


def test_transitions_are_counted_by_where_they_lead(site: Site) -> None:
    tools = Breakers(SETTINGS, clock=site.clock)
    OpenTelemetrySink(tools, meter_provider=site.provider)
    fail(tools["shell"])
    site.clock.advance(30.0)
    tools["shell"].call(len, "well again")
    tools["web"].disable()
    assert site.points("transitions") == {
        ("shell", "open"): 1, ("shell", "half_open"): 1, ("shell", "closed"): 1, ("web", "disabled"): 1,
    }  # fmt: skip
    assert site.points("state") == {("shell",): STATES["closed"], ("web",): STATES["disabled"]}


def test_a_breaker_may_come_later_and_its_events_another_way(site: Site) -> None:
    sink = OpenTelemetrySink(meter_provider=site.provider)
    late = CircuitBreaker("late", SETTINGS, clock=site.clock)
    told = CircuitBreaker("told", SETTINGS, clock=site.clock, listeners=[sink])
    sink.watch(late)
    sink.watch(told, listen=False)
    late.disable()
    fail(told)
    assert site.points("state") == {("late",): STATES["disabled"], ("told",): STATES["open"]}
    assert site.points("transitions") == {("late", "disabled"): 1, ("told", "open"): 1}


def test_the_names_are_those_that_dashboards_are_built_on(site: Site) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock)
    OpenTelemetrySink(breaker, meter_provider=site.provider)
    fail(breaker)
    metrics = site.metrics().values()
    assert {f"{metric.name} [{metric.unit}]": {*metric.data.data_points[0].attributes} for metric in metrics} == {
        "recloser.circuit.state []": {"circuit"},
        "recloser.circuit.cooldown [s]": {"circuit"},
        "recloser.circuit.remaining [s]": {"circuit"},
        "recloser.circuit.calls [{call}]": {"circuit", "outcome"},
        "recloser.circuit.transitions [{transition}]": {"circuit", "to"},
    }
    assert all(metric.description for metric in metrics)
    counters = [metric.name for metric in metrics if isinstance(metric.data, Sum) and metric.data.is_monotonic]
    assert sorted(counters) == ["recloser.circuit.calls", "recloser.circuit.transitions"]


def test_whose_metrics_they_are_is_told(site: Site) -> None:
    OpenTelemetrySink(CircuitBreaker("search"), meter_provider=site.provider)
    data = site.reader.get_metrics_data()
    assert data is not None
    assert data.resource_metrics[0].scope_metrics[0].scope.name == "recloser"
    assert data.resource_metrics[0].scope_metrics[0].scope.version == __version__


class Counted(CircuitBreaker):
    """A breaker that knows how often somebody looked."""

    looks = 0

    def snapshot(self) -> CircuitSnapshot:
        self.looks += 1
        return super().snapshot()


def test_all_instruments_tell_of_one_moment_and_the_next_time_of_another(site: Site) -> None:
    breaker = Counted("search", SETTINGS, clock=site.clock)
    OpenTelemetrySink(breaker, meter_provider=site.provider)
    assert len(site.metrics()) == 4
    assert breaker.looks == 1
    site.metrics()
    assert breaker.looks == 2


def test_a_wait_without_end_is_left_out_and_nobody_is_warned(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock)
    OpenTelemetrySink(breaker, meter_provider=site.provider)
    breaker.force_open()
    with caplog.at_level(logging.DEBUG):
        assert site.points("remaining") == {}
    assert caplog.messages == []
    assert site.points("state") == {("search",): STATES["forced_open"]}


def test_more_circuits_than_the_sdk_tells_apart_share_a_series_of_their_own(site: Site) -> None:
    users = Breakers(SETTINGS, clock=site.clock)
    for number in range(2 * MOST_CIRCUITS):
        users[f"user/{number}"].call(len, "")
    OpenTelemetrySink(users, meter_provider=site.provider)
    calls = site.points("calls")
    assert len(calls) == (MOST_CIRCUITS + 1) * len(OUTCOMES)
    assert calls["(others)", "succeeded"] == MOST_CIRCUITS


def test_the_label_that_many_share_may_depend_on_their_names(site: Site) -> None:
    users = Breakers(SETTINGS, clock=site.clock)
    OpenTelemetrySink(users, meter_provider=site.provider, most_circuits=1, shared=lambda name: f"{name[:4]}/all")
    for name in ("user/1", "user/2", "team/1"):
        users[name].call(len, "")
    assert list(site.points("state")) == [("user/1",), ("user/all",), ("team/all",)]


def test_the_span_of_the_call_is_told_what_it_caused(site: Site) -> None:
    spans = InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    sink = OpenTelemetrySink(meter_provider=site.provider, span_events=True)
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock, listeners=[sink])
    with tracing.get_tracer("shop").start_as_current_span("checkout"):
        fail(breaker)
        sink(StoreLost(subject="store", seq=1, reason="redis://:pass@host:1/0 is down"))
    (span,) = spans.get_finished_spans()
    opened, lost = span.events
    assert opened.name == "recloser.circuit_opened"
    facts = dict(opened.attributes or {})
    assert (facts["recloser.subject"], facts["recloser.retry_after"]) == ("search", 30.0)
    assert dict(lost.attributes or {})["recloser.reason"] == f"redis://{HIDDEN}@host:1/0 is down"


def test_a_fact_that_is_not_there_is_no_attribute(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    spans = InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    sink = OpenTelemetrySink(meter_provider=site.provider, span_events=True)
    breaker = CircuitBreaker("search", SETTINGS, clock=site.clock, listeners=[sink])
    with tracing.get_tracer("shop").start_as_current_span("by hand"):
        breaker.force_open(reason="new driver")
    (span,) = spans.get_finished_spans()
    assert dict(span.events[0].attributes or {}) == {
        "recloser.seq": 1, "recloser.kind": "circuit_forced", "recloser.subject": "search",
        "recloser.state": "forced_open", "recloser.reason": "new driver",
    }  # fmt: skip
    assert caplog.messages == []


def test_spans_are_left_alone_unless_asked_for_and_none_is_needed(site: Site) -> None:
    spans = InMemorySpanExporter()
    tracing = TracerProvider(shutdown_on_exit=False)
    tracing.add_span_processor(SimpleSpanProcessor(spans))
    quiet = OpenTelemetrySink(meter_provider=site.provider)
    with tracing.get_tracer("shop").start_as_current_span("checkout"):
        fail(CircuitBreaker("search", SETTINGS, clock=site.clock, listeners=[quiet]))
    assert spans.get_finished_spans()[0].events == ()
    outside = OpenTelemetrySink(meter_provider=site.provider, span_events=True)
    fail(CircuitBreaker("search", SETTINGS, clock=site.clock, listeners=[outside]))


def test_without_an_sdk_nothing_happens() -> None:
    breaker = CircuitBreaker("search", SETTINGS, clock=ManualClock())
    sink = OpenTelemetrySink(breaker, meter_provider=NoOpMeterProvider())
    sink(CircuitOpened(subject="search", seq=1, failure="timeout", failures=1, rule="at_once", retry_after=5.0,
                       authoritative=False, reason=""))  # fmt: skip
    assert breaker.call(len, "ok") == 2


def test_it_loads_no_sdk_and_nothing_of_the_gateway() -> None:
    loaded = loaded_by("recloser.observe.otel")
    assert {"aiohttp", "uvicorn", "starlette", "msgspec", "prometheus_client"} & packages_of(loaded) == set()
    assert {name for name in loaded if name.startswith(("recloser.gateway", "opentelemetry.sdk"))} == set()


def test_a_missing_extra_is_named() -> None:
    assert complaint_without("opentelemetry", "recloser.observe.otel").endswith("pip install recloser[otel]")
