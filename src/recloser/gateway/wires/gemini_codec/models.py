"""What the generations of Gemini take: where one refuses a request that another demands, the name decides.

Sources: the provider's pages on thinking and on thought signatures. Models of other makers behind this wire (Gemma) are
taken to know none of it.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_VERSION = re.compile(r"gemini-(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)


class Generation(NamedTuple):
    """What a model takes."""

    thinks: bool
    levels: bool
    """It is told how much to think by a word, not by a number of tokens."""
    silent: bool
    """It can be told not to think."""
    most: int
    """Tokens of thinking it can be given, where it is a number."""
    signed: bool
    """It refuses a call in the history without its signature, and takes pictures inside a tool's result."""


@lru_cache(maxsize=256)
def generation(model: str) -> Generation:
    """What the model of this name takes. A Gemini of unknown version is taken for the newest."""
    name = model.lower()
    found = _VERSION.search(name)
    version = (int(found[1]), int(found[2] or 0)) if found else _NEWEST
    thinks = "gemini" in name and version >= (2, 5)
    newest = thinks and version >= (3, 0)
    large = "pro" in name
    return Generation(
        thinks=thinks,
        levels=newest,
        silent=thinks and not newest and not large,
        most=32_768 if large else 24_576,
        signed=newest,
    )
