"""A call of a tool that is nearly one of the declared ones becomes a call of that one.

Case, hyphens and underscores, a namespace before the name (`functions.`, `default_api.`, `mcp__server__`), a mark
behind it, or a slip or two in its spelling: where exactly one tool can be meant, and no other.
"""

from collections.abc import Iterable

import msgspec

from recloser.gateway.canonical import Event, PartBegan, Request, ToolUse
from recloser.gateway.repairs.declared import Declared
from recloser.gateway.repairs.repair import Repair


class ToolNames(Repair):
    """The repair."""

    only_with_tools = True

    def __init__(self, request: Request) -> None:
        self._tools = Declared(request)

    def feed(self, event: Event) -> Iterable[Event]:
        """The event, with the name that was meant."""
        if isinstance(event, PartBegan) and isinstance(event.part, ToolUse):
            name = event.part.name
            meant = self._tools.named(name) or self._tools.nearest(name)
            if meant is not None and meant != name:
                event = msgspec.structs.replace(event, part=msgspec.structs.replace(event.part, name=meant))
        return (event,)


offer = ToolNames
