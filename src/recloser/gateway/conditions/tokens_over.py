"""`tokens_over = 60000`: if the whole request has more tokens than that, by our estimate."""

from typing import Any

from recloser.gateway.conditions.condition import Condition
from recloser.gateway.estimate import tokens
from recloser.gateway.guards.bounds import tokens_at_most
from recloser.gateway.request import Request


class TokensOver(Condition):
    """Whether a request is estimated at more tokens than that: history, tools, images and files."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"must be a number of tokens of at least 0, not {value!r}")
        self._limit = value

    def holds(self, request: Request) -> bool:
        """Whether it is. A request that is small for sure need not be read for it."""
        return tokens_at_most(request.body) > self._limit and tokens(request.read()) > self._limit


offer = TokensOver
