"""How many tokens a request has: asked of a provider that counts them, else estimated. A conversation like an exchange.

A count is no traffic. It takes no permit, so that it uses up no trial of a circuit, and whatever goes wrong with it is
charged to nobody: a provider that cannot count may answer very well. Nor does anybody wait for it for long: two
targets are asked at most, for a few seconds each, and then the answer is our own estimate.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping

from recloser.breaker import Breakers
from recloser.core.classify import MALFORMED, classify_answer
from recloser.core.failure import Failure
from recloser.gateway import estimate
from recloser.gateway.asks import Broke, GatewayStops, Head, ReadAll, Reply, Send
from recloser.gateway.counters import COUNTERS, Counter
from recloser.gateway.delivery import Conversation, Line
from recloser.gateway.events import AttemptFailed
from recloser.gateway.fitness import Fitness
from recloser.gateway.own_credentials import theirs
from recloser.gateway.request import Request
from recloser.gateway.targets import Target
from recloser.gateway.telling import in_a_header, passed_on
from recloser.gateway.translation import Translation
from recloser.gateway.wires.wire import UNREADABLE, BadRequestError, Refusal, decode_error
from recloser.ports import Emit

COUNTED_WITHIN = 3.0
MOST_ASKED = 2
LARGEST_COUNT = 2**16
FORGOTTEN_AFTER = 300.0
"""Seconds for which a target that knows no counting is not asked again."""
MOST_REMEMBERED = 1024
_KNOWS_NO_COUNTING = frozenset({404, 405, 501})


class Uncounted:
    """Targets that were found to know no counting: many servers that speak a wire have only its main address."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def note(self, target: Target, wire: str, now: float) -> None:
        """It knows none on this wire."""
        while len(self._until) >= MOST_REMEMBERED:  # bounded: names of models come from clients
            del self._until[next(iter(self._until))]
        self._until[target.label, wire] = now + FORGOTTEN_AFTER

    def has(self, target: Target, wire: str, now: float) -> bool:
        """Whether that is known."""
        return self._until.get((target.label, wire), now) > now


class Counting:
    """One question for a number of tokens."""

    def __init__(
        self,
        request: Request,
        breakers: Breakers,
        *,
        uncounted: Uncounted,
        emit: Emit,
        wall_clock: Callable[[], float],
        now: float,
    ) -> None:
        """`request` is what the question is about."""
        self._request = request
        self._breakers = breakers
        self._uncounted = uncounted
        self._emit = emit
        self._wall_clock = wall_clock
        self._line = Line(now)
        self._fitness = Fitness(request)
        self._asked = 0

    def run(self) -> Conversation[None]:
        """Ask, and answer. Closing the generator means that the client has left."""
        try:
            estimated = estimate.tokens(self._request.read())
            for target, counter in itertools.islice(self._countable(), MOST_ASKED):
                self._asked += 1
                if (yield from self._ask(target, counter)):
                    return
            own = COUNTERS[self._request.wire.name].answer(estimated)
            yield from self._reply(200, own, {"x-recloser-estimated": "true"})
        except BadRequestError as error:
            yield from self._refuse(Refusal(400, "invalid_request", str(error), error.field))
        except GatewayStops:
            yield from self._refuse(Refusal(503, "stopping", "the gateway is shutting down"))

    def _countable(self) -> Iterator[tuple[Target, Counter]]:
        """The targets that may be asked now, in the route's order."""
        for target in self._request.targets:
            wire = self._wire_of(target)
            if wire is None or self._uncounted.has(target, wire, self._line.now) or self._fitness.kept_away(target):
                continue
            if all(self._breakers.denial(circuit) is None for circuit in target.path):
                yield target, COUNTERS[wire]

    def _wire_of(self, target: Target) -> str | None:
        """The wire on which a target can be asked: the client's own if it speaks that, else any that can count."""
        own = self._request.wire.name
        elsewhere = target.endpoint.asked  # nobody knows where it would be asked to count
        return next((wire for wire in (own, *COUNTERS) if target.takes(wire) and wire not in elsewhere), None)

    def _ask(self, target: Target, counter: Counter) -> Conversation[bool]:
        """Ask one target. True if the client has its answer."""
        started, deadline = self._line.now, self._line.now + COUNTED_WITHIN
        translated = counter.wire != self._request.wire.name
        try:
            passage = Translation(self._request, self._wall_clock).to(target, counter.wire)
            question = counter.question(passage.body, target.model, translated=translated)
            path = counter.asked_at(target.model)
        except BadRequestError:
            return False
        head = yield from self._line.ask(Send(target, question, deadline, counter.wire, path))
        answer = head if isinstance(head, Broke) else (yield from self._line.ask(ReadAll(deadline, LARGEST_COUNT)))
        if isinstance(answer, Broke):
            self._failed(target, answer.row.failure(message=answer.message), started)
            return False
        if head.status != 200:
            self._refused(target, counter, head, answer.data, started)
            return False
        try:
            tokens = counter.count(answer.data)
        except UNREADABLE as error:
            self._failed(target, MALFORMED.failure(status=200, message=f"no count: {error}", quoted=True), started)
            return False
        own = {"x-recloser-target": in_a_header(target.label)}
        if translated:
            yield from self._reply(200, COUNTERS[self._request.wire.name].answer(tokens), own)
        else:
            yield from self._reply(200, answer.data, passed_on(head.headers) | own)
        return True

    def _refused(self, target: Target, counter: Counter, head: Head, body: bytes, started: float) -> None:
        if head.status in _KNOWS_NO_COUNTING:
            self._uncounted.note(target, counter.wire, self._line.now)
        decoded, text = decode_error(body)
        now = self._wall_clock()
        self._failed(
            target, classify_answer(head.status, head.headers, decoded, text, model=target.model, wall_now=now), started
        )

    def _failed(self, target: Target, failure: Failure, started: float) -> None:
        """Tell that a target did not count, which is charged to nobody."""
        noted = theirs(target.endpoint.without_secrets(failure), target, self._request).fit_to_note()
        self._emit(AttemptFailed(
            subject=f"request/{self._request.id}", seq=self._asked, target=target.label, failure=noted.kind,
            status=noted.status, circuit=None, message=noted.message, retry_after=None,
            duration=self._line.now - started,
        ))  # fmt: skip

    def _refuse(self, refusal: Refusal) -> Conversation[None]:
        yield from self._reply(refusal.status, self._request.wire.error(refusal, self._request.id), {})

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> Conversation[None]:
        own = {
            "content-type": "application/json",
            "x-recloser-request-id": self._request.id,
            "x-recloser-attempts": str(self._asked),
        }
        yield from self._line.ask(Reply(status, {**headers, **own}, body))
