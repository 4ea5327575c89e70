"""Plain answers on the Responses wire, read and written; why an answer ended, and what it cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from recloser.gateway.canonical import Answer, Part, Refusal, Stop, Text, Thinking, ToolUse, Usage
from recloser.gateway.wires.openai_responses_codec.reading import WIRE, thoughts_text
from recloser.gateway.wires.openai_responses_codec.shapes import Item
from recloser.gateway.wires.openai_responses_codec.writing import call_id
from recloser.gateway.wires.phrasing import answer_id, count
from recloser.gateway.wires.thoughts import closed

ID_PREFIX = "resp_"


class _Response(msgspec.Struct):
    output: list[Item]
    id: str = ""
    model: str = ""
    created_at: float = 0
    status: Any = None
    incomplete_details: Any = None
    usage: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_Response).decode

_INCOMPLETE = {"max_output_tokens": Stop.LENGTH, "content_filter": Stop.FILTER}
_REASONS = {
    Stop.LENGTH: "max_output_tokens",
    Stop.CONTEXT: "max_output_tokens",
    Stop.FILTER: "content_filter",
    Stop.REFUSAL: "content_filter",
    Stop.PAUSE: "max_output_tokens",
}


def read_answer(body: bytes) -> Answer:
    """A provider's plain answer; ValueError if it is none."""
    try:
        response = _decode(body)
    except RecursionError as error:
        raise ValueError("an answer that is nested too deeply") from error
    parts = tuple(part for item in response.output for part in read_item(item))
    return Answer(
        id=response.id,
        model=response.model,
        created=int(response.created_at),
        parts=parts,
        stop=read_stop(response.incomplete_details, called=any(isinstance(part, ToolUse) for part in parts)),
        usage=read_usage(response.usage),
    )


def write_answer(answer: Answer) -> bytes:
    """A plain answer for a client of this wire."""
    response = answer_id(answer.id, ID_PREFIX)
    items = [written for number, part in enumerate(answer.parts) if (written := write_item(part, response, number))]
    return msgspec.json.encode(
        write_response(
            response,
            answer.model,
            answer.created,
            output=items,
            stop=write_stop(answer.stop, answer.parts),
            usage=answer.usage,
        )
    )


# Items ---------------------------------------------------------------------------------------------------------------


def read_item(item: Item) -> Iterable[Part]:
    """The parts that an output item is; none if there is no word for it in the canonical form."""
    match item.get("type"):
        case "message":
            for entry in _list(item.get("content")):
                match entry.get("type"):
                    case "output_text":
                        yield Text(text=_text(entry.get("text")))
                    case "refusal":
                        yield Refusal(text=_text(entry.get("refusal")))
        case "function_call":
            name = _text(item.get("name"))
            if name:
                yield ToolUse(id=read_call_id(item), name=name, input=_text(item.get("arguments")) or "{}")
        case "reasoning":
            text, signature = read_reasoning(item)
            if text or signature:
                yield Thinking(text=text, signature=signature, issuer=WIRE)


def read_call_id(item: Item) -> str:
    """The id by which a call's result will be known."""
    return _text(item.get("call_id")) or _text(item.get("id"))


def read_reasoning(item: Item) -> tuple[str, str]:
    """What a reasoning item says, and what its provider wants back."""
    said = [[_text(entry.get("text")) for entry in _list(item.get(field))] for field in ("summary", "content")]
    return thoughts_text(*said), _text(item.get("encrypted_content"))


def write_item(part: Part, response: str, number: int, status: str = "completed") -> Item | None:
    """A part as an output item of its own; None if this wire never answers with such."""
    item = item_id(part, response, number)
    match part:
        case Text():
            content = [write_content(part)]
            return {"id": item, "type": "message", "status": status, "role": "assistant", "content": content}
        case Refusal():
            content = [write_content(part)]
            return {"id": item, "type": "message", "status": status, "role": "assistant", "content": content}
        case ToolUse():
            return {
                "id": item,
                "type": "function_call",
                "status": status,
                "call_id": call_id(part.id),
                "name": part.name,
                "arguments": part.input or "{}",
            }
        case Thinking():
            written: Item = {"id": item, "type": "reasoning", "summary": write_summary(part.text)}
            signature = closed(part, WIRE)
            return {**written, "encrypted_content": signature} if signature else written
    return None


def write_content(part: Text | Refusal) -> Item:
    """What stands in a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def write_summary(text: str) -> list[Item]:
    """What was thought, as a client is told of it."""
    return [{"type": "summary_text", "text": text}] if text else []


def item_id(part: Part, response: str, number: int) -> str:
    """The id of an item: the answer's, the part's number, and what it is."""
    kind = {"tool_use": "fc", "thinking": "rs"}.get(str(part.__struct_config__.tag), "msg")
    return f"{kind}_{response.removeprefix(ID_PREFIX)}_{number}"


def _list(given: Any) -> Iterable[Item]:
    return (entry for entry in given if isinstance(entry, dict)) if isinstance(given, list) else ()


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


# The whole ------------------------------------------------------------------------------------------------------------


def write_response(
    response: str,
    model: str,
    created: int,
    *,
    output: Sequence[Any] = (),
    stop: Stop | None = None,
    usage: Usage | None = None,
) -> Item:
    """A response object: whole if it says why it ended, otherwise in progress. What clients insist on is in it."""
    reason = _REASONS.get(stop) if stop is not None else None
    status = "in_progress" if stop is None else "incomplete" if reason else "completed"
    return {
        "id": response,
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": write_usage(usage) if usage is not None else None,
    }


def read_stop(incomplete: Any, *, called: bool) -> Stop:
    """Why an answer ended. A reason that is not known is a pause: there is more to come."""
    if isinstance(incomplete, dict) and incomplete.get("reason") is not None:
        reason = incomplete["reason"]
        return _INCOMPLETE.get(reason, Stop.PAUSE) if isinstance(reason, str) else Stop.PAUSE
    return Stop.TOOL_USE if called else Stop.END


def write_stop(stop: Stop, parts: Iterable[Part]) -> Stop:
    """How this wire ends: a refusal in so many words is a whole answer."""
    refused = stop is Stop.REFUSAL and any(isinstance(part, Refusal) for part in parts)
    return Stop.END if refused else stop


def read_usage(given: Mapping[str, Any] | None) -> Usage:
    """Tokens."""
    if not given:
        return Usage()
    taken, made = given.get("input_tokens_details"), given.get("output_tokens_details")
    taken, made = (details if isinstance(details, dict) else {} for details in (taken, made))
    return Usage(
        input=count(given.get("input_tokens")),
        output=count(given.get("output_tokens")),
        cache_read=count(taken.get("cached_tokens")),
        cache_write=count(taken.get("cache_write_tokens")),
        reasoning=count(made.get("reasoning_tokens")),
    )


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """Tokens. Clients want every number of them or none at all, so what was not told is 0."""
    if usage.input is None and usage.output is None:
        return None
    return {
        "input_tokens": usage.input or 0,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": usage.output or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": (usage.input or 0) + (usage.output or 0),
    }
