"""Providers that die, crowds, restarts, the end of the process, and a disk that is of no use."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Client, Fetched, Gateway, Provider, Starts, Until

CROWD = 300
DEADLINE = 120.0


@pytest.fixture
def victim(tmp_path: Path, first: Provider) -> Iterator[Provider]:
    """A provider that the test may kill."""
    folder = tmp_path / "victim"
    folder.mkdir()
    provider = type(first)(folder, "--name", "victim", "--mode", "slow=20ms")
    try:
        yield provider
    finally:
        provider.stop()


def two_targets(one: Provider, other: Provider, **gateway: Any) -> dict[str, Any]:
    return {
        "gateway": {"max_hold": "0s", "midstream": "error", **gateway},
        "circuit": {"cooldown": "5m", "jitter": 0.0},
        "providers": {
            "a": {"kind": "simulated", "base_url": one.base_url},
            "b": {"kind": "simulated", "base_url": other.base_url},
        },
        "routes": {"*": {"targets": ["a/{model}", "b/{model}"]}},
    }


@dataclass(frozen=True)
class Streamed:
    """What became of one stream."""

    status: int
    target: str
    body: bytes
    complete: bool
    """Whether the HTTP answer came to its end."""


async def streamed(
    http: aiohttp.ClientSession,
    client: Client,
    gateway: Gateway,
    model: str,
    on_piece: Callable[[], None] = lambda: None,
) -> Streamed:
    body = client.body(model)
    async with http.post(gateway.url + client.path, data=body) as response:
        seen = b""
        try:
            async for piece in response.content.iter_any():
                seen += piece
                on_piece()
        except aiohttp.ClientError:
            return Streamed(response.status, response.headers.get("x-recloser-target", ""), seen, complete=False)
        return Streamed(response.status, response.headers.get("x-recloser-target", ""), seen, complete=True)


def crowd(work: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Run clients without a ceiling on connections."""

    async def run() -> None:
        async with (
            asyncio.timeout(DEADLINE),
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
            ) as http,
        ):
            await work(http)

    asyncio.run(run())


def test_the_first_provider_dies_under_load(
    streaming: Client, victim: Provider, second: Provider, start: Starts
) -> None:
    gateway = start(two_targets(victim, second))
    model = f"load-{streaming.wire}"
    whole = streaming.pieces(streaming.fetch(second, model).body)
    before: list[Streamed] = []
    after: list[Streamed] = []

    async def work(http: aiohttp.ClientSession) -> None:
        dead = asyncio.Event()
        warm = asyncio.Event()

        def on_piece() -> None:
            if len(before) >= 20:  # they have begun anew, and are in the midst of it
                warm.set()

        async def one_after_another() -> None:
            late = 0
            while late < 3:
                begun_after_the_end = dead.is_set()
                seen = await streamed(http, streaming, gateway, model, on_piece)
                (after if begun_after_the_end else before).append(seen)
                late += begun_after_the_end

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(one_after_another())
            await warm.wait()
            victim.process.kill()
            dead.set()

    crowd(work)
    assert len(after) == 60
    assert {seen.status for seen in (*before, *after)} == {200}
    assert all(seen.complete for seen in (*before, *after))
    broken = [seen for seen in (*before, *after) if not seen.body.endswith(streaming.terminator)]
    for seen in broken:
        assert seen.target == f"a/{model}"
        pieces = streaming.pieces(seen.body)
        assert 0 < len(pieces) <= len(whole)
        assert pieces == whole[: len(pieces)]
        streaming.breaks_off(seen.body)
    assert 0 < len(broken) <= 20
    assert {seen.target for seen in after} == {f"b/{model}"}
    assert all(streaming.pieces(seen.body) == whole for seen in after)
    charged = gateway.charged("a")  # the streams that broke off charge the model, refused connections the endpoint
    assert "open" in {gateway.circuit(name)["state"] for name in charged}
    assert gateway.charged("b") == []


def test_plain_requests_never_notice_the_death(
    plain: Client, victim: Provider, second: Provider, start: Starts
) -> None:
    gateway = start(two_targets(victim, second))
    model = f"load-{plain.wire}"
    ready = threading.Barrier(11)

    def ask(number: int) -> set[int]:
        seen = {plain.fetch(gateway, model).status for _ in range(5)}
        ready.wait(30)
        return seen | {plain.fetch(gateway, model).status for _ in range(15)}

    with ThreadPoolExecutor(10) as pool:
        asking = [pool.submit(ask, number) for number in range(10)]
        ready.wait(30)
        victim.process.kill()
        statuses = {status for asked in asking for status in asked.result()}
    assert statuses == {200}
    assert second.asked(model) > 0


def test_a_crowd_of_slow_streams_all_complete(
    streaming: Client, first: Provider, start: Starts, second: Provider
) -> None:
    """The longest test: each stream takes some ten seconds, and all of them run at once."""
    gateway = start(two_targets(first, second))
    model = f"crowd-{streaming.wire}"
    whole = streaming.pieces(streaming.fetch(second, model).body)
    first.misbehave(model, "slow=450ms")
    seen: list[Streamed] = []

    async def work(http: aiohttp.ClientSession) -> None:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(streamed(http, streaming, gateway, model)) for _ in range(CROWD)]
        seen.extend(task.result() for task in asking)

    crowd(work)
    assert len(seen) == CROWD
    assert {(one.status, one.target, one.complete) for one in seen} == {(200, f"a/{model}", True)}
    assert all(streaming.pieces(one.body) == whole for one in seen)
    assert all(one.body.endswith(streaming.terminator) for one in seen)
    assert gateway.charged("a") == []
    assert first.asked(model) == CROWD


STORM = ("529", "500", "429", "cut=0", "cut=4", "slow=1ms,cut=9", "reset", "html", "blank", "empty", "badjson=2", "408")


def test_a_storm_of_failures_loses_nothing_and_is_counted_right(
    client: Client, victim: Provider, second: Provider, start: Starts
) -> None:
    """Every third call to the first target fails, in every way; whoever has no whole answer was told so."""
    config = two_targets(victim, second)
    config["circuit"] = {"failure_threshold": 0}  # so that it goes on being asked
    gateway = start(config)
    model = f"storm-{client.name}"
    whole = client.fetch(second, model)
    orders = [{"mode": mode, "rate": 1 / 36} for mode in STORM]
    assert victim.fetch("/chaos", json.dumps({"modes": orders}).encode()).status == 200
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.fetch(gateway, model), range(300)))
    assert {answer.status for answer in answers} == {200}
    broken = 0
    for answer in answers:
        if not client.stream:
            assert len(json.loads(answer.body)) == len(whole.json)
        elif answer.body.endswith(client.terminator):
            assert client.pieces(answer.body) == client.pieces(whole.body)
        else:
            assert answer.headers["x-recloser-target"] == f"a/{model}"
            assert client.pieces(answer.body)
            client.breaks_off(answer.body)
            broken += 1
    failed_over = sum(answer.headers["x-recloser-attempts"] == "2" for answer in answers)
    assert failed_over > 0
    rows = [line.rpartition(" ") for line in gateway.fetch("/metrics").body.decode().splitlines()]
    counted = {name: float(value) for name, _, value in rows if name.startswith("recloser_attempts_total")}
    attempts = {which: sum(v for k, v in counted.items() if f'provider="{which}"' in k) for which in "ab"}
    assert attempts == {"a": 300, "b": failed_over}
    assert victim.report["requests"] == 300
    failures = sum(value for name, value in counted.items() if 'outcome="ok"' not in name)
    assert failures == failed_over + broken
    assert gateway.status()["hold"]["requests"] == 0


def resident(gateway: Gateway) -> int:
    """Bytes of memory that a process holds."""
    pages = Path(f"/proc/{gateway.process.pid}/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_clients_that_do_not_read_cost_no_memory(
    streaming: Client, first: Provider, second: Provider, start: Starts
) -> None:
    gateway = start(two_targets(first, second))
    model = f"unread-{streaming.wire}"
    first.misbehave(model, "huge=64")
    before = resident(gateway)
    pause = threading.Event()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            connection, response = begin(streaming, gateway, model)
            stack.enter_context(contextlib.closing(connection))
            stack.enter_context(response)
        most = before
        for _ in range(100):
            most = max(most, resident(gateway))
            pause.wait(0.02)
        assert first.report["live"] == 8
        assert client_is_served(streaming, gateway)
    assert most - before < 100 * 2**20  # of 512 MiB that are under way


def client_is_served(client: Client, gateway: Gateway) -> bool:
    return client.ask(gateway.url, "meanwhile").ending == client.ordinary_ending


def test_a_provider_that_restarts_is_asked_again(
    plain: Client, victim: Provider, second: Provider, start: Starts
) -> None:
    """Connections that were kept from before its restart are no failure of it."""
    gateway = start(two_targets(victim, second))
    model = f"restarted-{plain.wire}"
    for _ in range(3):
        assert plain.ask(gateway.url, model).headers["x-recloser-target"] == f"a/{model}"
    address = "{}:{}".format(*victim.address)
    victim.stop()
    again = type(victim)(victim.folder, "--listen", address)
    try:
        answer = plain.ask(gateway.url, model)
        assert answer.headers["x-recloser-target"] == f"a/{model}"
        assert answer.headers["x-recloser-attempts"] == "1"
        assert gateway.charged("a") == []
    finally:
        again.stop()


# Restarts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("mode", "circuit"),
    [("429=10m", "model/a/{}"), ("quota=2h", "account/a"), ("404", "model/a/{}"), ("oom", "endpoint/a")],
)
def test_an_open_circuit_outlives_the_process(
    mode: str, circuit: str, end: signal.Signals, plain: Client, first: Provider, second: Provider, start: Starts
) -> None:
    model = f"restart-{mode}-{end.name}-{plain.wire}"
    name = circuit.format(model)
    gateway = start(two_targets(first, second))
    first.misbehave(model, mode)
    assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == "2"
    before = gateway.circuit(name)
    assert before["state"] == "open"
    for _ in range(20):  # what is written, is written soon
        assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == "1"
    gateway.tell(end)
    assert gateway.ends() == (0 if end is signal.SIGTERM else -signal.SIGKILL)

    again = start(two_targets(first, second))
    touched = first.asked(model)
    circuit_now = again.circuit(name)
    assert circuit_now["state"] == "open"
    assert circuit_now["kind"] == before["kind"]
    was, now = (datetime.fromisoformat(c["retry_at"]).timestamp() for c in (before, circuit_now))
    assert now == pytest.approx(was, abs=1.0)
    answer = plain.ask(again.url, model)
    assert answer.headers["x-recloser-target"] == f"b/{model}"
    assert answer.headers["x-recloser-attempts"] == "1"
    assert first.asked(model) == touched
    first.behave(model)


def test_a_trial_that_died_with_the_process_is_begun_anew(
    plain: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    config = two_targets(first, second)
    config["circuit"] = {"failure_threshold": 1, "cooldown": "200ms", "cooldown_max": "200ms"}
    gateway = start(config)
    model = f"trial-{plain.wire}"
    first.misbehave(model, "529", count=1)
    assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == "2"
    first.misbehave(model, "hang")
    with ThreadPoolExecutor(1) as pool:
        trials: list[Future[Fetched]] = []

        def tried() -> bool:
            # Before the cooldown is over the second target answers; then somebody hangs at the first.
            if not trials or trials[-1].done():
                trials.append(pool.submit(plain.fetch, gateway, model))
            return first.asked(model) == 2

        until(tried, "a trial is under way")
        assert gateway.circuit(f"model/a/{model}")["state"] == "half_open"
        gateway.kill()
        with pytest.raises((http.client.HTTPException, OSError)):
            trials[-1].result()
    first.behave(model)
    again = start(config)
    assert plain.ask(again.url, model).headers["x-recloser-target"] == f"a/{model}"
    assert again.circuit(f"model/a/{model}")["state"] == "closed"


def test_failures_counted_so_far_outlive_an_orderly_end(
    plain: Client, first: Provider, second: Provider, start: Starts
) -> None:
    model = f"counted-{plain.wire}"
    gateway = start(two_targets(first, second))
    first.misbehave(model, "529")
    for _ in range(3):
        plain.ask(gateway.url, model)
    assert gateway.circuit(f"model/a/{model}")["failures"] == 3
    assert gateway.stop() == 0
    assert start(two_targets(first, second)).circuit(f"model/a/{model}")["failures"] == 3
    first.behave(model)


def test_a_torn_event_log_is_gone_on_with(plain: Client, first: Provider, second: Provider, start: Starts) -> None:
    gateway = start(two_targets(first, second))
    for _ in range(20):
        plain.ask(gateway.url, "torn")
    gateway.kill()
    log = gateway.folder / ".recloser" / "events" / "events.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(b'{"ts": "2026-11-20T10:15:30.1')  # as a crash in mid write leaves it
    again = start(two_targets(first, second))
    request_id = plain.ask(again.url, "torn").headers["x-recloser-request-id"]
    assert again.stop() == 0
    *_, last = log.read_bytes().splitlines()
    assert request_id in json.loads(last)["subject"]
    broken = 0
    for line in log.read_bytes().splitlines():
        try:
            json.loads(line)
        except ValueError:
            broken += bool(line)
    assert broken == 1


# The end -------------------------------------------------------------------------------------------------------------


def refuses(gateway: Gateway) -> bool:
    """Whether a new connection is refused."""
    try:
        with gateway.connect():
            return False
    except ConnectionRefusedError:
        return True


def begin(
    client: Client, gateway: Gateway, model: str, tokens: int = 20
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A stream of which something has come."""
    connection = http.client.HTTPConnection(*gateway.address, timeout=30)
    try:
        headers = {"content-type": "application/json", "x-chaos-tokens": str(tokens)}
        connection.request("POST", client.path, client.body(model), headers)
        response = connection.getresponse()
        assert response.status == 200
    except BaseException:
        connection.close()
        raise
    return connection, response


def test_an_open_stream_is_finished_before_the_end(
    streaming: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    gateway = start(two_targets(first, second, drain="60s"))
    model = f"drained-{streaming.wire}"
    first.misbehave(model, "slow=100ms")
    connection, response = begin(streaming, gateway, model)
    with contextlib.closing(connection), response:
        gateway.tell(signal.SIGTERM)
        until(lambda: refuses(gateway), "new connections are refused")
        assert gateway.process.poll() is None
        seen = response.read()
    assert seen.endswith(streaming.terminator)
    assert len(streaming.pieces(seen)) == 20
    assert gateway.ends() == 0


def test_a_stream_that_outlasts_the_drain_is_told(
    streaming: Client, first: Provider, second: Provider, start: Starts
) -> None:
    gateway = start(two_targets(first, second, drain="500ms"))
    model = f"outlasts-{streaming.wire}"
    first.misbehave(model, "slow=50ms")
    connection, response = begin(streaming, gateway, model, tokens=10_000)
    with contextlib.closing(connection), response:
        gateway.tell(signal.SIGTERM)
        seen = response.read()
    streaming.breaks_off(seen)
    assert gateway.ends() == 0


def test_a_plain_request_that_outlasts_the_drain_is_told(
    plain: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    gateway = start(two_targets(first, second, drain="500ms"))
    model = f"outlasts-{plain.wire}"
    first.misbehave(model, "hang")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(plain.fetch, gateway, model)
        until(lambda: first.asked(model) == 1, "the provider is asked")
        gateway.tell(signal.SIGTERM)
        told = asking.result()
    assert told.status == 503
    plain.kind_of_error(told.json)
    assert gateway.ends() == 0


def test_a_held_request_is_told_at_the_end(
    plain: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    gateway = start(two_targets(first, second, drain="500ms", max_hold="5m"))
    model = f"held-{plain.wire}"
    first.misbehave(model, "429=1m")
    second.misbehave(model, "429=1m")
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(plain.fetch, gateway, model)
        until(lambda: gateway.status()["hold"]["requests"] == 1, "it is held")
        gateway.tell(signal.SIGTERM)
        told = asking.result()
    assert told.status in {429, 503}
    plain.kind_of_error(told.json)
    assert gateway.ends() == 0
    second.behave(model)


def test_a_second_signal_ends_the_drain(
    streaming: Client, first: Provider, second: Provider, start: Starts, until: Until
) -> None:
    gateway = start(two_targets(first, second, drain="10m"))
    model = f"twice-{streaming.wire}"
    first.misbehave(model, "slow=50ms")
    connection, response = begin(streaming, gateway, model, tokens=10_000)
    with contextlib.closing(connection), response:
        gateway.tell(signal.SIGTERM)
        until(lambda: refuses(gateway), "new connections are refused")
        gateway.tell(signal.SIGTERM)
        seen = response.read()
    streaming.breaks_off(seen)
    assert gateway.ends() == 0


def test_an_idle_gateway_ends_at_once(start: Starts, first: Provider, second: Provider) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        gateway = start(two_targets(first, second, drain="10m"))
        with gateway.connect() as idle, gateway.connect() as used:
            used.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert used.recv(1000).startswith(b"HTTP/1.1 200")
            gateway.tell(number)
            assert gateway.ends(20) == 0
            assert idle.recv(1) == b""


# The disk ------------------------------------------------------------------------------------------------------------


def state(config: dict[str, Any], **state: str) -> dict[str, Any]:
    return {**config, "state": state}


@dataclass(frozen=True)
class Ruin:
    """A way in which the state's place is of no use."""

    url: str
    folder: str = ".recloser"

    def prepare(self, place: Path) -> None:
        place.mkdir()
        (place / "a-file").write_text("I am no folder")
        (place / "a-folder").mkdir()
        (place / "garbage.db").write_bytes(b"this is no database, by any means " * 100)
        (place / "torn.db").write_bytes(b"SQLite format 3\x00" + b"\x10\x00\x02\x02\x00" * 50)


RUINS = {
    "garbage": Ruin("sqlite:garbage.db"),
    "torn": Ruin("sqlite:torn.db"),
    "a folder": Ruin("sqlite:a-folder"),
    "below a file": Ruin("sqlite:a-file/state.db", "a-file/state"),
    "no room for events": Ruin("sqlite:good.db", "a-file"),
}


@pytest.mark.parametrize("name", RUINS)
def test_a_useless_disk_is_said_or_borne(
    name: str, plain: Client, first: Provider, second: Provider, start: Starts, tmp_path: Path
) -> None:
    """Either it serves all the same, and says so, or it ends with a sentence; never with a traceback."""
    ruin = RUINS[name]
    ruin.prepare(tmp_path / "gateway")
    config = state(two_targets(first, second), url=ruin.url, dir=ruin.folder)
    try:
        gateway = start(config)
    except AssertionError as ended:
        said = str(ended)
        assert "Traceback" not in said
        assert ruin.url.removeprefix("sqlite:") in said or ruin.folder in said
        return
    assert plain.ask(gateway.url, f"disk-{plain.wire}").ending == plain.ordinary_ending
    if name != "no room for events":
        assert gateway.status()["store"]["lost"] is True
    assert gateway.stop() == 0
    assert "Traceback" not in gateway.output


def test_a_state_file_that_vanishes_is_borne(plain: Client, first: Provider, second: Provider, start: Starts) -> None:
    gateway = start(two_targets(first, second))
    model = f"vanishes-{plain.wire}"
    assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == "1"
    for file in (gateway.folder / ".recloser").rglob("*"):
        if file.is_file():
            file.unlink()
    first.misbehave(model, "429=10m")
    for attempts in ("2", "1"):
        assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == attempts
    assert gateway.stop() == 0


def test_memory_leaves_nothing_behind(plain: Client, first: Provider, second: Provider, start: Starts) -> None:
    config = state(two_targets(first, second), url="memory:")
    gateway = start(config)
    model = f"forgets-{plain.wire}"
    first.misbehave(model, "429=10m")
    assert plain.ask(gateway.url, model).headers["x-recloser-attempts"] == "2"
    assert json.dumps(gateway.status()["store"]["url"]) == '"memory:"'
    assert gateway.stop() == 0
    assert not list(gateway.folder.rglob("*.db"))
    assert start(config).circuit(f"model/a/{model}")["state"] == "closed"
