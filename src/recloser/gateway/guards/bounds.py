"""What a request can hold at most, without a look inside: nobody is asked to read what is small enough anyway."""

from recloser.gateway.estimate import PER_IMAGE, UNBROKEN_CHARACTERS_PER_TOKEN

_IMAGE = b"image"
"""Stands in every picture on every wire, in its kind or its media type."""


def tokens_at_most(body: bytes) -> float:
    """More tokens than an estimate could come to, whatever is in the request."""
    return len(body) / UNBROKEN_CHARACTERS_PER_TOKEN + PER_IMAGE * body.count(_IMAGE)
