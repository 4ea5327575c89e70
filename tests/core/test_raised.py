"""What exceptions of ordinary code mean: the standard library's, users' own, and any that are hostile."""

import asyncio
import concurrent.futures
import contextlib
import errno
import http.client
import itertools
import json
import math
import pickle
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recloser.core.classify import ROWS
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.failure import Effect, Failure, FailureKind, Scope, Then
from recloser.core.raised import Classify, classifier, classify_exception, failure_of
from recloser.core.raised_table import MEANING

NOW = 1_790_000_000.0
COUNTS, OPENS, NOTHING = Effect
K = FailureKind


def classified(error: BaseException) -> Failure:
    return classify_exception(error, wall_now=NOW)


def meaning(error: BaseException) -> tuple[FailureKind, Effect]:
    failure = classified(error)
    return failure.kind, failure.effect


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    pytest.fail("nothing was raised")


def made_from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


class AnswerError(Exception):
    """As many API clients have one: the status of the answer, and what else came with it."""

    def __init__(self, status_code: Any, message: str = "", **more: Any) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.__dict__ |= more


class ToolError(Exception):
    """One that carries its own verdict."""

    def __init__(self, failure_kind: Any, message: str = "") -> None:
        super().__init__(message)
        self.failure_kind = failure_kind


# The sixteen categories of what can go wrong with a tool


CATEGORIES: dict[str, tuple[FailureKind, Effect, list[BaseException]]] = {
    "network": (K.UNREACHABLE, COUNTS, [ConnectionRefusedError(), socket.gaierror(-2, "unknown"), ssl.SSLError()]),
    "timeout": (K.TIMEOUT, COUNTS, [TimeoutError(), subprocess.TimeoutExpired("sleep", 3)]),
    "rate limit": (K.RATE_LIMITED, COUNTS, [AnswerError(429, "slow down")]),
    "service unavailable": (K.SERVER_ERROR, COUNTS, [AnswerError(503, "maintenance"), AnswerError(502)]),
    "circuit open": (K.CIRCUIT_OPEN, NOTHING, [CircuitOpenError("inner", "open", 5.0, "timeout")]),
    "authentication": (K.AUTH, OPENS, [AnswerError(401, "bad key")]),
    "invalid parameters": (K.INVALID_REQUEST, NOTHING, [AnswerError(422), ToolError(K.INVALID_REQUEST)]),
    "tool not found": (K.NOT_FOUND, NOTHING, [ToolError(K.NOT_FOUND)]),
    "resource not found": (K.NOT_FOUND, NOTHING, [FileNotFoundError("no.txt"), AnswerError(404), AnswerError(410)]),
    "permission denied": (K.PERMISSION_DENIED, NOTHING, [PermissionError(errno.EACCES, "no"), AnswerError(403)]),
    "policy violation": (K.POLICY_REFUSED, NOTHING, [ToolError("policy_refused", "outside the workspace")]),
    "plan-mode violation": (K.POLICY_REFUSED, NOTHING, [ToolError("policy_refused", "plan mode reads only")]),
    "sandbox failure": (K.SANDBOX, NOTHING, [ToolError("sandbox", "no network in here")]),
    "resource exhausted": (K.RESOURCES, COUNTS, [MemoryError(), OSError(errno.ENOSPC, "full")]),
    "cancelled": (K.CANCELLED, NOTHING, [asyncio.CancelledError(), concurrent.futures.CancelledError()]),
    "execution error": (K.EXECUTION_ERROR, COUNTS, [ValueError("bug"), KeyError("x"), RuntimeError()]),
}


def test_there_are_sixteen_categories() -> None:
    assert len(CATEGORIES) == 16


@pytest.mark.parametrize(
    ("kind", "effect", "error"),
    [
        pytest.param(kind, effect, error, id=f"{category}: {type(error).__name__}")
        for category, (kind, effect, errors) in CATEGORIES.items()
        for error in errors
    ],
)
def test_every_category_of_a_tools_failures(kind: FailureKind, effect: Effect, error: BaseException) -> None:
    assert meaning(error) == (kind, effect)


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_means_something_in_ordinary_code(kind: FailureKind) -> None:
    failure = failure_of(kind, "so it is")
    assert (failure.kind, failure.message) == (kind, "so it is")
    assert (failure.scope is Scope.NOBODY) == (failure.effect is NOTHING)
    assert not failure.until_proven
    assert failure.retry_after is None


def test_ordinary_code_differs_from_the_table_of_answers_in_two_kinds() -> None:
    answers = {kind: {(row.scope, row.effect) for row in ROWS if row.kind is kind} for kind in FailureKind}
    assert {kind for kind, means in MEANING.items() if means not in answers[kind]} == {K.NOT_FOUND, K.RESOURCES}


def test_what_follows_a_failure() -> None:
    assert failure_of(K.TIMEOUT).then is Then.NEXT_TARGET
    assert failure_of(K.TOO_LARGE).then is Then.LARGER_TARGET
    assert failure_of(K.SANDBOX).then is Then.TELL_CALLER


# The standard library


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BrokenPipeError(), K.UNREACHABLE),
        (http.client.RemoteDisconnected("gone"), K.UNREACHABLE),
        (ssl.SSLCertVerificationError(1, "expired"), K.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "no route"), K.UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "no route"), K.UNREACHABLE),
        (OSError(errno.EMFILE, "too many open files"), K.RESOURCES),
        (OSError(errno.EDQUOT, "over quota"), K.RESOURCES),
        (http.client.IncompleteRead(b"half"), K.INTERRUPTED),
        (asyncio.IncompleteReadError(b"half", 10), K.INTERRUPTED),
        (http.client.BadStatusLine("what?"), K.MALFORMED),
        (json.JSONDecodeError("no JSON", "<html>", 0), K.MALFORMED),
        (http.client.InvalidURL("bad"), K.INVALID_REQUEST),
        (NotADirectoryError(), K.NOT_FOUND),
        (concurrent.futures.TimeoutError(), K.TIMEOUT),
        (OSError("something"), K.EXECUTION_ERROR),
        (OSError(errno.EIO, "input/output error"), K.EXECUTION_ERROR),
        (subprocess.CalledProcessError(1, "make"), K.EXECUTION_ERROR),
        (AssertionError(), K.EXECUTION_ERROR),
        (pickle.PicklingError(), K.EXECUTION_ERROR),
        (RecursionError(), K.EXECUTION_ERROR),
        (StopIteration(), K.EXECUTION_ERROR),
        (EOFError(), K.EXECUTION_ERROR),
    ],
    ids=repr,
)
def test_the_standard_librarys_own(error: BaseException, kind: FailureKind) -> None:
    assert classified(error).kind is kind


def test_a_real_timeout_of_asyncio_is_a_timeout_though_it_comes_from_a_cancellation() -> None:
    async def too_slow() -> None:
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)

    assert meaning(raised(lambda: asyncio.run(too_slow()))) == (K.TIMEOUT, COUNTS)


class OwnBaseError(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), GeneratorExit(), OwnBaseError()], ids=repr
)
def test_what_ends_a_task_is_never_a_failure_whatever_the_rules_say(error: BaseException) -> None:
    error.failure_kind = "timeout"  # type: ignore[attr-defined]
    rules: Classify = {BaseException: K.TIMEOUT, type(error): K.TIMEOUT}
    assert meaning(error) == (K.CANCELLED, NOTHING)
    assert classifier(rules)(error, NOW).kind is K.CANCELLED
    assert classifier(lambda _: K.TIMEOUT)(error, NOW).kind is K.CANCELLED


def test_a_users_class_that_is_only_named_like_a_known_one_is_unknown() -> None:
    namesake = type("ConnectError", (Exception,), {"__module__": "app.httpx"})
    assert classified(namesake()).kind is K.EXECUTION_ERROR


def test_a_subclass_means_what_the_nearest_known_class_means() -> None:
    class OurTimeoutError(TimeoutError):
        pass

    assert classified(OurTimeoutError()).kind is K.TIMEOUT


# Causes


class SearchError(Exception):
    pass


def test_one_that_says_nothing_means_what_it_was_raised_from() -> None:
    failure = classified(made_from(SearchError("no results"), made_from(RuntimeError(), ConnectionResetError("reset"))))
    assert failure.kind is K.UNREACHABLE
    assert failure.message == "SearchError: no results (from RuntimeError (from ConnectionResetError: reset))"


def test_what_merely_happened_before_is_no_reason() -> None:
    def fail() -> None:
        try:
            raise FileNotFoundError
        except FileNotFoundError:
            raise SearchError  # noqa: B904 - this is what it is about

    assert classified(raised(fail)).kind is K.EXECUTION_ERROR


def test_one_that_speaks_for_itself_is_not_asked_for_its_cause() -> None:
    assert classified(made_from(TimeoutError(), FileNotFoundError())).kind is K.TIMEOUT
    assert classified(made_from(AnswerError(500), FileNotFoundError())).kind is K.SERVER_ERROR


@pytest.mark.parametrize("cancelled", [asyncio.CancelledError(), concurrent.futures.CancelledError()], ids=repr)
def test_a_cancellation_that_somebody_turned_into_a_failure_is_one(cancelled: BaseException) -> None:
    assert meaning(made_from(SearchError(), cancelled)) == (K.EXECUTION_ERROR, COUNTS)


def test_a_refusal_of_an_inner_circuit_is_not_charged_twice() -> None:
    inner = CircuitOpenError("inner", "open", 60.0, "timeout")
    assert meaning(made_from(SearchError(), inner)) == (K.CIRCUIT_OPEN, NOTHING)
    assert classified(inner).retry_after is None


def test_causes_that_run_in_a_circle_say_nothing() -> None:
    one, other = SearchError("one"), SearchError("other")
    one.__cause__, other.__cause__ = other, one
    assert classified(one) == failure_of(K.EXECUTION_ERROR, "SearchError: one")


def test_a_cause_too_far_below_is_not_looked_for() -> None:
    error: Exception = TimeoutError()
    for _ in range(8):
        error = made_from(SearchError(), error)
    assert classified(error).kind is K.TIMEOUT
    assert classified(made_from(SearchError(), error)).kind is K.EXECUTION_ERROR


# Groups


def test_of_a_group_the_most_serious_counts() -> None:
    nothing, counts, opens = FileNotFoundError("a"), TimeoutError("b"), AnswerError(401, "c")
    assert classified(ExceptionGroup("g", [nothing, nothing])).effect is NOTHING
    assert classified(ExceptionGroup("g", [nothing, counts, nothing])).kind is K.TIMEOUT
    assert classified(ExceptionGroup("g", [nothing, ExceptionGroup("inner", [counts, opens])])).kind is K.AUTH
    assert classified(ExceptionGroup("g", [nothing, ValueError()])).kind is K.EXECUTION_ERROR


def test_of_two_that_open_the_one_that_opens_for_longer_counts() -> None:
    soon, later = (AnswerError(429, headers={"Retry-After": after}) for after in ("5", "50"))
    assert classified(ExceptionGroup("g", [soon, later])).retry_after == 50.0
    assert classified(ExceptionGroup("g", [later, soon])).retry_after == 50.0


def test_a_group_of_cancellations_alone_is_a_cancellation() -> None:
    group = BaseExceptionGroup("g", [asyncio.CancelledError(), KeyboardInterrupt()])
    assert meaning(group) == (K.CANCELLED, NOTHING)
    assert meaning(BaseExceptionGroup("g", [asyncio.CancelledError(), ValueError()])) == (K.EXECUTION_ERROR, COUNTS)


def test_a_group_tells_what_it_was_judged_by() -> None:
    failure = classified(ExceptionGroup("two tasks", [ValueError("bug"), AnswerError(401, "key\nrevoked")]))
    assert failure.message == "ExceptionGroup: two tasks (2 sub-exceptions) (from AnswerError: key revoked)"


def test_a_real_task_group() -> None:
    async def fails() -> None:
        raise ConnectionResetError

    async def together() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.Event().wait())

    assert classified(raised(lambda: asyncio.run(together()))).kind is K.UNREACHABLE


def test_a_group_without_bounds_is_looked_at_within_bounds() -> None:
    looked_at = 0

    class CountedError(Exception):
        @property
        def failure(self) -> None:
            nonlocal looked_at
            looked_at += 1

    group: ExceptionGroup[Exception] = ExceptionGroup("leaf", [CountedError() for _ in range(50)])
    for _ in range(4):
        group = ExceptionGroup("wide", [group] * 50)
    assert classified(group).kind is K.EXECUTION_ERROR
    assert 0 < looked_at <= 64
    wrapper = type("MaxRetryError", (CountedError,), {"__module__": "urllib3"})
    wrappers: list[Exception] = []
    for _ in range(9):
        wrappers = [wrapper(*wrappers) for _ in range(4)]
    looked_at = 0
    assert classified(wrappers[0]).kind is K.UNREACHABLE
    assert 0 < looked_at <= 64


def test_what_a_group_holds_beyond_the_bounds_says_nothing() -> None:
    assert meaning(ExceptionGroup("g", [FileNotFoundError() for _ in range(1000)])) == (K.NOT_FOUND, NOTHING)


# Answers over HTTP, whoever asked


def test_an_answer_goes_by_the_table_of_answers() -> None:
    quota = {"error": {"type": "usage_limit_reached", "message": "usage limit", "resets_at": NOW + 7200}}
    failure = classified(AnswerError(429, "no", body=quota))
    assert failure == Failure(
        kind=K.QUOTA, scope=Scope.ACCOUNT, effect=OPENS, retry_after=7200.0, authoritative=True, status=429,
        message="AnswerError: usage limit", quoted=True,
    )  # fmt: skip


@pytest.mark.parametrize("status", [401, 402])
def test_an_account_opens_for_the_circuits_own_cooldown_because_no_probe_will_prove_it(status: int) -> None:
    failure = classified(AnswerError(status))
    assert failure.effect is OPENS
    assert (failure.until_proven, failure.retry_after) == (False, None)


def test_a_resource_that_is_not_there_is_nobodys_failure() -> None:
    failure = classified(AnswerError(404, "no such page"))
    assert (failure.scope, failure.effect, failure.then) == (Scope.NOBODY, NOTHING, Then.TELL_CALLER)
    assert (failure.status, failure.retry_after) == (404, None)


@pytest.mark.parametrize("name", ["status_code", "status", "code"])
def test_a_status_is_found_wherever_it_stands(name: str) -> None:
    on_it = SearchError()
    setattr(on_it, name, 503)
    on_response = SearchError()
    on_response.response = SimpleNamespace(**{name: http.HTTPStatus(503)})  # type: ignore[attr-defined]
    assert classified(on_it).kind is classified(on_response).kind is K.SERVER_ERROR
    assert classified(on_it).status == classified(on_response).status == 503


@pytest.mark.parametrize("code", [-1, 0, 1, 16, 200, 399, 1006, "429", True, None, 10**400, math.nan, 429.0])
def test_a_code_that_is_no_failing_status_says_nothing(code: Any) -> None:
    error = SearchError()
    error.code = code  # type: ignore[attr-defined]
    assert classified(error) == failure_of(K.EXECUTION_ERROR, "SearchError")


@pytest.mark.parametrize("status", [200, 204, 302])
def test_an_answer_that_should_have_been_one_is_malformed(status: int) -> None:
    assert meaning(AnswerError(status)) == (K.MALFORMED, COUNTS)


@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER"])
def test_headers_are_read_in_any_case_from_the_response_or_the_exception(name: str) -> None:
    for error in (
        AnswerError(429, headers={name: "30"}),
        AnswerError(429, response=SimpleNamespace(headers={name: "30", b"raw": "x", "odd": 3})),
    ):
        failure = classified(error)
        assert (failure.kind, failure.effect) == (K.RATE_LIMITED, OPENS)
        assert (failure.retry_after, failure.authoritative) == (30.0, True)


def test_headers_without_end_are_read_within_bounds() -> None:
    endless = SimpleNamespace(items=lambda: ((f"x-{number}", "y") for number in itertools.count()))
    assert classified(AnswerError(429, headers=endless)).kind is K.RATE_LIMITED


def test_a_body_is_read_where_it_is_held_already() -> None:
    words = '{"error": {"message": "prompt is too long"}}'
    for held in ({"_content": words.encode()}, {"text": words}, {"body": json.loads(words)}):
        failure = classified(AnswerError(400, response=SimpleNamespace(**held)))
        assert (failure.kind, failure.message, failure.quoted) == (K.TOO_LARGE, "AnswerError: prompt is too long", True)


def test_a_body_that_was_not_read_is_left_on_its_connection() -> None:
    class Response:
        status_code = 503
        _content = False

        def read(self, *_: object) -> bytes:
            pytest.fail("the connection was read")

        content = text = body = property(read)
        json = read

    assert classified(AnswerError(None, "down", response=Response())).kind is K.SERVER_ERROR


@pytest.mark.parametrize("body", ["<html>" + "x" * 10**6, "[" * 60_000, "{" * 10, b"\xff\xfe\x00", "{}", "[]", " "])
def test_a_body_that_is_no_error_object_leaves_the_status(body: str | bytes) -> None:
    failure = classified(AnswerError(500, body=body))
    assert failure.kind is K.SERVER_ERROR
    assert len(failure.message) <= 300


def test_the_words_of_an_exception_are_read_like_an_answers() -> None:
    assert classified(AnswerError(503, "the model is overloaded")).kind is K.OVERLOADED
    assert classified(AnswerError(429, "try again in 20s")).retry_after == 20.0


# Times to come back


@pytest.mark.parametrize("seconds", [7, 7.0])
def test_an_exceptions_own_time_is_the_servers_word(seconds: float) -> None:
    failure = classified(AnswerError(429, retry_after=seconds))
    assert (failure.effect, failure.retry_after, failure.authoritative) == (OPENS, 7.0, True)
    failure = classified(AnswerError(503, retry_after=seconds))
    assert (failure.effect, failure.retry_after, failure.authoritative) == (COUNTS, 7.0, True)


def test_a_header_is_nearer_to_the_server_than_an_attribute() -> None:
    assert classified(AnswerError(429, headers={"retry-after": "3"}, retry_after=9)).retry_after == 3.0


def test_any_exception_that_counts_may_name_a_time() -> None:
    class BusyError(Exception):
        retry_after = 12.5

    failure = classified(BusyError())
    assert (failure.kind, failure.effect, failure.retry_after) == (K.EXECUTION_ERROR, COUNTS, 12.5)
    assert failure.authoritative
    failure = classified(made_from(BusyError(), TimeoutError()))
    assert (failure.kind, failure.effect, failure.retry_after) == (K.TIMEOUT, COUNTS, 12.5)
    failure = classified(made_from(BusyError(), AnswerError(429, retry_after=3)))
    assert (failure.kind, failure.effect, failure.retry_after) == (K.RATE_LIMITED, OPENS, 3.0)
    failure = classifier({BusyError: K.RATE_LIMITED})(BusyError(), NOW)
    assert (failure.kind, failure.effect, failure.retry_after) == (K.RATE_LIMITED, OPENS, 12.5)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1, True, "7", None, 10**400, 367 * 86400.0, 1j])
def test_a_time_that_is_absurd_is_none(seconds: Any) -> None:
    failure = classified(AnswerError(429, retry_after=seconds))
    assert (failure.kind, failure.effect, failure.retry_after) == (K.RATE_LIMITED, COUNTS, None)


# An exception's own verdict


def test_a_failure_that_an_exception_carries_is_used_as_it_is() -> None:
    own = Failure(kind=K.AUTH, scope=Scope.ACCOUNT, effect=OPENS, until_proven=True, message="locked out")
    error = TimeoutError()
    error.failure = own  # type: ignore[attr-defined]
    assert classified(error) is own


def test_a_kind_that_an_exception_carries_is_used_and_a_wrong_one_is_not() -> None:
    assert classified(ToolError(K.SANDBOX, "no")) == failure_of(K.SANDBOX, "ToolError: no")
    assert classified(ToolError("sandbox", "no")) == failure_of(K.SANDBOX, "ToolError: no")
    wrongs: list[Any] = ["sandboxed", "SANDBOX", 7, None, [], K]
    for wrong in wrongs:
        assert classified(ToolError(wrong)).kind is K.EXECUTION_ERROR
    assert classified(made_from(SearchError(), ToolError("sandbox"))).kind is K.SANDBOX
    assert classified(AnswerError(503, failure_kind="sandboxed")).kind is K.SERVER_ERROR


# Users' own rules


def test_without_rules_the_classification_is_the_built_in_one() -> None:
    assert classifier(None)(TimeoutError("slow"), NOW) == classified(TimeoutError("slow"))


def test_of_a_mapping_the_most_specific_class_decides() -> None:
    rules: dict[type[BaseException], FailureKind] = {
        Exception: K.OVERLOADED,
        LookupError: K.NOT_FOUND,
        KeyError: K.INVALID_REQUEST,
    }
    for given_rules in (rules, dict(reversed(rules.items()))):
        classify = classifier(given_rules)
        assert classify(KeyError("x"), NOW) == failure_of(K.INVALID_REQUEST, "KeyError: 'x'")
        assert classify(IndexError(), NOW).kind is K.NOT_FOUND
        assert classify(TimeoutError(), NOW).kind is K.OVERLOADED


def test_a_mapping_is_taken_as_it_is_when_it_is_given() -> None:
    rules: dict[type[BaseException], FailureKind] = {KeyError: K.NOT_FOUND}
    classify = classifier(rules)
    rules.clear()
    assert classify(KeyError(), NOW).kind is K.NOT_FOUND


def test_a_rule_may_name_a_whole_failure() -> None:
    own = Failure(kind=K.QUOTA, scope=Scope.ACCOUNT, effect=OPENS, retry_after=60.0)
    assert classifier({KeyError: own})(KeyError(), NOW) is own
    assert classifier(lambda _: own)(KeyError(), NOW) is own


def test_what_the_rules_do_not_know_is_classified_as_ever() -> None:
    ignorant: list[Classify] = [{KeyError: K.NOT_FOUND}, {}, lambda _: None]
    for rules in ignorant:
        assert classifier(rules)(TimeoutError("slow"), NOW) == classified(TimeoutError("slow"))


def test_rules_come_before_an_exceptions_own_verdict() -> None:
    assert classifier({ToolError: K.TIMEOUT})(ToolError("sandbox"), NOW).kind is K.TIMEOUT


def test_rules_are_asked_about_what_lies_beneath() -> None:
    classify = classifier({KeyError: K.NOT_FOUND})
    assert classify(made_from(SearchError(), KeyError()), NOW).kind is K.NOT_FOUND
    assert classify(ExceptionGroup("g", [KeyError(), KeyError()]), NOW).effect is NOTHING


def test_what_a_rule_raises_is_for_the_caller() -> None:
    def broken(_: BaseException) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        classifier(broken)(KeyError(), NOW)


@pytest.mark.parametrize("answer", ["timeout", True, 0, "", (K.TIMEOUT,), object()])
def test_a_wrong_answer_of_a_rule_is_an_error_that_says_what_is_allowed(answer: Any) -> None:
    with pytest.raises(ConfigError, match=rf"Failure, a FailureKind or None, not {type(answer).__name__}"):
        classifier(lambda _: answer)(KeyError(), NOW)


async def later(_: BaseException) -> FailureKind:
    return K.TIMEOUT


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({KeyError: "timeout"}, r"classify\[KeyError\]: .*not str"),
        ({KeyError: None}, r"classify\[KeyError\]: .*not NoneType"),
        ({"KeyError": K.TIMEOUT}, r"classify\['KeyError'\]: a key must be a class of exceptions"),
        ({int: K.TIMEOUT}, r"classify\[int\]: a key must be a class of exceptions"),
        (7, "a plain callable or a mapping of exception classes, not int"),
        ([(KeyError, K.TIMEOUT)], "a plain callable or a mapping of exception classes, not list"),
        (later, "a plain callable"),
    ],
)
def test_wrong_rules_are_an_error_at_once(rules: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        classifier(rules)


# Messages, and exceptions that are hostile


def test_a_message_is_one_short_line() -> None:
    assert classified(ValueError()).message == "ValueError"
    assert classified(ValueError("  two\r\n\tlines\u2028 ")).message == "ValueError: two lines"
    assert classified(ValueError("x" * 10**7)).message == "ValueError: " + "x" * 288
    assert classified(ValueError("half \ud83d of it")).message == "ValueError: half ? of it"


class AnyOddity:
    """Answers every question with an exception."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    __hash__ = None  # type: ignore[assignment]


def refuses(*_: Any) -> Any:
    raise LookupError


WORDS = (
    st.sampled_from(["sandbox", "30", "inf", "-1e9", "x" * 10**5, "half \ud83d", "\x00\x1b\n", "[" * 10**5]) | st.text()
)
SCALARS = (
    st.sampled_from([None, True, 10**400, math.nan, math.inf, refuses, property(refuses), FailureKind, object, b"\xff"])
    | st.integers(-1, 700)
    | st.builds(AnyOddity)
    | WORDS
)
WORDS_OF_AN_ANSWER = ["error", "type", "message", "code", "Retry-After", "retry-after-ms", "x-ratelimit-reset-a"]
ODDITIES = (
    SCALARS
    | st.lists(SCALARS, max_size=2)
    | st.dictionaries(st.sampled_from(WORDS_OF_AN_ANSWER), SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
)
RESPONSES = st.fixed_dictionaries(
    {}, optional={"headers": ODDITIES, "_content": ODDITIES, "status": ODDITIES, "text": ODDITIES}
).map(lambda held: SimpleNamespace(**held))
STATUSES = st.sampled_from([200, 302, 400, 401, 403, 404, 429, 500, 503, 529])
ATTRIBUTES: dict[str, st.SearchStrategy[Any]] = {
    "status_code": STATUSES | ODDITIES,
    "response": RESPONSES | ODDITIES,
    **dict.fromkeys(
        [
            "status", "code", "headers", "body", "details", "failure", "failure_kind", "retry_after", "reason", "error",
            "errno", "args", "exceptions", "message", "__str__", "__cause__", "__class__",
        ],
        ODDITIES,
    ),
}  # fmt: skip
BASES = [Exception, OSError, ValueError, TimeoutError, ConnectionError, UnicodeError, StopIteration, ssl.SSLError]
MODULES = st.sampled_from(["app", "requests.x", "openai", "aiohttp", "mcp.shared", "google", "google.genai.errors"])
CLASS_NAMES = st.sampled_from(["ConnectionError", "APIConnectionError", "McpError", "HttpProcessingError", "Odd"])


@st.composite
def odd_exceptions(draw: st.DrawFn) -> Exception:
    odd = draw(st.lists(st.sampled_from(sorted(ATTRIBUTES)), max_size=4, unique=True))
    attributes = {name: draw(ATTRIBUTES[name]) for name in odd}
    module = draw(MODULES | SCALARS)
    try:
        cls = type(draw(CLASS_NAMES), (draw(st.sampled_from(BASES)),), {"__module__": module, **attributes})
        made: Exception = cls(*draw(st.lists(SCALARS, max_size=2)))
    except Exception:  # noqa: BLE001 - Python itself refuses to make it
        return ValueError()
    return made


def tied(errors: list[Exception], links: list[tuple[int, int]]) -> list[Exception]:
    for outer, inner in links:
        with contextlib.suppress(Exception):  # `__cause__` may be odd itself
            errors[outer % len(errors)].__cause__ = errors[inner % len(errors)]
    return errors


@settings(max_examples=300, deadline=None)
@given(
    errors=st.lists(odd_exceptions(), min_size=1, max_size=3),
    links=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4),
    grouped=st.booleans(),
)
def test_no_exception_is_too_odd_to_be_classified(
    errors: list[Exception], links: list[tuple[int, int]], grouped: bool
) -> None:
    errors = tied(errors, links)
    error = ExceptionGroup("g", errors) if grouped else errors[0]
    for failure in (classified(error), classifier({KeyError: K.TIMEOUT})(error, NOW)):
        assert type(failure) is Failure
        assert type(failure.message) is str
        assert len(failure.message) <= 300
        assert len(failure.message.splitlines()) <= 1
        failure.message.encode()
        assert failure.retry_after is None or 0 <= failure.retry_after <= 8 * 86400
        assert not failure.until_proven


def test_properties_that_raise_hide_nothing_else() -> None:
    class TouchyError(TimeoutError):
        status_code = response = headers = body = failure = failure_kind = retry_after = property(refuses)
        __str__ = refuses

    assert classified(TouchyError()) == failure_of(K.TIMEOUT, "TouchyError")


# What it costs


def test_no_library_is_imported_for_it() -> None:
    program = (
        "import sys, recloser.core.raised as r\n"
        "before = set(sys.modules)\n"
        "assert not before & {'email.utils', 'json', 'recloser.core.classify'}, before\n"
        "error = type('APIConnectionError', (Exception,), {'__module__': 'openai'})()\n"
        "assert r.classify_exception(error, wall_now=0.0).kind == 'unreachable'\n"
        "assert r.classify_exception(KeyError(), wall_now=0.0).kind == 'execution_error'\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
