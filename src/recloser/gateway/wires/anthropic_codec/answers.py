"""Plain answers on the Messages wire, read and written; why an answer ended, and what it cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from recloser.gateway.canonical import Answer, Part, Refusal, Stop, Text, Thinking, ToolUse, Usage
from recloser.gateway.wires.anthropic_codec.reading import WIRE
from recloser.gateway.wires.anthropic_codec.writing import result_id, thought
from recloser.gateway.wires.phrasing import answer_id, arguments_object, arguments_text, count

ID_PREFIX = "msg_"


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: Any = None


class _Message(msgspec.Struct):
    content: list[_Block]
    id: str = ""
    model: str = ""
    stop_reason: Any = None
    stop_sequence: Any = None
    usage: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Message).decode

_STOPS = {
    "end_turn": Stop.END,
    "max_tokens": Stop.LENGTH,
    "stop_sequence": Stop.SEQUENCE,
    "tool_use": Stop.TOOL_USE,
    "pause_turn": Stop.PAUSE,
    "refusal": Stop.REFUSAL,
    "model_context_window_exceeded": Stop.CONTEXT,
}
_REASONS = {stop: reason for reason, stop in _STOPS.items()} | {Stop.FILTER: "refusal"}


def read_answer(body: bytes) -> Answer:
    """A provider's plain answer; ValueError if it is none."""
    try:
        message = _decode(body)
    except RecursionError as error:
        raise ValueError("an answer that is nested too deeply") from error
    parts = tuple(part for block in message.content if (part := _read_part(block)) is not None)
    return Answer(
        id=message.id,
        model=message.model,
        parts=parts,
        stop=read_stop(message.stop_reason, called=any(isinstance(part, ToolUse) for part in parts)),
        stop_sequence=message.stop_sequence if isinstance(message.stop_sequence, str) else "",
        usage=read_usage(message.usage or {}),
    )


def write_answer(answer: Answer) -> bytes:
    """A plain answer for a client of this wire."""
    blocks = [block for part in answer.parts for block in _write_part(part)]
    return msgspec.json.encode(
        {
            "id": answer_id(answer.id, ID_PREFIX),
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": blocks,
            "stop_reason": write_stop(answer.stop, answer.parts),
            "stop_sequence": answer.stop_sequence or None,
            "usage": write_usage(answer.usage),
        }
    )


def _read_part(block: _Block) -> Part | None:
    match block.type:
        case "text":
            return Text(text=block.text or "")
        case "thinking":
            return Thinking(text=block.thinking or "", signature=block.signature or "", issuer=WIRE)
        case "redacted_thinking":
            return Thinking(redacted=block.data or "", issuer=WIRE)
        case "tool_use":
            return ToolUse(id=block.id, name=block.name, input=read_input(block.input))
    return None


def _write_part(part: Part) -> list[dict[str, Any]]:
    match part:
        case Text() | Refusal():
            return [{"type": "text", "text": part.text}]
        case Thinking():
            return [thought(part)]
        case ToolUse():
            given = arguments_object(part.input)
            return [{"type": "tool_use", "id": result_id(part.id), "name": part.name, "input": given}]
    return []


def read_input(given: Any) -> str:
    """A tool's arguments as text. Some backends give them as a string in the place of the object."""
    if given is None or given == {}:
        return "{}"
    if isinstance(given, str):
        return given
    return arguments_text(given) if isinstance(given, dict) else msgspec.json.encode(given).decode()


def read_stop(reason: Any, *, called: bool) -> Stop:
    """Why an answer ended. A reason that is not known, or none, is an ordinary end."""
    stop = _STOPS.get(reason, Stop.END) if isinstance(reason, str) else Stop.END
    return Stop.TOOL_USE if stop is Stop.END and called else stop


def write_stop(stop: Stop, parts: Sequence[Part]) -> str:
    """A stop reason. A refusal in so many words, which ended as usual, is told as one."""
    if stop is Stop.END and any(isinstance(part, Refusal) for part in parts):
        return "refusal"
    return _REASONS[stop]


def read_usage(given: Mapping[str, Any]) -> Usage:
    """Tokens. This wire counts what the cache took or gave apart from the rest of the input."""
    fresh = count(given.get("input_tokens"))
    read = count(given.get("cache_read_input_tokens"))
    written = count(given.get("cache_creation_input_tokens"))
    details = given.get("output_tokens_details")
    return Usage(
        input=None if fresh is None else fresh + (read or 0) + (written or 0),
        output=count(given.get("output_tokens")),
        cache_read=read,
        cache_write=written,
        reasoning=count(details.get("thinking_tokens")) if isinstance(details, dict) else None,
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Tokens. What was not told is 0 where the wire demands a number, otherwise left out."""
    cached = (usage.cache_read or 0) + (usage.cache_write or 0)
    written: dict[str, Any] = {
        "input_tokens": max((usage.input or 0) - cached, 0),
        "output_tokens": usage.output or 0,
    }
    if usage.cache_write is not None:
        written["cache_creation_input_tokens"] = usage.cache_write
    if usage.cache_read is not None:
        written["cache_read_input_tokens"] = usage.cache_read
    if usage.reasoning is not None:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return written
