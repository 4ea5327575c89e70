"""`has_tools = true`: if the model may call tools of the client."""

from typing import Any

from recloser.gateway.conditions.condition import Condition, yes_or_no
from recloser.gateway.request import Request


class HasTools(Condition):
    """Whether tools are declared, or (`false`) none are."""

    def __init__(self, value: Any) -> None:
        self._wanted = yes_or_no(value)

    def holds(self, request: Request) -> bool:
        """Whether there are any."""
        return bool(request.read().tools) is self._wanted


offer = HasTools
