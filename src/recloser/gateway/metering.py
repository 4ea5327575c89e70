"""What an attempt used, in tokens and in dollars.

What a target tells is believed. Where it tells nothing, or the stream broke off before it could, the tokens are
estimated from what was asked and said, and are told to be an estimate.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from recloser.gateway import estimate
from recloser.gateway.canonical import Usage
from recloser.gateway.request import Request
from recloser.gateway.settings import PriceSettings
from recloser.gateway.targets import Target
from recloser.gateway.wires import CODECS
from recloser.gateway.wires.wire import UNREADABLE, Answer, BadRequestError, Watch

_MOST_TOKENS = 10**9
"""Of one kind in one answer: a provider that tells more is not to be believed."""
_MILLION = 1_000_000


class Used(NamedTuple):
    """What one attempt used. `input_tokens` include what the cache gave and took; a cost of None is not known."""

    target: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float | None
    estimated: bool


@dataclass(slots=True)
class Meter:
    """What one attempt was told to have used, and how much was said."""

    told: Usage = field(default_factory=Usage)
    """As far as the target told."""
    said: float = 0.0
    """How much was said, in characters, as `Watch.said`."""
    whole: bool = True
    """Whether the answer came to its end: before it, what is told of the output is only what there was so far."""

    def used(self, target: Target, request: Request) -> Used | None:
        """What the attempt comes to; None if it used nothing: nobody told anything, and nothing was said."""
        told = self.told
        if told.input is None and told.output is None and not self.said:
            return None
        exact = told.output is not None and self.whole
        said = 0 if exact else round(self.said / estimate.CHARACTERS_PER_TOKEN)
        output = max(told.output or 0, said)
        known = _bounded(
            Usage(
                input=tokens_asked(request) if told.input is None else told.input,
                output=output,
                cache_read=told.cache_read,
                cache_write=told.cache_write,
            )
        )
        return Used(
            target=target.label,
            provider=target.endpoint.provider,
            model=target.model,
            input_tokens=known.input or 0,
            output_tokens=known.output or 0,
            cache_read_tokens=known.cache_read or 0,
            cache_write_tokens=known.cache_write or 0,
            cost_usd=cost_usd(known, price_of(target)),
            estimated=told.input is None or told.output is None or not self.whole,
        )


def of_stream(watch: Watch) -> Meter:
    """What a stream comes to, as far as it was watched."""
    return Meter(watch.usage(), watch.said, watch.finished or watch.terminated)


def of_answer(answer: Answer, wire: str, body: bytes) -> Meter:
    """What a plain answer on a wire comes to. It is read only if it does not tell."""
    if answer.usage.output is not None or not answer.content or wire not in CODECS:
        return Meter(answer.usage)
    try:
        tokens = estimate.of_parts(CODECS[wire].read_answer(body).parts)
    except UNREADABLE:
        tokens = len(body) / estimate.CHARACTERS_PER_TOKEN
    return Meter(answer.usage, tokens * estimate.CHARACTERS_PER_TOKEN)


class Sums(NamedTuple):
    """What several attempts used together; None where none of them used anything, or no price is known."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    estimated: bool = False


def sums(all_used: Iterable[Used]) -> Sums:
    """What several attempts used together."""
    used = tuple(all_used)
    if not used:
        return Sums()
    costs = [one.cost_usd for one in used if one.cost_usd is not None]
    return Sums(
        sum(one.input_tokens for one in used),
        sum(one.output_tokens for one in used),
        sum(one.cache_read_tokens for one in used),
        sum(one.cache_write_tokens for one in used),
        sum(costs) if costs else None,
        any(one.estimated for one in used),
    )


def price_of(target: Target) -> PriceSettings | None:
    """What a target's tokens cost, if that is known."""
    return target.endpoint.settings.of_model(target.model).price


def cost_usd(usage: Usage, price: PriceSettings | None) -> float | None:
    """US dollars; None if the price is not known."""
    if price is None:
        return None
    read, written = usage.cache_read or 0, usage.cache_write or 0
    fresh = max((usage.input or 0) - read - written, 0)
    reading = price.input if price.cache_read is None else price.cache_read
    writing = price.input if price.cache_write is None else price.cache_write
    output = (usage.output or 0) * price.output
    return (fresh * price.input + read * reading + written * writing + output) / _MILLION


def tokens_asked(request: Request) -> int:
    """The tokens of a request, about; of one that cannot be read, by its bytes."""
    try:
        return estimate.tokens(request.read())
    except BadRequestError:
        return round(len(request.body) / estimate.CHARACTERS_PER_TOKEN)


def _bounded(usage: Usage) -> Usage:
    tokens = (usage.input, usage.output, usage.cache_read, usage.cache_write)
    if all(one is None or one <= _MOST_TOKENS for one in tokens):
        return usage
    most = [None if one is None else min(one, _MOST_TOKENS) for one in tokens]
    return Usage(input=most[0], output=most[1], cache_read=most[2], cache_write=most[3])
