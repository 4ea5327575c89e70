"""What a client sends on the Responses wire, as far as it is read. What is not here is named as unread."""

from typing import Any, Literal

import msgspec

Item = dict[str, Any]


class ReasoningConfig(msgspec.Struct):
    """How hard to think, and whether to tell."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class TextConfig(msgspec.Struct):
    """What kind of text is wanted."""

    format: Item | None = None


class Asked(msgspec.Struct):
    """A whole request."""

    model: str
    input: str | list[Item] | None = None
    instructions: str | None = None
    tools: list[Item] | None = None
    tool_choice: str | Item | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: ReasoningConfig | None = None
    text: TextConfig | None = None
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    include: list[str] | None = None
    truncation: str | None = None
    store: bool | None = None
    background: bool | None = None


class Schema(msgspec.Struct):
    """The schema of a structured answer."""

    schema: dict[str, Any]
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class Function(msgspec.Struct):
    """A function that may be called."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Named(msgspec.Struct):
    """A function that must, or may, be called."""

    name: str


class Allowed(msgspec.Struct):
    """The tools that may be called."""

    mode: Literal["auto", "required"]
    tools: list[Item]


class Message(msgspec.Struct):
    """A message of anybody."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Item]


class Call(msgspec.Struct):
    """A call of a function."""

    call_id: str
    name: str
    arguments: str


class CustomCall(msgspec.Struct):
    """A call of a tool with free text."""

    call_id: str
    name: str
    input: str


class Result(msgspec.Struct):
    """What a tool answered."""

    call_id: str
    output: str | list[Item]


class Thought(msgspec.Struct):
    """What the model thought."""

    summary: list["Words"] | None = None
    content: list["Words"] | None = None
    encrypted_content: str | None = None


class Words(msgspec.Struct):
    """Text."""

    text: str


class RefusalPart(msgspec.Struct):
    """Why not."""

    refusal: str


class ImagePart(msgspec.Struct):
    """A picture."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class FilePart(msgspec.Struct):
    """A file."""

    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    filename: str | None = None
