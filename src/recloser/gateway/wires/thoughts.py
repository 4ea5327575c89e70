"""Thoughts on wires that have one opaque field for all that a provider wants back with them."""

from recloser.gateway.canonical import Thinking
from recloser.gateway.wires.phrasing import sealed, unsealed

_REDACTED = "redacted."


def closed(part: Thinking, wire: str) -> str:
    """A thought's signature, or all of a redacted one, as a client of `wire` keeps it; empty if it has neither."""
    if part.redacted:
        return sealed(_REDACTED + part.redacted, part.issuer, wire)
    return sealed(part.signature, part.issuer, wire) if part.signature else ""


def opened(given: str, wire: str) -> tuple[str, str, str]:
    """The issuer, the signature and what was redacted, from what a client of `wire` gives back."""
    issuer, signature = unsealed(given, wire)
    if issuer != wire and signature.startswith(_REDACTED):
        return issuer, "", signature.removeprefix(_REDACTED)
    return issuer, signature, ""
