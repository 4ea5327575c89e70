"""What the wires say in different words, and how one word becomes another: shared by all codecs."""

import re
from base64 import b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from recloser.gateway.canonical import Effort, Written
from recloser.gateway.wires.wire import UNREADABLE, BadRequestError, wrong_field

T = TypeVar("T")

# Requests ------------------------------------------------------------------------------------------------------------


def fields(body: bytes) -> dict[str, Any]:
    """A request's own fields; BadRequestError if it is no JSON object."""
    try:
        return _decode_object(body)
    except msgspec.ValidationError as error:
        raise wrong_field(error) from error
    except UNREADABLE as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error


def shaped(value: Any, shape: type[T], place: str = "") -> T:
    """What stands at `place` of a request, in the shape it must have; BadRequestError that names the field."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise wrong_field(error, place) from error
    except RecursionError as error:
        raise BadRequestError(f"{place or 'body'}: nested too deeply", place or None) from error


def unknown(given: dict[str, Any], shape: type[msgspec.Struct], *also: str) -> list[str]:
    """The fields of an object that its shape has no word for. Null says nothing, so it is not missed."""
    known = _known(shape, also)
    if known.issuperset(given):  # nearly always: a conversation has thousands of them
        return []
    return [name for name, value in given.items() if name not in known and value is not None]


@cache
def _known(shape: type[msgspec.Struct], also: tuple[str, ...]) -> frozenset[str]:
    return frozenset((*shape.__struct_fields__, *also))


def as_written(body: Callable[[], dict[str, Any]], dropped: list[str]) -> Written:
    """A request as a body makes it, and what was dropped meanwhile; BadRequestError if it is nested too deeply."""
    try:
        encoded = msgspec.json.encode(body())
    except RecursionError as error:
        raise BadRequestError("nested too deeply to be said on the provider's wire") from error
    return Written(body=encoded, dropped=tuple(dict.fromkeys(dropped)))


# Tools ---------------------------------------------------------------------------------------------------------------

UNPARSED = "unparsed_arguments"
"""Where a tool's arguments must be an object and what the model wrote is none, its text stands under this name."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def is_object(text: str) -> bool:
    """Whether this is a whole JSON object."""
    try:
        _decode_object(text)
    except UNREADABLE:
        return False
    return True


def arguments_object(text: str) -> msgspec.Raw:
    """A tool's arguments as a JSON object.

    Nothing and null are no arguments. What is no object is not made one by guessing, and not thrown away: its text
    becomes the only argument, `UNPARSED`. So the tool says what it misses, and the model sees what it wrote.
    """
    if is_object(text):
        return msgspec.Raw(text.encode())
    if text.strip() in ("", "null"):
        return msgspec.Raw(b"{}")
    return msgspec.Raw(msgspec.json.encode({UNPARSED: text}))


def arguments_text(given: dict[str, Any]) -> str:
    """A JSON object as the text a model would have written; the other way of `arguments_object`."""
    if len(given) == 1:
        unparsed = given.get(UNPARSED)
        if isinstance(unparsed, str) and not is_object(unparsed):
            return unparsed
    return msgspec.json.encode(given).decode()


def arguments_as_written(text: str) -> str:
    """A tool's arguments that a client gives back as text: what `arguments_object` has wrapped is unwrapped."""
    if UNPARSED in text and is_object(text):
        return arguments_text(_decode_object(text))
    return text if text.strip() else "{}"


_NOT_PLAIN = re.compile(r"[^a-zA-Z0-9_-]")


def plain(given: str) -> str:
    """An id in the letters that every provider takes. A tool's call and its result get the same."""
    return _NOT_PLAIN.sub("_", given)


def shortened(given: str, longest: int) -> str:
    """An id in at most this many characters (32 or more)."""
    return given if len(given) <= longest else given[: longest - 17] + "_" + sha256(given.encode()).hexdigest()[:16]


def tool_id(given: str, longest: int) -> str:
    """An id in plain letters and of limited length, for providers that want both."""
    return shortened(plain(given), longest)


def end_user(given: str, longest: int) -> str:
    """Who the end user is, in at most this many characters (64 or more); what is longer is told by its hash."""
    return given if len(given) <= longest else sha256(given.encode()).hexdigest()


# Answers -------------------------------------------------------------------------------------------------------------

_PREFIXES = ("msg_", "chatcmpl-", "resp_", "gen-")


def answer_id(given: str, prefix: str) -> str:
    """An answer's id as a wire's clients expect it; its body stays, so that both sides' logs can be matched.

    A provider that gives none gets a random one: agents take two answers of one id for the same.
    """
    body = next((given[len(known) :] for known in _PREFIXES if given.startswith(known)), given)
    return prefix + (body or token_hex(12))


def count(given: Any) -> int | None:
    """A number of tokens, if it is one."""
    return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None


# Thinking ------------------------------------------------------------------------------------------------------------

_SEAL = "recloser."


def sealed(signature: str, issuer: str, wire: str) -> str:
    """A signature as a client of `wire` keeps it. A foreign one says who issued it, for it is of use there alone."""
    return signature if issuer == wire else f"{_SEAL}{issuer}.{signature}"


def unsealed(given: str, wire: str) -> tuple[str, str]:
    """The issuer and the signature, from what a client of `wire` gives back."""
    if not given.startswith(_SEAL):
        return wire, given
    issuer, _, signature = given[len(_SEAL) :].partition(".")
    return issuer, signature


EFFORTS = {effort.value: effort for effort in Effort}

_BUDGETS = {
    Effort.MINIMAL: 1024,
    Effort.LOW: 2048,
    Effort.MEDIUM: 8192,
    Effort.HIGH: 16_384,
    Effort.XHIGH: 32_768,
    Effort.MAX: 65_536,
}


def budget_of(effort: Effort | None) -> int:
    """How many tokens of thinking a word stands for; HIGH if there is none."""
    return _BUDGETS.get(effort or Effort.HIGH, _BUDGETS[Effort.HIGH])


def effort_of(budget: int) -> Effort:
    """The word for a budget. Only the three words that every provider knows."""
    if budget < _BUDGETS[Effort.MEDIUM]:
        return Effort.LOW
    return Effort.MEDIUM if budget < _BUDGETS[Effort.HIGH] else Effort.HIGH


# Files ---------------------------------------------------------------------------------------------------------------


def data_url(media_type: str, data: str) -> str:
    """Base64 data as a URL."""
    return f"data:{media_type};base64,{data}"


def from_data_url(url: str) -> tuple[str, str] | None:
    """The media type and the base64 data of a data URL; None if it is another kind of URL."""
    head, comma, data = url.partition(",")
    if not comma or head[:5].lower() != "data:":
        return None
    media_type, _, options = head[5:].partition(";")
    if not options.endswith("base64"):
        data = b64encode(unquote_to_bytes(data)).decode()
    return media_type, data
