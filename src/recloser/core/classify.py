"""From what a provider answered to what it means: one table, read from the top.

The table is `ROWS`; docs/failures.md shows it. Rows are tried in three rounds: distinctive error types and words first
(they are more precise than a status: "credit balance is too low" comes as a 400), then the status, then the general
error types, which only count where there is no failing status, as in an error event inside a stream.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from recloser.core.failure import Effect, Failure, FailureKind, Scope, Then
from recloser.core.hints import retry_after

HOLDABLE_HINT = 60.0
"""Up to this many seconds a 429's hint is a rate limit of the model; beyond, a quota of the account."""
RESOURCES_OPEN_FOR = 120.0
NOT_FOUND_OPEN_FOR = 300.0
_MESSAGE_LIMIT = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the table: what is seen, and what it means."""

    seen: str
    kind: FailureKind
    scope: Scope
    effect: Effect
    then: Then = Then.NEXT_TARGET
    opens_for: float | None = None
    until_proven: bool = False
    statuses: frozenset[int] = frozenset()
    types: frozenset[str] = frozenset()
    """Distinctive values of the error's `type`, `code`, `status` or `reason`, in lower case."""
    general_types: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    words_need: frozenset[int] = field(default=frozenset())
    """Statuses (hundreds count as their class) under which `words` may decide; empty: any."""

    def failure(self, *, status: int | None = None, message: str = "", quoted: bool = False) -> Failure:
        """The failure this row stands for. `quoted`: the message is the provider's own words."""
        return Failure(
            kind=self.kind, scope=self.scope, effect=self.effect, then=self.then, retry_after=self.opens_for,
            until_proven=self.until_proven, status=status, message=message, quoted=quoted,
        )  # fmt: skip


def _any(*values: str) -> frozenset[str]:
    return frozenset(values)


def _says(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


UNREACHABLE = Row(
    seen="refused, reset, DNS, TLS, connect timeout",
    kind=FailureKind.UNREACHABLE, scope=Scope.ENDPOINT, effect=Effect.COUNTS,
)  # fmt: skip
TIMEOUT = Row(
    seen="no first token, idle stream, total time",
    kind=FailureKind.TIMEOUT, scope=Scope.MODEL, effect=Effect.COUNTS, general_types=_any("timeout_error"),
)  # fmt: skip
RATE_LIMITED = Row(
    seen="429 with no hint",
    kind=FailureKind.RATE_LIMITED, scope=Scope.MODEL, effect=Effect.COUNTS,
    statuses=frozenset({429}),
    types=_any(
        "rate_limit_error", "rate_limit_exceeded", "rate_limited", "rate_limit_reached_error", "too_many_requests",
        "resource_exhausted", "throttlingexception",
    ),
)  # fmt: skip
QUOTA = Row(
    seen="429 with a longer hint, usage limit, anthropic-ratelimit-unified-*, resetsAt",
    kind=FailureKind.QUOTA, scope=Scope.ACCOUNT, effect=Effect.OPENS,
    types=_any(
        "usage_limit_reached", "usage_limit_exceeded", "usage_not_included", "servicequotaexceededexception",
    ),
    words=_says(
        r"usage limit", r"limit reached.{0,40}resets?", r"hit your .{0,30}limit", r"(weekly|five.hour|5.hour) limit",
        r"limit exhausted", r"too many tokens per day", r"out of call volume quota",
    ),
    words_need=frozenset({429, 403}),
)  # fmt: skip
SPEND_CAP = Row(
    seen='400 "You have reached your specified API usage limits"',
    kind=FailureKind.QUOTA, scope=Scope.ACCOUNT, effect=Effect.OPENS,
    words=_says(r"reached your specified (workspace )?(api )?usage limits"), words_need=frozenset({400}),
)  # fmt: skip
BILLING = Row(
    seen="402, insufficient_quota, credit balance too low",
    kind=FailureKind.BILLING, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True,
    statuses=frozenset({402}),
    types=_any(
        "insufficient_quota", "billing_error", "billing_hard_limit_reached", "billing_not_active",
        "insufficient_balance", "insufficient_credits", "payment_required", "exceeded_current_quota_error",
        "billing_disabled",
    ),
    words=_says(
        r"credit balance is too low", r"insufficient (credits|balance|funds)", r"used all available credits",
        r"run out of credits", r"have any credits", r"package has expired",
    ),
    words_need=frozenset({400, 402, 403, 429}),
)  # fmt: skip
AUTH = Row(
    seen="401 403",
    kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True,
    statuses=frozenset({401, 403}),
    types=_any(
        "authentication_error", "permission_error", "invalid_api_key", "api_key_invalid", "permission_denied",
        "unauthenticated", "account_deactivated", "organization_restricted", "invalid_authentication_error",
        "unrecognizedclientexception", "expiredtokenexception", "incompletesignature", "requestexpired",
    ),
    words=_says(r"(incorrect|invalid) api key", r"api key not valid", r"user location is not supported"),
    words_need=frozenset({400}),
)  # fmt: skip
NOT_FOUND = Row(
    seen="404, 410, model not found",
    kind=FailureKind.NOT_FOUND, scope=Scope.MODEL, effect=Effect.OPENS, opens_for=NOT_FOUND_OPEN_FOR,
    statuses=frozenset({404, 410}),
    types=_any("not_found_error", "model_not_found", "not_found", "invalid_model", "model_decommissioned"),
    words=_says(
        r"\bmodel \S{1,80} (was |is )?(not found|does not exist)", r"model not (found|exist)", r"not a valid model",
        r"unknown model", r"model identifier is invalid", r"access to the model", r"include access to",
    ),
    words_need=frozenset({400, 403, 429}),
)  # fmt: skip
OVERLOADED = Row(
    seen='529, overloaded_error, 503 "model overloaded"',
    kind=FailureKind.OVERLOADED, scope=Scope.MODEL, effect=Effect.COUNTS,
    statuses=frozenset({529}),
    types=_any(
        "overloaded_error", "server_is_overloaded", "slow_down", "engine_overloaded", "engine_overloaded_error",
        "provider_overloaded", "capacity_exceeded", "modelnotreadyexception",
    ),
    words=_says(
        r"\boverloaded\b", r"over capacity", r"at capacity", r"capacity exceeded", r"service is too busy",
    ),
    words_need=frozenset({500, 502, 503, 504}),
)  # fmt: skip
RESOURCES = Row(
    seen="out of memory, model loading",
    kind=FailureKind.RESOURCES, scope=Scope.ENDPOINT, effect=Effect.OPENS, opens_for=RESOURCES_OPEN_FOR,
    words=_says(
        r"out of memory", r"\boom\b", r"(insufficient|not enough|requires more) (system |gpu )?memory",
        r"failed to allocate", r"(failed to|error) load(ing)? (the )?model", r"loading model",
        r"model (\S{1,120} )?is (still |currently )?loading", r"due to resource limitations",
    ),
    words_need=frozenset({500, 502, 503, 504, 507}),
)  # fmt: skip
TOO_LARGE = Row(
    seen="413, context too long",
    kind=FailureKind.TOO_LARGE, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.LARGER_TARGET,
    statuses=frozenset({413}),
    types=_any(
        "request_too_large", "context_length_exceeded", "exceed_context_size_error", "string_above_max_length",
        "payload_too_large", "token_limit_exceeded",
    ),
    words=_says(
        r"prompt is too long", r"maximum context length", r"context (length|window|size).{0,40}exceed",
        r"exceed.{0,40}context (length|window|size|limit)", r"input (is|length).{0,40}too long",
        r"too many (input )?tokens", r"exceeds? the maximum number of tokens", r"context length is only",
        r"longer than the maximum model length", r"request too large", r"maximum prompt length",
        r"exceeded model token limit", r"prompt exceeds max", r"context length of only",
        r"(less|greater) than the context length",
    ),
    words_need=frozenset({400, 403, 413, 422, 500}),
)  # fmt: skip
MODEL_SERVER_ERROR = Row(
    seen="408 409 423 424 425, 505 507",
    kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS,
    statuses=frozenset({408, 409, 423, 424, 425, 505, 507}),
    types=_any("tool_use_failed", "json_validate_failed", "output_parse_failed", "modelerrorexception"),
    words=_says(r"degraded function"), words_need=frozenset({400}),
)  # fmt: skip
SERVER_ERROR = Row(
    seen="500 502 503 504 520-524, api_error, any other 5xx",
    kind=FailureKind.SERVER_ERROR, scope=Scope.ENDPOINT, effect=Effect.COUNTS,
    statuses=frozenset(range(500, 600)) - {505, 507, 529},
    general_types=_any(
        "api_error", "server_error", "internal_server_error", "internal", "internal_error", "unavailable",
        "internalserverexception", "serviceunavailableexception", "provider_unavailable",
    ),
)  # fmt: skip
INVALID_REQUEST = Row(
    seen="400 422, any other 4xx",
    kind=FailureKind.INVALID_REQUEST, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
    statuses=frozenset(range(400, 500)) - {401, 402, 403, 404, 408, 409, 410, 413, 423, 424, 425, 429},
    types=_any("content_policy_violation", "content_filter"),
    words=_says(r"\bflagged\b", r"requires moderation", r"violates usage guidelines"), words_need=frozenset({403}),
    general_types=_any("invalid_request_error", "invalid_argument"),
)  # fmt: skip
MALFORMED = Row(
    seen="200 with HTML or broken JSON, a redirect, an empty answer, an unknown error inside a 200",
    kind=FailureKind.MALFORMED, scope=Scope.MODEL, effect=Effect.COUNTS,
)  # fmt: skip
INTERRUPTED = Row(
    seen="reset or end in the middle, after the headers",
    kind=FailureKind.INTERRUPTED, scope=Scope.MODEL, effect=Effect.COUNTS,
)  # fmt: skip
CANCELLED = Row(
    seen="client went away",
    kind=FailureKind.CANCELLED, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
)  # fmt: skip
EXECUTION_ERROR = Row(
    seen="in ordinary code: any other exception",
    kind=FailureKind.EXECUTION_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS,
)  # fmt: skip
PERMISSION_DENIED = Row(
    seen="in ordinary code: the system does not permit it to the caller",
    kind=FailureKind.PERMISSION_DENIED, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
)  # fmt: skip
POLICY_REFUSED = Row(
    seen="in ordinary code: a policy, a safety gate or a plan mode refuses the call",
    kind=FailureKind.POLICY_REFUSED, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
)  # fmt: skip
SANDBOX = Row(
    seen="in ordinary code: the sandbox refuses the call",
    kind=FailureKind.SANDBOX, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
)  # fmt: skip
CIRCUIT_OPEN = Row(
    seen="in ordinary code: another circuit refuses the call, which has been charged already",
    kind=FailureKind.CIRCUIT_OPEN, scope=Scope.NOBODY, effect=Effect.NOTHING, then=Then.TELL_CALLER,
)  # fmt: skip

ROWS = (
    BILLING, TOO_LARGE, QUOTA, SPEND_CAP, RESOURCES, OVERLOADED, AUTH, NOT_FOUND, RATE_LIMITED, TIMEOUT,
    MODEL_SERVER_ERROR, SERVER_ERROR, INVALID_REQUEST, MALFORMED, INTERRUPTED, UNREACHABLE, CANCELLED,
    EXECUTION_ERROR, PERMISSION_DENIED, POLICY_REFUSED, SANDBOX, CIRCUIT_OPEN,
)  # fmt: skip
"""In the order of precision: where two rows see something in an answer, the upper one is right."""


def classify_answer(
    status: int, headers: Mapping[str, str], body: Any, text: str, *, model: str = "", wall_now: float
) -> Failure:
    """What a failed answer means.

    `body` is its decoded JSON or None, `text` its words, `headers` have lower-case names; `model` is the name
    that was asked for, to tell a model's own limit from the account's.
    """
    row = _row(status, body, text, headers.get("x-amzn-errortype", "")) or (MALFORMED if status < 400 else SERVER_ERROR)
    failure = row.failure(status=status, message=sentence_of(body, text), quoted=True)
    return _timed(failure, headers, body, text, model, wall_now)


def classify_error_object(body: Any, *, model: str = "", wall_now: float) -> Failure:
    """What an error object means that came inside a 200: as its type says, else malformed."""
    text = sentence_of(body, "")
    row = _row(None, body, text) or MALFORMED
    return _timed(row.failure(message=text, quoted=True), {}, body, text, model, wall_now)


def _row(status: int | None, body: Any, text: str, told: str = "") -> Row | None:
    types = error_types(body) | {told.partition(":")[0].lower()}  # "ThrottlingException:http://internal.amazon.com/"
    words = text[:4096]
    for row in ROWS:
        if row.types & types:
            return row
        if row.words and (status is None or status in row.words_need) and row.words.search(words):
            return row
    if status is not None and status >= 400:
        return next((row for row in ROWS if status in row.statuses), None)
    numbers = {int(word) for word in types if word.isdecimal() and len(word) == 3}
    for row in ROWS:
        if row.general_types & types or row.statuses & numbers:
            return row
    return None


def error_types(body: Any) -> frozenset[str]:
    """Every `type`, `code`, `status` and `reason` in an error body, in lower case."""
    found: set[str] = set()
    waiting: list[Any] = [body]
    for _ in range(64):  # bounded: the body is a stranger's
        if not waiting:
            break
        here = waiting.pop()
        if isinstance(here, Mapping):
            for name in ("type", "code", "status", "reason"):
                if isinstance(here.get(name), str | int):
                    found.add(str(here[name]).lower())
            waiting += [value for value in here.values() if isinstance(value, Mapping | list)]
        elif isinstance(here, list):
            waiting += here[:16]
    return frozenset(found)


def sentence_of(body: Any, text: str) -> str:
    """The sentence of an error body, for people; short, on one line. JSON without one says nothing."""
    said = _sentence(body) if body is not None else text
    return " ".join(said[: _MESSAGE_LIMIT * 4].split())[:_MESSAGE_LIMIT]


def _sentence(body: Any) -> str:
    here = body
    for _ in range(4):
        if isinstance(here, list) and here:
            here = here[0]
        if not isinstance(here, Mapping):
            break
        said = here.get("message", here.get("Message"))
        if isinstance(said, str):
            return said
        here = here.get("error", here.get("detail", here.get("title")))
    return here if isinstance(here, str) else ""


def _timed(failure: Failure, headers: Mapping[str, str], body: Any, text: str, model: str, wall_now: float) -> Failure:
    """The failure with the server's own time, which also tells a rate limit from a quota."""
    if failure.kind is FailureKind.RATE_LIMITED and headers.get("anthropic-ratelimit-unified-status") == "rejected":
        failure = QUOTA.failure(status=failure.status, message=failure.message, quoted=True)
    limit = failure.kind in (FailureKind.RATE_LIMITED, FailureKind.QUOTA)
    if not limit and failure.kind not in (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR):
        return failure
    hint = retry_after(headers, body, text, wall_now)
    if hint is None:
        return failure
    row, scope, effect = QUOTA, failure.scope, failure.effect
    if failure.kind is FailureKind.RATE_LIMITED:
        if hint > HOLDABLE_HINT:
            scope = QUOTA.scope
        else:
            row = RATE_LIMITED
        effect = Effect.OPENS
    elif failure.kind is not FailureKind.QUOTA:
        return _with_hint(failure, failure.kind, scope, effect, hint)
    if row is QUOTA and _names_model(headers, failure.message, model):
        scope = Scope.MODEL
    return _with_hint(failure, row.kind, scope, effect, hint)


def _with_hint(failure: Failure, kind: FailureKind, scope: Scope, effect: Effect, hint: float) -> Failure:
    return replace(failure, kind=kind, scope=scope, effect=effect, retry_after=hint, authoritative=True)


def _names_model(headers: Mapping[str, str], message: str, model: str) -> bool:
    """Whether a limit is said to be this model's own: its name, or the family word of it, stands in the message."""
    said = f"{headers.get('anthropic-ratelimit-unified-representative-claim', '')} {message}".lower()
    name = model.lower()
    if name and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", said):
        return True
    families = [w for w in re.split(r"[^a-z]+", name) if len(w) > 3 and w not in ("claude", "latest", "preview")]
    return any(re.search(rf"\b{word}(?: weekly)? limit|_{word}\b", said) for word in families)
