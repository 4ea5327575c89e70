"""What a gateway is told: the sections [gateway], [providers.*], [routes.*] and [profiles.*] of recloser.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.units import Duration, Secret, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """[gateway]: what holds for every request."""

    listen: str = "127.0.0.1:8686"
    """Address and port; port 0 takes a free one."""
    keys: tuple[Secret, ...] = ()
    """Client keys. Without any, only loopback may be listened on."""
    max_hold: Duration = 60.0
    """Longest time a request may wait while every target is closed to it; 0 = never."""
    hold_attempt: Duration = 580.0
    """Longest a single attempt of a client is held: real clients give up by themselves at 600 s."""
    keepalive_after: Duration = 10.0
    """Silence towards a streaming client before, and between, keep-alives."""
    retry_after_max: Duration = 60.0
    """Longest `retry-after` told to clients: agents give up at once on longer ones."""
    midstream: Literal["error"] = "error"
    """What a client gets when a stream breaks after content: the wire's error event."""
    max_body: Size = 64 * 2**20
    """Largest request body taken."""
    body_timeout: Duration = 60.0
    """How long a client may take to send its request."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Allowed Host headers, besides what is listened on."""
    drain: Duration = 30.0
    """How long open requests may go on after the order to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettings:
    """[providers.NAME.models.GLOB.price]: in US dollars per million tokens."""

    input: float = 0.0
    output: float = 0.0
    cache_read: float | None = None
    """None: as `input`."""
    cache_write: float | None = None
    """None: as `input`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """[providers.NAME.models.GLOB]: what is known of the models with such a name. None: it is not known."""

    price: PriceSettings | None = None
    context_window: int | None = None
    """Tokens of a request and its answer together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """[providers.NAME]: somebody who answers."""

    kind: str
    """A file of gateway/providers/: gives the wires, base URLs and the way to authenticate."""
    api_key: Secret | None = None
    """A reference to the provider's key: `env:NAME`, `file:PATH` or `cmd:ARGV`."""
    base_url: str | None = None
    """As the wire's SDK takes it: Anthropic without /v1, OpenAI with it."""
    wire: str | None = None
    """The wire spoken at `base_url`, where the kind speaks several or none."""
    regions: Mapping[str, str] = field(default_factory=dict)
    """Base URLs by region; the first is home."""
    account: str | None = None
    """Whose quota this is; entries with the same secret reference share one anyway."""
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    """Sent along with every request. A value may be a reference to a secret."""
    connect_timeout: Duration = 2.0
    """For name, connection and TLS together. This and the following are per attempt."""
    first_token_timeout: Duration = 60.0
    """For a stream's first content; the provider's keep-alives are none."""
    idle_timeout: Duration = 30.0
    """Longest silence within a stream."""
    total_timeout: Duration = 600.0
    """For a plain answer."""
    stream_timeout: Duration = 3600.0
    """For a whole stream."""
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    """What is known of its models, by glob; the first that matches holds."""
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    """Overrides of [circuit] for this provider's circuits."""

    def of_model(self, name: str) -> ModelSettings:
        """What is known of a model."""
        return next((known for glob, known in self.models.items() if fnmatchcase(name, glob)), _UNKNOWN)


_UNKNOWN = ModelSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """[routes.GLOB] or [profiles.NAME]: targets in order, each `provider/model`; `{model}` is the request's own."""

    targets: tuple[str, ...]
    """In order of preference."""
