"""Every way of going wrong, as a client sees it."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

MESSAGES = "/v1/messages"
CHAT = "/v1/chat/completions"
BOTH = pytest.mark.parametrize("path", [MESSAGES, CHAT])
ALL_FOUR = pytest.mark.parametrize(
    ("path", "stream"), [(MESSAGES, False), (MESSAGES, True), (CHAT, False), (CHAT, True)]
)


def finished(path: str, body: bytes) -> bool:
    return (b'"stop_reason":"end_turn"' if path == MESSAGES else b'"finish_reason":"stop"') in body


def terminated(path: str, body: bytes) -> bool:
    return body.endswith(b'{"type":"message_stop"}\n\n' if path == MESSAGES else b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("mode", "status", "kind"),
    [
        ("400", 400, "invalid_request_error"),
        ("401", 401, "authentication_error"),
        ("402", 402, "billing_error"),
        ("403", 403, "permission_error"),
        ("404", 404, "not_found_error"),
        ("413", 413, "request_too_large"),
        ("418", 418, "invalid_request_error"),
        ("429", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("503", 503, "api_error"),
        ("504", 504, "timeout_error"),
        ("529", 529, "overloaded_error"),
        ("599", 599, "api_error"),
        ("credit", 400, "invalid_request_error"),
        ("too_long", 400, "invalid_request_error"),
        ("overloaded503", 503, "overloaded_error"),
        ("insufficient_quota", 400, "invalid_request_error"),
        ("oom", 500, "api_error"),
        ("loading", 503, "api_error"),
    ],
)
def test_anthropic_statuses(visit: Visit, mode: str, status: int, kind: str) -> None:
    async def story(site: Site) -> None:
        async with anthropic.AsyncAnthropic(base_url=site.url, api_key="k", max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError) as caught:
                await client.messages.create(
                    model="m",
                    max_tokens=1,
                    messages=[{"role": "user", "content": "x"}],
                    extra_headers={"x-chaos": mode},
                )
        body: Any = caught.value.body
        assert caught.value.status_code == status
        assert body["type"] == "error"
        assert body["error"]["type"] == kind
        assert body["request_id"] == caught.value.request_id
        assert "retry-after" not in caught.value.response.headers

    visit(story)


@pytest.mark.parametrize(
    ("mode", "status", "code"),
    [
        ("401", 401, "invalid_api_key"),
        ("403", 403, "unsupported_country_region_territory"),
        ("404", 404, "model_not_found"),
        ("422", 422, None),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, None),
        ("503", 503, None),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("credit", 402, "invalid_request_error"),
        ("too_long", 400, "context_length_exceeded"),
        ("overloaded503", 503, None),
        ("oom", 500, None),
        ("loading", 503, None),
    ],
)
def test_openai_statuses(visit: Visit, mode: str, status: int, code: str | None) -> None:
    async def story(site: Site) -> None:
        async with openai.AsyncOpenAI(base_url=site.url + "/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "x"}], extra_headers={"x-chaos": mode}
                )
        assert caught.value.status_code == status
        assert caught.value.code == code
        assert caught.value.message
        assert caught.value.request_id

    visit(story)


@ALL_FOUR
def test_every_status_is_answered(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        seen = await asyncio.gather(*(site.ask(path, str(code), stream=stream) for code in range(400, 600)))
        assert [one.status for one in seen] == list(range(400, 600))
        assert all(one.body for one in seen)

    visit(story)


def test_the_proxy_in_front_answers_in_html(visit: Visit) -> None:
    async def story(site: Site) -> None:
        for status in (502, 520, 524):
            seen = await site.ask(mode=str(status))
            assert seen.status == status
            assert seen.headers["content-type"].startswith("text/html")

    visit(story)


@BOTH
def test_a_429_can_say_when_to_come_back(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        assert (await site.ask(path, "429=7s")).headers["retry-after"] == "7"
        assert (await site.ask(path, "503=2m")).headers["retry-after"] == "120"
        soon = await site.ask(path, "429=250ms")
        assert soon.headers["retry-after-ms"] == "250"
        assert "retry-after" not in soon.headers

    visit(story)


@pytest.mark.parametrize("mode", ["quota=120s", "reset=120s"])
def test_a_usage_limit_names_its_end(visit: Visit, mode: str) -> None:
    async def story(site: Site) -> None:
        expected = pytest.approx(time.time() + 120, abs=5)
        seen = await site.ask(MESSAGES, mode)
        assert seen.status == 429
        assert seen.headers["anthropic-ratelimit-unified-status"] == "rejected"
        assert int(seen.headers["anthropic-ratelimit-unified-reset"]) == expected
        seen = await site.ask(CHAT, mode)
        error = json.loads(seen.body)["error"]
        assert seen.status == 429
        assert error["type"] == "usage_limit_reached"
        assert error["resets_at"] == expected
        assert error["resets_in_seconds"] == 120

    visit(story)


@ALL_FOUR
def test_a_page_instead_of_an_answer(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        page = await site.ask(path, "html", stream=stream)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"Sign in" in page.body
        away = await site.ask(path, "redirect", stream=stream)
        assert away.status == 302
        login = await site.see("GET", away.headers["location"])
        assert b"Sign in" in login.body

    visit(story)


@ALL_FOUR
def test_an_error_inside_a_200(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, "error200", stream=stream)
        assert (seen.status, seen.headers["content-type"]) == (200, "application/json")
        usual = "overloaded_error" if path == MESSAGES else "server_error"
        assert json.loads(seen.body)["error"]["type"] == usual

    visit(story)


@ALL_FOUR
def test_hang_sends_nothing_at_all(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await site.ask(path, "hang", stream=stream)
        headers_only = await site.ask(path, "hang-headers", stream=stream)
        assert (headers_only.status, headers_only.body, headers_only.end) == (200, b"", "silence")

    visit(story)


@ALL_FOUR
def test_blank_is_nothing_in_good_order(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, "blank", stream=stream)
        assert (seen.status, seen.body, seen.end) == (200, b"", "clean")

    visit(story)


@BOTH
def test_reset_and_close_differ_on_the_wire(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nx-chaos: %s\r\n\r\n"

        async def read(mode: str) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rpartition(":")[2]))
            try:
                writer.write((head % mode).encode() + body)
                return await reader.read()
            finally:
                writer.transport.abort()

        assert await read("close") == b""
        with pytest.raises(ConnectionResetError):
            await read("reset")
        report = await site.report()
        assert (report["completed"], report["cancelled"], report["live"]) == (2, 0, 0)

    visit(story)


@BOTH
@pytest.mark.parametrize("number", [0, 3, 19])
def test_a_stream_breaks_after_so_many_content_events(visit: Visit, path: str, number: int) -> None:
    async def story(site: Site) -> None:
        cut, eof, stall = await asyncio.gather(
            *(site.ask(path, f"{name}={number}", stream=True) for name in ("cut", "eof", "stall"))
        )
        assert [seen.contents() for seen in (cut, eof, stall)] == [number] * 3
        assert cut.end in {"ClientPayloadError", "ClientOSError"}
        assert (eof.end, stall.end) == ("clean", "silence")
        assert not any(finished(path, seen.body) for seen in (cut, eof, stall))
        assert cut.body.startswith(b"event: message_start" if path == MESSAGES else b"data: ")

    visit(story)


@BOTH
def test_a_stream_breaks_before_its_end_at_the_latest(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, "eof=1000", stream=True)
        assert seen.contents() == 20
        assert not finished(path, seen.body)

    visit(story)


@BOTH
def test_a_plain_answer_breaks_in_mid_body(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        whole = await site.ask(path)
        half = len(whole.body) // 2
        cut, eof, stall = [await site.ask(path, mode) for mode in ("cut", "eof", "stall")]
        assert [len(seen.body) for seen in (cut, eof, stall)] == [half] * 3
        assert cut.end in {"ClientPayloadError", "ClientOSError"}
        assert (eof.end, stall.end) == ("clean", "silence")

    visit(story)


@BOTH
def test_an_error_event_in_the_stream(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        first = await site.ask(path, "error", stream=True)
        assert first.body.count(b"data: ") == 1
        assert first.body.startswith(b"event: error\ndata: " if path == MESSAGES else b'data: {"error"')
        later = await site.ask(path, "error=4:api_error", stream=True)
        assert later.contents() == 4
        assert json.loads(later.body.rsplit(b"data: ", 1)[1])["error"]["type"] == "api_error"
        plain = await site.ask(path, "error=4:api_error")
        assert (plain.status, json.loads(plain.body)["error"]["type"]) == (200, "api_error")

    visit(story)


def test_the_official_clients_see_the_error_event(visit: Visit) -> None:
    async def story(site: Site) -> None:
        question: Any = [{"role": "user", "content": "x"}]
        headers = {"x-chaos": "error=2"}
        async with anthropic.AsyncAnthropic(base_url=site.url, api_key="k", max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                async with client.messages.stream(
                    model="m", max_tokens=9, messages=question, extra_headers=headers
                ) as stream:
                    await stream.get_final_message()
        async with openai.AsyncOpenAI(base_url=site.url + "/v1", api_key="k", max_retries=0) as other:
            with pytest.raises(openai.APIError, match="server had an error"):
                async for _ in await other.chat.completions.create(
                    model="m", messages=question, stream=True, extra_headers=headers
                ):
                    pass

    visit(story)


@BOTH
def test_an_end_without_its_marks(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        good = await site.ask(path, stream=True)
        assert finished(path, good.body)
        assert terminated(path, good.body)
        no_terminator = await site.ask(path, "no-terminator", stream=True)
        assert finished(path, no_terminator.body)
        assert not terminated(path, no_terminator.body)
        no_finish = await site.ask(path, "no-finish", stream=True)
        assert not finished(path, no_finish.body)
        assert not terminated(path, no_finish.body)
        assert {s.contents() for s in (good, no_terminator, no_finish)} == {20}
        assert not finished(path, (await site.ask(path, "no-finish")).body)

    visit(story)


@BOTH
def test_broken_json(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        plain = await site.ask(path, "badjson")
        assert (plain.status, plain.end) == (200, "clean")
        with pytest.raises(json.JSONDecodeError):
            json.loads(plain.body)
        stream = await site.ask(path, "badjson=2", stream=True)
        events = [line[6:] for line in stream.body.split(b"\n") if line.startswith(b"data: {")]
        broken = [event for event in events if not event.endswith(b"}")]
        assert len(broken) == 1
        assert terminated(path, stream.body)

    visit(story)


@ALL_FOUR
def test_answers_without_content(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        empty = await site.ask(path, "empty", stream=stream)
        assert empty.contents() == 0
        assert finished(path, empty.body)
        limited = await site.ask(path, "max_tokens", stream=stream)
        assert b'"max_tokens"' in limited.body or b'"length"' in limited.body
        refusal = await site.ask(path, "refusal", stream=stream)
        assert b'"stop_reason":"refusal"' in refusal.body or b'"refusal":"I\'m sorry' in refusal.body

    visit(story)


@BOTH
def test_keepalives_before_the_answer_or_for_ever(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        ping = b"event: ping" if path == MESSAGES else b": keep-alive"
        usual = (await site.ask(path, stream=True)).body.count(ping)
        some = await site.ask(path, "pings=3,slow=5ms", stream=True)
        assert some.body.count(ping) == usual + 3
        assert some.body.startswith(ping)
        assert terminated(path, some.body)
        plain = await site.ask(path, "pings=3")
        assert plain.body.startswith(b"\n\n\n{")
        assert json.loads(plain.body)
        for mode in ("pings=3,cut", "pings=3,badjson", "pings=3,eof"):
            assert (await site.ask(path, mode)).body.startswith(b"\n\n\n{")
        async with site._request("POST", path, {"headers": {"x-chaos": "pings,slow=1ms"}, "json": QUESTION}) as endless:
            data = b""
            while data.count(ping) < 50:
                data += await endless.content.readany()
            assert b"delta" not in data
            endless.close()

    visit(story)


QUESTION = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], "stream": True}


@BOTH
def test_slow_and_first_take_their_time(visit: Visit, path: str) -> None:
    async def timed(site: Site, mode: str, *, stream: bool) -> float:
        begin = time.monotonic()
        assert (await site.ask(path, mode, stream=stream)).end == "clean"
        return time.monotonic() - begin

    async def story(site: Site) -> None:
        times = await asyncio.gather(
            timed(site, "slow=20ms", stream=True),
            timed(site, "slow=300ms", stream=False),
            timed(site, "first=300ms", stream=True),
            timed(site, "first=300ms", stream=False),
        )
        assert times[0] > 0.4
        assert min(times[1:]) > 0.29
        async with site._request("POST", path, {"headers": {"x-chaos": "first=1h"}, "json": QUESTION}) as waiting:
            assert waiting.status == 200
            opening = await waiting.content.readany()
            assert b"message_start" in opening or b'"role":"assistant"' in opening
            waiting.close()

    visit(story)


@ALL_FOUR
def test_gzip_that_nobody_asked_for(visit: Visit, path: str, stream: bool) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, "gzip", stream=stream, headers={"accept-encoding": "identity"})
        assert seen.headers["content-encoding"] == "gzip"
        assert b"hello" in gzip.decompress(seen.body)
        cut = await site.ask(path, "gzip,cut=2", stream=stream)
        partial = zlib.decompressobj(wbits=31).decompress(cut.body)
        assert partial
        assert not finished(path, partial)

    visit(story)


@BOTH
def test_a_body_in_splinters_is_the_same_body(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(path, "slow-body=1ms", stream=True)
        assert seen.contents() == 20
        assert terminated(path, seen.body)

    visit(story)


@BOTH
def test_answers_and_headers_of_any_size(visit: Visit, path: str) -> None:
    async def story(site: Site) -> None:
        for stream in (False, True):
            seen = await site.ask(path, "huge=3", stream=stream)
            assert seen.end == "clean"
            assert len(seen.body) > 3 * 1024 * 1024
        modest = await site.ask(path, "big-headers=4")
        assert len(modest.headers["x-chaos-padding"]) == 4096
        too_much = await site.ask(path, "big-headers")
        assert too_much.end == "ClientResponseError"

    visit(story)


def test_faults_reach_every_path(visit: Visit) -> None:
    async def story(site: Site) -> None:
        assert (await site.see("GET", "/v1/models", headers={"x-chaos": "503"})).status == 503
        counting = await site.see("POST", "/v1/messages/count_tokens", json=QUESTION, headers={"x-chaos": "529"})
        assert counting.status == 529

    visit(story)


def test_a_wrong_header_is_the_callers_fault(visit: Visit) -> None:
    async def story(site: Site) -> None:
        seen = await site.ask(mode="hagn")
        assert seen.status == 400
        assert "x-chaos: unknown mode 'hagn', did you mean 'hang'?" in json.loads(seen.body)["error"]["message"]

    visit(story)
