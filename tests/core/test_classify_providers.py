"""What the answers of every provider mean: bodies and headers as their documentation has them, in `fixtures/`."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from recloser.core.classify import ROWS, classify_answer, classify_error_object
from recloser.core.failure import FailureKind, Scope, Then
from recloser.gateway.providers import provider_kinds

NOW = 1_790_000_000.0
"""2026-09-21 14:13:20 UTC"""
FIXTURES = Path(__file__).parent / "fixtures"
ANSWERS = [
    pytest.param(answer, id=f"{file.stem}: {answer['what']}")
    for file in sorted(FIXTURES.glob("*.toml"))
    for answer in tomllib.loads(file.read_text("utf-8"))["answer"]
]
SCOPES = {row.kind: row.scope for row in ROWS}
AT_ANOTHER_PLACE = {
    "azure-deployments": "azure",
    "azure-foundry": "azure",
    "bedrock-mantle": "bedrock",
    "zai-coding": "zai",
}
"""Kinds that are the same servers under another address."""
NOBODYS = {"compatible", "simulated"}
NEXT = dict.fromkeys(FailureKind, Then.NEXT_TARGET) | {
    FailureKind.TOO_LARGE: Then.LARGER_TARGET,
    FailureKind.INVALID_REQUEST: Then.TELL_CALLER,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_provider_s_answer_means_what_its_documentation_says(answer: dict[str, Any]) -> None:
    body = json.loads(answer["body"])
    failure = classify_answer(answer["status"], answer.get("headers", {}), body, answer["body"], wall_now=NOW)
    assert failure.kind == answer["kind"]
    assert failure.scope == answer.get("scope", SCOPES[failure.kind])
    assert failure.retry_after == pytest.approx(answer["retry_after"]) if "retry_after" in answer else True
    assert failure.authoritative == ("retry_after" in answer), "a time is the server's own, or there is none"
    assert failure.then == NEXT[failure.kind]
    assert failure.message, "people are told something"


def test_every_provider_has_answers_and_says_the_six_things_that_matter() -> None:
    there = {file.stem for file in FIXTURES.glob("*.toml")}
    assert {AT_ANOTHER_PLACE.get(name, name) for name in provider_kinds()} - NOBODYS == there
    for name in sorted(there):
        answers = tomllib.loads((FIXTURES / f"{name}.toml").read_text("utf-8"))["answer"]
        kinds = {answer["kind"] for answer in answers}
        assert "too_large" in kinds, name
        if not provider_kinds()[name].local_port:
            assert {"auth", "not_found", "overloaded"} <= kinds, name
            assert kinds & {"rate_limited", "quota"}, name
            assert kinds & {"billing", "quota"}, name


@pytest.mark.parametrize("kind", ["content_filter", "content_policy_violation"])
def test_a_filter_s_error_within_a_stream_is_the_callers_own(kind: str) -> None:
    failure = classify_error_object({"error": {"type": kind, "message": "no"}}, wall_now=NOW)
    assert (failure.kind, failure.scope) == (FailureKind.INVALID_REQUEST, Scope.NOBODY)


def test_a_date_without_a_zone_is_beijing_s_and_one_that_is_past_says_nothing() -> None:
    said = {"error": {"message": "Usage limit reached. Your limit will reset at 2026-09-21 22:13:10"}}
    failure = classify_answer(429, {}, said, said["error"]["message"], wall_now=NOW)
    assert (failure.kind, failure.retry_after) == (FailureKind.QUOTA, None)


def test_the_headers_of_the_one_behind_an_aggregator_count_only_when_its_window_is_spent() -> None:
    headers = {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1790007200000"}
    body = {"error": {"message": "Provider returned error", "code": 429, "metadata": {"headers": headers}}}
    assert classify_answer(429, {}, body, "", wall_now=NOW).retry_after is None
    strange = {"error": {"code": 429, "metadata": {"headers": {"x-ratelimit-remaining": None, "retry-after-ms": []}}}}
    assert classify_answer(429, {}, strange, "", wall_now=NOW).retry_after is None
