"""Reads a request for an answer, and refuses it as a real provider would."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from recloser.simulate.faults import Mode, parse_mode
from recloser.simulate.reply import DEFAULT_TOKENS, MAX_TOKENS, Wish
from recloser.simulate.signing import Signer
from recloser.simulate.wire import Address, Ask, BadAskError, Wire

MODE_HEADER = "x-chaos"
TOKENS_HEADER = "x-chaos-tokens"
TOOL_INPUT_HEADER = "x-chaos-tool-input"


class RefusedError(Exception):
    """The request gets an error: a reason that every wire can phrase, perhaps with words of our own."""

    def __init__(self, reason: str, message: str | None = None, *, param: str | None = None, model: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason
        self.message = message
        self.param = param
        self.model = model


def check_key(headers: Mapping[str, str], key: str | None) -> None:
    """Refuse a request without the one key, if there is one; it may come in any wire's way."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    given = headers.get("x-api-key") or headers.get("x-goog-api-key") or bearer
    if key is not None and not hmac.compare_digest(given.encode(errors="surrogateescape"), key.encode()):
        raise RefusedError("401")


def read_ask(wire: Wire, address: Address, body: bytes, models: Collection[str] | None, signer: Signer) -> Ask:
    """The question, if it is one, for a model that is served, and with no thoughts of other providers in it."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RefusedError("400", f"The request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError("400", "The request body is not a JSON object.")
    try:
        ask = wire.read(address, value, len(body))
    except BadAskError as error:
        raise RefusedError("400", str(error), param=error.param) from None
    except (TypeError, AttributeError, KeyError, ValueError, IndexError):  # a list where a word should be, and the like
        raise RefusedError("400", "The request body has a field of the wrong type.") from None
    if models is not None and ask.model not in models:
        raise RefusedError("404", model=ask.model)
    if complaint := signer.complaint(ask.seals):
        raise RefusedError("400", complaint)
    return ask


def read_mode(headers: Mapping[str, str]) -> Mode | None:
    """The mode that the request asks for itself."""
    if MODE_HEADER not in headers:
        return None
    try:
        return parse_mode(headers[MODE_HEADER])
    except ValueError as error:
        raise RefusedError("400", f"{MODE_HEADER}: {error}", param=MODE_HEADER) from None


def read_wish(headers: Mapping[str, str]) -> Wish:
    """What the request's headers ask of the answer."""
    tokens = headers.get(TOKENS_HEADER, str(DEFAULT_TOKENS))
    if not (tokens.isascii() and tokens.isdigit() and len(tokens) < 9 and 1 <= int(tokens) <= MAX_TOKENS):
        message = f"{TOKENS_HEADER}: {tokens!r} is not a count from 1 to {MAX_TOKENS}"
        raise RefusedError("400", message, param=TOKENS_HEADER)
    tool_input = headers.get(TOOL_INPUT_HEADER, "{}")
    try:
        value = msgspec.json.decode(tool_input)
    except (msgspec.MsgspecError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise RefusedError("400", f"{TOOL_INPUT_HEADER}: no JSON object", param=TOOL_INPUT_HEADER)
    return Wish(int(tokens), tool_input)
