"""Telling the provider what to get wrong, and asking what it received."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest

from recloser.simulate.orders import Orders

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

ASK = "/v1/messages"


class HandClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def orders(clock: HandClock | None = None) -> Orders:
    return Orders(clock=clock or HandClock(), rng=random.Random(7))


def chosen(them: Orders, path: str = ASK, model: str = "m", *, scripted: bool = True) -> str:
    return str(them.choose(path, model, scripted=scripted))


def test_a_mode_lasts_as_long_as_was_said() -> None:
    clock = HandClock()
    them = orders(clock)
    them.accept({"mode": "529", "for": "10s"})
    clock.now += 9.9
    assert chosen(them) == "529"
    clock.now += 0.1
    assert chosen(them) == "off"
    assert them.report()["modes"] == []


def test_a_mode_is_for_so_many_requests() -> None:
    them = orders()
    them.accept({"mode": "hang", "count": 2})
    assert [chosen(them) for _ in range(3)] == ["hang", "hang", "off"]


def test_a_rate_is_kept_and_repeats_with_the_seed() -> None:
    first, second = orders(), orders()
    for them in (first, second):
        them.accept({"mode": "500", "rate": 0.3})
    drawn = [chosen(first) for _ in range(1000)]
    assert drawn == [chosen(second) for _ in range(1000)]
    assert 250 < Counter(drawn)["500"] < 350


def test_a_mode_is_for_a_path_or_a_model() -> None:
    them = orders()
    them.accept({"modes": [{"mode": "529", "model": "big"}, {"mode": "503", "path": "/v1/chat"}]})
    assert chosen(them, model="big") == "529"
    assert chosen(them, model="small") == "off"
    assert chosen(them, path="/v1/chat/completions", model="small") == "503"


def test_the_script_comes_first_and_then_the_mode() -> None:
    them = orders()
    them.accept({"mode": "503"})
    them.accept({"script": ["529", "off", "cut=3"]})
    assert chosen(them, scripted=False) == "503"
    assert [chosen(them) for _ in range(4)] == ["529", "off", "cut=3", "503"]


def test_a_new_order_replaces_and_off_clears() -> None:
    them = orders()
    them.accept({"modes": ["529", "503"]})
    them.accept({"mode": "500"})
    assert chosen(them) == "500"
    them.accept({"script": ["hang"]})
    them.accept({"mode": "off"})
    assert chosen(them) == "off"
    assert them.report() == {"mode": "off", "modes": [], "script": [], "task": 0}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"mode": "hagn"}, "mode: unknown mode 'hagn', did you mean 'hang'"),
        ({"mode": 529}, "$.mode"),
        ({}, "mode"),
        ({"mode": "529", "for": "soon"}, "for: 'soon'"),
        ({"mode": "529", "rate": 2}, "rate: 2"),
        ({"mode": "529", "rate": "half"}, "$.rate"),
        ({"mode": "529", "count": 0}, "count: 0"),
        ({"mode": "529", "fro": "10s"}, "fro"),
        ({"modes": ["529", {"mode": "x", "rate": 1}]}, "modes[1].mode"),
        ({"script": ["529", "nonsense"]}, "script[1]"),
        (["529"], "JSON object"),
    ],
)
def test_a_wrong_order_names_its_field_and_changes_nothing(body: Any, complaint: str) -> None:
    them = orders()
    them.accept({"mode": "503"})
    with pytest.raises(ValueError) as caught:
        them.accept(body)
    assert complaint in str(caught.value)
    assert chosen(them) == "503"


def test_orders_over_http(visit: Visit) -> None:
    async def story(site: Site) -> None:
        accepted = await site.chaos(mode="529", count=1)
        assert (accepted["status"], accepted["mode"]) == (200, "529")
        assert [(await site.ask()).status for _ in range(2)] == [529, 200]
        refused = await site.chaos(mode="529", rate="half")
        assert refused["status"] == 400
        assert "rate" in refused["error"]["message"]
        garbage = await site.see("POST", "/chaos", data=b"{")
        assert garbage.status == 400
        await site.chaos(mode="529")
        assert (await site.ask(mode="off")).status == 200
        assert (await site.ask(mode="503")).status == 503

    visit(story)


def test_a_script_from_the_start(visit: Visit) -> None:
    async def story(site: Site) -> None:
        assert (await site.see("GET", "/v1/models")).status == 500
        assert [(await site.ask()).status for _ in range(3)] == [529, 200, 500]

    visit(story, script=["529", "off"], mode="500")


def test_what_was_received_is_counted(visit: Visit) -> None:
    async def story(site: Site) -> None:
        await site.ask()
        await site.ask("/v1/chat/completions", "503", model="other")
        await site.see("GET", "/v1/models")
        report = await site.report()
        assert (report["requests"], report["completed"], report["cancelled"], report["live"]) == (3, 3, 0, 0)
        assert report["by_path"] == {"/v1/messages": 1, "/v1/chat/completions": 1, "/v1/models": 1}
        assert report["by_model"] == {"m": 1, "other": 1}
        assert report["by_mode"] == {"off": 2, "503": 1}
        async with site.http.post(site.url + "/chaos/reset") as response:
            assert response.status == 200
        report = await site.report()
        assert (report["requests"], report["completed"], report["by_path"]) == (0, 0, {})

    visit(story)


def test_the_last_request_can_be_looked_at_without_its_secrets(visit: Visit) -> None:
    async def story(site: Site) -> None:
        assert (await site.see("GET", "/chaos/last-body")).status == 404
        body = b'{"model":"m","max_tokens":1,  "messages":[{"role":"user","content":"\xc3\xa4"}],"later":{"x":1}}'
        headers = {"x-api-key": "sk-one", "authorization": "Bearer sk-one", "anthropic-beta": "b1,b2"}
        await site.see("POST", ASK, data=body, headers=headers)
        await site.see("GET", "/v1/models")
        assert (await site.see("GET", "/chaos/last-body")).body == body
        report = await site.report()
        assert report["last_body_sha256"] == sha256(body).hexdigest()
        assert report["last_body_bytes"] == len(body)
        shown = json.loads((await site.see("GET", "/chaos/last-headers")).body)
        assert shown == report["last_headers"]
        assert shown["anthropic-beta"] == "b1,b2"
        fingerprint = "sha256:" + sha256(b"sk-one").hexdigest()[:12]
        assert (shown["x-api-key"], shown["authorization"]) == (fingerprint, f"Bearer {fingerprint}")

    visit(story)


def test_large_bodies_are_read_and_only_their_beginning_is_kept(visit: Visit) -> None:
    async def story(site: Site) -> None:
        body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}' % (b"x" * 3_000_000)
        assert (await site.see("POST", ASK, data=BytesIO(body))).status == 200
        report = await site.report()
        assert report["last_body_bytes"] > 3_000_000
        assert len((await site.see("GET", "/chaos/last-body")).body) == 1024 * 1024
        too_large = await site.see("POST", ASK, data=BytesIO(b" " * (64 * 1024 * 1024 + 1)))
        assert too_large.status == 413
        assert json.loads(too_large.body)["error"]["type"] == "request_too_large"

    visit(story)


@pytest.mark.parametrize("mode", ["hang", "hang-headers", "stall=2", "pings", "slow=1h", "slow=10ms", "first=1h"])
def test_a_client_that_leaves_is_noticed(visit: Visit, mode: str) -> None:
    async def story(site: Site) -> None:
        headers = {"x-chaos-tokens": "100000"}
        asking = asyncio.create_task(site.ask(mode=mode, stream=True, headers=headers))
        await site.until(lambda report: report["live"] == 1)
        asking.cancel()
        left = time.monotonic()
        report = await site.until(lambda report: report["live"] == 0)
        assert time.monotonic() - left < 1.0
        assert (report["cancelled"], report["completed"]) == (1, 0)

    visit(story)


def test_the_front_page_lists_the_modes(visit: Visit) -> None:
    async def story(site: Site) -> None:
        page = await site.see("GET", "/")
        assert page.status == 200
        assert b"cut[=N]" in page.body

    visit(story)


RUN = """
import asyncio
from recloser.simulate.provider import run
asyncio.run(run(mode="hang", announce=lambda url: print(url, flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_even_with_hanging_clients(number: signal.Signals) -> None:
    async def story() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        port = int((await process.stdout.readline()).decode().rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
        writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        probe_reader, probe = await asyncio.open_connection("127.0.0.1", port)
        live = b""
        while b'"live":1' not in live:
            probe.write(b"GET /chaos HTTP/1.1\r\nhost: x\r\n\r\n")
            live = await probe_reader.read(65536)
        begin = time.monotonic()
        os.kill(process.pid, number)
        assert await process.wait() == 0
        assert time.monotonic() - begin < 1.0
        assert await reader.read() == b""
        for one in (writer, probe):
            one.close()

    asyncio.run(story())
