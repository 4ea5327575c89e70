"""Builds a gateway from its configuration: the only file that knows all parts."""

import asyncio
import contextlib
import gc
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

from starlette.routing import Route

from recloser.breaker import Breakers, SystemClock
from recloser.config.listening import address
from recloser.config.model import Config
from recloser.core.events import Event, StoreLost
from recloser.gateway import wires
from recloser.gateway.conditions import condition_kinds
from recloser.gateway.gateway import Gateway
from recloser.gateway.guards import Guards, guard_kinds, made
from recloser.gateway.providers import plugged_in
from recloser.gateway.repairs import repair_kinds
from recloser.gateway.runtime.bookkeeper import Bookkeeper
from recloser.gateway.runtime.driver import Driver, Held
from recloser.gateway.runtime.ingress import Door, Ingress
from recloser.gateway.runtime.listen import lift_file_limit, listen
from recloser.gateway.runtime.models import Models
from recloser.gateway.runtime.prober import Prober
from recloser.gateway.runtime.server import GatewayServer
from recloser.gateway.runtime.upstream import open_session
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.spending import Spending
from recloser.gateway.targets import Routes, circuit_settings
from recloser.observe.audit import AuditLog
from recloser.observe.hub import Hub
from recloser.observe.metrics import Metrics
from recloser.observe.pages import Pages
from recloser.ports import Emit, Store
from recloser.simulate.provider import Provider
from recloser.stores import open_ledger, open_store
from recloser.stores.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that takes requests."""

    url: str
    gateway: Gateway
    server: GatewayServer
    warnings: tuple[str, ...] = ()
    """What does not work, although the gateway does."""


async def serve(config: Config, announce: Callable[[RunningGateway], None]) -> None:
    """Serve until told to stop, and leave nothing unsaved. PortInUseError if the port is taken."""
    host, port = address(config.gateway.listen)
    taken = listen(host, port)
    lift_file_limit()
    _calm_garbage_collector()
    async with (
        _simulated(config) if config.simulated else contextlib.nullcontext(config) as whole,
        _gateway(whole, f"{host}:{taken.getsockname()[1]}") as running,
    ):
        await running.server.serve_on(taken, lambda: announce(running))


@contextlib.asynccontextmanager
async def _simulated(config: Config) -> AsyncIterator[Config]:
    """The same configuration with the built-in simulated provider, which is started here, behind every name."""
    provider = Provider("simulated")
    base_url = f"http://127.0.0.1:{await provider.start()}/v1"
    try:
        yield replace(
            config,
            providers={"simulated": ProviderSettings(kind="simulated", base_url=base_url)},
            routes={"*": RouteSettings(targets=("simulated/{model}",))},
        )
    finally:
        await provider.stop()


def _store(config: Config, hub: Hub) -> tuple[Store, tuple[str, ...]]:
    """The configured store; or, if it cannot be opened, one that forgets, and a warning. A gateway must not need it."""
    try:
        return open_store(config.state.url, config.base), ()
    except (OSError, sqlite3.Error) as error:
        hub.emit(
            StoreLost(subject="store", seq=int(SystemClock().time() * 1000), reason=f"{type(error).__name__}: {error}")
        )
        warning = f"the state {config.state.url} cannot be opened ({error}); circuits will not outlive this process"
        return MemoryStore(), (warning,)


def _broken_plugins() -> tuple[str, ...]:
    """Warnings of plug-ins that cannot be loaded. One that the configuration names is a problem of its own."""
    sorts: Mapping[str, Mapping[str, str]] = {
        "wire": wires.PLUGINS.broken,
        "provider": plugged_in().broken,
        "guard": guard_kinds().broken,
        "repair": repair_kinds().broken,
        "condition": condition_kinds().broken,
    }
    return tuple(
        f"the {sort} {name} cannot be loaded: {why}" for sort, broken in sorts.items() for name, why in broken.items()
    )


def _on_this_loop(listener: Emit) -> Emit:
    """The listener, called on this loop also where another thread tells: the one that sees what other processes do."""
    loop, thread = asyncio.get_running_loop(), threading.get_ident()

    def tell(event: Event) -> None:
        if threading.get_ident() == thread:
            listener(event)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(listener, event)

    return tell


def _named_by_clients(circuit: str) -> bool:
    """Whether there may be any number of such circuits: models, tools, and accounts of clients' own credentials."""
    return circuit.startswith(("model/", "tool/")) or (circuit.startswith("account/") and circuit.count("/") > 1)


def _get_ready(routes: Routes) -> None:
    """Have those credentials that take a while to get be there before the first request is."""
    for endpoint in (one for endpoints in routes.endpoints.values() for one in endpoints):
        if endpoint.credential is not None:
            endpoint.credential.begin()


def _calm_garbage_collector() -> None:
    """Look for cycles more rarely, and never among what was there from the start: an eighth of a request's cost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@contextlib.asynccontextmanager
async def _gateway(config: Config, listened: str) -> AsyncIterator[RunningGateway]:
    clock = SystemClock()
    hub = Hub(clock)
    audit = AuditLog(config.state_dir / "events")
    hub.add(audit)
    spending = Spending(clock.time)
    hub.add(lambda stamped: spending.heard(stamped.event))
    store, warnings = _store(config, hub)
    held = Held(clock)
    routes = Routes(config.providers, config.routes, config.profiles)
    guards = Guards(made(config.guards), clock.time)
    hub.add(lambda stamped: guards.heard(stamped.event))
    of_targets = circuit_settings(routes, config.circuit)
    breakers = Breakers(
        config.circuit,
        overrides=lambda name: guards.circuit_settings(name) or of_targets(name),
        expendable=_named_by_clients,
        store=store,
        listeners=(_on_this_loop(hub.emit), _on_this_loop(held.heard)),
        clock=clock,
    )
    gateway = Gateway(
        settings=config.gateway,
        routes=routes,
        breakers=breakers,
        emit=hub.emit,
        clock=clock,
        spending=spending,
        guards=guards,
    )
    guards.join(breakers)
    guards.share(spending)
    _get_ready(routes)
    metrics = Metrics(breakers)
    hub.add(metrics)
    driver = Driver(clock, held)
    host, _, port = listened.rpartition(":")
    try:
        async with (
            Bookkeeper(spending, open_ledger(config.state.url, config.base), hub.emit) as bookkeeper,
            open_session() as session,
            Prober(gateway, session) as prober,
        ):
            hub.add(lambda stamped: prober.heard(stamped.event))
            models = Models(gateway, session)
            pages = Pages(
                gateway,
                metrics,
                held=lambda: len(held),
                store=lambda: {
                    "url": config.state.url,
                    "lost": breakers.store_lost or bookkeeper.lost or bool(warnings),
                },
                stopping=lambda: server.should_exit,
                others=[
                    *(Route(f"/{version}/models", models.page) for version in ("v1", "v1beta")),
                    *(Route(f"/{version}/models/{{name:path}}", models.one) for version in ("v1", "v1beta")),
                ],
            )
            door = Door((*config.gateway.hosts, host, f"[{host}]"), config.gateway.keys)
            server = GatewayServer(
                Ingress(gateway, driver, session, door, pages.application), driver, config.gateway.drain
            )
            shown = f"[{host}]" if ":" in host else host
            yield RunningGateway(f"http://{shown}:{port}", gateway, server, (*warnings, *_broken_plugins()))
    finally:
        breakers.close()
        audit.close()
