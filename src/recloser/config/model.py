"""The whole configuration as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSettings:
    """[state]: what outlives the process, and where."""

    url: str = "sqlite:.recloser/state.db"
    """Where circuits are kept: `sqlite:PATH`, or `memory:` to forget them with the process."""
    dir: str = ".recloser"
    """Where the event log lies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that recloser.toml says."""

    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    state: StateSettings = field(default_factory=StateSettings)
    circuit: CircuitSettings = field(default_factory=CircuitSettings)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    routes: Mapping[str, RouteSettings] = field(default_factory=dict)
    profiles: Mapping[str, RouteSettings] = field(default_factory=dict)
    guards: Mapping[str, Any] = field(default_factory=dict)
    """The settings of those that [guards] names; None: it is not to look, although it usually does."""
    path: Path | None = None
    """The file it came from; None if there was none."""
    simulated: bool = False
    """Whether the built-in simulated provider is started and answers everything: there is nobody else to ask."""

    @property
    def base(self) -> Path:
        """What relative paths are relative to."""
        return self.path.parent if self.path else Path()

    @property
    def state_dir(self) -> Path:
        """Where events, audit and rounds lie."""
        return self.base / self.state.dir
