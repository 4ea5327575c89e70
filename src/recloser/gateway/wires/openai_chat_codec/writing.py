"""A request in the canonical form, written for a provider on the Chat Completions wire."""

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
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
from recloser.gateway.wires.openai_chat_codec.reading import WIRE
from recloser.gateway.wires.phrasing import arguments_object, as_written, data_url, effort_of, end_user, shortened

Entry = dict[str, Any]

_LONGEST_ID = 40
_LONGEST_USER = 64
_MOST_STOPS = 4
_REASONER = re.compile(r"(?:^|/)(?:o\d|gpt-[5-9]|gpt-\d\d)")
"""The models that know `max_completion_tokens` alone, and the finer words for an effort."""
_PLAIN_EFFORTS = {Effort.MINIMAL: Effort.LOW, Effort.XHIGH: Effort.HIGH, Effort.MAX: Effort.HIGH}
_CHOICES = {ToolChoice.AUTO: "auto", ToolChoice.NONE: "none", ToolChoice.ANY: "required"}


def write_request(request: Request) -> Written:
    """A request for a provider of this wire, and what it has no words for; BadRequestError if it cannot be written."""
    writing = _Writing(request)
    return as_written(writing.body, writing.dropped)


class _Writing:
    """Writes one request and collects the names of what is left out."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.reasoner = _REASONER.search(request.model.lower()) is not None
        self.dropped = list(request.unread)

    def body(self) -> Entry:
        """The whole request."""
        request = self.request
        messages: list[Entry] = []
        if request.system:
            messages.append({"role": "system", "content": _paragraphs(request.system)})
        for number, turn in enumerate(request.turns):
            messages += self.turn(turn, f"messages.{number}")
        body: Entry = {"model": request.model, "messages": messages}
        if request.max_tokens is not None:
            body["max_completion_tokens" if self.reasoner else "max_tokens"] = request.max_tokens
        for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty"):
            if getattr(request, name) is not None:
                body[name] = getattr(request, name)
        if request.top_k is not None:
            self.dropped.append("top_k")
        if request.stop:
            body["stop"] = request.stop[:_MOST_STOPS]
            self.dropped += ["stop"] * (len(request.stop) > _MOST_STOPS)
        if request.user:
            body["user"] = end_user(request.user, _LONGEST_USER)
        if request.stream:
            body["stream"] = True
            if request.stream_usage:
                body["stream_options"] = {"include_usage": True}
        self.choose(body)
        self.think(body)
        self.format(body)
        return body

    # The conversation

    def turn(self, turn: Turn, within: str) -> list[Entry]:
        """The messages that say one turn: results of tools have one each."""
        match turn.role:
            case Role.ASSISTANT:
                return self.assistant(turn.parts, within)
            case Role.SYSTEM:
                texts = [part for part in turn.parts if isinstance(part, Text)]
                self.dropped += [f"{within}.{_kind(part)}" for part in turn.parts if not isinstance(part, Text)]
                return [{"role": "system", "content": _paragraphs(texts)}] if texts else []
        return self.user(turn.parts, within)

    def assistant(self, parts: Sequence[Part], within: str) -> list[Entry]:
        """What the model said; nothing if nothing of it can be said here."""
        message: Entry = {"role": "assistant", "content": said(parts)}
        calls = [_call(part) for part in parts if isinstance(part, ToolUse)]
        refusals = [part.text for part in parts if isinstance(part, Refusal)]
        thoughts = [part.text for part in parts if isinstance(part, Thinking) and part.issuer == WIRE and part.text]
        if thoughts:  # some models must be given back what they thought before they called a tool
            message["reasoning_content"] = "".join(thoughts)
        if refusals:
            message["refusal"] = "".join(refusals)
        if calls:
            message["tool_calls"] = calls
        for part in parts:
            match part:
                case Thinking() if part.issuer == WIRE and part.text:
                    pass
                case Thinking():
                    self.dropped.append("messages.thinking")
                case Image() | Document() | ToolResult():
                    self.dropped.append(f"{within}.{_kind(part)}")
        if message["content"] is None and thoughts and not calls and not refusals:
            message["content"] = ""
        return [message] if len(message) > 2 or message["content"] is not None else []

    def user(self, parts: Sequence[Part], within: str) -> list[Entry]:
        """What tools answered, then what the user said. What a tool shows comes with the latter."""
        results: list[Entry] = []
        content: list[Entry] = []
        for part in parts:
            if isinstance(part, ToolResult):
                result, shown = self.result(part, within)
                results.append(result)
                content += shown
        for part in parts:
            if not isinstance(part, ToolResult):
                content += self.user_part(part, within)
        if not content:
            return results
        if all(entry["type"] == "text" for entry in content):
            return [*results, {"role": "user", "content": "\n\n".join(entry["text"] for entry in content)}]
        return [*results, {"role": "user", "content": content}]

    def result(self, part: ToolResult, within: str) -> tuple[Entry, list[Entry]]:
        """What a tool answered in words, and what else it answered, to be shown by the user."""
        entries = [entry for inner in part.parts for entry in self.user_part(inner, within)]
        shown = [entry for entry in entries if entry["type"] != "text"]
        words = "\n\n".join(entry["text"] for entry in entries if entry["type"] == "text")
        call = shortened(part.id, _LONGEST_ID)
        if shown:
            shown.insert(0, _text(f"[What the tool call {call} returned:]"))
            words = words or "[The result is shown in the next message of the user.]"
        if part.is_error and not words.lower().startswith("error"):
            words = f"Error: {words}"
        return {"role": "tool", "tool_call_id": call, "content": words}, shown

    def user_part(self, part: Part, within: str) -> list[Entry]:
        """One part of what the user said."""
        match part:
            case Text():
                return [_text(part.text)]
            case Image():
                shown: Entry = {"url": part.url or data_url(part.media_type, part.data)}
                if part.detail:
                    shown["detail"] = part.detail
                return [{"type": "image_url", "image_url": shown}]
            case Document():
                return self.document(part, within)
        self.dropped.append(f"{within}.{_kind(part)}")
        return []

    def document(self, part: Document, within: str) -> list[Entry]:
        """A file: its words where they can be had, otherwise its data. There is no word for a file's address."""
        words = _words(part)
        if words is not None:
            return [_text(f"{part.name}\n\n{words}" if part.name else words)]
        if not part.data:
            self.dropped.append(f"{within}.document")
            return [_text(f"[document left out: {' '.join(filter(None, (part.name, part.url)))}]")]
        name = part.name or ("document.pdf" if part.media_type == "application/pdf" else "document")
        return [{"type": "file", "file": {"filename": name, "file_data": data_url(part.media_type, part.data)}}]

    # The rest

    def choose(self, body: Entry) -> None:
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
                body["tool_choice"] = {"type": "function", "function": {"name": request.tool_name}}
            else:
                self.dropped.append("tool_choice")
        elif choice is not None:
            body["tool_choice"] = _CHOICES[choice]

    def think(self, body: Entry) -> None:
        """How hard to think. Where the model is to decide, nothing is said: that is what it does by itself."""
        wanted = self.request.reasoning
        if wanted is None:
            return
        if wanted.shown is not None:
            self.dropped.append("reasoning.shown")
        effort = wanted.effort
        if wanted.enabled is False:
            if effort is Effort.NONE:
                body["reasoning_effort"] = "none"
            else:  # most models here refuse that word, and do not think unless they are told to
                self.dropped.append("reasoning")
            return
        if effort is None and not wanted.adaptive:
            effort = Effort.MEDIUM if wanted.budget is None else effort_of(wanted.budget)
        if effort is not None:
            body["reasoning_effort"] = effort if self.reasoner else _PLAIN_EFFORTS.get(effort, effort)

    def format(self, body: Entry) -> None:
        """Structured output."""
        output = self.request.output
        if output is None:
            return
        if output.schema is None:
            body["response_format"] = {"type": "json_object"}
            return
        schema: Entry = {"name": output.name, "schema": output.schema}
        if output.description:
            schema["description"] = output.description
        if output.strict is not None:
            schema["strict"] = output.strict
        body["response_format"] = {"type": "json_schema", "json_schema": schema}


def said(parts: Sequence[Part]) -> str | None:
    """The words of an answer in one string; None if there are none. What stood apart is set apart."""
    words = ""
    apart = False
    for part in parts:
        if isinstance(part, Text):
            words += SEAM + part.text if apart and words and part.text else part.text
            apart = apart and not part.text
        else:
            apart = True
    return words if any(isinstance(part, Text) for part in parts) else None


SEAM = "\n\n"
"""What parts two pieces of text between which something else was said: a thought, or a call."""


def _paragraphs(texts: Sequence[Text]) -> str:
    return "\n\n".join(text.text for text in texts)


def _text(text: str) -> Entry:
    return {"type": "text", "text": text}


def _kind(part: Part) -> str:
    return str(part.__struct_config__.tag)


def _call(part: ToolUse) -> Entry:
    """A call in the history. Many backends decode its arguments, so they are an object whatever the model wrote."""
    arguments = bytes(arguments_object(part.input)).decode()
    return {
        "id": shortened(part.id, _LONGEST_ID),
        "type": "function",
        "function": {"name": part.name, "arguments": arguments},
    }


def _words(part: Document) -> str | None:
    """What a file says, if it is plain text."""
    if part.text or not part.media_type.startswith("text/") or not part.data:
        return part.text or None
    try:
        return b64decode(part.data).decode()
    except (binascii.Error, ValueError):
        return None


def _tool(tool: Tool) -> Entry:
    function: Entry = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}
