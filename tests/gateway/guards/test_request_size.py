"""Requests that are larger than somebody wants to pay for."""

from typing import Any

import pytest
from tests.gateway.guards.asking import EVERY_WIRE, asked, unreadable, user

from recloser.core.errors import ConfigError
from recloser.gateway.estimate import tokens
from recloser.gateway.guards.guard import Action, Stage, Verdict
from recloser.gateway.guards.request_size import RequestSize, SizeSettings
from recloser.gateway.request import Request

LONG = asked(user("a long story " * 400))


def seen(request: Request = LONG, **settings: Any) -> Verdict | None:
    return RequestSize(SizeSettings(**settings)).look(request, 0.0)


def told(verdict: Verdict | None) -> tuple[int, str]:
    assert verdict is not None
    assert verdict.refusal is not None
    assert verdict.action is Action.REFUSE
    return verdict.refusal.status, verdict.refusal.kind


def test_bytes_have_a_limit() -> None:
    assert seen(bytes=len(LONG.body)) is None
    assert told(seen(bytes=len(LONG.body) - 1)) == (413, "too_large")


@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_tokens_have_one(wire: str) -> None:
    request = asked(user("a long story " * 400), wire=wire)
    count = tokens(request.read())
    assert seen(request, tokens=count) is None
    verdict = seen(request, tokens=count - 1)
    assert told(verdict) == (400, "context_length_exceeded")
    assert verdict is not None
    assert verdict.why.startswith(f"prompt is too long: {count} tokens > {count - 1} maximum")  # agents look for it


def test_to_warn_is_to_refuse_nothing() -> None:
    verdict = seen(bytes=1, action="warn")
    assert verdict is not None
    assert (verdict.action, verdict.refusal) == (Action.WARN, None)


def test_what_is_small_enough_for_certain_is_not_read() -> None:
    assert seen(unreadable(LONG), tokens=10_000, bytes=10_000) is None


def test_it_looks_at_what_is_left_to_be_sent() -> None:
    assert RequestSize.stage is Stage.SENT


@pytest.mark.parametrize("settings", [{}, {"tokens": -1}])
def test_some_limit_there_must_be(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tokens"):
        SizeSettings(**settings)
