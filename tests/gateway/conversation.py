"""Talks an exchange through its life, as the driver would, with no socket and a clock that is told what time it is."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.classify import INTERRUPTED, TIMEOUT, UNREACHABLE, Row
from recloser.gateway.asks import (
    Ask,
    Begin,
    Broke,
    Chunk,
    ClientSide,
    End,
    Finish,
    Forward,
    GatewayStops,
    Head,
    Hold,
    Now,
    Read,
    ReadAll,
    Reply,
    Send,
)
from recloser.gateway.events import AttemptFailed, RequestFinished
from recloser.gateway.exchange import Exchange
from recloser.gateway.guards import Guards
from recloser.gateway.guards.guard import Guard
from recloser.gateway.request import Request
from recloser.gateway.resuming.resumption import Refusals
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.gateway.traffic import Traffic
from recloser.gateway.wires import ALL_WIRES
from recloser.testing import ManualClock, RecordingSink

SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
PLAIN = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
STREAMING = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}'
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Conversation:
    """One exchange. `ask` is what it wants done now, None once it is over; the verbs say what came of it."""

    def __init__(
        self,
        body: bytes = PLAIN,
        *,
        targets: Iterable[str] = ("a/m", "b/m"),
        wire: str = "openai-chat",
        gateway: GatewaySettings | None = None,
        circuit: CircuitSettings | None = None,
        breakers: Breakers | None = None,
        clock: ManualClock | None = None,
        provider: dict[str, Any] | None = None,
        wires: Mapping[str, str] | None = None,
        address: tuple[str, bool] = ("", False),
        guards: Mapping[str, Guard] | None = None,
        refusals: Refusals | None = None,
        kind: str = "compatible",
        providers: Mapping[str, Mapping[str, Any]] | None = None,
        traffic: Traffic | None = None,
        unpaid: str = "",
        credentials: Mapping[str, str] | None = None,
    ) -> None:
        """`wires` are those of the providers that do not speak the client's; `address` names a model, and streams.

        `provider` are the settings of all of them, `providers` those of each by its name.
        """
        self.clock = clock or ManualClock(start=1000.0)
        self.sink = RecordingSink()
        self.breakers = breakers or Breakers(circuit or CircuitSettings(jitter=0.0), clock=self.clock)
        self.client = ClientSide()
        targets = tuple(targets)
        spoken = dict.fromkeys((t.split("/")[0] for t in targets), wire) | dict(wires or {})
        settings = {
            name: ProviderSettings(
                kind=kind,
                wire=of,
                base_url="http://127.0.0.1:1/v1",
                **{**(provider or {}), **(providers or {}).get(name, {})},
            )
            for name, of in spoken.items()
        }
        routes = Routes(settings, {"*": RouteSettings(targets=targets)}, {})
        envelope = ALL_WIRES[wire].read(body, address[0], stream=address[1])
        watching = Guards(guards or {}, self.clock.time)
        request = Request(
            id="req_1", wire=ALL_WIRES[wire], envelope=envelope, body=body,
            targets=routes.targets(envelope.model) or (), metered=watching.metering, unpaid=unpaid,
            credentials=credentials or {},
        )  # fmt: skip
        self.exchange = Exchange(
            request,
            gateway or GatewaySettings(max_hold=0.0, midstream="error"),
            self.breakers,
            guards=watching,
            refusals=Refusals() if refusals is None else refusals,
            traffic=traffic,
            client=self.client,
            emit=self.sink,
            wall_clock=self.clock.time,
            now=self.clock.monotonic(),
        ).run()
        self.sent: list[Ask] = []
        """Everything that went to the client."""
        self.asked: list[str] = []
        """Every target that was sent the request."""
        self.ask: Ask | None = None
        self._go(next, self.exchange)

    # What the world answers ------------------------------------------------------------------------------------------

    def answers(self, status: int = 200, headers: dict[str, str] | None = None) -> Self:
        """The target's head arrives."""
        return self._answered(Head(status, SSE if headers is None else headers, self.clock.monotonic()))

    def says(self, data: bytes) -> Self:
        """A piece of the answer arrives."""
        return self._answered(Chunk(data, self.clock.monotonic()))

    def ends(self) -> Self:
        """The answer ends as its framing says it should."""
        return self._answered(End(self.clock.monotonic()))

    def breaks(self, row: Row = INTERRUPTED, message: str = "reset by peer") -> Self:
        """The connection breaks."""
        return self._answered(Broke(row, message, self.clock.monotonic()))

    def refuses(self) -> Self:
        """The target cannot be reached."""
        return self.breaks(UNREACHABLE, "connection refused")

    def lets_time_pass(self) -> Self:
        """Nothing comes until the deadline that was asked for."""
        self.clock.advance(self.until - self.clock.monotonic())
        return self.breaks(TIMEOUT, "no answer in time")

    def wakes(self, after: float) -> Self:
        """A held exchange is woken."""
        self.clock.advance(after)
        return self._answered(Now(self.clock.monotonic()))

    def fails(self, status: int, body: bytes = b"{}", headers: dict[str, str] | None = None) -> Self:
        """The target answers with an error."""
        return self.answers(status, {**JSON, **(headers or {})}).says(body)

    def client_leaves(self) -> None:
        """The client is gone."""
        self.exchange.close()
        self.ask = None

    def gateway_stops(self) -> Self:
        """The drain time is over."""
        return self._go(self.exchange.throw, GatewayStops())

    # What was seen ---------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the exchange has come to its end."""
        return self.ask is None

    @property
    def until(self) -> float:
        """The deadline of what it wants done now."""
        assert isinstance(self.ask, Send | Read | ReadAll | Hold)
        return self.ask.until

    @property
    def received(self) -> bytes:
        """The bytes that the client got of a stream."""
        return b"".join(ask.data for ask in self.sent if isinstance(ask, Forward))

    @property
    def reply(self) -> Reply:
        """The client's whole answer."""
        (reply,) = self.sent
        assert isinstance(reply, Reply)
        return reply

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Kind and circuit of every failed attempt."""
        return [(event.failure, event.circuit or "nobody") for event in self.attempts]

    @property
    def attempts(self) -> list[AttemptFailed]:
        """What was written down of every failed attempt."""
        return [event for event in self.sink.events if isinstance(event, AttemptFailed)]

    @property
    def account(self) -> RequestFinished:
        """What was told of the exchange at its end."""
        event = self.sink.events[-1]
        assert isinstance(event, RequestFinished)
        return event

    def _answered(self, reading: Any) -> Self:
        return self._go(self.exchange.send, reading)

    def _go(self, step: Any, argument: Any) -> Self:
        """Take a step, and do at once what goes to the client."""
        try:
            self.ask = step(argument)
            while isinstance(self.ask, Begin | Forward | Finish | Reply):
                self.client.begun = True
                self.sent.append(self.ask)
                self.ask = self.exchange.send(Now(self.clock.monotonic()))
        except StopIteration:
            self.ask = None
        if isinstance(self.ask, Send):
            self.asked.append(self.ask.target.label)
        return self
