"""OpenAI Responses: the answers, streams and errors of `/v1/responses`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recloser.simulate import openai_errors
from recloser.simulate.wire import (
    Address,
    Ask,
    BadAskError,
    End,
    Grounds,
    Kind,
    Part,
    Refusal,
    Reply,
    Seal,
    Tool,
    Turn,
    in_tokens,
    merged,
    objects,
    only,
    to_json,
)

_REFUSED = "I'm sorry, I can't assist with that."
_Object = dict[str, Any]


class OpenAIResponses:
    """The wire of OpenAI's newer API, which Codex speaks."""

    name = "openai-responses"
    paths = ("/v1/responses",)
    counting_paths = ("/v1/responses/input_tokens",)
    listing_paths: tuple[str, ...] = ()

    def claims(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002 (its clients are those of the other wire)
        """Nothing marks its clients."""
        return False

    def headers(self, request_id: str) -> Mapping[str, str]:
        """The request's id, and what real answers carry."""
        return {"x-request-id": request_id, "openai-version": "2020-10-01", "openai-processing-ms": "1"}

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:  # noqa: ARG002 (the body has it all)
        """Understand a request; what was kept of an earlier one is not known."""
        if "model" not in body:
            raise BadAskError("Missing required parameter: 'model'.", "model")
        given = body.get("input")
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise BadAskError("Missing required parameter: 'input'.", "input")
        tools = [
            Tool(str(tool["name"]), tool.get("parameters") or {})
            for tool in objects(body.get("tools"))
            if tool.get("type") == "function" and "name" in tool
        ]
        choice = body.get("tool_choice")
        named = choice.get("name") if isinstance(choice, dict) else None
        return Ask(
            model=str(body["model"]),
            stream=body.get("stream") is True,
            turns=merged(turn for item in items if (turn := _turn(item)) is not None),
            tools=() if choice == "none" else only(tools, named),
            forced=choice == "required" or named is not None,
            seals=tuple(_seals(items)),
            input_tokens=max(1, size // 4),
        )

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """A whole response."""
        return _response(ask, reply, [whole for _, whole, _ in _items(reply)], _status(reply))

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The response event by event; it ends with the one that holds all of it, and nothing comes after."""
        for number, (kind, name, fields) in enumerate(_events(ask, reply)):
            yield _event(kind, name, {"type": name, "sequence_number": number, **fields})

    def keepalive(self) -> bytes:
        """A comment, which every parser of server-sent events skips."""
        return b": keep-alive\n\n"

    def malformed(self) -> bytes:
        """A delta that breaks off within its text."""
        return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'

    def error(self, kind: str, request_id: str) -> Any:  # noqa: ARG002 (its id is in a header)
        """The error object, a server error by default."""
        return openai_errors.inside(kind)

    def error_event(self, kind: str, request_id: str) -> bytes:  # noqa: ARG002 (its id is in a header)
        """The event that takes the place of the last one."""
        error = openai_errors.inside(kind)["error"]
        fields = {"type": "error", "code": error["type"], "message": error["message"], "param": None}
        return _event(Kind.CLOSING, "error", fields).data

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The API's own words where they are known."""
        return openai_errors.refuse(reason, grounds)

    def count(self, ask: Ask) -> Any:
        """An estimate by size."""
        return {"object": "response.input_tokens", "input_tokens": ask.input_tokens}

    def models(self, names: Sequence[str], owner: str) -> Any:
        """The plain list."""
        data = [{"id": name, "object": "model", "created": 1735689600, "owned_by": owner} for name in names]
        return {"object": "list", "data": data}


WIRE = OpenAIResponses()


def _turn(item: Mapping[str, Any]) -> Turn | None:
    """A message or a call, as a turn of its own; None for what is said by nobody of the two."""
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            by_model = role == "assistant"
            return Turn(by_model, _text(item, "" if by_model else " ")) if role in {"user", "assistant"} else None
        case "function_call" | "custom_tool_call":
            return Turn(by_model=True, calls=True)
        case "function_call_output" | "custom_tool_call_output":
            return Turn(by_model=False, results=True)
    return None


def _text(item: Mapping[str, Any], between: str) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    return between.join(str(entry["text"]) for entry in objects(content) if "text" in entry)


def _seals(items: Sequence[Mapping[str, Any]]) -> Iterator[Seal]:
    for item in items:
        given = item.get("encrypted_content") if item.get("type") == "reasoning" else None
        if isinstance(given, str):
            shown = f"{given[:4]}...{given[-4:]}"
            yield Seal(given, "", f"The encrypted content {shown} could not be verified.")


# Answers -------------------------------------------------------------------------------------------------------------

_Grown = Iterator[tuple[Kind, str, _Object]]
"""Events of an item, each without its number."""


_Item = tuple[_Object, _Object, _Grown]
"""An output item: as it begins, as it is in the end, and how it grows."""


def _items(reply: Reply) -> Iterator[_Item]:
    index = 0
    for make in (_reasoning, _message, _function_call):
        if (item := make(reply, index)) is not None:
            yield item
            index += 1


def _reasoning(reply: Reply, index: int) -> _Item | None:
    if (thought := reply.thought) is None:
        return None
    item: _Object = {"id": f"rs_{reply.id}", "type": "reasoning", "summary": []}
    summary = {"type": "summary_text", "text": thought.text}
    whole = item | {"summary": [summary], "encrypted_content": thought.seal}
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    section = ("response.reasoning_summary_part", summary)
    return item, whole, _grow(place, section, "response.reasoning_summary_text", "text", thought.pieces)


def _message(reply: Reply, index: int) -> _Item | None:
    refused = reply.end is End.REFUSAL
    pieces = [_REFUSED] if refused else reply.pieces
    if not pieces:
        return None
    name, field = ("refusal", "refusal") if refused else ("output_text", "text")
    extra: _Object = {} if refused else {"annotations": [], "logprobs": []}
    part = {"type": name, field: "".join(pieces), **extra}
    item: _Object = {"id": f"msg_{reply.id}", "type": "message", "status": "in_progress", "role": "assistant"}
    whole = item | {"status": "completed", "content": [part]}
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    grown = _grow(place, ("response.content_part", part), f"response.{name}", field, pieces)
    return {**item, "content": []}, whole, grown


def _function_call(reply: Reply, index: int) -> _Item | None:
    if (tool := reply.tool) is None:
        return None
    item: _Object = {"id": f"fc_{reply.id}", "type": "function_call", "status": "in_progress", "arguments": ""}
    item |= {"call_id": f"call_{reply.id}", "name": tool.name}
    whole = item | {"status": "completed", "arguments": tool.arguments}
    place = {"item_id": item["id"], "output_index": index}
    pieces = list(in_tokens(tool.arguments))
    return item, whole, _grow(place, None, "response.function_call_arguments", "arguments", pieces)


def _grow(place: _Object, section: tuple[str, _Object] | None, event: str, field: str, pieces: Sequence[str]) -> _Grown:
    extra: _Object = {"logprobs": []} if event == "response.output_text" else {}
    if section is not None:
        yield Kind.OPENING, f"{section[0]}.added", {**place, "part": section[1] | {field: ""}}
    for piece in pieces:
        yield Kind.CONTENT, f"{event}.delta", {**place, "delta": piece, **extra}
    yield Kind.CLOSING, f"{event}.done", {**place, field: "".join(pieces), **extra}
    if section is not None:
        yield Kind.CLOSING, f"{section[0]}.done", {**place, "part": section[1]}


def _events(ask: Ask, reply: Reply) -> _Grown:
    for name in ("response.created", "response.in_progress"):
        yield Kind.OPENING, name, {"response": _response(ask, reply, [], "in_progress")}
    output = []
    for index, (begun, whole, grown) in enumerate(_items(reply)):
        yield Kind.OPENING, "response.output_item.added", {"output_index": index, "item": begun}
        yield from grown
        yield Kind.CLOSING, "response.output_item.done", {"output_index": index, "item": whole}
        output.append(whole)
    status = _status(reply)
    yield Kind.FINISH, f"response.{status}", {"response": _response(ask, reply, output, status)}


def _status(reply: Reply) -> str:
    return {End.LENGTH: "incomplete", End.NONE: "in_progress"}.get(reply.end, "completed")


def _response(ask: Ask, reply: Reply, output: list[_Object], status: str) -> _Object:
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status == "in_progress" else _usage(ask, reply),
    }


def _usage(ask: Ask, reply: Reply) -> _Object:
    return {
        "input_tokens": ask.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": reply.thought_tokens},
        "total_tokens": ask.input_tokens + reply.output_tokens,
    }


def _event(kind: Kind, name: str, fields: _Object) -> Part:
    return Part(kind, b"event: %s\ndata: %s\n\n" % (name.encode(), to_json(fields)))
