"""`model_matches = "-(mini|flash)$"`: if the regular expression is found in the model's name."""

from functools import lru_cache
from typing import Any

from recloser.gateway.conditions.condition import Condition
from recloser.gateway.conditions.pattern import Pattern
from recloser.gateway.request import Request

LONGEST_NAME = 256
"""Characters of a name that are looked at; the door takes no longer one."""


class ModelMatches(Condition):
    """Whether the model's name, as the client gives it, matches somewhere; `^` and `$` bind it to its ends."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, str) or not value:
            raise ValueError(f"must be a regular expression, not {value!r}")
        self._found_in = lru_cache(maxsize=1024)(Pattern(value).found_in)

    def holds(self, request: Request) -> bool:
        """Whether it is found."""
        return self._found_in(request.envelope.model[:LONGEST_NAME])


offer = ModelMatches
