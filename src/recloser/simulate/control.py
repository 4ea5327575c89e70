"""The paths under `/chaos`, where the provider is told what to get wrong and asked what it received."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from recloser.simulate.faults import describe
from recloser.simulate.orders import Orders
from recloser.simulate.plan import LOGIN_PAGE, LOGIN_PATH
from recloser.simulate.tally import Tally
from recloser.simulate.wire import to_json


class Control:
    """The handlers; they share what they show and change with the provider."""

    def __init__(self, name: str, orders: Orders, tally: Tally) -> None:
        self._name = name
        self._orders = orders
        self._tally = tally

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put them where users look for them."""
        router.add_get("/", self._help)
        router.add_get("/chaos", self._report)
        router.add_post("/chaos", self._order)
        router.add_post("/chaos/reset", self._reset)
        router.add_get("/chaos/last-body", self._last_body)
        router.add_get("/chaos/last-headers", self._last_headers)
        router.add_get(LOGIN_PATH, self._login)

    async def _help(self, request: web.Request) -> web.Response:  # noqa: ARG002
        rows = [f"{usage:26} {summary}" for usage, summary in describe()]
        head = f"{self._name}: a provider that misbehaves on purpose. GET /chaos, POST /chaos, header x-chaos:\n\n"
        return web.Response(text=head + "\n".join(rows) + "\n")

    async def _report(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _json({"name": self._name, **self._orders.report(), **self._tally.report()})

    async def _order(self, request: web.Request) -> web.Response:
        try:
            self._orders.accept(msgspec.json.decode(await request.read()))
        except (msgspec.MsgspecError, ValueError) as error:
            return _json({"error": {"type": "invalid_request_error", "message": str(error)}}, 400)
        return _json(self._orders.report())

    async def _reset(self, request: web.Request) -> web.Response:  # noqa: ARG002
        self._tally.reset()
        return _json(self._tally.report())

    async def _last_body(self, request: web.Request) -> web.Response:  # noqa: ARG002
        last = self._tally.last
        if last is None:
            return _json({"error": {"type": "not_found_error", "message": "nothing was asked yet"}}, 404)
        return web.Response(body=last.body, content_type="application/octet-stream")

    async def _last_headers(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return _json(self._tally.last.headers if self._tally.last else {})

    async def _login(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(body=LOGIN_PAGE, content_type="text/html", charset="utf-8")


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=to_json(value), content_type="application/json")
