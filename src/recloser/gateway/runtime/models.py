"""`GET /v1/models` and `GET /v1/models/{id}`: what the routes can serve, in the asker's wire.

A route for one name serves that name. What a glob serves is asked of its providers, and remembered for a while.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import aiohttp
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from recloser.gateway.credentials.credential import CredentialError
from recloser.gateway.gateway import Gateway
from recloser.gateway.targets import LONGEST_NAME, Endpoint
from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import Refusal

_REMEMBERED_FOR = 300.0
_ASKED_FOR = 3.0
_LARGEST_LIST = 4 * 2**20
_MOST_MODELS = 5000
NO_LIST = (
    TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError, ValueError, RecursionError, CredentialError,
)  # fmt: skip
"""What can come instead of a list."""


class _Model(msgspec.Struct, rename="camel"):
    id: str = ""
    name: str = ""
    model_id: str = ""

    def said(self) -> str:
        """Its name as requests give it. Google's lists say `name`, and in it where the model is kept."""
        return self.id or self.model_id or self.name.rpartition("models/")[2]


class _List(msgspec.Struct, rename="camel"):
    """A list of models: OpenAI's and Anthropic's, Gemini's, Vertex', Bedrock's."""

    data: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    models: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    publisher_models: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    model_summaries: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET

    def names(self) -> Iterator[str]:
        """The names in it; ValueError if it is no list of models."""
        lists = [self.data, self.models, self.publisher_models, self.model_summaries]
        there = [listed or () for listed in lists if listed is not msgspec.UNSET]
        if not there:
            raise ValueError("no list of models")
        return filter(None, (model.said() for listed in there for model in listed))


class Models:
    """Answers `GET /v1/models` and `GET /v1beta/models`, for all and for one."""

    def __init__(self, gateway: Gateway, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    async def page(self, request: Request) -> Response:
        """The list."""
        return _json(_shape_for(request).several(await self.names()))

    async def one(self, request: Request) -> Response:
        """One model, if some route leads to it: what a glob takes is asked of nobody, as providers know aliases."""
        name, shape = request.path_params["name"], _shape_for(request)
        if len(name) <= LONGEST_NAME and self._gateway.routes.targets(name) is not None:
            return _json(shape.one(name))
        request_id = self._gateway.request_id()
        refusal = Refusal(404, "not_found", f"no route leads to the model {name[:LONGEST_NAME]!r}", "model")
        told = WIRES[shape.wire].error(refusal, request_id)
        return Response(told, 404, {"x-recloser-request-id": request_id}, media_type="application/json")

    async def names(self) -> list[str]:
        """Every model name that some route serves."""
        routes = self._gateway.routes
        names = dict.fromkeys(routes.profiles)
        taken = {name: route.glob(name) for name, route in routes.routes.items()}
        globs = [glob for glob in taken.values() if any(sign in glob for sign in "*?[")]
        names |= dict.fromkeys(glob for glob in taken.values() if glob not in globs)
        passing = {
            target.partition("/")[0]
            for name, route in routes.routes.items()
            if taken[name] in globs
            for target in route.names
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
    url = endpoint.lists or endpoint.urls[wire.name] + wire.models_path
    async with asyncio.timeout(_ASKED_FOR):
        proof = await endpoint.credential.headers("GET", url, b"") if endpoint.credential else {}
    headers = {
        **endpoint.headers_on(wire.name),
        **proof,
        **({"anthropic-version": "2023-06-01"} if wire.name == "anthropic" else {}),
    }
    return await models_at(session, url, headers, seconds=_ASKED_FOR)


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


class _Shape(NamedTuple):
    """How a wire lists models."""

    wire: str
    one: Callable[[str], dict[str, Any]]
    several: Callable[[list[str]], dict[str, Any]]


def _shape_for(request: Request) -> _Shape:
    """The asker's: Anthropic's clients name their version, Google's have an address or a key of their own."""
    if "anthropic-version" in request.headers:
        return _ANTHROPIC
    googles = not _GOOGLES.isdisjoint(request.headers.keys()) or not request.url.path.startswith("/v1/")
    return _GEMINI if googles else _OPENAI


def _openai(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "recloser"}


def _openai_list(names: list[str]) -> dict[str, Any]:
    return {"object": "list", "data": list(map(_openai, names))}


def _gemini(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _gemini_list(names: list[str]) -> dict[str, Any]:
    return {"models": list(map(_gemini, names))}


def _anthropic(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    first, last = (names[0], names[-1]) if names else (None, None)
    return {"data": list(map(_anthropic, names)), "has_more": False, "first_id": first, "last_id": last}


_OPENAI = _Shape("openai-chat", _openai, _openai_list)
_GEMINI = _Shape("gemini", _gemini, _gemini_list)
_ANTHROPIC = _Shape("anthropic", _anthropic, _anthropic_list)
_GOOGLES = frozenset({"x-goog-api-client", "x-goog-api-key"})


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
