"""`GET /v1/models`: what the routes can serve, in the asker's wire.

A route for one name serves that name. What a glob serves is asked of its providers, and remembered for a while.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from recloser.gateway.gateway import Gateway
from recloser.gateway.targets import Endpoint
from recloser.gateway.wires import WIRES

_REMEMBERED_FOR = 300.0
_ASKED_FOR = 3.0
_LARGEST_LIST = 4 * 2**20
_MOST_MODELS = 5000
NO_LIST = (TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError, ValueError, RecursionError)
"""What can come instead of a list."""


class _Model(msgspec.Struct):
    id: str = ""
    name: str = ""

    def said(self) -> str:
        """Its name as requests give it. Gemini's lists say `name`, and in it where the model is kept."""
        return self.id or self.name.removeprefix("models/")


class _List(msgspec.Struct):
    data: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    models: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET

    def names(self) -> Iterator[str]:
        """The names in it; ValueError if it is no list of models."""
        if self.data is msgspec.UNSET and self.models is msgspec.UNSET:
            raise ValueError("no list of models")
        return filter(None, (model.said() for model in self.data or self.models or ()))


class Models:
    """Answers `GET /v1/models` and `GET /v1beta/models`."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def page(self, request: Request) -> Response:
        """The list, in Anthropic's shape if the asker names its version, else in OpenAI's."""
        names = await self.names()
        body = _anthropic(names) if "anthropic-version" in request.headers else _openai(names)
        return Response(msgspec.json.encode(body), media_type="application/json")

    async def gemini_page(self, _: Request) -> Response:
        """The list in Gemini's shape, which has an address of its own."""
        return Response(msgspec.json.encode(_gemini(await self.names())), media_type="application/json")

    async def names(self) -> list[str]:
        """Every model name that some route serves."""
        routes = self._gateway.routes
        names = dict.fromkeys(routes.profiles)
        globs = [glob for glob in routes.routes if any(sign in glob for sign in "*?[")]
        names |= dict.fromkeys(name for name in routes.routes if name not in globs)
        passing = {
            target.partition("/")[0]
            for glob in globs
            for target in routes.routes[glob].targets
            if target.endswith("/{model}")
        }
        endpoints = [routes.endpoints[provider][0] for provider in routes.endpoints if provider in passing]
        for listed in await asyncio.gather(*(self._of(endpoint) for endpoint in endpoints)):
            names |= dict.fromkeys(name for name in listed if any(fnmatchcase(name, glob) for glob in globs))
        return list(names)

    async def _of(self, endpoint: Endpoint) -> Iterable[str]:
        """The models an endpoint lists; what it listed before, if it does not answer now."""
        asked, names = self._known.get(endpoint.provider, (-_REMEMBERED_FOR, ()))
        if time.monotonic() - asked < _REMEMBERED_FOR:
            return names
        try:
            names = await list_models(self._session, endpoint)
        except NO_LIST:
            return names
        self._known[endpoint.provider] = (time.monotonic(), names)
        return names


async def list_models(session: aiohttp.ClientSession, endpoint: Endpoint) -> tuple[str, ...]:
    """The models an endpoint lists, within a few seconds; raises one of `NO_LIST` if it does not."""
    wire = WIRES[next(iter(endpoint.urls))]
    headers = {
        **endpoint.headers_on(wire.name),
        **({"anthropic-version": "2023-06-01"} if wire.name == "anthropic" else {}),
    }
    return await models_at(session, endpoint.urls[wire.name] + wire.models_path, headers, seconds=_ASKED_FOR)


async def models_at(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], *, seconds: float
) -> tuple[str, ...]:
    """The models in the list at an address, within that time; raises one of `NO_LIST` if there is none."""
    async with asyncio.timeout(seconds), session.get(url, headers=headers, allow_redirects=False) as answer:
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        body = b""
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > _LARGEST_LIST:
                raise ValueError(f"a list of more than {_LARGEST_LIST} bytes")
    return tuple(msgspec.json.decode(body, type=_List).names())[:_MOST_MODELS]


def _openai(names: list[str]) -> dict[str, Any]:
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": "recloser"} for name in names],
    }


def _gemini(names: list[str]) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent"]
    return {
        "models": [
            {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names
        ]
    }


def _anthropic(names: list[str]) -> dict[str, Any]:
    data = [{"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"} for name in names]
    return {
        "data": data,
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
