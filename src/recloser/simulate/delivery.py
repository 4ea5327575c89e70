"""Performs a plan on a real connection."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from recloser.simulate.plan import Ending, Plan

# A reset takes with it what the client has received and not read yet, so it gets a moment to read.
_READING_TIME = 0.05
_LINGER_NOT = struct.pack("ii", 1, 0)


async def deliver(request: web.Request, plan: Plan) -> web.StreamResponse:
    """Send what is planned; cancelled by the client's leaving."""
    response = web.StreamResponse(status=plan.status or 500, headers=plan.headers)
    if plan.delay:
        await asyncio.sleep(plan.delay)
    if plan.status is not None:
        await response.prepare(request)
        await _send_parts(response, plan)
    await _end(request, response, plan)
    return response


async def _send_parts(response: web.StreamResponse, plan: Plan) -> None:
    for sent, part in enumerate(plan.parts, 1):
        if part.delay:
            await asyncio.sleep(part.delay)
        await response.write(part.data)
        if not sent % 64:
            await asyncio.sleep(0)  # a long answer without pauses lets the others have their turn


async def _end(request: web.Request, response: web.StreamResponse, plan: Plan) -> None:
    if plan.ending is Ending.SILENCE:
        await asyncio.get_running_loop().create_future()
    elif plan.ending is Ending.RESET:
        if plan.status is not None:
            await asyncio.sleep(_READING_TIME)
        _reset(request.transport)
    elif plan.ending is Ending.CLOSE:
        if request.transport is not None:
            request.transport.close()
    else:
        await response.write_eof()


def _reset(transport: asyncio.Transport | None) -> None:
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    # Closing without lingering is what makes the kernel send a reset instead of an orderly end.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()
