"""What the generations of Claude take: where one refuses a request that another demands, the name decides.

Sources: the provider's pages on adaptive thinking, on what is new in 4.7 and 4.8, and on system messages in the middle
of a conversation. Models of other makers that speak this wire are taken to know its first form.
"""

import re
from functools import lru_cache
from typing import NamedTuple

_FAMILY_FIRST = re.compile(r"claude-([a-z]+)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_VERSION_FIRST = re.compile(r"claude-(\d)(?:[-.](\d))?(?!\d)")
_NEWEST = ("", 99, 0)


class Generation(NamedTuple):
    """What a model takes."""

    claude: bool
    """Whether it checks the signatures of thoughts."""
    adaptive: bool
    """It is told to think by an effort, not by a number of tokens."""
    sampling: bool
    """It takes a temperature, top_p and top_k."""
    system_turns: bool
    """It takes system turns in the middle of a conversation."""
    silent: bool
    """It can be told not to think."""
    room: int
    """The tokens that are asked for where the client named no limit: this wire demands one, and more than a model can
    say is an error. All Claudes since 4 can say this much, and no earlier one says less than this."""


@lru_cache(maxsize=256)
def generation(model: str) -> Generation:
    """What the model of this name takes. A Claude of unknown version is taken for the newest."""
    name = model.lower()
    if "claude" not in name:
        return Generation(claude=False, adaptive=False, sampling=True, system_turns=False, silent=True, room=8192)
    family, *version = _version(name)
    return Generation(
        claude=True,
        adaptive=version >= [4, 6],
        sampling=version < [4, 7],
        system_turns=version >= [4, 8] and not (family == "sonnet" and version < [5, 1]),
        silent=family not in ("fable", "mythos"),
        room=32_000 if version >= [4, 0] else 4096,
    )


def _version(name: str) -> tuple[str, int, int]:
    found = _FAMILY_FIRST.search(name)
    if found:
        return found[1], int(found[2]), int(found[3] or 0)
    found = _VERSION_FIRST.search(name)
    if found:
        return "", int(found[1]), int(found[2] or 0)
    return ("mythos", 99, 0) if "mythos" in name else _NEWEST
