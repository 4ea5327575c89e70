"""From an exception to what it means, for ordinary code.

No library is imported to know its exceptions: they are recognised by the names of their classes (raised_table.py)
and by what they carry. What an exception means is asked in this order, and the first that knows decides:

1. the user's own rules, then the exception's own verdict: `failure` (a Failure) or `failure_kind`;
2. the code of an MCP error, then the status of an HTTP answer that failed, with its headers and body: classify.py;
3. the number of an operating system's error, then the table, from the most specific base class to the widest;
4. the exception that it was explicitly raised from. One that merely wraps another asks that before the table.

Any other exception is an `execution_error`, and counts. What ends a task instead of failing it (cancellation,
KeyboardInterrupt, SystemExit, GeneratorExit, every other BaseException that is no Exception) is `cancelled`, always.

Ordinary code differs from the gateway in two points. No probe will ever prove an account, so `until_proven` is never
set: `auth` and `billing` open for the circuit's own cooldown. And a 404 or 410 is a resource that is not there, a 403
one that is not for us, which is nobody's failure, unless it comes of a model provider's own library: there they open,
as in the gateway.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from recloser.core.errors import ConfigError
from recloser.core.failure import LIMITS, Effect, Failure, FailureKind, Then
from recloser.core.raised_table import (
    ERRNOS,
    HTTP_CLIENTS,
    MCP_CODES,
    MCP_ERRORS,
    MEANING,
    MODEL_LIBRARIES,
    NAMED,
    UNREADABLE_ANSWER,
)

Verdict = Failure | FailureKind
Classify = Callable[[BaseException], Verdict | None] | Mapping[type[BaseException], Verdict]
"""A user's own rules: a callable, or a mapping, of which the most specific class decides.

None says nothing, and the exception is classified as if there were no rules. What ends a task instead of failing it
is never asked about. A callable may be asked about the exceptions inside a group, or beneath one, too.
"""
_Rule = Callable[[BaseException], Verdict | None]

_MESSAGE_LIMIT = 300
_BODY_LIMIT = 64 * 1024
_HEADER_LIMIT = 256
_ABSURD = 1e12  # seconds; hints.py takes what is this long for no hint
_DEPTH = 8
_LOOKED_AT = 64
"""How deep below an exception, and at how many in all, is looked: causes may run in a circle."""


def failure_of(kind: FailureKind, message: str = "") -> Failure:
    """What a kind means in ordinary code: what is charged, and whether it counts."""
    scope, effect = MEANING[kind]
    then = Then.TELL_CALLER if effect is Effect.NOTHING else Then.NEXT_TARGET
    if kind is FailureKind.TOO_LARGE:
        then = Then.LARGER_TARGET
    return Failure(kind=kind, scope=scope, effect=effect, then=then, message=message)


def classify_exception(error: BaseException, *, wall_now: float) -> Failure:
    """What an exception of ordinary code means. Never raises, imports no library, reads nothing from a connection.

    `wall_now` is Unix time, for servers that name the moment of their return. The message is at most 300 characters
    on one line, `TypeName: text`.
    """
    return _Look(wall_now, None).classify(error)


def classifier(rules: Classify | None) -> Callable[[BaseException, float], Failure]:
    """The classification of an exception and the Unix time, the user's rules first.

    ConfigError for rules of a wrong type, here; and for a callable's answer of a wrong type, when it is given. What a
    callable raises is the caller's to handle.
    """
    rule = _checked(rules)

    def classify(error: BaseException, wall_now: float) -> Failure:
        return _Look(wall_now, rule).classify(error)

    return classify


def _checked(rules: object) -> _Rule | None:
    if rules is None:
        return None
    if isinstance(rules, Mapping):
        return _by_most_specific_class(rules)
    if not callable(rules) or inspect.iscoroutinefunction(rules):
        raise ConfigError(
            f"classify must be a plain callable or a mapping of exception classes, not {_shown(type(rules))}"
        )

    def asked(error: BaseException) -> Verdict | None:
        answer = rules(error)
        if answer is None or isinstance(answer, Failure | FailureKind):
            return answer
        raise ConfigError(f"classify must answer a Failure, a FailureKind or None, not {_shown(type(answer))}")

    return asked


def _by_most_specific_class(rules: Mapping[Any, Any]) -> _Rule:
    known = dict(rules)
    for cls, verdict in known.items():
        if not isinstance(cls, type) or not issubclass(cls, BaseException):
            raise ConfigError(f"classify[{_shown(cls)}]: a key must be a class of exceptions")
        if not isinstance(verdict, Failure | FailureKind):
            raise ConfigError(
                f"classify[{_shown(cls)}]: must be a Failure or a FailureKind, not {_shown(type(verdict))}"
            )
    return lambda error: next((known[cls] for cls in type(error).__mro__ if cls in known), None)


def _shown(thing: object) -> str:
    return thing.__qualname__ if isinstance(thing, type) else repr(thing)[:80]


class _Look:
    """One look at an exception and at what lies beneath it, within bounds."""

    __slots__ = ("left", "rule", "wall_now")

    def __init__(self, wall_now: float, rule: _Rule | None) -> None:
        self.wall_now = wall_now
        self.rule = rule
        self.left = _LOOKED_AT

    def classify(self, error: BaseException, depth: int = 0) -> Failure:
        unknown = failure_of(FailureKind.EXECUTION_ERROR, _said(error))
        return self.at(error, depth) or _timed(unknown, error, self.wall_now)

    def at(self, error: BaseException, depth: int) -> Failure | None:
        """What an exception means, or None if neither it nor what lies beneath says anything."""
        if depth > _DEPTH:
            return None
        self.left -= 1
        group = issubclass(type(error), BaseExceptionGroup)  # of the type: `__class__` may be a property that raises
        if not group and not issubclass(type(error), Exception):
            return failure_of(FailureKind.CANCELLED, _said(error))
        verdict = self.rule(error) if self.rule else None
        if isinstance(verdict, Failure):
            return verdict
        try:
            own, beneath = _of_itself(error, verdict, self.wall_now)
        except Exception:  # noqa: BLE001 - an exception that cannot be read is still one
            own, beneath = None, ()
        found = self.most_serious(beneath, depth + 1) if group else self.first(beneath, depth + 1)
        if found is None:
            return own
        found = found.saying(_line(f"{_said(error)} (from {found.message})"))
        return _timed(found, error, self.wall_now)

    def first(self, causes: Sequence[BaseException], depth: int) -> Failure | None:
        """The first cause that says something. A cancellation is no reason: whoever turned it into a failure was."""
        told = (self.at(cause, depth) for cause in causes)
        return next((one for one in told if one and one.kind is not FailureKind.CANCELLED), None)

    def most_serious(self, leaves: Sequence[BaseException], depth: int) -> Failure | None:
        """Of the exceptions of a group the one that opens before one that counts, and for longer."""
        told = []
        for leaf in leaves:
            if self.left <= 0:
                break
            told.append(self.classify(leaf, depth))
        order = (Effect.NOTHING, Effect.COUNTS, Effect.OPENS)
        return max(told, key=lambda one: (order.index(one.effect), one.retry_after or 0.0), default=None)


def _of_itself(
    error: BaseException, ruled: FailureKind | None, wall_now: float
) -> tuple[Failure | None, Sequence[BaseException]]:
    """What an exception says of itself, and whom to ask before that is believed."""
    verdict = ruled or _own_verdict(error)
    if isinstance(verdict, Failure):
        return verdict, ()
    if verdict is not None:
        return _timed(failure_of(verdict, _said(error)), error, wall_now), ()
    if isinstance(error, BaseExceptionGroup):
        return None, error.exceptions
    names = _names(error)
    if not MCP_ERRORS.isdisjoint(names):
        code = MCP_CODES.get(_get(_get(error, "error"), "code"))
        return replace(failure_of(code or FailureKind.EXECUTION_ERROR, _said(error)), quoted=True), ()
    status = _status(error, names)
    if status is not None and status >= 400:
        return _of_answer(error, status, names, wall_now), ()
    kind, wraps = next((NAMED[name] for name in names if name in NAMED), (None, False))
    if isinstance(error, OSError):
        kind = ERRNOS.get(error.errno or 0, kind)
    if kind is not None:
        return _timed(failure_of(kind, _said(error)), error, wall_now), _wrapped(error) if wraps else ()
    if status is not None or _from(MODEL_LIBRARIES, names):
        answered = _of_answer(error, status, names, wall_now)
        if answered is not None:
            return answered, ()
    return None, [error.__cause__] if error.__cause__ is not None else ()


def _own_verdict(error: BaseException) -> Verdict | None:
    failure = _get(error, "failure")
    if isinstance(failure, Failure):
        return failure
    kind = _get(error, "failure_kind")
    return FailureKind(kind) if isinstance(kind, str) and kind in MEANING else None


def _timed(failure: Failure, error: BaseException, wall_now: float) -> Failure:
    """The failure with the time that the exception names for the return, if it counts or is a limit."""
    limit = failure.kind in LIMITS
    if failure.retry_after is not None or not (limit or failure.effect is Effect.COUNTS):
        return failure
    try:
        headers = _headers(error)
        if not headers:
            return failure
        from recloser.core.hints import retry_after  # noqa: PLC0415 - slow, and `import recloser` must not be

        hint = retry_after(headers, None, "", wall_now)
    except Exception:  # noqa: BLE001 - a hint that cannot be read is none
        hint = None
    if hint is None:
        return failure
    return replace(failure, effect=Effect.OPENS if limit else failure.effect, retry_after=hint, authoritative=True)


# Answers over HTTP ---------------------------------------------------------------------------------------------------


def _status(error: BaseException, names: Sequence[str]) -> int | None:
    """The status of the answer that an exception stands for."""
    if UNREADABLE_ANSWER in names or UNREADABLE_ANSWER in _names(error.__cause__):
        return None
    for holder in (error, _get(error, "response")):
        # `status` and `code` may be of anything: they are believed where they are a failure's. `code` comes last,
        # because aiohttp warns whoever reads it.
        for name, lowest in (("status_code", 100), ("status", 400), ("code", 400)):
            status = _get(holder, name)
            if isinstance(status, int):
                if lowest <= status < 1000:
                    return int(status)
                break
    return None


def _of_answer(error: BaseException, status: int | None, names: Sequence[str], wall_now: float) -> Failure | None:
    """The failure of an answer, or of an error object inside a stream, by the table of answers."""
    from recloser.core.classify import classify_answer, classify_error_object, sentence_of  # noqa: PLC0415 - as above

    said = _said(error)
    body, text = _body(error)
    if (status is None or status < 400) and isinstance(body, dict):
        failure = replace(classify_error_object(body, wall_now=wall_now), status=status)
    elif status is None:
        return None
    else:
        words = text or sentence_of(body, "")
        if not words and not _from(HTTP_CLIENTS, names):  # their own sentence names a URL, which may have any word
            words = said
        failure = classify_answer(status, _headers(error), body, words, wall_now=wall_now)
    if not _from(MODEL_LIBRARIES, names):
        if failure.kind is FailureKind.NOT_FOUND:
            failure = replace(failure_of(FailureKind.NOT_FOUND), status=status, message=failure.message)
        elif failure.kind is FailureKind.AUTH and status == 403:
            failure = replace(failure_of(FailureKind.PERMISSION_DENIED), status=status, message=failure.message)
    told = failure.message if body is not None or text else ""
    return replace(
        failure,
        until_proven=False,
        message=_line(f"{type(error).__name__}: {told}") if told else said,
        quoted=bool(told) or _from(MODEL_LIBRARIES, names),
    )


def _from(packages: frozenset[str], names: Sequence[str]) -> bool:
    return any(name.rpartition(".")[0] in packages for name in names)


def _body(error: BaseException) -> tuple[Any, str]:
    """The decoded body of an answer, or None, and its words, as far as they are here already."""
    response = _get(error, "response")
    raws = [_get(error, "body"), _get(error, "details")]
    raws += [_held(response, name) for name in ("_content", "_body", "content", "text", "body")]
    body = next((raw for raw in raws if isinstance(raw, dict | list) and raw), None)
    raw = next((raw for raw in raws if isinstance(raw, str | bytes) and raw), "")
    raw = raw[:_BODY_LIMIT]
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    if body is None and text.lstrip()[:1] in ("{", "["):
        body = _decoded(text)
    return body, text


def _decoded(text: str) -> Any:
    import json  # noqa: PLC0415 - only such a failure need cost it

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _held(thing: object, name: str) -> Any:
    """An attribute that an object holds already. To ask for a response's `content` may read from its connection."""
    try:
        return vars(thing).get(name)
    except Exception:  # noqa: BLE001 - as in _get
        return None


def _headers(error: BaseException) -> dict[str, str]:
    """The headers of the answer, with lower-case names; and the exception's own `retry_after`, as if it were one."""
    found: dict[str, str] = {}
    for holder in (_get(error, "response"), error):
        items = _get(_get(holder, "headers"), "items")
        try:
            for name, value in islice(items(), _HEADER_LIMIT):
                if isinstance(name, str) and isinstance(value, str):
                    found.setdefault(name.lower(), value[:_MESSAGE_LIMIT])
        except Exception:  # noqa: BLE001, S112 - no headers, or none that can be read
            continue
    seconds = _get(error, "retry_after")
    if isinstance(seconds, int | float) and 0 <= seconds < math.inf:
        found.setdefault("retry-after", str(min(seconds, _ABSURD)))
    return found


# Exceptions as objects -----------------------------------------------------------------------------------------------


def _names(error: BaseException | None) -> list[str]:
    """The classes of an exception as `package.Name`, the most specific first."""
    return [f"{_package(cls)}.{cls.__qualname__}" for cls in type(error).__mro__]


def _package(cls: type) -> str:
    """The package that defines a class. Many share `google`: there it is the one below."""
    parts = str(cls.__module__).split(".", 2)
    return ".".join(parts[:2]) if parts[0] == "google" else parts[0]


def _wrapped(error: BaseException) -> Sequence[BaseException]:
    """What a known wrapper was made from: explicitly, or as an argument (urllib, urllib3, requests)."""
    candidates = (error.__cause__, _get(error, "reason"), *error.args[:4])
    return [one for one in candidates if isinstance(one, BaseException)]


def _get(thing: object, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a stranger's property may raise anything
        return None


def _said(error: BaseException) -> str:
    """`TypeName: text` on one short line."""
    name = _get(type(error), "__name__")
    try:
        text = str(error)[: _MESSAGE_LIMIT * 4]
        return _line(f"{name}: {text}" if text.strip() else f"{name}")
    except Exception:  # noqa: BLE001 - a stranger's __str__ may raise anything
        return _line(f"{name}")


_URL_SECRETS = re.compile(r"(?<=://)[^/\s@'\"]{1,200}@|(?<=[\w/])\?[\w.~%+-]{1,100}=[^\s'\")>\]]{1,2000}")
"""What stands before the host of a URL, and its query: there are passwords and keys in them."""


def _line(text: str) -> str:
    """One short line that can be written in UTF-8, with no secret of a URL in it."""
    text = _URL_SECRETS.sub("", text[: _MESSAGE_LIMIT * 8])
    return " ".join(text.split())[:_MESSAGE_LIMIT].encode("utf-8", "replace").decode()
