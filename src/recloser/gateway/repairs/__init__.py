"""What mends the answers of models that break them, one file each."""

from functools import cache

from recloser.gateway.repairs.repair import Repair
from recloser.plugins import Offered, offered


@cache
def repair_kinds() -> Offered[type[Repair]]:
    """Every repair there is, by the name of its file or entry point."""
    return offered(__name__, lambda plugin: isinstance(plugin, type) and issubclass(plugin, Repair))
