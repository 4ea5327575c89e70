"""What Prometheus is told."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.events import CircuitClosed, CircuitForced, CircuitHalfOpened, CircuitOpened, Event
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished
from recloser.gateway.metering import Used
from recloser.observe.hub import Stamped
from recloser.observe.metrics import _MOST_MODELS, Metrics
from recloser.testing import ManualClock

FINISHED: dict[str, Any] = {
    "subject": "request/1", "wire": "anthropic", "model": "m", "stream": True, "target": "a/eu/m", "status": 200,
    "held": 0.0, "first_token": 0.4, "duration": 2.0,
}  # fmt: skip


class Told:
    """Metrics that were told events, and what they show."""

    def __init__(self, *events: Event) -> None:
        self.breakers = Breakers(CircuitSettings(jitter=0.0), clock=ManualClock())
        self.metrics = Metrics(self.breakers)
        for event in events:
            self.metrics(Stamped(0.0, event))

    @property
    def samples(self) -> dict[tuple[Any, ...], float]:
        families = text_string_to_metric_families(self.metrics.render().decode())
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_bucket")
        }


def opened(circuit: str, seq: int = 1) -> CircuitOpened:
    return CircuitOpened(
        subject=circuit, seq=seq, failure="timeout", failures=5, rule="consecutive_failures", retry_after=1.0,
        authoritative=False, reason="x",
    )  # fmt: skip


def failed(**more: Any) -> AttemptFailed:
    return AttemptFailed(**{
        "subject": "request/1", "seq": 1, "target": "a/eu/m", "failure": "timeout", "status": None, "circuit": None,
        "message": "", "retry_after": None, "duration": 1.0, **more,
    })  # fmt: skip


def tripped(action: str) -> GuardTripped:
    return GuardTripped(
        subject="request/1", seq=1, guard="tool_loop", action=action, message="x", client="", agent=""
    )  # fmt: skip


def test_the_names_are_those_that_are_promised() -> None:
    ok = RequestFinished(**FINISHED, seq=2, attempts=2, failures=1, outcome="ok")
    told = Told(opened("model/a/m"), failed(), tripped("warn"), ok)
    told.breakers["account/a"].acquire().succeed()
    assert {name for name, *_ in told.samples} == {
        "recloser_requests_total", "recloser_attempts_total", "recloser_circuit_state",
        "recloser_circuit_transitions_total", "recloser_circuit_calls_total", "recloser_circuit_cooldown_seconds",
        "recloser_circuit_remaining_seconds", "recloser_first_token_seconds_count", "recloser_first_token_seconds_sum",
        "recloser_guard_tripped_total", "recloser_request_seconds_count", "recloser_request_seconds_sum",
        "recloser_held_requests",
    }  # fmt: skip


def test_a_request_and_its_attempts_are_counted() -> None:
    told = Told(failed(), RequestFinished(**FINISHED, seq=2, attempts=2, failures=1, outcome="ok"))
    assert told.samples[("recloser_requests_total", "anthropic", "ok")] == 1
    assert told.samples[("recloser_attempts_total", "a", "timeout")] == 1
    assert told.samples[("recloser_attempts_total", "a", "ok")] == 1
    assert told.samples[("recloser_first_token_seconds_sum", "anthropic")] == 0.4
    assert told.samples[("recloser_request_seconds_sum", "anthropic")] == 2.0


def test_a_stream_that_broke_off_is_counted_by_what_became_of_it() -> None:
    finished = RequestFinished(**FINISHED, seq=2, attempts=2, failures=1, breaks=1, outcome="ok")
    lost = RequestFinished(**FINISHED, seq=2, attempts=1, failures=1, breaks=1, outcome="interrupted")
    told = Told(finished, lost, lost)
    assert told.samples[("recloser_streams_broken_total", "anthropic", "finished")] == 1
    assert told.samples[("recloser_streams_broken_total", "anthropic", "lost")] == 2


def test_what_guards_saw_is_counted_by_guard_and_action() -> None:
    told = Told(tripped("warn"), tripped("refuse"), tripped("refuse"))
    assert told.samples[("recloser_guard_tripped_total", "tool_loop", "warn")] == 1
    assert told.samples[("recloser_guard_tripped_total", "refuse", "tool_loop")] == 2


def test_an_answer_is_counted_whatever_else_was_told_of_its_request() -> None:
    told = Told(tripped("warn"), RequestFinished(**FINISHED, seq=2, attempts=1, outcome="ok"))
    assert told.samples[("recloser_attempts_total", "a", "ok")] == 1


def test_tools_beyond_the_first_few_hundred_share_a_label() -> None:
    told = Told()
    for number in range(_MOST_MODELS + 2):
        told.breakers[f"tool/t{number}@agent"].acquire().succeed()
    assert ("recloser_circuit_state", "tool/(others)") in told.samples


def test_an_attempt_that_the_client_left_is_counted_and_one_that_failed_is_not_counted_twice() -> None:
    left = Told(RequestFinished(**FINISHED, seq=1, attempts=1, outcome="cancelled")).samples
    assert left[("recloser_attempts_total", "a", "cancelled")] == 1
    lost = Told(failed(), RequestFinished(**FINISHED, seq=2, attempts=1, failures=1, outcome="timeout")).samples
    assert [(key, value) for key, value in lost.items() if key[0] == "recloser_attempts_total"] == [
        (("recloser_attempts_total", "a", "timeout"), 1)
    ]


def test_a_refused_request_is_no_quick_answer() -> None:
    nobody = {**FINISHED, "target": None, "first_token": None, "duration": 0.0, "status": 503}
    samples = Told(RequestFinished(**nobody, seq=1, attempts=0, outcome="refused")).samples
    assert samples[("recloser_requests_total", "anthropic", "refused")] == 1
    assert ("recloser_request_seconds_count", "anthropic") not in samples


def used(model: str = "m", provider: str = "a", cost: float | None = 0.5) -> Used:
    return Used(f"{provider}/{model}", provider, model, 30, 5, 20, 0, cost, estimated=False)


def test_tokens_and_cost_are_counted_for_each_who_was_asked() -> None:
    both = RequestFinished(**FINISHED, seq=2, attempts=2, outcome="ok", used=(used(), used("n", "b", None)))
    samples = Told(both, RequestFinished(**FINISHED, seq=1, attempts=1, outcome="ok", used=(used(),))).samples
    counted = {
        key[1:]: n for key, n in samples.items() if key[0] in ("recloser_tokens_total", "recloser_cost_usd_total")
    }
    assert counted == {
        ("a", "input", "m"): 60, ("a", "m", "output"): 10, ("a", "cache_read", "m"): 40, ("a", "m"): 1.0,
        ("b", "input", "n"): 30, ("b", "n", "output"): 5, ("b", "cache_read", "n"): 20,
    }  # fmt: skip


def test_models_that_clients_make_up_share_a_series_of_tokens() -> None:
    many = [used(f"made up {number}") for number in range(_MOST_MODELS + 7)]
    samples = Told(RequestFinished(**FINISHED, seq=1, attempts=1, outcome="ok", used=tuple(many))).samples
    costs = {key[1:]: n for key, n in samples.items() if key[0] == "recloser_cost_usd_total"}
    assert len(costs) == _MOST_MODELS + 1
    assert costs["(others)", "a"] == 3.5


def test_circuits_stand_as_they_are_when_asked() -> None:
    told = Told()
    told.breakers["account/a"].acquire().succeed()
    told.breakers["endpoint/a"].force_open()
    told.breakers["model/a/m"].disable()
    assert {key[1]: value for key, value in told.samples.items() if key[0] == "recloser_circuit_state"} == {
        "account/a": 0, "endpoint/a": 3, "model/a/m": 4,
    }  # fmt: skip


def test_transitions_are_counted_by_where_they_lead() -> None:
    one: dict[str, Any] = {"subject": "endpoint/a", "seq": 1}
    told = Told(
        opened("endpoint/a"), opened("endpoint/a"), CircuitHalfOpened(**one, open_for=1.0),
        CircuitClosed(**one, open_for=1.0), CircuitForced(**one, state="disabled", retry_after=None, reason="x"),
    )  # fmt: skip
    counted = {key[1:]: n for key, n in told.samples.items() if key[0] == "recloser_circuit_transitions_total"}
    assert counted == {
        ("endpoint/a", "open"): 2, ("endpoint/a", "half_open"): 1, ("closed", "endpoint/a"): 1,
        ("disabled", "endpoint/a"): 1,
    }  # fmt: skip


def test_model_names_that_clients_make_up_are_bounded() -> None:
    told = Told(*(opened(f"model/a/made-up-{number}") for number in range(3 * _MOST_MODELS)))
    for number in range(3 * _MOST_MODELS):
        told.breakers[f"model/a/made-up-{number}"].acquire().succeed()
    told.breakers[f"model/a/made-up-{2 * _MOST_MODELS}"].force_open()
    told.breakers["endpoint/late"].acquire().succeed()
    samples = told.samples
    assert len([key for key in samples if key[0] == "recloser_circuit_state"]) == _MOST_MODELS + 2
    assert samples[("recloser_circuit_transitions_total", "model/a/(others)", "open")] == 2 * _MOST_MODELS
    assert samples[("recloser_circuit_state", "model/a/(others)")] == 3, "the worst of them"
    assert samples[("recloser_circuit_state", "endpoint/late")] == 0
