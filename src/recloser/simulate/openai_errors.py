"""What OpenAI says when it says no; both of its wires say it alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from recloser.simulate.faults import written
from recloser.simulate.wire import ERROR_MESSAGES, Grounds, Refusal, retry_after, to_json


@dataclass(frozen=True, slots=True)
class _Error:
    status: int
    message: str
    type: str = "invalid_request_error"
    code: str | None = None
    param: str | None = None


_REFUSALS = {
    "400": _Error(400, "Missing required parameter: 'messages'.", code="missing_required_parameter"),
    "401": _Error(
        401,
        "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    ),
    "402": _Error(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    "403": _Error(
        403,
        "Country, region, or territory not supported",
        "request_forbidden",
        "unsupported_country_region_territory",
    ),
    "404": _Error(
        404,
        "The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    ),
    "413": _Error(413, "Request body is too large.", code="request_too_large"),
    "429": _Error(429, "Rate limit reached for {model}.", "requests", "rate_limit_exceeded"),
    "500": _Error(500, ERROR_MESSAGES["server_error"], "server_error"),
    "503": _Error(503, "Service Unavailable", "server_error"),
    "504": _Error(504, "The request timed out.", "server_error"),
    "529": _Error(529, "Overloaded", "server_error"),
    "quota": _Error(429, "The usage limit has been reached", "usage_limit_reached"),
    "insufficient_quota": _Error(
        429,
        "You exceeded your current quota, please check your plan and billing details. For more information "
        "on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "credit": _Error(402, "Insufficient Balance", "unknown_error", "invalid_request_error"),
    "too_long": _Error(
        400,
        "This model's maximum context length is 128000 tokens. However, your messages resulted in "
        "128001 tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    ),
    "overloaded503": _Error(503, "Model overloaded. Please try again later.", "server_error"),
    "oom": _Error(500, "CUDA out of memory. Tried to allocate 2.00 GiB.", "server_error"),
    "loading": _Error(503, "Loading model", "unavailable_error"),
    "unknown_path": _Error(404, "Invalid URL"),
}


def inside(kind: str) -> Any:
    """The error object inside a 200, a server error by default."""
    kind = kind or "server_error"
    message = ERROR_MESSAGES.get(kind, f"The server failed: {kind}")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def refuse(reason: str, grounds: Grounds) -> Refusal:
    """The API's own words where they are known."""
    error = _REFUSALS.get(reason) or _unlisted(int(reason))
    message = grounds.message or error.message.format(model=grounds.model)
    if reason == "429" and grounds.wait is not None:
        message += f" Please try again in {written(grounds.wait)}."
    body = {"message": message, "type": error.type, "param": grounds.param or error.param, "code": error.code}
    if reason == "quota":
        return Refusal(error.status, to_json({"error": body | _limit(grounds)}))
    return Refusal(error.status, to_json({"error": body}), retry_after(grounds.wait))


def _unlisted(status: int) -> _Error:
    return _Error(status, f"HTTP {status}", "server_error" if status >= 500 else "invalid_request_error")


def _limit(grounds: Grounds) -> dict[str, Any]:
    wait = grounds.wait or 0.0
    return {"plan_type": "plus", "resets_at": math.ceil(grounds.now + wait), "resets_in_seconds": math.ceil(wait)}
