"""A provider on a real socket, and a client that reports what it saw of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import pytest

from recloser.simulate.provider import Provider

QUIET = 0.8  # how long nothing has to come before it counts as silence


@dataclass
class Seen:
    """What a client got: `end` is clean, silence, or the name of the exception."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = "clean"

    def contents(self) -> int:
        return self.body.count(b"event: content_block_delta") + self.body.count(b'"delta":{"content":')


@dataclass
class Site:
    provider: Provider
    url: str
    http: aiohttp.ClientSession

    async def ask(
        self,
        path: str = "/v1/messages",
        mode: str | None = None,
        *,
        stream: bool = False,
        text: str = "hello",
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> Seen:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": text}], "stream": stream}
        chosen = {"x-chaos": mode} if mode else {}
        return await self.see("POST", path, json=body | fields, headers=chosen | (headers or {}))

    async def see(self, method: str, path: str, **options: Any) -> Seen:
        seen = Seen(end="silence before the headers")
        try:
            async with asyncio.timeout(5), self._request(method, path, options) as response:
                seen = Seen(response.status, {k.lower(): v for k, v in response.headers.items()})
                while True:
                    async with asyncio.timeout(QUIET):
                        chunk = await response.content.readany()
                    if not chunk:
                        return seen
                    seen.body += chunk
        except TimeoutError:
            seen.end = "silence" if seen.status else seen.end
        except aiohttp.ClientError as error:
            seen.end = type(error).__name__
        return seen

    def _request(self, method: str, path: str, options: dict[str, Any]) -> Any:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None)
        return self.http.request(method, self.url + path, allow_redirects=False, timeout=timeout, **options)

    async def chaos(self, **order: Any) -> Any:
        async with self.http.post(self.url + "/chaos", json=order) as response:
            return await response.json() | {"status": response.status}

    async def report(self) -> Any:
        async with self.http.get(self.url + "/chaos") as response:
            return await response.json()

    async def until(self, condition: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(5):
            while not condition(report := await self.report()):
                pass
        return report


Story = Callable[[Site], Awaitable[None]]


class Visit(Protocol):
    def __call__(self, story: Story, /, **settings: Any) -> None: ...


async def _tell(story: Story, settings: dict[str, Any]) -> None:
    provider = Provider(**settings)
    port = await provider.start()
    try:
        async with aiohttp.ClientSession(auto_decompress=False, connector=aiohttp.TCPConnector(limit=0)) as http:
            await story(Site(provider, f"http://127.0.0.1:{port}", http))
    finally:
        await provider.stop()


@pytest.fixture
def visit() -> Visit:
    """Run a story against a provider of its own."""

    def run(story: Story, /, **settings: Any) -> None:
        asyncio.run(_tell(story, settings))

    return run
