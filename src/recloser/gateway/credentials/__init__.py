"""Ways to prove who asks that take more than a header which never changes: signatures and short-lived tokens.

One file each. A vendor's TOML names the file, `credential = { way = "sigv4" }`. To add a way is to add a file whose
`offer` is a `Credential`; an installed package adds one by an entry point of the group `recloser.credentials`.
"""

from collections.abc import Mapping
from functools import cache

from recloser.gateway.credentials.credential import Credential
from recloser.plugins import offered


@cache
def ways() -> Mapping[str, type[Credential]]:
    """Every way there is, by name."""
    return offered(__name__, _is_way).found


def _is_way(plugin: object) -> bool:
    return isinstance(plugin, type) and issubclass(plugin, Credential)
