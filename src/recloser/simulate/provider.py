"""The fault-injecting provider: a real HTTP server that answers deterministically and fails on demand."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

from aiohttp import web

from recloser.simulate import intake
from recloser.simulate.answers import wire_for, wires
from recloser.simulate.control import Control
from recloser.simulate.delivery import deliver
from recloser.simulate.faults import Mode
from recloser.simulate.orders import Orders
from recloser.simulate.plan import Plan, plan_answer, plan_json, plan_refusal
from recloser.simulate.reply import Identity, PrefillRefusedError, reply_to
from recloser.simulate.signing import Signer
from recloser.simulate.tally import Counts, Tally
from recloser.simulate.wire import Address, Grounds, Wire

MAX_BODY = 64 * 1024 * 1024
DEFAULT_MODEL = "chaos-1"

_BACKLOG = 4096
_HEADER_LIMIT = 64 * 1024
_LAST_WORDS = 0.1  # twice this is the longest that stopping takes

_Planner = Callable[[Wire, web.Request, Grounds, Counts], Awaitable[Plan]]


class Provider:
    """One simulated provider. Without `models` it serves any; with `key` it wants that key.

    `mode` stands until it is changed, `script` is for the first requests; both as `POST /chaos` takes them.
    """

    def __init__(
        self,
        name: str = "chaos",
        *,
        models: Sequence[str] | None = None,
        key: str | None = None,
        seed: int = 0,
        mode: str = "off",
        script: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.orders = Orders(clock=clock, rng=random.Random(seed))
        self.orders.accept({"mode": mode})
        self.orders.follow(script)
        self.tally = Tally()
        self._signer = Signer(name)
        self._models = tuple(models) if models else None
        self._key = key
        self._seed = seed
        self._serial = 0
        self._runner: web.AppRunner | None = None
        self._stopping = False

    def create_app(self) -> web.Application:
        """The application; its runner needs `handler_cancellation`, or clients that leave go unnoticed."""
        app = web.Application(client_max_size=MAX_BODY)
        Control(self.name, self.orders, self.tally).add_routes(app.router)
        for wire in wires():
            for path in wire.paths:
                app.router.add_post(path, partial(self._serve, wire, self._plan_answer))
            for path in wire.counting_paths:
                app.router.add_post(path, partial(self._serve, wire, self._plan_count))
            for path in wire.listing_paths:
                app.router.add_get(path, partial(self._serve, wire, self._plan_models))
        app.router.add_get("/v1/models", partial(self._serve, None, self._plan_models))
        app.router.add_route("*", "/{unknown:.*}", partial(self._serve, None, self._plan_unknown))
        return app

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, and say on which port."""
        self._stopping = False
        self._runner = web.AppRunner(
            self.create_app(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_LAST_WORDS,
            max_field_size=_HEADER_LIMIT,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=_BACKLOG).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; what is open gets a moment to finish and is cut off then."""
        runner, self._runner = self._runner, None
        self._stopping = True
        if runner is not None:
            await runner.cleanup()

    async def _serve(self, wire: Wire | None, plan: _Planner, request: web.Request) -> web.StreamResponse:
        wire = wire or wire_for(request.headers)
        counts = self.tally.begin(request.path)
        try:
            response = await deliver(request, await self._decide(wire, plan, request, counts))
        except asyncio.CancelledError:
            counts.cancelled += not self._stopping
            raise
        except ConnectionError:
            counts.cancelled += not self._stopping
            return web.Response()  # nobody is there to read it
        else:
            counts.completed += 1
            return response
        finally:
            self.tally.live -= 1

    async def _decide(self, wire: Wire, plan: _Planner, request: web.Request, counts: Counts) -> Plan:
        grounds = Grounds(f"req_{self._next_id()}", time.time())
        try:
            decided = await plan(wire, request, grounds, counts)
        except intake.RefusedError as refused:
            grounds = replace(grounds, message=refused.message, param=refused.param, model=refused.model)
            decided = plan_refusal(wire.refuse(refused.reason, grounds), Mode())
        except web.HTTPRequestEntityTooLarge:
            decided = plan_refusal(wire.refuse("413", grounds), Mode())
        own = {"x-chaos-provider": self.name, **wire.headers(grounds.request_id)}
        return replace(decided, headers=own | dict(decided.headers))

    async def _plan_answer(self, wire: Wire, request: web.Request, grounds: Grounds, counts: Counts) -> Plan:
        body = await self._receive(request)
        ask = intake.read_ask(wire, _address(request), body, self._models, self._signer)
        wish = intake.read_wish(request.headers)
        mode = self._choose(request, counts, ask.model, scripted=True)
        serial = grounds.request_id.removeprefix("req_")
        who = Identity(serial, int(grounds.now), f"fp_{self.name}", self._signer.sign)
        try:
            reply = reply_to(ask, mode, wish, who, self.orders.task)
        except PrefillRefusedError as refused:
            raise intake.RefusedError("400", str(refused), model=ask.model) from None
        return plan_answer(wire, ask, reply, mode, replace(grounds, model=ask.model, stream=ask.stream))

    async def _plan_count(self, wire: Wire, request: web.Request, grounds: Grounds, counts: Counts) -> Plan:
        body = await self._receive(request)
        ask = intake.read_ask(wire, _address(request), body, self._models, self._signer)
        mode = self._choose(request, counts, ask.model)
        return plan_json(wire, wire.count(ask), mode, replace(grounds, model=ask.model))

    async def _plan_models(self, wire: Wire, request: web.Request, grounds: Grounds, counts: Counts) -> Plan:
        intake.check_key(request.headers, self._key)
        mode = self._choose(request, counts)
        return plan_json(wire, wire.models(self._models or (DEFAULT_MODEL,), self.name), mode, grounds)

    async def _plan_unknown(self, wire: Wire, request: web.Request, grounds: Grounds, counts: Counts) -> Plan:  # noqa: ARG002
        if request.method == "POST":
            await self._receive(request)
        message = f"Invalid URL ({request.method} {request.path})"
        raise intake.RefusedError("unknown_path", message)

    async def _receive(self, request: web.Request) -> bytes:
        body = await request.read()
        self.tally.keep(request.headers.items(), body)
        intake.check_key(request.headers, self._key)
        return body

    def _choose(self, request: web.Request, counts: Counts, model: str = "", *, scripted: bool = False) -> Mode:
        mode = intake.read_mode(request.headers)
        if mode is None:
            mode = self.orders.choose(request.path, model, scripted=scripted)
        self.tally.classify(counts, model, str(mode))
        return mode

    def _next_id(self) -> str:
        self._serial += 1
        return sha256(f"{self.name}/{self._seed}/{self._serial}".encode()).hexdigest()[:24]


def _address(request: web.Request) -> Address:
    return Address(request.path, request.query)


async def run(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    name: str = "chaos",
    announce: Callable[[str], None],
    models: Sequence[str] | None = None,
    key: str | None = None,
    seed: int = 0,
    mode: str = "off",
) -> None:
    """Serve until SIGTERM or SIGINT; `announce` is told the address once it listens."""
    provider = Provider(name, models=models, key=key, seed=seed, mode=mode)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    bound = await provider.start(host, port)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        announce(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        await stopped.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await provider.stop()
