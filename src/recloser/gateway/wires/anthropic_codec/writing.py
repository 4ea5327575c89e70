"""A request in the canonical form, written for a provider on the Messages wire."""

import binascii
from base64 import b64decode
from typing import Any

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Turn,
    Written,
)
from recloser.gateway.wires.anthropic_codec.models import generation
from recloser.gateway.wires.anthropic_codec.reading import WIRE
from recloser.gateway.wires.phrasing import (
    arguments_object,
    as_written,
    budget_of,
    effort_of,
    end_user,
    sealed,
    tool_id,
)

Block = dict[str, Any]

_LEAST_BUDGET = 1024
_LONGEST_ID = 256
_LONGEST_USER = 128
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_OPENING = "(The conversation begins with your own words.)"
"""Said first where the assistant speaks first, which this wire does not allow."""


def write_request(request: Request) -> Written:
    """A request for a provider of this wire, and what it has no words for; BadRequestError if it cannot be written."""
    writing = _Writing(request)
    return as_written(writing.body, writing.dropped)


def result_id(given: str) -> str:
    """The id of a tool call in the letters that this wire allows."""
    return tool_id(given, _LONGEST_ID)


class _Writing:
    """Writes one request and collects the names of what is left out."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.takes = generation(request.model)
        self.dropped = list(request.unread)

    def body(self) -> Block:
        """The whole request."""
        request = self.request
        messages = self.messages()
        body: Block = {
            "model": request.model,
            "max_tokens": self.takes.room if request.max_tokens is None else request.max_tokens,
        }
        system = [block for text in request.system for block in _text(text.text)]
        if system:
            body["system"] = system
        body["messages"] = messages
        if request.tools:
            body["tools"] = [_tool(tool) for tool in request.tools]
        self.choose(body)
        self.think(body)
        self.sample(body)
        self.stop(body)
        self.format(body)
        if request.user:
            body["metadata"] = {"user_id": end_user(request.user, _LONGEST_USER)}
        if request.stream:
            body["stream"] = True
        for name in ("seed", "presence_penalty", "frequency_penalty"):
            if getattr(request, name) is not None:
                self.dropped.append(name)
        return body

    # The conversation

    def messages(self) -> list[Block]:
        """The turns, alternating, the user's first."""
        messages: list[Block] = []
        turns = self.request.turns
        for number, turn in enumerate(turns):
            role, blocks = self.turn(turn, number)
            if not blocks:
                continue
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"] += blocks
            else:
                messages.append({"role": role, "content": blocks})
        for message in messages:
            if message["role"] == "user":  # results must come first
                message["content"].sort(key=lambda block: block["type"] != "tool_result")
        if messages and messages[0]["role"] == "assistant":
            messages.insert(0, {"role": "user", "content": [{"type": "text", "text": _OPENING}]})
        if messages and messages[-1]["role"] == "assistant":
            _without_space_at_the_end(messages[-1]["content"])
        return messages

    def turn(self, turn: Turn, number: int) -> tuple[str, list[Block]]:
        """One turn as the role that says it and its blocks."""
        if turn.role is Role.SYSTEM:
            return self.system_turn(turn, number)
        write = self.assistant_part if turn.role is Role.ASSISTANT else self.user_part
        blocks = [block for part in turn.parts for block in write(part, f"messages.{number}")]
        return turn.role.value, blocks

    def system_turn(self, turn: Turn, number: int) -> tuple[str, list[Block]]:
        """A system turn in the middle: as such where the model takes it there, otherwise as marked words of the user.

        A model that takes them does so between a user's turn and an assistant's, or at the end.
        """
        turns = self.request.turns
        before = turns[number - 1].role if number else None
        after = turns[number + 1].role if number + 1 < len(turns) else Role.ASSISTANT
        blocks = [block for part in turn.parts for block in self.user_part(part, f"messages.{number}")]
        if self.takes.system_turns and before is Role.USER and after is Role.ASSISTANT:
            return "system", blocks
        for block in blocks:
            if block["type"] == "text":
                block["text"] = f"<system>\n{block['text']}\n</system>"
        return "user", blocks

    def assistant_part(self, part: Part, within: str) -> list[Block]:
        """What the model said."""
        match part:
            case Text() | Refusal():
                return _text(part.text)
            case ToolUse():
                given = arguments_object(part.input)
                return [{"type": "tool_use", "id": result_id(part.id), "name": part.name, "input": given}]
            case Thinking() if part.issuer == WIRE and (part.signature or part.redacted or not self.takes.claude):
                return [thought(part)]
            case Thinking():
                self.dropped.append("messages.thinking")
                return []
        self.dropped.append(f"{within}.{_kind(part)}")
        return []

    def user_part(self, part: Part, within: str) -> list[Block]:
        """What the user said, or a tool answered."""
        match part:
            case Text():
                return _text(part.text)
            case Image():
                return self.image(part, within)
            case Document():
                return self.document(part, within)
            case ToolResult():
                return [self.result(part, within)]
        self.dropped.append(f"{within}.{_kind(part)}")
        return []

    def result(self, part: ToolResult, within: str) -> Block:
        """What a tool answered."""
        block: Block = {"type": "tool_result", "tool_use_id": result_id(part.id)}
        if len(part.parts) == 1 and isinstance(part.parts[0], Text):
            block["content"] = part.parts[0].text
        elif part.parts:
            block["content"] = [inner for one in part.parts for inner in self.user_part(one, within)]
        if part.is_error:
            block["is_error"] = True
        return block

    def image(self, part: Image, within: str) -> list[Block]:
        """A picture."""
        if part.detail not in ("", "auto"):
            self.dropped.append(f"{within}.image.detail")
        if part.url:
            return [{"type": "image", "source": {"type": "url", "url": part.url}}]
        media_type = part.media_type.lower().replace("image/jpg", "image/jpeg")
        if media_type not in _PICTURES:
            return self.left_out("image", part.media_type, within)
        return [{"type": "image", "source": {"type": "base64", "media_type": media_type, "data": part.data}}]

    def document(self, part: Document, within: str) -> list[Block]:
        """A file."""
        source = _source(part)
        if source is None:
            return self.left_out("document", part.name or part.media_type, within)
        block: Block = {"type": "document", "source": source}
        if part.name:
            block["title"] = part.name
        return [block]

    def left_out(self, kind: str, name: str, within: str) -> list[Block]:
        """Words in the place of what cannot be said, so that the model knows that it is not there."""
        self.dropped.append(f"{within}.{kind}")
        return _text(f"[{kind} left out: {name}]")

    # The rest

    def choose(self, body: Block) -> None:
        """Whether tools may or must be called, and how many at once."""
        request = self.request
        choice = request.tool_choice
        if not request.tools:
            if choice not in (None, ToolChoice.AUTO, ToolChoice.NONE):
                self.dropped.append("tool_choice")
            return
        if choice is ToolChoice.NAMED and request.tool_name not in {tool.name for tool in request.tools}:
            self.dropped.append("tool_choice")
            choice = None
        if choice is None and request.parallel_tools is None:
            return
        chosen: Block = {"type": "tool" if choice is ToolChoice.NAMED else (choice or ToolChoice.AUTO).value}
        if choice is ToolChoice.NAMED:
            chosen["name"] = request.tool_name
        if request.parallel_tools is not None and choice is not ToolChoice.NONE:
            chosen["disable_parallel_tool_use"] = not request.parallel_tools
        body["tool_choice"] = chosen

    def think(self, body: Block) -> None:
        """Whether and how much to think. A thinking model may not be forced to call a tool."""
        wanted = self.request.reasoning
        if wanted is None:
            return
        effort = wanted.effort
        if wanted.enabled is False:
            if self.takes.silent:
                body["thinking"] = {"type": "disabled"}
            else:
                self.dropped.append("reasoning")
        elif wanted.enabled:
            forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
            thinking = None if forced else self.thinking(wanted, body)
            if thinking is None:
                self.dropped.append("reasoning")
                return
            if wanted.shown is not None:
                thinking["display"] = "summarized" if wanted.shown else "omitted"
            body["thinking"] = thinking
            if thinking["type"] == "adaptive" and wanted.budget is not None:
                effort = effort or effort_of(wanted.budget)
            if thinking["type"] == "enabled" and wanted.budget is None:
                effort = None  # it has become the budget; the models that think by one take no effort
        if effort not in (None, Effort.NONE):
            body["output_config"] = {"effort": "low" if effort is Effort.MINIMAL else effort}

    def thinking(self, wanted: Reasoning, body: Block) -> Block | None:
        """How much to think; None if it cannot be had here."""
        if self.takes.adaptive:
            return {"type": "adaptive"}
        budget = budget_of(wanted.effort) if wanted.budget is None else wanted.budget
        budget = min(budget, body["max_tokens"] - 1)  # thoughts count towards the limit, and must leave some of it
        if budget < _LEAST_BUDGET or (self.takes.claude and _began_without_thinking(body["messages"])):
            return None
        return {"type": "enabled", "budget_tokens": budget}

    def sample(self, body: Block) -> None:
        """How to draw the words. A thinking model, and the newest, take no such wishes."""
        request = self.request
        thinks = body.get("thinking", {}).get("type", "disabled") != "disabled"
        free = self.takes.sampling and not thinks
        if request.temperature is not None:
            if (request.temperature != 1 and not free) or request.temperature > 1:
                self.dropped.append("temperature")
            if free:
                body["temperature"] = min(request.temperature, 1.0)
        if request.top_p is not None:
            both = self.takes.claude and "temperature" in body
            if self.takes.sampling and not both and (free or request.top_p >= 0.95):
                body["top_p"] = request.top_p
            elif request.top_p != 1:
                self.dropped.append("top_p")
        if request.top_k is not None:
            if free:
                body["top_k"] = request.top_k
            else:
                self.dropped.append("top_k")

    def stop(self, body: Block) -> None:
        """Where to stop. White space alone is refused."""
        sequences = [sequence for sequence in self.request.stop if sequence.strip()]
        if len(sequences) < len(self.request.stop):
            self.dropped.append("stop")
        if sequences:
            body["stop_sequences"] = sequences

    def format(self, body: Block) -> None:
        """Structured output. There is no word for JSON of any shape."""
        output = self.request.output
        if output is None:
            return
        if output.schema is None:
            self.dropped.append("output")
            return
        wanted = {"type": "json_schema", "schema": _closed(output.schema)}
        body["output_config"] = {**body.get("output_config", {}), "format": wanted}


def thought(part: Thinking) -> Block:
    """A thought, for its provider or for a client that will give it back."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": sealed(part.redacted, part.issuer, WIRE)}
    return {
        "type": "thinking",
        "thinking": part.text,
        "signature": sealed(part.signature, part.issuer, WIRE),
    }


def _text(text: str) -> list[Block]:
    """Words, if there are any: blank ones are refused."""
    return [{"type": "text", "text": text}] if text.strip() else []


def _kind(part: Part) -> str:
    return str(part.__struct_config__.tag)


def _without_space_at_the_end(blocks: list[Block]) -> None:
    """The words the model shall go on from must not end in white space."""
    if blocks[-1]["type"] == "text":
        blocks[-1]["text"] = blocks[-1]["text"].rstrip()


def _began_without_thinking(messages: list[Block]) -> bool:
    """Whether the model is in the middle of a turn that began without a thought (it may be another model's turn)."""
    spoken = [message for message in messages[-2:] if message["role"] == "assistant"]
    going_on = messages[-1]["role"] == "assistant" or messages[-1]["content"][0]["type"] == "tool_result"
    return bool(going_on and spoken and spoken[-1]["content"][0]["type"] not in _THOUGHTS)


def _source(part: Document) -> Block | None:
    """Where a file's content is; None if it is of a kind that this wire does not take."""
    if part.text:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    if part.url:
        return {"type": "url", "url": part.url}
    if part.media_type == "application/pdf" and part.data:
        return {"type": "base64", "media_type": "application/pdf", "data": part.data}
    if part.media_type.startswith("text/"):
        try:
            return {"type": "text", "media_type": "text/plain", "data": b64decode(part.data).decode()}
        except (binascii.Error, ValueError):
            return None
    return None


def _tool(tool: Tool) -> Block:
    written: Block = {"name": tool.name}
    if tool.description:
        written["description"] = tool.description
    written["input_schema"] = tool.schema if tool.schema.get("type") == "object" else {**tool.schema, "type": "object"}
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written


_NAMED_SCHEMAS = ("properties", "$defs", "definitions", "patternProperties")
_VALUES = ("enum", "const", "default", "examples")


def _closed(schema: Any) -> Any:
    """A schema all of whose objects say whether they take other fields, as is demanded; unsaid, they take none."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed_under(key, value) for key, value in schema.items()}
    if closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _closed_under(key: str, value: Any) -> Any:
    """What stands under a keyword of a schema: a value, schemas by name, or a schema."""
    if key in _VALUES:
        return value
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: _closed(schema) for name, schema in value.items()}
    return _closed(value)
