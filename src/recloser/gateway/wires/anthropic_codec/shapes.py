"""What a client sends on the Messages wire, as far as it is read. What is not here is named as unread."""

from typing import Any, Literal

import msgspec

Block = dict[str, Any]


class Message(msgspec.Struct):
    """A turn."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Choice(msgspec.Struct):
    """Whether tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(msgspec.Struct):
    """Whether and how much to think."""

    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Format(msgspec.Struct):
    """The schema of a structured answer."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    """How hard to work, and the shape of the answer."""

    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    """Who the end user is."""

    user_id: str | None = None


class Asked(msgspec.Struct):
    """A request."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    system: str | list[Block] | None = None
    tools: list[Block] | None = None
    tool_choice: Choice | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    metadata: Metadata | None = None
    stream: bool | None = None


class ToolEntry(msgspec.Struct):
    """A tool that the client carries out."""

    name: str
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class TextBlock(msgspec.Struct):
    """Words."""

    text: str


class Source(msgspec.Struct):
    """Where the content of a picture or a file is."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: str | list[Block] = ""


class ImageBlock(msgspec.Struct):
    """A picture."""

    source: Source


class DocumentBlock(msgspec.Struct):
    """A file."""

    source: Source
    title: str | None = None


class SearchBlock(msgspec.Struct):
    """Something found, with its source."""

    title: str
    source: str
    content: list[TextBlock]


class ThinkingBlock(msgspec.Struct):
    """A thought, given back."""

    thinking: str
    signature: str = ""


class RedactedBlock(msgspec.Struct):
    """A thought that only its provider can read."""

    data: str


class ToolUseBlock(msgspec.Struct):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(msgspec.Struct):
    """What a tool answered."""

    tool_use_id: str
    content: str | list[Block] | None = None
    is_error: bool | None = None
