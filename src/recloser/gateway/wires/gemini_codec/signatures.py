"""Thought signatures on the Gemini wire: base64, of which a foreign one is made before it goes to a client."""

import binascii
from base64 import b64decode, b64encode

from recloser.gateway.canonical import Thinking
from recloser.gateway.wires.thoughts import closed, opened

WIRE = "gemini"

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands, by the provider's own word, where a signature is demanded of what another model said."""

_SEALED = b64encode(b"recloser.").decode()


def write_signature(part: Thinking) -> str:
    """What a client keeps with a thought; empty if its provider wants nothing back."""
    signature = closed(part, WIRE)
    return signature if part.issuer == WIRE else b64encode(signature.encode()).decode()


def read_signature(given: str) -> tuple[str, str, str]:
    """The issuer, the signature and what was redacted, from what a client gives back, in either alphabet of base64."""
    if not given.startswith(_SEALED):
        return WIRE, given, ""
    try:
        return opened(b64decode(given.replace("-", "+").replace("_", "/")).decode(), WIRE)
    except (binascii.Error, ValueError):
        return WIRE, given, ""
