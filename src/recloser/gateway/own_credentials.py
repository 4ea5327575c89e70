"""The client's own credential, for providers with `api_key = "client"`: what it is, and what its failures mean.

A subscription's token belongs to the client, and so does what its provider says about it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import parse_qs

from recloser.core.failure import REFUSALS, Effect, Failure, FailureKind, Scope, Then
from recloser.gateway.request import Request
from recloser.gateway.targets import Target

_CARRIERS = {
    "anthropic": ("authorization", "x-api-key"),
    "openai-chat": ("authorization",),
    "openai-responses": ("authorization",),
    "openai-embeddings": ("authorization",),
    "gemini": ("authorization", "x-goog-api-key"),
}
"""The headers in which clients of a wire show their credential."""


def own_credentials(
    wire: str, headers: Mapping[bytes, bytes], query: str, ours: Callable[[bytes], bool]
) -> dict[str, str]:
    """The headers with the client's own credential; `ours` tells keys of this gateway, which go nowhere."""
    found: dict[str, str] = {}
    for name in _CARRIERS.get(wire, ()):
        value = headers.get(name.encode(), b"").strip()
        if name != "authorization":
            token = value
        else:
            scheme, _, token = value.partition(b" ")
            token = token.strip() if scheme.lower() == b"bearer" else b""
        if token and value.isascii() and not ours(token):
            found[name] = value.decode("ascii")
    if wire == "gemini" and not found and "key=" in query:  # the address is written down in too many places
        key = parse_qs(query).get("key", [""])[0]
        if key.isascii() and key.isprintable() and key and not ours(key.encode()):
            found["x-goog-api-key"] = key
    return found


def theirs(failure: Failure, target: Target, request: Request) -> Failure:
    """A failure of a target that was asked with the client's own credential.

    Whether that is good is between client and provider: it is charged to nobody, and a refused one is told to the
    client, who can log in again, instead of being hidden behind another target.
    """
    if not target.endpoint.settings.clients_own:
        return failure
    message = failure.message
    for value in request.credentials.values():
        message = message.replace(value.rpartition(" ")[2], "[key]")
    if failure.kind in REFUSALS:
        then = Then.TELL_CALLER if failure.kind is FailureKind.AUTH else failure.then
        failure = replace(failure, scope=Scope.NOBODY, effect=Effect.NOTHING, then=then, until_proven=False)
    return failure if message == failure.message else failure.saying(message)
