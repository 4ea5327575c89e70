"""Plain answers on the Gemini wire, read and written; why an answer ended, and what it cost."""

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Any

import msgspec

from recloser.gateway.canonical import Answer, Image, Part, Refusal, Stop, Text, Thinking, ToolUse, Usage
from recloser.gateway.wires.gemini_codec.reading import read_words
from recloser.gateway.wires.gemini_codec.shapes import Fields, Shape
from recloser.gateway.wires.gemini_codec.signatures import WIRE, write_signature
from recloser.gateway.wires.gemini_codec.writing import write_call, write_thought
from recloser.gateway.wires.phrasing import arguments_text, count


class Call(Shape):
    """A call of a function."""

    name: str = ""
    args: Any = None
    id: str | None = None


class Blob(Shape):
    """A file's data."""

    mime_type: str = ""
    data: str = ""


class Piece(Shape):
    """A part of an answer."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: Call | None = None
    inline_data: Blob | None = None


class Content(Shape):
    """What the model said."""

    parts: list[Piece] | None = None


class Candidate(Shape):
    """One of the answers."""

    content: Content | None = None
    finish_reason: Any = None
    index: int | None = None


class Feedback(Shape):
    """What was said about the question."""

    block_reason: Any = None


class Response(Shape):
    """A plain answer, or a chunk of a stream."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: dict[str, Any] | None = None
    response_id: Any = None
    model_version: Any = None

    def first(self) -> Candidate | None:
        """The answer: of several candidates the first."""
        return min(self.candidates, key=lambda candidate: candidate.index or 0) if self.candidates else None

    def blocked(self) -> bool:
        """Whether the question was refused."""
        return self.prompt_feedback is not None and self.prompt_feedback.block_reason is not None


_decode = msgspec.json.Decoder(Response).decode

_FILTERED = frozenset(
    {
        "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
        "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    }
)  # fmt: skip
_REASONS = {
    Stop.LENGTH: "MAX_TOKENS",
    Stop.CONTEXT: "MAX_TOKENS",
    Stop.PAUSE: "MAX_TOKENS",
    Stop.FILTER: "SAFETY",
    Stop.REFUSAL: "SAFETY",
}


def read_answer(body: bytes) -> Answer:
    """A provider's plain answer; ValueError if it is none."""
    response = read_response(body)
    candidate = response.first()
    if candidate is None and not response.blocked():
        raise ValueError("an answer without candidates")
    calls = Calls(response)
    parts: list[Part] = []
    for piece in (candidate and candidate.content and candidate.content.parts) or ():
        if piece.function_call is not None:
            parts.append(calls.read(piece))
        elif piece.inline_data is not None:
            parts.append(Image(media_type=piece.inline_data.mime_type, data=piece.inline_data.data))
        elif piece.text is not None:
            read_words(piece.text, piece.thought_signature or "", parts, thought=bool(piece.thought))
    return Answer(
        id=calls.answer,
        model=text_or_nothing(response.model_version),
        parts=tuple(parts),
        stop=read_stop(candidate.finish_reason if candidate else "SAFETY", called=calls.count > 0),
        usage=read_usage(response.usage_metadata or {}),
    )


def read_response(body: bytes) -> Response:
    """A plain answer or a chunk; ValueError if it is none."""
    try:
        return _decode(body)
    except RecursionError as error:
        raise ValueError("an answer that is nested too deeply") from error


class Calls:
    """Reads the calls of one answer, and gives an id to those that came without."""

    def __init__(self, response: Response) -> None:
        self.answer = text_or_nothing(response.response_id)
        self._ids = self.answer or token_hex(12)  # of an answer without an id: not the same as in another answer
        self.count = 0

    def read(self, piece: Piece) -> ToolUse:
        """A call, whole."""
        call = piece.function_call
        if call is None or not call.name:
            raise ValueError("a function call without a name")
        try:
            given = arguments_text(call.args) if isinstance(call.args, dict) else "{}"
        except RecursionError as error:
            raise ValueError("arguments that are nested too deeply") from error
        use = ToolUse(
            id=call.id or f"call_{self._ids}_{self.count}",
            name=call.name,
            input=given,
            signature=piece.thought_signature or "",
        )
        self.count += 1
        return use


def text_or_nothing(given: Any) -> str:
    """A string, or an empty one."""
    return given if isinstance(given, str) else ""


def write_answer(answer: Answer) -> bytes:
    """A plain answer for a client of this wire."""
    parts = [written for part in answer.parts if (written := write_part(part)) is not None]
    return msgspec.json.encode(write_response(answer.id, answer.model, parts, answer.stop, answer.usage))


def write_part(part: Part) -> Fields | None:
    """A part, whole; None if there is nothing to be said of it on this wire."""
    match part:
        case Text() | Refusal():
            return {"text": part.text}
        case ToolUse():
            return write_call(part)
        case Thinking():
            return write_thought(part.text, write_signature(part), words=part.issuer == WIRE)
        case Image() if part.data:
            return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    return None


def write_response(
    answer: str, model: str, parts: Sequence[Fields], stop: Stop | None = None, usage: Usage | None = None
) -> Fields:
    """A plain answer, or a chunk of one that has not ended."""
    candidate: Fields = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if stop is not None:
        candidate["finishReason"] = _REASONS.get(stop, "STOP")
    response: Fields = {"candidates": [candidate]}
    if usage is not None and (written := write_usage(usage)):
        response["usageMetadata"] = written
    response["modelVersion"] = model
    return {**response, "responseId": answer} if answer else response


def read_stop(reason: Any, *, called: bool) -> Stop:
    """Why an answer ended. A reason that is not known, or none, is an ordinary end."""
    if reason == "MAX_TOKENS":
        return Stop.LENGTH
    if isinstance(reason, str) and reason in _FILTERED:
        return Stop.FILTER
    return Stop.TOOL_USE if called else Stop.END


def read_usage(given: Mapping[str, Any]) -> Usage:
    """Tokens. This wire counts thoughts apart from the rest of the output."""
    said, thought = count(given.get("candidatesTokenCount")), count(given.get("thoughtsTokenCount"))
    asked, tools = count(given.get("promptTokenCount")), count(given.get("toolUsePromptTokenCount"))
    return Usage(
        input=None if asked is None else asked + (tools or 0),
        output=None if said is None and thought is None else (said or 0) + (thought or 0),
        cache_read=count(given.get("cachedContentTokenCount")),
        reasoning=thought,
    )


def write_usage(usage: Usage) -> Fields:
    """Tokens; nothing if nobody told."""
    if usage.input is None and usage.output is None:
        return {}
    asked, output = usage.input or 0, usage.output or 0
    written: Fields = {
        "promptTokenCount": asked,
        "candidatesTokenCount": max(output - (usage.reasoning or 0), 0),
        "totalTokenCount": asked + output,
    }
    if usage.reasoning is not None:
        written["thoughtsTokenCount"] = usage.reasoning
    if usage.cache_read is not None:
        written["cachedContentTokenCount"] = usage.cache_read
    return written
