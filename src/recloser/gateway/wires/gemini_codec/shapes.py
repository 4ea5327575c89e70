"""What stands in requests on the Gemini wire, as far as it is read. What is not here is named as unread."""

from typing import Any, Literal

import msgspec

Fields = dict[str, Any]


class Shape(msgspec.Struct, rename="camel"):
    """An object of this wire. It may be spelled in either way: `inlineData` or `inline_data`."""


class Asked(Shape):
    """A whole request, but for what its address says."""

    contents: list[Fields] | Fields
    system_instruction: Fields | None = None
    tools: list[Fields] | None = None
    tool_config: Fields | None = None
    generation_config: Fields | None = None
    model: str = ""


class Content(Shape):
    """What one side says at a time. A single part may stand without a list around it."""

    parts: list[Fields] | Fields | None = None
    role: Literal["user", "model", "function", ""] | None = None


class Part(Shape):
    """A part: one of its fields says what it is."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    inline_data: Fields | None = None
    file_data: Fields | None = None
    function_call: Fields | None = None
    function_response: Fields | None = None


class Blob(Shape):
    """A file's data."""

    mime_type: str
    data: str
    display_name: str | None = None


class File(Shape):
    """A file elsewhere."""

    file_uri: str
    mime_type: str | None = None
    display_name: str | None = None


class Call(Shape):
    """A call of a function."""

    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class Response(Shape):
    """What a function answered."""

    name: str
    response: dict[str, Any] | None = None
    id: str | None = None
    parts: list[Fields] | None = None


class Tools(Shape):
    """Functions; other kinds of tools stand beside them."""

    function_declarations: list[Fields] | None = None


class Declaration(Shape):
    """A function that may be called."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parameters_json_schema: dict[str, Any] | None = None


class ToolConfig(Shape):
    """How tools are used."""

    function_calling_config: Fields | None = None


class Calling(Shape):
    """Whether functions may or must be called, and which."""

    mode: str | None = None
    allowed_function_names: list[str] | None = None


class Generation(Shape):
    """How the answer is made."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: float | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_mime_type: str | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: Fields | None = None
    candidate_count: int | None = None
    response_modalities: list[str] | None = None


class Thinking(Shape):
    """How much to think."""

    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


def spelled(given: Fields, shape: type[Shape]) -> Fields:
    """An object's fields in the spelling that its shape knows; what it does not know stays as it is."""
    known = shape.__struct_encode_fields__
    return {
        name if name in known or (other := camel(name)) not in known else other: value for name, value in given.items()
    }


def camel(name: str) -> str:
    """A name in the spelling of this wire."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
