"""What a gateway is told: the sections [gateway], [providers.*], [routes.*] and [profiles.*] of recloser.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from math import inf
from typing import Any, Literal

from recloser.core.circuit_settings import CircuitSettings
from recloser.core.errors import ConfigError
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
    midstream: Literal["resume", "error"] = "resume"
    """When a stream breaks after content: another target finishes the answer, or the wire's error event."""
    max_body: Size = 64 * 2**20
    """Largest request body taken."""
    body_timeout: Duration = 60.0
    """How long a client may take to send its request."""
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "[::1]")
    """Allowed Host headers, besides what is listened on."""
    allow_paid: bool = True
    """Whether requests may go to providers that cost money; a route or profile may say otherwise for itself."""
    drain: Duration = 30.0
    """How long open requests may go on after the order to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettings:
    """[providers.NAME.models.GLOB.price]: in US dollars per million tokens."""

    input: float
    output: float
    """0 for models that write nothing, such as those of embeddings."""
    cache_read: float | None = None
    """None: as `input`."""
    cache_write: float | None = None
    """None: as `input`."""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cache_read", "cache_write"):
            price = getattr(self, name)
            if price is not None and not 0 <= price < inf:
                raise ConfigError(f"{name} must be a price of at least 0, not {price!r}")

    @property
    def blended(self) -> float:
        """One figure to compare prices by: three tokens read to one written."""
        return (3 * self.input + self.output) / 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """[providers.NAME.models.GLOB]: what is known of the models with such a name. None: it is not known."""

    price: PriceSettings | None = None
    context_window: int | None = None
    """Tokens of a request and its answer together."""

    def __post_init__(self) -> None:
        if self.context_window is not None and self.context_window < 1:
            raise ConfigError(f"context_window must be a number of tokens above 0, not {self.context_window}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """[providers.NAME]: somebody who answers."""

    kind: str
    """A file of gateway/providers/: gives the wires, base URLs and the way to authenticate."""
    api_key: Secret | None = None
    """A reference to the provider's key: `env:NAME`, `file:PATH` or `cmd:ARGV`; or `client`, for the client's own."""
    base_url: str | None = None
    """As the wire's SDK takes it: Anthropic without /v1, OpenAI with it."""
    wire: str | None = None
    """The wire spoken at `base_url`, where the kind speaks several or none."""
    regions: Mapping[str, str] = field(default_factory=dict)
    """Base URLs by region; the first is home."""
    options: Mapping[str, str] = field(default_factory=dict)
    """What the kind needs to know besides, such as a region: docs/providers.md. Some stand in the environment."""
    account: str | None = None
    """Whose quota this is; entries with the same secret reference share one anyway."""
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    """Sent along with every request. A value may be a reference to a secret."""
    connect_timeout: Duration = 2.0
    """For name, connection and TLS together. This and the following are per attempt."""
    first_token_timeout: Duration = 60.0
    """For a stream's first content; the provider's keep-alives are none."""
    idle_timeout: Duration = 30.0
    """Longest silence within a stream, or within a plain answer that has begun."""
    total_timeout: Duration = 600.0
    """For a plain answer."""
    stream_timeout: Duration = 3600.0
    """For a whole stream."""
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    """What is known of its models, by glob; the first that matches holds."""
    paid: bool | None = None
    """Whether it costs money; unless said, all do but the kinds that run on one's own machine."""
    max_concurrency: int = 0
    """Requests under way at once, in all its regions together; 0 = no limit."""
    repairs: tuple[str, ...] = ()
    """What mends its answers, in this order: docs/repairs.md."""
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    """Overrides of [circuit] for this provider's circuits."""

    def __post_init__(self) -> None:
        if self.max_concurrency < 0:
            raise ConfigError(f"max_concurrency must be at least 0, not {self.max_concurrency}")

    @property
    def clients_own(self) -> bool:
        """Whether it is asked with the credential that the client itself brings."""
        return self.api_key == CLIENTS_OWN

    def of_model(self, name: str) -> ModelSettings:
        """What is known of a model."""
        return next((known for glob, known in self.models.items() if fnmatchcase(name, glob)), _UNKNOWN)


_UNKNOWN = ModelSettings()
CLIENTS_OWN = Secret("", "client")
"""`api_key = "client"`: no key of ours, but whatever the client shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSettings:
    """One of `targets`, where more is said of it than its name."""

    target: str
    """`provider/model`, as in a plain list."""
    weight: float = 1.0
    """Its share, relative to the others': of the requests (`weighted`), of the load (`least_loaded`); 0 = never first,
    only when others fail."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < inf:
            raise ConfigError(f"weight must be at least 0, not {self.weight!r}")


Order = Literal["listed", "weighted", "least_loaded", "fastest", "cheapest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """[routes.GLOB] or [profiles.NAME]: targets in order, each `provider/model`; `{model}` is the request's own."""

    targets: tuple[str | TargetSettings, ...]
    """In order of preference: `"provider/model"`, or `{ target = "provider/model", weight = 3 }`."""
    order: Order = "listed"
    """Who is asked first; the others follow where it fails."""
    model: str | None = None
    """The glob of model names, where the route's own name is none: so several routes can stand for one."""
    when: Mapping[str, Any] = field(default_factory=dict)
    """Conditions that a request must fulfil, all of them; else the next route that matches is looked at."""
    allow_paid: bool | None = None
    """Whether its requests may go to providers that cost money; unless said, as [gateway] has it."""

    def glob(self, name: str) -> str:
        """The model names it takes, if it is a route of this name."""
        return name if self.model is None else self.model

    @property
    def names(self) -> tuple[str, ...]:
        """Its targets by their names alone."""
        return tuple(entry if isinstance(entry, str) else entry.target for entry in self.targets)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each target."""
        return tuple(1.0 if isinstance(entry, str) else entry.weight for entry in self.targets)
