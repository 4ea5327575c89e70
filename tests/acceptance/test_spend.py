"""Spend limits of real gateways: on every wire, among several processes, and after a kill."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from recloser.stores.sqlite_ledger import SqliteLedger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Client, Gateway, Provider, Starts, Until

DEAR = {"*": {"price": {"input": 0.0, "output": 1_000_000.0}}}
"""A dollar a token: the first answer reaches any limit."""


def limited(provider: Provider, limit_usd: float = 0.5, models: Any = DEAR, **limit: Any) -> dict[str, Any]:
    return {
        "gateway": {"max_hold": "0s"},
        "providers": {"a": {"kind": "simulated", "base_url": provider.base_url, "models": models}},
        "routes": {"*": {"targets": ["a/{model}"]}},
        "guards": {"spend": {"limit_usd": limit_usd, **limit}},
    }


def in_the_ledger(folder: Path) -> float:
    """What was spent today, as a process that comes later finds it."""
    ledger = SqliteLedger(folder / ".recloser" / "state.db")
    try:
        return ledger.sums(datetime.now(UTC).date().isoformat()).get("all", 0) / 1e9
    finally:
        ledger.close()


def spent(gateway: Gateway) -> float:
    return float(gateway.status()["spend"]["day"]["usd"])


def told(gateway: Gateway) -> list[tuple[str, float]]:
    """The limits that are told to be reached."""
    events = [event for event in gateway.events if event["kind"] == "spend_limit_reached"]
    return [(event["subject"], event["limit_usd"]) for event in events]


def finished_in(gateway: Gateway) -> list[Any]:
    """The requests that came to their end, as far as that is written down."""
    return [event for event in gateway.events if event["kind"] == "request_finished"]


def test_every_client_is_counted_and_refused_at_the_limit(
    client: Client, first: Provider, start: Starts, until: Until
) -> None:
    gateway = start(limited(first))
    answer = client.ask(gateway.url, "m1")
    assert answer.text
    assert answer.ending == client.ordinary_ending
    until(lambda: spent(gateway) >= 1.0, "what was spent is known")
    until(lambda: finished_in(gateway), "the event is written")
    (finished,) = finished_in(gateway)
    assert (finished["cost_usd"], finished["estimated"]) == (finished["output_tokens"], False)
    refusal = client.is_refused(gateway.url, "m1")
    assert refusal.status == 402
    assert b"spend_limit_reached" in refusal.body or b"spend limit" in refusal.body
    assert refusal.headers["x-should-retry"] == "false"
    assert refusal.headers["x-recloser-reset"].endswith("T00:00:00Z")
    metrics = gateway.fetch("/metrics").body.decode()
    cost = re.search(r'^recloser_cost_usd_total\{model="m1",provider="a"\} (\S+)$', metrics, re.MULTILINE)
    tokens = re.search(r'^recloser_tokens_total\{kind="output",model="m1",provider="a"\} (\S+)$', metrics, re.MULTILINE)
    assert cost is not None
    assert tokens is not None
    assert float(cost[1]) == float(tokens[1]) == spent(gateway)


def test_a_killed_gateway_does_not_forget_what_was_spent(
    plain: Client, first: Provider, start: Starts, until: Until
) -> None:
    gateway = start(limited(first))
    plain.ask(gateway.url, "m1")
    before = spent(gateway)
    until(lambda: in_the_ledger(gateway.folder) == before, "what was spent is written")
    until(lambda: told(gateway), "the limit is told")
    gateway.kill()
    again = start(limited(first))
    assert plain.is_refused(again.url, "m1").status == 402
    assert spent(again) == before
    assert told(again) == [("spend/all", 0.5)], "not once more"


def test_two_gateways_on_one_state_share_a_limit(plain: Client, first: Provider, start: Starts, until: Until) -> None:
    one, other = start(limited(first)), start(limited(first))
    plain.ask(one.url, "m1")
    until(lambda: spent(other) == spent(one), "the other sees what the one has spent")
    assert plain.is_refused(other.url, "m1").status == 402


def test_a_stop_writes_what_was_spent_last(plain: Client, first: Provider, start: Starts) -> None:
    gateway = start(limited(first))
    plain.ask(gateway.url, "m1")
    before = spent(gateway)
    gateway.stop()
    assert in_the_ledger(gateway.folder) == before


def test_a_stream_that_is_cut_has_cost_something(streaming: Client, first: Provider, start: Starts) -> None:
    gateway = start({**limited(first), "gateway": {"max_hold": "0s", "midstream": "error"}})
    first.misbehave("cut", "cut=3")
    streaming.breaks_off(streaming.fetch(gateway, "cut").body)
    assert spent(gateway) > 0
    assert streaming.fetch(gateway, "cut").status == 402


def test_a_provider_over_its_limit_leaves_the_way_to_the_next(
    plain: Client, first: Provider, second: Provider, start: Starts
) -> None:
    config = limited(first, by="provider")
    config["providers"]["b"] = {"kind": "simulated", "base_url": second.base_url}
    config["routes"]["*"]["targets"] = ["a/{model}", "b/{model}"]
    gateway = start(config)
    assert plain.ask(gateway.url, "m1").headers["x-recloser-target"] == "a/m1"
    assert plain.ask(gateway.url, "m1").headers["x-recloser-target"] == "b/m1"


@pytest.mark.parametrize("agent", ["greedy", "modest"])
def test_agents_have_limits_of_their_own(agent: str, plain: Client, first: Provider, start: Starts) -> None:
    gateway = start(limited(first, by="agent"))
    plain.ask(gateway.url, "m1", headers={"x-recloser-agent": "greedy"})
    status = plain.fetch(gateway, "m1", {"x-recloser-agent": agent}).status
    assert status == (402 if agent == "greedy" else 200)
