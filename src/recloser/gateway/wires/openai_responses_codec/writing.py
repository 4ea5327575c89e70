"""A request in the canonical form, written for a provider on the Responses wire."""

import re
from typing import Any

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
    OutputSchema,
    Part,
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
from recloser.gateway.wires.files import words
from recloser.gateway.wires.openai_responses_codec.reading import WIRE
from recloser.gateway.wires.openai_responses_codec.shapes import Item
from recloser.gateway.wires.phrasing import arguments_object, as_written, data_url, effort_of, end_user, shortened

_LONGEST_ID = 64
_LONGEST_USER = 64
_REASONER = re.compile(r"(?:^|/)(?:o\d|gpt-[5-9]|gpt-\d\d)")
"""The models that know the finer words for an effort."""
_PLAIN_EFFORTS = {Effort.MINIMAL: Effort.LOW, Effort.XHIGH: Effort.HIGH, Effort.MAX: Effort.HIGH}
_NO_WORDS = ("top_k", "stop", "seed", "presence_penalty", "frequency_penalty")


def write_request(request: Request) -> Written:
    """A request for a provider of this wire, and what it has no words for."""
    writing = _Writing(request)
    return as_written(writing.body, writing.dropped)


def call_id(given: str) -> str:
    """The id of a tool call, no longer than this wire allows."""
    return shortened(given, _LONGEST_ID)


class _Writing:
    """Writes one request and collects the names of what is left out."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.dropped = list(request.unread)

    def body(self) -> Item:
        """The whole request. The provider is not asked to keep it, for no other wire's client can ask for it again."""
        request = self.request
        body: Item = {"model": request.model, "input": self.input(), "store": False}
        if request.system:
            body["instructions"] = request.system[0].text
        self.choose(body)
        for name, value in (
            ("max_output_tokens", request.max_tokens),
            ("temperature", request.temperature),
            ("top_p", request.top_p),
        ):
            if value is not None:
                body[name] = value
        self.think(body)
        if request.output is not None:
            body["text"] = {"format": _format(request.output)}
        if request.user:
            body["user"] = end_user(request.user, _LONGEST_USER)
        if request.stream:
            body["stream"] = True
        self.dropped += [name for name in _NO_WORDS if getattr(request, name) not in (None, ())]
        return body

    # The conversation

    def input(self) -> list[Item]:
        """The conversation, item by item. Of the system's words the first are instructions, the rest a message."""
        items: list[Item] = []
        more = self.request.system[1:]
        if more:
            items.append(_message("developer", [_words(text.text) for text in more]))
        for number, turn in enumerate(self.request.turns):
            items += self.turn(turn, f"messages.{number}")
        return items

    def turn(self, turn: Turn, within: str) -> list[Item]:
        """One turn: what is said next to each other is one message."""
        role = "developer" if turn.role is Role.SYSTEM else turn.role.value
        write = self.assistant_part if turn.role is Role.ASSISTANT else self.user_part
        items: list[Item] = []
        for part in turn.parts:
            written = write(part, within)
            if written is None:
                continue
            if written["type"] in _OWN_ITEMS:
                items.append(written)
            elif items and items[-1]["type"] == "message":
                items[-1]["content"].append(written)
            else:
                items.append(_message(role, [written]))
        return items

    def assistant_part(self, part: Part, within: str) -> Item | None:
        """What the model said."""
        match part:
            case Text():
                return {"type": "output_text", "text": part.text}
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
            case ToolUse():
                return {
                    "type": "function_call",
                    "call_id": call_id(part.id),
                    "name": part.name,
                    "arguments": bytes(arguments_object(part.input)).decode(),
                }
            case Thinking() if part.issuer == WIRE and part.signature:
                return {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
                    "encrypted_content": part.signature,
                }
        self.left_out(part, within)
        return None

    def user_part(self, part: Part, within: str) -> Item | None:
        """What the user said, or a tool answered."""
        match part:
            case Text():
                return _words(part.text)
            case Image():
                return _image(part)
            case Document():
                return _file(part)
            case ToolResult():
                return self.result(part, within)
        self.left_out(part, within)
        return None

    def result(self, part: ToolResult, within: str) -> Item:
        """What a tool answered. That it failed has no word of its own here."""
        output: Any = [self.user_part(inner, within) for inner in part.parts]
        if len(part.parts) == 1 and isinstance(part.parts[0], Text):
            output = part.parts[0].text
        if part.is_error:
            output = _failed(output)
        return {"type": "function_call_output", "call_id": call_id(part.id), "output": output or ""}

    def left_out(self, part: Part, within: str) -> None:
        """Note what this wire has no place for: another provider's thoughts, pictures that a model made."""
        kind = str(part.__struct_config__.tag)
        self.dropped.append("messages.thinking" if kind == "thinking" else f"{within}.{kind}")

    # The rest

    def choose(self, body: Item) -> None:
        """The tools, and whether they may or must be called."""
        request = self.request
        choice = request.tool_choice
        if not request.tools:
            if choice not in (None, ToolChoice.AUTO, ToolChoice.NONE):
                self.dropped.append("tool_choice")
            return
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools
        if choice is ToolChoice.NAMED:
            if request.tool_name in {tool.name for tool in request.tools}:
                body["tool_choice"] = {"type": "function", "name": request.tool_name}
            else:
                self.dropped.append("tool_choice")
        elif choice is not None:
            body["tool_choice"] = "required" if choice is ToolChoice.ANY else choice.value

    def think(self, body: Item) -> None:
        """Whether and how much to think. Thoughts come back sealed, so that they can be given again."""
        wanted = self.request.reasoning
        if wanted is None:
            return
        effort = wanted.effort
        if wanted.enabled is False:
            if effort is Effort.NONE:
                body["reasoning"] = {"effort": "none"}
            else:  # many models here refuse that word
                self.dropped.append("reasoning")
            return
        if effort is None and wanted.enabled and not wanted.adaptive:
            effort = Effort.MEDIUM if wanted.budget is None else effort_of(wanted.budget)
        reasoning: Item = {}
        if effort is not None:
            finer = _REASONER.search(self.request.model.lower()) is not None
            reasoning["effort"] = effort if finer else _PLAIN_EFFORTS.get(effort, effort)
        if wanted.shown:
            reasoning["summary"] = "auto"
        if reasoning:
            body["reasoning"] = reasoning
            body["include"] = ["reasoning.encrypted_content"]


_OWN_ITEMS = frozenset({"function_call", "function_call_output", "reasoning"})


def _message(role: str, content: list[Item]) -> Item:
    return {"type": "message", "role": role, "content": content}


def _words(text: str) -> Item:
    return {"type": "input_text", "text": text}


def _image(part: Image) -> Item:
    url = part.url or data_url(part.media_type, part.data)
    written = {"type": "input_image", "image_url": url}
    return {**written, "detail": part.detail} if part.detail else written


def _file(part: Document) -> Item:
    """A file: its words where they can be had, which every server understands; otherwise its address or its data."""
    said = words(part)
    if said is not None:
        return _words(f"{part.name}\n\n{said}" if part.name else said)
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    name = part.name or ("document.pdf" if part.media_type == "application/pdf" else "document")
    return {"type": "input_file", "filename": name, "file_data": data_url(part.media_type, part.data)}


def _failed(output: str | list[Item]) -> str | list[Item]:
    """What a tool answered when it failed: its words say so."""
    if isinstance(output, list):
        return [_words("Error:"), *output]
    return output if output.lower().startswith("error") else f"Error: {output}"


def _tool(tool: Tool) -> Item:
    """A function. Not saying whether it is strict would mean that it is, with a schema bent to that."""
    written: Item = {"type": "function", "name": tool.name, "parameters": tool.schema, "strict": bool(tool.strict)}
    if tool.description:
        written["description"] = tool.description
    return written


def _format(output: OutputSchema) -> Item:
    if output.schema is None:
        return {"type": "json_object"}
    written: Item = {"type": "json_schema", "name": output.name, "schema": output.schema}
    if output.description:
        written["description"] = output.description
    if output.strict is not None:
        written["strict"] = output.strict
    return written
