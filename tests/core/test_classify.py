"""What answers mean: the table of the contract, row by row, with bodies that real servers have sent."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core import classify
from recloser.core.classify import classify_answer, classify_error_object, error_types
from recloser.core.failure import Effect, Failure, FailureKind, Scope, Then

NOW = 1_790_000_000.0
ACCOUNT, ENDPOINT, MODEL, NOBODY = Scope
COUNTS, OPENS, NOTHING = Effect
NEXT, LARGER, TELL = Then


def answer(status: int, body: Any = None, headers: dict[str, str] | None = None, model: str = "") -> Failure:
    """The failure behind an answer with a body of JSON, or of words."""
    words = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    decoded = None if isinstance(body, str) else body
    return classify_answer(status, headers or {}, decoded, words, model=model, wall_now=NOW)


def meaning(failure: Failure) -> tuple[FailureKind, Scope, Effect, Then]:
    return failure.kind, failure.scope, failure.effect, failure.then


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CZLrUfBVkVHn5T6EqQaf7"}


def openai(message: str, kind: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def gemini(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


# The statuses alone


def by_status(status: int) -> tuple[FailureKind, Scope, Effect, Then]:
    """Section 5 of the contract, written down a second time."""
    match status:
        case 401 | 403:
            return FailureKind.AUTH, ACCOUNT, OPENS, NEXT
        case 402:
            return FailureKind.BILLING, ACCOUNT, OPENS, NEXT
        case 404 | 410:
            return FailureKind.NOT_FOUND, MODEL, OPENS, NEXT
        case 408 | 409 | 423 | 424 | 425 | 505 | 507:
            return FailureKind.SERVER_ERROR, MODEL, COUNTS, NEXT
        case 413:
            return FailureKind.TOO_LARGE, NOBODY, NOTHING, LARGER
        case 429:
            return FailureKind.RATE_LIMITED, MODEL, COUNTS, NEXT
        case 529:
            return FailureKind.OVERLOADED, MODEL, COUNTS, NEXT
        case _ if status < 500:
            return FailureKind.INVALID_REQUEST, NOBODY, NOTHING, TELL
        case _:
            return FailureKind.SERVER_ERROR, ENDPOINT, COUNTS, NEXT


OPENS_FOR = {404: 300.0, 410: 300.0}
NEEDS_PROOF = {401, 402, 403}


@pytest.mark.parametrize("body", [None, {}, [], {"error": {}}, {"detail": "no"}, "<html>no</html>", "no", 7])
@pytest.mark.parametrize("status", range(400, 600))
def test_every_status_has_one_meaning(status: int, body: Any) -> None:
    failure = answer(status, body)
    assert meaning(failure) == by_status(status)
    assert failure.status == status
    assert (failure.retry_after, failure.until_proven) == (OPENS_FOR.get(status), status in NEEDS_PROOF)
    assert not failure.authoritative


@pytest.mark.parametrize("status", [600, 799, 999])
def test_a_status_that_does_not_exist_is_a_server_that_is_broken(status: int) -> None:
    assert meaning(answer(status)) == by_status(500)


@pytest.mark.parametrize("status", [200, 204, 206, 301, 302, 307, 399])
def test_what_should_have_been_an_answer_but_is_none_is_malformed(status: int) -> None:
    assert meaning(answer(status, "<!doctype html>moved")) == (FailureKind.MALFORMED, MODEL, COUNTS, NEXT)


# Anthropic


def test_anthropic_types() -> None:
    said = "Internal server error"
    assert meaning(answer(500, anthropic("api_error", said))) == by_status(500)
    assert answer(500, anthropic("api_error", said)).message == said
    for status in (529, 500, 503):
        assert meaning(answer(status, anthropic("overloaded_error", "Overloaded"))) == by_status(529)
    assert meaning(answer(401, anthropic("authentication_error", "invalid x-api-key"))) == by_status(401)
    no_permission = "Your API key does not have permission to use the specified resource."
    assert meaning(answer(403, anthropic("permission_error", no_permission))) == by_status(403)
    assert meaning(answer(404, anthropic("not_found_error", "model: claude-opus-9"))) == by_status(404)
    invalid = anthropic("invalid_request_error", "max_tokens: Field required")
    assert meaning(answer(400, invalid)) == by_status(400)
    assert meaning(answer(413, anthropic("request_too_large", "Request exceeds the maximum size"))) == by_status(413)


@pytest.mark.parametrize(
    "message",
    [
        "prompt is too long: 210000 tokens > 200000 maximum",
        (
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input length or "
            "`max_tokens` and try again"
        ),
    ],
)
def test_anthropic_context_too_long(message: str) -> None:
    assert meaning(answer(400, anthropic("invalid_request_error", message))) == by_status(413)


def test_anthropic_credit_is_too_low_though_it_says_400() -> None:
    message = (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits."
    )
    failure = answer(400, anthropic("invalid_request_error", message))
    assert meaning(failure) == by_status(402)
    assert failure.until_proven


def test_anthropic_spend_cap_is_a_quota_with_a_date_though_it_says_400() -> None:
    message = "You have reached your specified API usage limits. You will regain access on 2026-09-22 at 00:00 UTC."
    failure = answer(400, anthropic("invalid_request_error", message))
    assert meaning(failure) == (FailureKind.QUOTA, ACCOUNT, OPENS, NEXT)
    assert failure.retry_after == 1_790_035_200 - NOW
    assert failure.authoritative


def test_a_400_that_merely_speaks_of_limits_is_the_callers_own() -> None:
    message = "tools.3.name: 'get usage limit reached, resets weekly limit' does not match pattern"
    assert meaning(answer(400, anthropic("invalid_request_error", message))) == by_status(400)


PER_MINUTE = anthropic(
    "rate_limit_error", "This request would exceed your organization's rate limit of 40,000 input tokens per minute."
)


def test_anthropic_rate_limit_within_a_minute_opens_the_model_until_then() -> None:
    failure = answer(429, PER_MINUTE, {"retry-after": "60"})
    assert meaning(failure) == (FailureKind.RATE_LIMITED, MODEL, OPENS, NEXT)
    assert (failure.retry_after, failure.authoritative) == (60.0, True)


def test_anthropic_rate_limit_beyond_a_minute_is_a_quota_of_the_account() -> None:
    failure = answer(429, PER_MINUTE, {"retry-after": "60.5"})
    assert meaning(failure) == (FailureKind.QUOTA, ACCOUNT, OPENS, NEXT)
    assert (failure.retry_after, failure.authoritative) == (60.5, True)


ACCOUNT_LIMIT = anthropic("rate_limit_error", "This request would exceed your account's rate limit. Try again later.")


def unified(claim: str, reset: float) -> dict[str, str]:
    return {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-reset": str(int(reset)),
        "anthropic-ratelimit-unified-representative-claim": claim,
        "anthropic-ratelimit-unified-5h-status": "rejected",
        "anthropic-ratelimit-unified-5h-utilization": "1.04",
    }


def test_anthropic_five_hour_limit_opens_the_account_until_its_reset() -> None:
    failure = answer(429, ACCOUNT_LIMIT, unified("five_hour", NOW + 7999), "claude-sonnet-4-5")
    assert meaning(failure) == (FailureKind.QUOTA, ACCOUNT, OPENS, NEXT)
    assert (failure.retry_after, failure.authoritative) == (7999.0, True)


def test_anthropic_weekly_limit_of_one_model_opens_that_model() -> None:
    headers = unified("seven_day_opus", NOW + 5 * 86400)
    assert answer(429, ACCOUNT_LIMIT, headers, "claude-opus-4-5").scope is MODEL
    assert answer(429, ACCOUNT_LIMIT, headers, "claude-sonnet-4-5").scope is ACCOUNT


def test_anthropic_limit_is_a_quota_however_short_and_even_without_a_time() -> None:
    soon = answer(429, ACCOUNT_LIMIT, unified("five_hour", NOW + 5))
    assert (soon.kind, soon.scope, soon.retry_after) == (FailureKind.QUOTA, ACCOUNT, 5.0)
    untold = answer(429, ACCOUNT_LIMIT, {"anthropic-ratelimit-unified-status": "rejected"})
    assert meaning(untold) == (FailureKind.QUOTA, ACCOUNT, OPENS, NEXT)
    assert (untold.retry_after, untold.authoritative) == (None, False)
    allowed = {**unified("five_hour", NOW + 7999), "anthropic-ratelimit-unified-status": "allowed"}
    assert meaning(answer(429, ACCOUNT_LIMIT, allowed)) == by_status(429)


# OpenAI


def test_openai_rate_limit() -> None:
    message = (
        "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Used 29500, "
        "Requested 1200. Please try again in 1.4s. Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    failure = answer(429, openai(message, "tokens", "rate_limit_exceeded"), model="gpt-4o")
    assert meaning(failure) == (FailureKind.RATE_LIMITED, MODEL, OPENS, NEXT)
    assert failure.retry_after == pytest.approx(1.4)
    daily = message.replace("1.4s", "6m0s")
    assert answer(429, openai(daily, "tokens", "rate_limit_exceeded"), model="gpt-4o").kind is FailureKind.QUOTA
    assert answer(429, openai(daily, "tokens", "rate_limit_exceeded"), model="gpt-4o").scope is MODEL
    assert answer(429, openai(daily, "tokens", "rate_limit_exceeded"), model="o3").scope is ACCOUNT


def test_openai_insufficient_quota_is_billing() -> None:
    message = "You exceeded your current quota, please check your plan and billing details."
    failure = answer(429, openai(message, "insufficient_quota", "insufficient_quota"), {"retry-after": "2"})
    assert meaning(failure) == by_status(402)
    assert (failure.until_proven, failure.retry_after) == (True, None)


@pytest.mark.parametrize(
    ("status", "kind", "code", "same_as"),
    [
        (401, "invalid_request_error", "invalid_api_key", 401),
        (403, "request_forbidden", "unsupported_country_region_territory", 403),
        (404, "invalid_request_error", "model_not_found", 404),
        (400, "invalid_request_error", "model_not_found", 404),
        (400, "invalid_request_error", "context_length_exceeded", 413),
        (400, "invalid_request_error", "string_above_max_length", 413),
        (400, "invalid_request_error", None, 400),
        (400, "invalid_request_error", "billing_hard_limit_reached", 402),
        (500, "server_error", None, 500),
        (503, "server_error", "slow_down", 529),
        (429, "engine_overloaded_error", None, 529),
    ],
)
def test_openai_codes(status: int, kind: str, code: str | None, same_as: int) -> None:
    assert meaning(answer(status, openai("no", kind, code))) == by_status(same_as)


def test_openai_overloaded_in_words() -> None:
    words = "The engine is currently overloaded, please try again later"
    assert meaning(answer(503, openai(words, "server_error", None))) == by_status(529)


def test_codex_usage_limit() -> None:
    body = {
        "error": {
            "type": "usage_limit_reached",
            "message": "The usage limit has been reached",
            "plan_type": "plus",
            "resets_at": int(NOW) + 14400,
            "resets_in_seconds": 14400,
        }
    }
    failure = answer(429, body)
    assert meaning(failure) == (FailureKind.QUOTA, ACCOUNT, OPENS, NEXT)
    assert failure.retry_after == 14400.0


# Gemini


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "31s"}


def test_gemini_rate_limit_is_no_billing_though_it_speaks_of_billing_details() -> None:
    message = (
        "You exceeded your current quota, please check your plan and billing details. For more information on this "
        "error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n* Quota exceeded for metric: "
        "generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: 10\nPlease retry in 31s."
    )
    for body in (gemini(429, "RESOURCE_EXHAUSTED", message, RETRY_INFO), [gemini(429, "X", message, RETRY_INFO)]):
        failure = answer(429, body)
        assert meaning(failure) == (FailureKind.RATE_LIMITED, MODEL, OPENS, NEXT)
        assert (failure.retry_after, failure.until_proven) == (31.0, False)
        assert failure.message.startswith("You exceeded your current quota, please check")


def test_gemini_exhausted_without_a_hint_counts() -> None:
    body = gemini(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
    assert meaning(answer(429, body)) == by_status(429)


def test_gemini_bad_key_says_400() -> None:
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis"}
    body = gemini(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason)
    assert meaning(answer(400, body)) == by_status(401)


@pytest.mark.parametrize(
    ("status", "name", "message", "same_as"),
    [
        (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", 529),
        (503, "UNAVAILABLE", "The service is currently unavailable.", 503),
        (500, "INTERNAL", "An internal error has occurred.", 500),
        (403, "PERMISSION_DENIED", "Permission denied on resource project.", 403),
        (404, "NOT_FOUND", "models/gemini-9 is not found for API version v1beta", 404),
        (400, "INVALID_ARGUMENT", "Please use a valid role: user, model.", 400),
        (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", 401),
        (
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).",
            413,
        ),
        (504, "DEADLINE_EXCEEDED", "The request timed out. Please try again.", 504),
    ],
)
def test_gemini_statuses(status: int, name: str, message: str, same_as: int) -> None:
    assert meaning(answer(status, gemini(status, name, message))) == by_status(same_as)


# Local servers


RESOURCES = (FailureKind.RESOURCES, ENDPOINT, OPENS, NEXT)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": "model requires more system memory (5.3 GiB) than is available (3.3 GiB)"}),
        (500, {"error": "llama runner process has terminated: cudaMalloc failed: out of memory"}),
        (
            500,
            {
                "error": "model runner has unexpectedly stopped, this may be due to resource limitations or an "
                "internal error, check ollama server logs for details"
            },
        ),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
        (503, {"error": "Model mistralai/Mistral-7B is currently loading", "estimated_time": 20.0}),
        (500, {"error": 'Failed to load model "qwen3". Error: Operation canceled.'}),
    ],
)
def test_a_machine_that_is_full_or_busy_loading(status: int, body: Any) -> None:
    failure = answer(status, body)
    assert meaning(failure) == RESOURCES
    assert (failure.retry_after, failure.authoritative) == (120.0, False)


def test_ollama() -> None:
    assert meaning(answer(404, {"error": "model 'qwen9' not found"})) == by_status(404)
    assert answer(404, {"error": "model 'qwen9' not found"}).message == "model 'qwen9' not found"
    busy = {"error": "server busy, please try again.  maximum pending requests exceeded"}
    assert meaning(answer(503, busy)) == by_status(503)


def test_llama_cpp_context() -> None:
    body: dict[str, Any] = {
        "error": {
            "code": 400,
            "message": "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 4390,
            "n_ctx": 4096,
        }
    }
    assert meaning(answer(400, body)) == by_status(413)
    assert meaning(answer(500, body)) == by_status(413)
    in_words = {"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}
    assert meaning(answer(500, in_words)) == by_status(413)


def test_vllm() -> None:
    def vllm(code: int, kind: str, message: str) -> dict[str, Any]:
        return {"object": "error", "message": message, "type": kind, "param": None, "code": code}

    gone = vllm(404, "NotFoundError", "The model `qwen9` does not exist.")
    assert meaning(answer(404, gone)) == by_status(404)
    assert answer(404, gone).message == "The model `qwen9` does not exist."
    for message in (
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        (
            "You passed 1015 input tokens and requested 10 output tokens. However, the model's context length is only "
            "1024 tokens, resulting in a maximum input length of 1014 tokens."
        ),
        "The decoder prompt (length 9000) is longer than the maximum model length of 4096.",
    ):
        assert meaning(answer(400, vllm(400, "BadRequestError", message))) == by_status(413)
    assert meaning(answer(400, vllm(400, "BadRequestError", "max_tokens must be at least 1"))) == by_status(400)


# Routers


def test_openrouter() -> None:
    def openrouter(code: int, message: str, **metadata: Any) -> dict[str, Any]:
        return {"error": {"message": message, "code": code, "metadata": metadata}, "user_id": "user_33jF"}

    upstream = "deepseek/deepseek-chat:free is temporarily rate-limited upstream. Please retry shortly."
    limited = openrouter(429, "Provider returned error", raw=upstream, provider_name="Chutes")
    assert meaning(answer(429, limited)) == by_status(429)
    poor = openrouter(402, "This request requires more credits, or fewer max_tokens.", provider_name=None)
    assert meaning(answer(402, poor)) == by_status(402)
    assert meaning(answer(401, openrouter(401, "No auth credentials found"))) == by_status(401)
    assert meaning(answer(400, openrouter(400, "qwen/qwen9 is not a valid model ID"))) == by_status(404)
    assert meaning(answer(502, openrouter(502, "Provider returned error"))) == by_status(502)
    assert meaning(answer(400, openrouter(400, "Provider returned error"))) == by_status(400)


def test_groq() -> None:
    large = (
        "Request too large for model `llama-3.3-70b-versatile` in organization `org_01` service tier `on_demand` on "
        "tokens per minute (TPM): Limit 12000, Requested 14137, please reduce your message size and try again."
    )
    assert meaning(answer(413, openai(large, "tokens", "rate_limit_exceeded"))) == by_status(413)
    limited = (
        "Rate limit reached for model `llama-3.1-8b-instant` in organization `org_01` on tokens per minute (TPM): "
        "Limit 6000, Used 5034, Requested 1443. Please try again in 4.77s."
    )
    failure = answer(429, openai(limited, "tokens", "rate_limit_exceeded"), {"retry-after": "5"})
    assert (failure.kind, failure.effect, failure.retry_after) == (FailureKind.RATE_LIMITED, OPENS, 5.0)
    over = "llama-3.3-70b-versatile is currently over capacity. Please try again and back off exponentially."
    assert meaning(answer(503, openai(over, "internal_server_error", None))) == by_status(529)


def test_deepseek() -> None:
    assert meaning(answer(402, openai("Insufficient Balance", "unknown_error", "invalid_request_error"))) == by_status(
        402
    )
    assert meaning(answer(400, openai("Model Not Exist", "invalid_request_error", None))) == by_status(404)


def test_a_model_that_is_not_found_says_400_in_words() -> None:
    assert meaning(answer(400, {"detail": "Model 'qwen9' not found"})) == by_status(404)
    speaks_of_models = "messages.0: the model said a file was not found; tool_use ids do not exist"
    assert meaning(answer(400, {"detail": speaks_of_models})) == by_status(400)


# Hints


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_hint_of_a_broken_server_is_kept_and_does_not_open_at_once(status: int) -> None:
    failure = answer(status, None, {"retry-after": "30"})
    assert meaning(failure) == by_status(status)
    assert (failure.retry_after, failure.authoritative, failure.status) == (30.0, True, status)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
def test_a_hint_of_anything_else_is_ignored(status: int) -> None:
    assert answer(status, None, {"retry-after": "30"}) == answer(status)


@pytest.mark.parametrize("absurd", ["-1", "nan", "inf", "-inf", "1e400", "1e308", str(366 * 86400 + 1), "soon", ""])
def test_an_absurd_hint_is_none(absurd: str) -> None:
    assert answer(429, None, {"retry-after": absurd}) == answer(429)


def test_eight_days_are_the_most() -> None:
    assert answer(429, None, {"retry-after": str(366 * 86400)}).retry_after == 8 * 86400


@pytest.mark.parametrize(
    ("words", "model", "scope"),
    [
        ("Opus weekly limit reached, resets 2pm (UTC)", "claude-opus-4-5", MODEL),
        ("Opus weekly limit reached, resets 2pm (UTC)", "claude-sonnet-4-5", ACCOUNT),
        ("weekly limit reached, resets 2pm (UTC)", "claude-opus-4-5", ACCOUNT),
        ("usage limit reached for CLAUDE-OPUS-4-5, resets 2pm (UTC)", "claude-opus-4-5", MODEL),
        ("claude usage limit reached, resets 2pm (UTC)", "claude-3", ACCOUNT),
        ("5-hour limit reached \u2219 resets 3pm", "", ACCOUNT),
        ("You've hit your session limit \u00b7 resets 2pm (UTC)", "claude-opus-4-5", ACCOUNT),
        ("You\u2019ve hit your usage limit. Try again in 4 days 3 hours.", "gpt-5-codex", ACCOUNT),
    ],
)
def test_a_usage_limit_opens_the_account_or_the_model_that_it_names(words: str, model: str, scope: Scope) -> None:
    failure = answer(429, words, model=model)
    assert (failure.kind, failure.scope, failure.effect) == (FailureKind.QUOTA, scope, OPENS)
    assert failure.authoritative


# An error inside a 200


@pytest.mark.parametrize(
    ("body", "same_as"),
    [
        (anthropic("overloaded_error", "Overloaded"), 529),
        (anthropic("api_error", "Internal server error"), 500),
        (anthropic("rate_limit_error", "slow down"), 429),
        (anthropic("invalid_request_error", "messages: roles must alternate"), 400),
        (anthropic("authentication_error", "invalid x-api-key"), 401),
        (anthropic("not_found_error", "model: claude-9"), 404),
        (openai("The server had an error", "server_error", None), 500),
        (openai("no", "insufficient_quota", "insufficient_quota"), 402),
        ({"error": {"code": 429, "message": "Provider returned error"}}, 429),
        ({"error": {"code": 502, "message": "Provider disconnected"}}, 500),
        ({"error": {"code": "529", "message": "?"}}, 529),
        (gemini(503, "UNAVAILABLE", "The model is overloaded."), 529),
    ],
)
def test_an_error_event_means_what_its_type_says(body: Any, same_as: int) -> None:
    failure = classify_error_object(body, wall_now=NOW)
    assert meaning(failure) == by_status(same_as)
    assert failure.status is None


def test_an_error_event_keeps_its_hint() -> None:
    failure = classify_error_object(gemini(429, "RESOURCE_EXHAUSTED", "no", RETRY_INFO), wall_now=NOW)
    assert (failure.kind, failure.retry_after) == (FailureKind.RATE_LIMITED, 31.0)
    codex = {"type": "response.failed", "response": {"error": {"code": "usage_limit_reached", "resets_at": NOW + 99}}}
    assert classify_error_object(codex, wall_now=NOW).retry_after == 99.0


@pytest.mark.parametrize("body", [None, {}, [], "no", 7, {"error": {"type": "weird", "message": "?"}}, {"code": 200}])
def test_an_error_event_that_says_nothing_is_malformed(body: Any) -> None:
    assert meaning(classify_error_object(body, wall_now=NOW)) == (FailureKind.MALFORMED, MODEL, COUNTS, NEXT)


def test_an_anthropic_stream_that_timed_out_is_a_timeout() -> None:
    failure = classify_error_object(anthropic("timeout_error", "Request timed out"), wall_now=NOW)
    assert meaning(failure) == (FailureKind.TIMEOUT, MODEL, COUNTS, NEXT)


# Rows without a status


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (classify.UNREACHABLE, (FailureKind.UNREACHABLE, ENDPOINT, COUNTS, NEXT)),
        (classify.TIMEOUT, (FailureKind.TIMEOUT, MODEL, COUNTS, NEXT)),
        (classify.MALFORMED, (FailureKind.MALFORMED, MODEL, COUNTS, NEXT)),
        (classify.INTERRUPTED, (FailureKind.INTERRUPTED, MODEL, COUNTS, NEXT)),
        (classify.CANCELLED, (FailureKind.CANCELLED, NOBODY, NOTHING, TELL)),
    ],
)
def test_what_no_server_said(row: classify.Row, expected: tuple[FailureKind, Scope, Effect, Then]) -> None:
    assert meaning(row.failure(message="x")) == expected
    assert row.failure(message="x").message == "x"


def test_every_kind_has_a_row_and_every_row_is_in_the_table() -> None:
    rows = [value for value in vars(classify).values() if isinstance(value, classify.Row)]
    assert {id(row) for row in rows} == {id(row) for row in classify.ROWS}
    assert {row.kind for row in rows} == set(FailureKind)


# The message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "one\n  two"}}, "one two"),
        ({"message": "flat"}, "flat"),
        ({"error": "a string"}, "a string"),
        ({"detail": "fastapi"}, "fastapi"),
        ([{"error": {"message": "a list"}}], "a list"),
        ({"error": {"error": {"message": "nested"}}}, "nested"),
        ("just words", "just words"),
        ({"error": {"message": 7}}, ""),
        ("no JSON at all", "no JSON at all"),
    ],
)
def test_the_message_is_the_sentence_for_people_on_one_line(body: Any, message: str) -> None:
    assert answer(500, body).message == message


def test_the_message_is_short() -> None:
    assert answer(500, {"error": {"message": "x" * 10_000}}).message == "x" * 300


def test_a_failure_can_be_told_otherwise() -> None:
    failure = answer(500, {"error": "sk-secret"})
    assert failure.saying("redacted").message == "redacted"
    assert meaning(failure.saying("redacted")) == meaning(failure)


# Strangers


def test_what_comes_late_in_a_hostile_text_is_not_read() -> None:
    """Every search looks at a bounded beginning, so a long text costs what a short one costs."""
    for words, found in (("model overloaded", FailureKind.OVERLOADED), ("out of memory", FailureKind.RESOURCES)):
        assert answer(503, f"{words} {'.' * 1_000_000}").kind is found
        assert answer(503, f"{'.' * 1_000_000} {words}").kind is FailureKind.SERVER_ERROR
    assert answer(429, f"{'.' * 1_000_000} try again in 5s").retry_after is None
    assert answer(
        429, f"usage limit, try again in 5s {'.' * 1_000_000} claude-opus-4", model="claude-opus-4"
    ).scope is (ACCOUNT)


@pytest.mark.parametrize(
    "seed", ["limit reached", "try again in ", "1 d ", "exceed", "resets ", "model a ", "hit your "]
)
def test_a_megabyte_made_to_make_a_search_go_back_and_forth_is_read_like_any_other(seed: str) -> None:
    hostile = (seed * 1_000_000)[:1_000_000]
    for status in (400, 429, 503):
        assert answer(status, hostile, {"retry-after": hostile, "x-ratelimit-reset": hostile}, hostile).status == status
    event = classify_error_object({"error": {"message": hostile, "type": hostile}}, model=hostile, wall_now=NOW)
    assert len(event.message) <= 300


def test_a_body_that_is_deep_or_wide_is_read_up_to_a_bound() -> None:
    deep: Any = {"type": "overloaded_error"}
    for _ in range(1000):
        deep = {"error": [deep]}
    assert error_types(deep) == frozenset()
    wide = [{"type": str(number)} for number in range(1000)]
    assert len(error_types(wide)) == 16
    assert answer(500, None).kind is classify_answer(500, {}, deep, "", wall_now=NOW).kind


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "type", "code", "status", "message", "detail", "resets_at", "retryDelay", "resetsAt"]
            )
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
header_values = (
    st.text(max_size=40)
    | st.floats().map(str)
    | st.integers().map(str)
    | st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    | st.sampled_from(["rejected", "0", "6m0s", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", "99999999999999999999"])
)
header_names = st.sampled_from(
    [
        "retry-after",
        "retry-after-ms",
        "anthropic-ratelimit-unified-status",
        "anthropic-ratelimit-unified-reset",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
        "x-ratelimit-reset-tokens",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset",
        "x-ratelimit-remaining",
    ]
)
texts = st.text() | st.from_regex(
    r"(usage limit )?(try again in \d{1,14}(\.\d{1,3})? ?[a-z]{1,7}|resets (at )?\d{1,2}(:\d\d)? ?[ap]m \([A-Z]{1,5}\)"
    r"|regain access on \d{4}-\d\d-\d\d at \d\d:\d\d UTC)"
)


def sane(failure: Failure) -> bool:
    return failure.retry_after is None or 0 <= failure.retry_after <= 8 * 86400


@given(
    st.integers(100, 999),
    st.dictionaries(header_names, header_values, max_size=6),
    json_values,
    texts,
    st.text(max_size=30),
    st.floats(0, 4e9),
)
def test_no_answer_of_a_stranger_raises_or_makes_us_wait_absurdly(
    status: int, headers: dict[str, str], body: Any, text: str, model: str, now: float
) -> None:
    failure = classify_answer(status, headers, body, text, model=model, wall_now=now)
    assert sane(failure)
    assert failure.status == status
    assert "\n" not in failure.message
    assert not failure.authoritative or failure.retry_after is not None


@given(json_values, st.text(max_size=30), st.floats(0, 4e9))
def test_no_error_event_of_a_stranger_raises(body: Any, model: str, now: float) -> None:
    assert sane(classify_error_object(body, model=model, wall_now=now))
