"""What a client sends on the Chat Completions wire, as far as it is read. What is not here is named as unread."""

from typing import Any, Literal

import msgspec

Entry = dict[str, Any]


class Function(msgspec.Struct):
    """A function that was called."""

    name: str
    arguments: str = ""


class Custom(msgspec.Struct):
    """A tool that was called with free text."""

    name: str
    input: str = ""


class ToolCall(msgspec.Struct):
    """A call of a tool."""

    id: str
    function: Function | None = None
    custom: Custom | None = None


class Message(msgspec.Struct):
    """A message."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Entry] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    """What is wanted of a stream."""

    include_usage: bool | None = None


class Schema(msgspec.Struct):
    """The schema of a structured answer."""

    name: str = "answer"
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(msgspec.Struct):
    """The shape of the answer."""

    type: str
    json_schema: Schema | None = None


class Asked(msgspec.Struct):
    """A request."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: list[Entry] | None = None
    tool_choice: str | Entry | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None


class FunctionTool(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolEntry(msgspec.Struct):
    """A tool."""

    function: FunctionTool


class Name(msgspec.Struct):
    """A function by its name."""

    name: str


class NamedChoice(msgspec.Struct):
    """The function that must be called."""

    function: Name


class Allowed(msgspec.Struct):
    """The functions that may, or one of which must, be called."""

    mode: Literal["auto", "required"]
    tools: list[NamedChoice]


class AllowedChoice(msgspec.Struct):
    """A choice among some of the functions."""

    allowed_tools: Allowed


class TextPart(msgspec.Struct):
    """Words."""

    text: str


class RefusalPart(msgspec.Struct):
    """The model's words of why it will not."""

    refusal: str


class ImageUrl(msgspec.Struct):
    """A picture's address or data, and how closely to look."""

    url: str
    detail: str | None = None


class ImagePart(msgspec.Struct):
    """A picture."""

    image_url: ImageUrl | str


class File(msgspec.Struct):
    """A file's data and name."""

    file_data: str | None = None
    filename: str | None = None


class FilePart(msgspec.Struct):
    """A file."""

    file: File
