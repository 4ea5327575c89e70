"""Conversations with tools on every wire, as clients send them, for guards to look at."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway.canonical import Part, Role, Text, Tool, ToolChoice, ToolResult, ToolUse, Turn
from recloser.gateway.canonical import Request as Said
from recloser.gateway.request import Request
from recloser.gateway.settings import ModelSettings, ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes
from recloser.gateway.wires import CODECS, WIRES

EVERY_WIRE = ("anthropic", "openai-chat", "openai-responses", "gemini")
TASK = Turn(role=Role.USER, parts=(Text(text="find the fault in the program"),))


class Step(NamedTuple):
    """A call and what came of it."""

    tool: str
    arguments: str = "{}"
    result: str = "done"
    failed: bool = False


def steps(*given: Step | str | tuple[Any, ...]) -> tuple[Turn, ...]:
    """Turns in which each of these is called, one after the other."""
    turns: list[Turn] = []
    for number, one in enumerate(given):
        turns += together(one, number=number)
    return tuple(turns)


def together(*given: Step | str | tuple[Any, ...], number: int = 0) -> tuple[Turn, Turn]:
    """A turn in which all of these are called, and one with what came of them."""
    calls: list[Part] = []
    results: list[Part] = []
    for place, one in enumerate(given):
        step = Step(one) if isinstance(one, str) else Step(*one)
        call = f"call_{number}_{place}"
        calls.append(ToolUse(id=call, name=step.tool, input=step.arguments))
        result = (Text(text=step.result),)
        results.append(ToolResult(id=call, parts=result, is_error=step.failed, name=step.tool))
    return Turn(role=Role.ASSISTANT, parts=tuple(calls)), Turn(role=Role.USER, parts=tuple(results))


def user(words: str = "go on") -> Turn:
    """A turn of the user."""
    return Turn(role=Role.USER, parts=(Text(text=words),))


def model(words: str = "well") -> Turn:
    """A turn of the model."""
    return Turn(role=Role.ASSISTANT, parts=(Text(text=words),))


def asked(
    *turns: Turn,
    wire: str = "anthropic",
    tools: Iterable[str] = ("find", "open", "run"),
    must_call: str = "",
    client: str = "",
    agent: str = "",
    windows: Iterable[int | None] = (None,),
    max_tokens: int = 100,
) -> Request:
    """A client's request with these turns. `windows` are the context windows of its targets."""
    said = Said(
        model="m",
        turns=turns or (TASK,),
        tools=tuple(Tool(name=name) for name in tools),
        tool_choice=ToolChoice.NAMED if must_call else None,
        tool_name=must_call,
        max_tokens=max_tokens,
    )
    return sent(CODECS[wire].write_request(said).body, wire=wire, client=client, agent=agent, windows=windows)


def sent(
    body: bytes | dict[str, Any],
    *,
    wire: str = "anthropic",
    client: str = "",
    agent: str = "",
    windows: Iterable[int | None] = (None,),
) -> Request:
    """A client's request with this body."""
    body = body if isinstance(body, bytes) else msgspec.json.encode(body)
    providers = {
        f"p{number}": ProviderSettings(
            kind="compatible",
            wire=wire,
            base_url="http://127.0.0.1:1/v1",
            models={} if window is None else {"*": ModelSettings(context_window=window)},
            circuit=CircuitSettings(),
        )
        for number, window in enumerate(windows)
    }
    routes = Routes(providers, {"*": RouteSettings(targets=tuple(f"{name}/m" for name in providers))}, {})
    return Request(
        id="req_1",
        wire=WIRES[wire],
        envelope=WIRES[wire].read(body, "m"),
        body=body,
        targets=routes.targets("m") or (),
        client=client,
        agent=agent,
    )


def texts(request: Request) -> list[str]:
    """All words of a request, those of tools' results too."""
    found: list[str] = []
    for turn in request.read().turns:
        for part in turn.parts:
            if isinstance(part, Text):
                found.append(part.text)
            elif isinstance(part, ToolResult):
                found += [inner.text for inner in part.parts if isinstance(inner, Text)]
    return found


def tools_of(request: Request) -> list[str]:
    """The tools that the model may call."""
    return [tool.name for tool in request.read().tools]


class Unreadable(Request):
    """A request that must not be read: whoever does so fails."""

    __slots__ = ()

    def read(self) -> Said:
        raise AssertionError("it was read")


def unreadable(request: Request) -> Unreadable:
    """The same request, for a guard that need not read it."""
    return Unreadable(
        id=request.id, wire=request.wire, envelope=request.envelope, body=request.body, targets=request.targets
    )
