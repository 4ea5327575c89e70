"""Where every event passes."""

import pytest

from recloser.core.events import CircuitClosed, StoreLost
from recloser.observe.hub import Hub, Stamped, rfc3339
from recloser.observe.redact import HIDDEN, never_show, redacted
from recloser.testing import ManualClock

EVENT = CircuitClosed(subject="model/a/b", seq=3, open_for=2.5)


def test_an_event_is_stamped_once_for_every_sink() -> None:
    seen: list[Stamped] = []
    hub = Hub(ManualClock(), [seen.append])
    hub.add(seen.append)
    hub.emit(EVENT)
    assert seen[0] == seen[1]
    assert seen[0].facts() == {
        "ts": "2026-09-21T14:13:20.000Z", "seq": 3, "kind": "circuit_closed", "subject": "model/a/b", "open_for": 2.5,
    }  # fmt: skip


def test_a_sink_that_raises_disturbs_nobody_and_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Stamped] = []

    def broken(_: Stamped) -> None:
        raise ZeroDivisionError

    hub = Hub(ManualClock(), [broken, seen.append])
    hub.emit(EVENT)
    hub.emit(EVENT)
    assert len(seen) == 2
    assert capsys.readouterr().err.count("reported once") == 1


@pytest.mark.parametrize(
    ("time", "written"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (-5.0, "1970-01-01T00:00:00.000Z"), (1e300, "9999-12-31T23:59:59.000Z"),
     (1_790_000_000.1234, "2026-09-21T14:13:20.123Z"), (float("inf"), "9999-12-31T23:59:59.000Z")],
)  # fmt: skip
def test_any_time_can_be_written(time: float, written: str) -> None:
    assert rfc3339(time) == written


def test_a_secret_is_in_no_event() -> None:
    never_show("hunter2-hunter2")
    event = StoreLost(subject="store", seq=1, reason="redis refused hunter2-hunter2")
    assert Stamped(0.0, event).facts()["reason"] == f"redis refused {HIDDEN}"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcDEF123_-xyz", "sk-proj-abcdefghijklmnop", "sk-abcd****************wxyz",
        "AIzaSyA-1234567890abcdef", "gsk_abcdefghijklmnop",
        "hf_abcdefghijklmnop", "xai-abcdefghijklmnop", "ghp_abcdefghijklmnop",
    ],
)  # fmt: skip
def test_what_looks_like_a_key_is_hidden(secret: str) -> None:
    said = redacted(f"Incorrect API key provided: {secret}. You can find")
    assert secret not in said
    assert said.startswith(f"Incorrect API key provided: {HIDDEN}")


def test_credentials_in_addresses_and_headers_are_hidden() -> None:
    assert redacted("redis://:pass@host:1/0 down") == f"redis://{HIDDEN}@host:1/0 down"
    assert redacted("Authorization: Bearer abcdef123456") == f"Authorization: {HIDDEN}"
    assert redacted("GET /x?key=abcdef123456&a=b") == f"GET /x?key={HIDDEN}&a=b"


@pytest.mark.parametrize(
    "text",
    ["model/anthropic/claude-sonnet-4-5", "req_a465bffa00000001", "2026-09-21T14:13:20.123Z", "token=5 of 9",
     "Cannot connect to host 127.0.0.1:1", "basic plan", "task-oriented-architecture", "meta-llama/Llama-3.3-70B"],
)  # fmt: skip
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert redacted(text) == text


def test_a_secret_deep_inside_and_a_text_without_end() -> None:
    never_show("deep-secret")
    assert redacted({"a": [{"b": ("deep-secret", 1)}], "c": None}) == {"a": [{"b": [HIDDEN, 1]}], "c": None}
    assert len(redacted("a" * 10_000_000)) < 3000


def test_a_short_secret_does_not_eat_every_text() -> None:
    never_show("a")
    assert redacted("a banana") == "a banana"
