"""Facts about vendors, one TOML file each: wires and their base URLs, how to authenticate, which models.

    title = "Anthropic"              how people call it
    key_env = "ANTHROPIC_API_KEY"    the usual environment variable of its key
    auth = "x-api-key" | "x-goog-api-key" | "bearer"     which header carries the key
    wire_auth = { openai-chat = "bearer" }               the same for a wire that differs
    models = ["claude-*"]            model names that are its own, as globs
    local_port = 11434               where it usually listens, if it runs on this machine
    [wires]                          base URL by wire, as the wire's SDK takes it; the first is spoken to strangers

To add a vendor is to add a file. The first "if" that a vendor needs belongs in a wire, not here.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec


class ProviderKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vendor's facts."""

    title: str
    auth: str
    wires: Mapping[str, str]
    models: tuple[str, ...] = ()
    key_env: str | None = None
    wire_auth: Mapping[str, str] = msgspec.field(default_factory=dict)
    local_port: int | None = None

    def auth_headers(self, key: str, wire: str) -> dict[str, str]:
        """The headers that carry a key to this vendor on this wire."""
        auth = self.wire_auth.get(wire, self.auth)
        return {"authorization": f"Bearer {key}"} if auth == "bearer" else {auth: key}


@cache
def provider_kinds() -> Mapping[str, ProviderKind]:
    """Every vendor we have a file of, by the file's name."""
    files = sorted(
        (f for f in resources.files(__package__).iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    return {
        f.name.removesuffix(".toml"): msgspec.convert(tomllib.loads(f.read_text("utf-8")), ProviderKind) for f in files
    }
