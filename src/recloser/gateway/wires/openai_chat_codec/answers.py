"""Plain answers on the Chat Completions wire, read and written; why an answer ended, and what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from recloser.gateway.canonical import Answer, Part, Refusal, Stop, Text, Thinking, ToolUse, Usage
from recloser.gateway.wires.openai_chat_codec.reading import WIRE
from recloser.gateway.wires.openai_chat_codec.writing import said
from recloser.gateway.wires.phrasing import answer_id, count

ID_PREFIX = "chatcmpl-"


class Function(msgspec.Struct):
    """A function that is called, or a piece of the call."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None

    def text(self) -> str:
        """The arguments as text; some backends give an object."""
        given = self.arguments
        return msgspec.json.encode(given).decode() if isinstance(given, dict) else given or ""


class Call(msgspec.Struct):
    """A call of a tool, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """The message of a plain answer, or a delta of a stream."""

    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None

    def thought(self) -> str:
        """What was thought, under either name that is in use."""
        if self.reasoning_content:
            return self.reasoning_content
        return self.reasoning if isinstance(self.reasoning, str) else ""

    def pieces(self) -> Iterator[tuple[type[Text] | type[Thinking], str]]:
        """What was said, in order. Some models put their thoughts into the content, which is a list then."""
        if isinstance(self.content, str):
            yield Text, self.content
            return
        for piece in self.content or ():
            match piece:
                case {"type": "text", "text": str(text)}:
                    yield Text, text
                case {"type": "thinking", "thinking": str(text)}:
                    yield Thinking, text
                case {"type": "thinking", "thinking": list(inner)}:
                    yield Thinking, "".join(part["text"] for part in inner if _has_text(part))


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)


class _Choice(msgspec.Struct):
    message: Said
    index: int | None = None
    finish_reason: Any = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: Any = None
    model: Any = None
    created: Any = None
    usage: Any = None


_decode = msgspec.json.Decoder(_Completion).decode

_STOPS = {
    "stop": Stop.END,
    "length": Stop.LENGTH,
    "model_length": Stop.LENGTH,
    "tool_calls": Stop.TOOL_USE,
    "function_call": Stop.TOOL_USE,
    "content_filter": Stop.FILTER,
    "sensitive": Stop.FILTER,
}
_REASONS = {
    Stop.END: "stop",
    Stop.SEQUENCE: "stop",
    Stop.TOOL_USE: "tool_calls",
    Stop.LENGTH: "length",
    Stop.PAUSE: "length",
    Stop.CONTEXT: "length",
    Stop.REFUSAL: "content_filter",
    Stop.FILTER: "content_filter",
}


def read_answer(body: bytes) -> Answer:
    """A provider's plain answer; ValueError if it is none. Of several choices the first is the answer."""
    try:
        completion = _decode(body)
    except RecursionError as error:
        raise ValueError("an answer that is nested too deeply") from error
    if not completion.choices:
        raise ValueError("an answer without choices")
    choice = min(completion.choices, key=lambda choice: choice.index or 0)
    answer = text_or_nothing(completion.id)
    parts = tuple(_parts(choice.message, answer))
    return Answer(
        id=answer,
        model=text_or_nothing(completion.model),
        created=count(completion.created) or 0,
        parts=parts,
        stop=read_stop(choice.finish_reason, called=any(isinstance(part, ToolUse) for part in parts)),
        usage=read_usage(completion.usage),
    )


def write_answer(answer: Answer) -> bytes:
    """A plain answer for a client of this wire."""
    body: dict[str, Any] = {
        "id": answer_id(answer.id, ID_PREFIX),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [
            {
                "index": 0,
                "message": _message(answer.parts),
                "logprobs": None,
                "finish_reason": write_stop(answer.stop),
            }
        ],
    }
    usage = write_usage(answer.usage)
    if usage is not None:
        body["usage"] = usage
    return msgspec.json.encode(body)


def _parts(message: Said, answer: str) -> Iterator[Part]:
    if thought := message.thought():
        yield Thinking(text=thought, issuer=WIRE)
    for kind, text in message.pieces():
        if text:
            yield Text(text=text) if kind is Text else Thinking(text=text, issuer=WIRE)
    if message.refusal:
        yield Refusal(text=message.refusal)
    for number, call in enumerate(message.tool_calls or ()):
        function = call.function
        if function is None or not function.name:
            raise ValueError("a tool call without a name")
        yield ToolUse(id=call.id or call_id(answer, number), name=function.name, input=_arguments(function))
    if message.function_call is not None and message.function_call.name:
        function = message.function_call
        yield ToolUse(id=call_id(answer, 0), name=message.function_call.name, input=_arguments(function))


def _arguments(function: Function) -> str:
    text = function.text()
    return text if text.strip() else "{}"


def call_id(answer: str, number: int) -> str:
    """An id for a call that came without one; the same for the same call of the same answer."""
    return f"call_{answer_id(answer, '')}_{number}"


def text_or_nothing(given: Any) -> str:
    """A string, or an empty one."""
    return given if isinstance(given, str) else ""


def _message(parts: Sequence[Part]) -> dict[str, Any]:
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    thoughts = [part.text for part in parts if isinstance(part, Thinking) and part.text]
    calls = [
        {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.input or "{}"}}
        for part in parts
        if isinstance(part, ToolUse)
    ]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said(parts),
        "refusal": "".join(refusals) if refusals else None,
    }
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def read_stop(reason: Any, *, called: bool) -> Stop:
    """Why an answer ended. Backends differ on what they say after calls: a call that is there is one to be made."""
    stop = _STOPS.get(reason, Stop.END) if isinstance(reason, str) else Stop.END
    if stop in (Stop.END, Stop.TOOL_USE):
        return Stop.TOOL_USE if called else Stop.END
    return stop


def write_stop(stop: Stop) -> str:
    """A finish reason. What was cut off for whatever reason, and can be gone on with, is `length`."""
    return _REASONS[stop]


def read_usage(given: Any) -> Usage:
    """Tokens. Names of what the cache gave differ; some backends count thoughts apart from the output."""
    if not isinstance(given, dict):
        return Usage()
    asked, thought = _details(given, "prompt_tokens_details"), _details(given, "completion_tokens_details")
    taken, said_ = count(given.get("prompt_tokens")), count(given.get("completion_tokens"))
    reasoning = count(thought.get("reasoning_tokens"))
    cached = (asked.get("cached_tokens"), given.get("prompt_cache_hit_tokens"), given.get("cached_tokens"))
    if taken is not None and said_ is not None and reasoning and given.get("total_tokens") == taken + said_ + reasoning:
        said_ += reasoning
    return Usage(
        input=taken,
        output=said_,
        cache_read=next((tokens for one in cached if (tokens := count(one)) is not None), None),
        cache_write=count(asked.get("cache_write_tokens")),
        reasoning=reasoning,
    )


def _details(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    details = given.get(name)
    return details if isinstance(details, dict) else {}


def write_usage(usage: Usage) -> dict[str, Any] | None:
    """Tokens; None if nobody told."""
    if usage.input is None and usage.output is None:
        return None
    taken, output = usage.input or 0, usage.output or 0
    written: dict[str, Any] = {
        "prompt_tokens": taken,
        "completion_tokens": output,
        "total_tokens": taken + output,
    }
    cached = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write}
    if details := {name: tokens for name, tokens in cached.items() if tokens is not None}:
        written["prompt_tokens_details"] = details
    if usage.reasoning is not None:
        written["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return written
