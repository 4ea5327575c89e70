"""What must never be shown: the secrets of the configuration, and whatever looks like one.

Every secret that a configuration resolves is named here, in one place for the whole process, so that no path on which
something is told can forget to ask. A provider's own error sentence may repeat a key that we do not hold; those are
known by their looks.
"""

import re
from functools import lru_cache
from typing import Any

HIDDEN = "[redacted]"
_SHORTEST = 6
_LONGEST_TEXT = 2000
_LOOKS = re.compile(
    r"""
    \b(?:sk|rk|pk|gsk|xai|hf|ghp|gho|ghs|github_pat|glpat|xox[abprs]|AKIA|ASIA|AIza|ya29)[-_.]?[A-Za-z0-9*][A-Za-z0-9_.*-]{10,}
    | (?<=://)[^/\s@]+(?=@)
    | (?i:\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}
    | (?i:(?<=[?&]key=)|(?<=api_key=)|(?<=api-key:\s)|(?<=token=))[^\s&"']{6,}
    """,
    re.VERBOSE,
)
_secrets: frozenset[str] = frozenset()


def never_show(secret: str) -> None:
    """Have a secret replaced wherever something is told. One of a few letters stands in every text, and is left."""
    global _secrets  # noqa: PLW0603 - one process has one set of secrets, whoever resolved them
    if len(secret) >= _SHORTEST:
        _secrets |= {secret}
        _clean.cache_clear()


def redacted(value: Any) -> Any:
    """The same value, of JSON's kinds, with no secret in any string and no string of endless length."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, dict):
        return {key: redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return value


@lru_cache(maxsize=1024)  # wires, models, targets and outcomes come again and again
def _clean(text: str) -> str:
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
    for secret in _secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return _LOOKS.sub(HIDDEN, text)
