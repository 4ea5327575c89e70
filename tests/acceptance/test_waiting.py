"""Waiting for a target: held requests, keep-alives, and who may try when a cooldown is over."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Client, Fetched, Gateway, Provider, Starts, Until


def single(provider: Provider, **gateway: Any) -> dict[str, Any]:
    """One target for every model."""
    return {
        "gateway": {"max_hold": "10s", **gateway},
        "circuit": {"failure_threshold": 1, "cooldown": "1s", "jitter": 0.0},
        "providers": {"a": {"kind": "simulated", "base_url": provider.base_url}},
        "routes": {"*": {"targets": ["a/{model}"]}},
    }


def keepalive(client: Client) -> bytes:
    return b'event: ping\ndata: {"type": "ping"}\n\n' if client.wire == "anthropic" else b": "


def test_a_request_waits_for_the_only_target(client: Client, first: Provider, start: Starts, until: Until) -> None:
    gateway = start(single(first))
    model = f"waits-{client.name}"
    first.misbehave(model, "429=2s", count=1)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.ask, gateway.url, model)
        until(lambda: asking.done() or gateway.status()["hold"]["requests"] == 1, "the request is held")
        assert not asking.done()
        assert b"recloser_held_requests 1.0" in gateway.fetch("/metrics").body
        answer = asking.result()
    assert time.monotonic() - began > 1.5  # it was told 2 s
    assert answer.ending == client.ordinary_ending
    assert answer.headers["x-recloser-attempts"] == "2"
    assert gateway.status()["hold"]["requests"] == 0
    assert gateway.circuit(f"model/a/{model}")["state"] == "closed"


def test_keepalives_are_sent_while_a_stream_waits(streaming: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, keepalive_after="200ms"))
    model = f"alive-{streaming.wire}"
    whole = streaming.pieces(streaming.fetch(first, model).body)
    first.misbehave(model, "429=2s", count=1)
    seen = streaming.fetch(gateway, model)
    assert seen.status == 200
    assert seen.headers["content-type"].startswith("text/event-stream")
    assert seen.headers["x-recloser-request-id"]
    assert seen.body.startswith(keepalive(streaming))
    alive = seen.body.split(b"message_start" if streaming.wire == "anthropic" else b"data: ", 1)[0]
    assert alive.count(keepalive(streaming)) >= 3  # ten were due
    assert streaming.pieces(seen.body) == whole
    assert seen.body.endswith(streaming.terminator)


def test_the_sdks_survive_being_held(streaming: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, keepalive_after="200ms"))
    model = f"survives-{streaming.wire}"
    first.misbehave(model, "429=2s", count=1)
    answer = streaming.ask(gateway.url, model)
    assert answer.ending == streaming.ordinary_ending
    assert answer.text.startswith("Answer to")


def test_nothing_is_sent_before_the_first_keepalive_is_due(streaming: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, keepalive_after="30s"))
    model = f"quiet-{streaming.wire}"
    first.misbehave(model, "429=1s", count=1)
    seen = streaming.fetch(gateway, model)
    assert seen.headers["x-recloser-attempts"] == "2"
    assert seen.headers["x-recloser-target"] == f"a/{model}"
    assert b'ping"}\n\nevent: message_start' not in seen.body
    assert not seen.body.startswith(b":")


def test_a_plain_request_is_held_silently(plain: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, keepalive_after="100ms"))
    model = f"silent-{plain.wire}"
    first.misbehave(model, "429=1s", count=1)
    seen = plain.fetch(gateway, model)
    assert seen.status == 200
    assert seen.body.startswith(b"{")
    assert seen.headers["x-recloser-attempts"] == "2"


def test_an_error_after_begun_keepalives_comes_as_the_wires_event(
    streaming: Client, first: Provider, start: Starts
) -> None:
    gateway = start(single(first, keepalive_after="200ms", max_hold="3s"))
    model = f"in-vain-{streaming.wire}"
    first.misbehave(model, "429=2s")
    seen = streaming.fetch(gateway, model)
    assert seen.status == 200
    assert seen.body.startswith(keepalive(streaming))
    streaming.breaks_off(seen.body)
    first.misbehave(f"{model}-sdk", "429=2s")
    with pytest.raises((anthropic.APIError, openai.APIError)):
        streaming.ask(gateway.url, f"{model}-sdk")


def test_a_held_error_before_any_keepalive_has_its_own_status(client: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, max_hold="1500ms"))
    model = f"in-vain-{client.name}"
    first.misbehave(model, "429=1s")
    told = client.is_refused(gateway.url, model)
    assert told.status == 429
    assert told.headers["x-recloser-attempts"] == "2"
    client.kind_of_error(told.json)


def test_without_max_hold_the_answer_comes_at_once(client: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, max_hold="0s"))
    model = f"at-once-{client.name}"
    first.misbehave(model, "429=30s")
    told = client.is_refused(gateway.url, model)
    assert told.status == 429
    assert 25 <= int(told.headers["retry-after"]) <= 30
    assert first.asked(model) == 1
    again = client.is_refused(gateway.url, model)
    assert again.status == 429
    assert again.headers["x-recloser-attempts"] == "0"
    assert first.asked(model) == 1


def test_a_wait_longer_than_max_hold_is_not_begun(client: Client, first: Provider, start: Starts) -> None:
    gateway = start(single(first, max_hold="5s"))
    model = f"too-long-{client.name}"
    first.misbehave(model, "429=40s")
    began = time.monotonic()
    told = client.is_refused(gateway.url, model)
    assert time.monotonic() - began < 4.0  # far from 40, and less than it would have been held
    assert told.status == 429


def test_hold_attempt_ends_a_long_hold_with_the_overloaded_error(
    streaming: Client, first: Provider, start: Starts
) -> None:
    """The wait is within max_hold, yet no attempt of a client lasts longer than hold_attempt: it comes again."""
    gateway = start(single(first, max_hold="1h", hold_attempt="1s", keepalive_after="200ms"))
    model = f"comes-again-{streaming.wire}"
    first.misbehave(model, "quota=10m")
    seen = streaming.fetch(gateway, model)
    assert seen.status == 200
    assert seen.body.startswith(keepalive(streaming))
    kind = streaming.breaks_off(seen.body)
    assert kind == ("overloaded_error" if streaming.wire == "anthropic" else "server_error")


def test_hold_attempt_ends_a_long_plain_hold(plain: Client, first: Provider, start: Starts, until: Until) -> None:
    gateway = start(single(first, max_hold="1h", hold_attempt="2s"))
    model = f"comes-again-{plain.wire}"
    first.misbehave(model, "quota=10m")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(plain.fetch, gateway, model)
        until(lambda: asking.done() or gateway.status()["hold"]["requests"] == 1, "the request is held")
        assert not asking.done()
        told: Fetched = asking.result()
    assert told.status in {503, 529}
    assert int(told.headers["retry-after"]) <= 60
    plain.kind_of_error(told.json)


def test_a_held_request_goes_on_as_soon_as_a_hand_closes_the_circuit(
    client: Client, first: Provider, start: Starts, until: Until
) -> None:
    gateway = start(single(first, max_hold="5m"))
    model = f"freed-{client.name}"
    first.misbehave(model, "429=2m", count=1)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.ask, gateway.url, model)
        until(lambda: gateway.status()["hold"]["requests"] == 1, "the request is held")
        assert gateway.order(f"model/a/{model}", "reset", reason="it is fine").status == 200
        answer = asking.result()  # the SDK would give up after 30 s
    assert answer.ending == client.ordinary_ending


def test_of_several_the_first_to_reopen_is_waited_for(
    client: Client, first: Provider, second: Provider, start: Starts
) -> None:
    config = single(first, max_hold="10s")
    config["providers"]["b"] = {"kind": "simulated", "base_url": second.base_url}
    config["routes"] = {"*": {"targets": ["a/{model}", "b/{model}"]}}
    gateway = start(config)
    model = f"sooner-{client.name}"
    first.misbehave(model, "quota=10m")
    second.misbehave(model, "429=1s", count=1)
    answer = client.ask(gateway.url, model)
    assert answer.headers["x-recloser-target"] == f"b/{model}"
    assert answer.headers["x-recloser-attempts"] == "3"
    assert first.asked(model) == 1


def test_many_wait_and_all_are_served(client: Client, first: Provider, start: Starts, until: Until) -> None:
    gateway = start(single(first, max_hold="20s"))
    model = f"many-{client.name}"
    first.misbehave(model, "429=1s", count=1)
    assert client.ask(gateway.url, model).headers["x-recloser-attempts"] == "2"
    gateway.order(f"model/a/{model}", "open", **{"for": "2s"})
    with ThreadPoolExecutor(20) as pool:
        asking = [pool.submit(client.fetch, gateway, model) for _ in range(20)]
        until(lambda: gateway.status()["hold"]["requests"] == 20, "all are held")
        answers = [asked.result() for asked in asking]
    assert {answer.status for answer in answers} == {200}
    assert gateway.circuit(f"model/a/{model}")["state"] == "closed"


def test_when_a_cooldown_is_over_one_request_tries(
    client: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    config = single(first, max_hold="0s")
    config["providers"]["b"] = {"kind": "simulated", "base_url": second.base_url}
    config["routes"] = {"*": {"targets": ["a/{model}", "b/{model}"]}}
    gateway = start(config)
    model = f"probed-{client.name}"
    first.misbehave(model, "529", count=1)
    assert client.ask(gateway.url, model).headers["x-recloser-attempts"] == "2"
    assert gateway.circuit(f"model/a/{model}")["state"] == "open"
    first.misbehave(model, "first=3s" if client.stream else "slow=3s")  # the probe takes a while
    retry_at = datetime.fromisoformat(gateway.circuit(f"model/a/{model}")["retry_at"]).timestamp()
    until(lambda: time.time() > retry_at + 0.05, "the cooldown is over")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.fetch(gateway, model), range(20)))
    targets = [answer.headers["x-recloser-target"] for answer in answers]
    assert {answer.status for answer in answers} == {200}
    assert targets.count(f"a/{model}") == 1
    assert targets.count(f"b/{model}") == 19
    assert first.asked(model) == 2
    assert gateway.circuit(f"model/a/{model}")["state"] == "closed"
    first.behave(model)
    assert client.ask(gateway.url, model).headers["x-recloser-target"] == f"a/{model}"


def test_a_failed_trial_opens_again_for_longer(
    client: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    config = single(first, max_hold="0s")
    config["providers"]["b"] = {"kind": "simulated", "base_url": second.base_url}
    config["routes"] = {"*": {"targets": ["a/{model}", "b/{model}"]}}
    gateway = start(config)
    model = f"fails-again-{client.name}"
    name = f"model/a/{model}"
    first.misbehave(model, "529")

    def opened_for() -> float:
        circuit = gateway.circuit(name)
        opened, until_then = (datetime.fromisoformat(circuit[at]) for at in ("opened_at", "retry_at"))
        return (until_then - opened).total_seconds()

    client.ask(gateway.url, model)
    assert opened_for() == pytest.approx(1.0, abs=0.01)
    until(lambda: client.ask(gateway.url, model).headers["x-recloser-attempts"] == "2", "a trial")
    assert opened_for() == pytest.approx(2.0, abs=0.01)
    assert gateway.circuit(name)["state"] == "open"


def test_the_first_target_is_returned_to(
    client: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    config = single(first, max_hold="0s")
    config["providers"]["b"] = {"kind": "simulated", "base_url": second.base_url}
    config["routes"] = {"*": {"targets": ["a/{model}", "b/{model}"]}}
    gateway: Gateway = start(config)
    model = f"returned-{client.name}"
    first.misbehave(model, "503", count=1)
    assert client.ask(gateway.url, model).headers["x-recloser-target"] == f"b/{model}"
    until(lambda: client.ask(gateway.url, model).headers["x-recloser-target"] == f"a/{model}", "the way back")

    def kinds() -> list[str]:
        return [event["kind"] for event in gateway.events if event["subject"] == "endpoint/a"]

    until(lambda: "circuit_closed" in kinds(), "the events are written")
    assert kinds() == ["circuit_opened", "circuit_half_opened", "circuit_closed"]
