"""Events in the standard library's log."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest
from tests.observe.fresh_process import loaded_by, packages_of

from recloser import Breakers, CircuitBreaker, CircuitSettings
from recloser.core import events
from recloser.core.errors import ConfigError
from recloser.core.events import CircuitClosed, CircuitOpened, Event, PermitExpired, StoreLost, StoreRegained
from recloser.gateway.events import AttemptFailed
from recloser.observe.log import LEVELS, LogSink
from recloser.observe.redact import HIDDEN, never_show
from recloser.testing import ManualClock

SETTINGS = CircuitSettings(failure_threshold=2, cooldown=30.0, jitter=0.0)
OPENED: dict[str, Any] = {
    "subject": "search", "seq": 1, "failure": "timeout", "failures": 1, "rule": "at_once", "retry_after": 5.0,
    "authoritative": False, "reason": "timeout",
}  # fmt: skip


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "recloser")


def fail(breaker: CircuitBreaker, error: Exception) -> None:
    def failing() -> None:
        raise error

    with pytest.raises(type(error)):
        breaker.call(failing)


def logged(caplog: pytest.LogCaptureFixture, event: Event) -> logging.LogRecord:
    LogSink()(event)
    return caplog.records[-1]


def test_an_outage_is_told_in_plain_words(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    breaker = CircuitBreaker("search", SETTINGS, clock=clock, listeners=[LogSink()])
    fail(breaker, ConnectionError("refused"))
    fail(breaker, ConnectionError("refused"))
    clock.advance(30.0)
    breaker.call(len, "well again")
    assert [(record.name, record.levelname, record.message.partition(": ")[0]) for record in caplog.records] == [
        ("recloser", "WARNING", "search opened for 30 s after 2 failures"),
        ("recloser", "INFO", "search is tried again after 30 s"),
        ("recloser", "INFO", "search is well again after 30 s"),
    ]


def test_a_registry_logs_as_well(caplog: pytest.LogCaptureFixture) -> None:
    tools = Breakers(SETTINGS, clock=ManualClock(), listeners=[LogSink()])
    tools["shell"].force_open(60.0, reason="rebooting")
    assert caplog.messages == ["shell was opened for 1 min: rebooting"]


def test_the_facts_are_attributes_of_the_record(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(caplog, CircuitOpened(**OPENED))
    told = {name: value for name, value in vars(record).items() if name.startswith("recloser_")}
    assert told == {f"recloser_{name}": value for name, value in {"kind": "circuit_opened", **OPENED}.items()}


def test_a_fact_may_have_a_name_that_records_use_themselves(caplog: pytest.LogCaptureFixture) -> None:
    failed = AttemptFailed(
        subject="request/1", seq=1, target="a/m", failure="timeout", status=None, circuit=None, message="too slow",
        retry_after=None, duration=1.0,
    )  # fmt: skip
    record = logged(caplog, failed)
    assert vars(record)["recloser_message"] == "too slow"
    assert record.message == "a/m failed after 1.0 s: timeout: too slow"


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (StoreLost(subject="store", seq=1, reason="disk full"), logging.ERROR),
        (StoreRegained(subject="store", seq=2), logging.INFO),
        (CircuitClosed(subject="search", seq=1, open_for=1.0), logging.INFO),
        (PermitExpired(subject="search", seq=1, held_for=600.0), logging.WARNING),
    ],
)
def test_what_needs_a_person_is_loud(caplog: pytest.LogCaptureFixture, event: Event, level: int) -> None:
    assert logged(caplog, event).levelno == level


def test_every_level_is_that_of_an_event_that_exists() -> None:
    kinds = {one.kind for one in vars(events).values() if isinstance(one, type) and issubclass(one, Event)}
    assert set(LEVELS) - kinds == set()


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitRepainted(Event):
    colour: str


def test_an_event_that_nobody_foresaw_is_told_with_all_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(caplog, CircuitRepainted(subject="search", seq=1, colour="red"))
    assert (record.levelname, record.message) == ("INFO", "search: circuit repainted colour=red")


def test_a_secret_is_neither_in_the_message_nor_in_a_fact(caplog: pytest.LogCaptureFixture) -> None:
    never_show("correct-horse")
    reason = "auth: sk-ant-api03-abcDEF123_-xyz and correct-horse refused"
    record = logged(caplog, CircuitOpened(**{**OPENED, "reason": reason}))
    assert "correct-horse" not in str(vars(record))
    assert "sk-ant" not in str(vars(record))
    assert record.message.endswith(f"auth: {HIDDEN} and {HIDDEN} refused")


def test_a_name_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(caplog, CircuitClosed(subject="a\nERROR recloser: all is lost", seq=1, open_for=1.0))
    assert len(record.getMessage().splitlines()) == 1


def test_a_percent_sign_is_a_percent_sign(caplog: pytest.LogCaptureFixture) -> None:
    record = logged(caplog, StoreLost(subject="store", seq=1, reason="disk 100%s full"))
    assert "100%s full" in record.getMessage()


def test_a_program_may_choose_its_own_logger_and_levels(caplog: pytest.LogCaptureFixture) -> None:
    own = logging.getLogger("shop.payments")
    caplog.set_level(logging.INFO, own.name)
    sink = LogSink(own, levels={"circuit_opened": logging.CRITICAL, "circuit_closed": logging.DEBUG})
    sink(CircuitOpened(**OPENED))
    sink(CircuitClosed(subject="search", seq=2, open_for=1.0))
    assert [(record.name, record.levelname) for record in caplog.records] == [("shop.payments", "CRITICAL")]


def test_a_level_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"levels\['circuit_opened'\] must be a number such as logging.INFO"):
        LogSink(levels={"circuit_opened": "LOUD"})  # type: ignore[dict-item]


def test_it_needs_nothing_but_the_standard_library_and_no_gateway() -> None:
    loaded = loaded_by("recloser.observe.log")
    assert packages_of(loaded) == {"recloser"}
    assert "recloser.gateway" not in loaded
