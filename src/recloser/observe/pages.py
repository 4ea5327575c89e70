"""The operating pages: health, readiness, metrics, status, and circuits set by hand."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from recloser.core.duration import parse_duration
from recloser.gateway.gateway import Gateway
from recloser.observe.metrics import CONTENT_TYPE, Metrics
from recloser.observe.status import circuits_of, status

_LARGEST_ORDER = 4096
_LONGEST_ORDER = 366 * 86400.0
_ERROR_TYPES = {403: "forbidden", 404: "not_found", 413: "too_large"}


class Pages:
    """The pages of one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        metrics: Metrics,
        *,
        held: Callable[[], int],
        store: Callable[[], dict[str, Any]],
        stopping: Callable[[], bool],
        others: list[BaseRoute],
    ) -> None:
        self._gateway = gateway
        self._metrics = metrics
        self._held = held
        self._store = store
        self._stopping = stopping
        self.application = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics_page),
                Route("/api/status", self._status),
                Route("/api/circuits/{name:path}/{verb:str}", self._order, methods=["POST"]),
                *others,
            ],
            exception_handlers={HTTPException: _told, Exception: _failed},
        )

    async def _health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        if self._stopping():
            return _json({"status": "stopping"}, 503)
        ready = self._gateway.ready
        return _json({"status": "ready" if ready else "no admissible target"}, 200 if ready else 503)

    async def _metrics_page(self, _: Request) -> Response:
        self._metrics.held.set(self._held())
        return Response(self._metrics.render(), media_type=CONTENT_TYPE)

    async def _status(self, _: Request) -> Response:
        return _json(status(self._gateway, held=self._held(), store=self._store()))

    async def _order(self, request: Request) -> Response:
        """Set a circuit by hand: `{"for": "10m", "reason": "…"}`, both optional."""
        name, verb = request.path_params["name"], request.path_params["verb"]
        if name not in self._gateway.breakers and name not in circuits_of(self._gateway):
            raise HTTPException(404, f"there is no circuit {name[:200]!r} (yet)")
        order = await _order_of(request)
        breaker = self._gateway.breakers[name]
        reason = str(order.get("reason", "by hand"))[:200]
        match verb:
            case "open":
                breaker.force_open(_duration(order.get("for")), reason=reason)
            case "close" | "reset":
                breaker.reset(reason=reason)
            case "disable":
                breaker.disable(reason=reason)
            case "release":
                breaker.release(reason=reason)
            case "observe":
                breaker.observe_only(reason=reason)
            case _:
                verbs = "open, close, reset, release, disable or observe it"
                raise HTTPException(404, f"a circuit cannot be {verb[:40]!r}: {verbs}")
        return _json({"name": name, "state": breaker.state.value})


async def _order_of(request: Request) -> dict[str, Any]:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_ORDER:
            raise HTTPException(413, "an order is at most 4 KiB long")
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON object: {error}") from None


def _duration(value: Any) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(str(value))
    except ValueError as error:
        raise HTTPException(400, f"for: {error}") from None
    if not 0 <= seconds <= _LONGEST_ORDER:
        raise HTTPException(400, "for: must be from 0 to 366 days")
    return seconds


def _json(value: Any, status_code: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value), status_code, {"cache-control": "no-store"}, media_type="application/json"
    )


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _ERROR_TYPES.get(error.status_code, "invalid_request")
    return _json({"error": {"message": error.detail, "type": kind, "code": None, "param": None}}, error.status_code)


async def _failed(_: Request, _error: Exception) -> Response:
    return _json({"error": {"message": "internal error", "type": "server_error", "code": None, "param": None}}, 500)
