"""What a route may ask of a request, one file each."""

from functools import cache

from recloser.gateway.conditions.condition import Condition
from recloser.plugins import Offered, offered


@cache
def condition_kinds() -> Offered[type[Condition]]:
    """Every condition there is, by the name of its file or entry point."""
    return offered(__name__, lambda plugin: isinstance(plugin, type) and issubclass(plugin, Condition))
