"""A client's request on the Chat Completions wire, read into the canonical form."""

from typing import Any

import msgspec

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
    OutputSchema,
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
)
from recloser.gateway.wires.openai_chat_codec.shapes import (
    AllowedChoice,
    Asked,
    Entry,
    File,
    FilePart,
    Function,
    FunctionTool,
    ImagePart,
    ImageUrl,
    Message,
    NamedChoice,
    RefusalPart,
    ResponseFormat,
    StreamOptions,
    TextPart,
    ToolCall,
    ToolEntry,
)
from recloser.gateway.wires.phrasing import (
    EFFORTS,
    arguments_as_written,
    fields,
    from_data_url,
    shaped,
    unknown,
)
from recloser.gateway.wires.wire import BadRequestError

WIRE = "openai-chat"


def read_request(body: bytes) -> Request:
    """A client's request; BadRequestError that names the field if it is none."""
    given = fields(body)
    asked = shaped(given, Asked)
    reading = _Reading(unknown(given, Asked))
    for message in given["messages"]:
        reading.unread += [f"messages.{name}" for name in unknown(message, Message)]
    if asked.n is not None and asked.n > 1:
        reading.unread.append("n")
    system, turns = reading.conversation(asked.messages)
    tools = tuple(tool for place, entry in enumerate(asked.tools or ()) for tool in reading.tool(entry, place))
    choice, name, tools = reading.choice(asked.tool_choice, tools)
    reading.leftover(given.get("stream_options"), StreamOptions, "stream_options")
    options = asked.stream_options
    limit = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    return Request(
        model=asked.model,
        turns=turns,
        system=system,
        tools=tools,
        tool_choice=choice,
        tool_name=name,
        parallel_tools=asked.parallel_tool_calls,
        max_tokens=limit,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        reasoning=reading.effort(asked.reasoning_effort),
        output=reading.output(asked.response_format),
        user=asked.user or asked.safety_identifier or "",
        stream=bool(asked.stream),
        stream_usage=bool(asked.stream and options and options.include_usage),
        unread=tuple(dict.fromkeys(reading.unread)),
    )


class _Reading:
    """Reads the parts of one request and collects the names of what has no word in the canonical form."""

    def __init__(self, unread: list[str]) -> None:
        self.unread = unread

    def leftover(self, given: Any, shape: type[msgspec.Struct], within: str) -> None:
        """Note the fields of an object that are not in its shape."""
        if given is not None:
            self.unread += [f"{within}.{name}" for name in unknown(given, shape, "type")]

    # The conversation

    def conversation(self, messages: list[Message]) -> tuple[tuple[Text, ...], tuple[Turn, ...]]:
        """What the system says at first, and the turns. Results of tools and what the user adds to them are one."""
        system: list[Text] = []
        turns: list[Turn] = []
        for number, message in enumerate(messages):
            place, within = f"messages[{number}]", f"messages.{number}"
            parts: tuple[Part, ...]
            match message.role:
                case "system" | "developer":
                    role, parts = Role.SYSTEM, self.content(message, place, within)
                    if not turns:
                        system += [part for part in parts if isinstance(part, Text)]
                        continue
                case "assistant":
                    role, parts = Role.ASSISTANT, self.said(message, number)
                case "user":
                    role, parts = Role.USER, self.content(message, place, within)
                case _:
                    role, parts = Role.USER, (self.result(message, turns, number),)
            if role is Role.USER and turns and _of_results_alone(turns[-1]):
                parts = (*turns.pop().parts, *parts)
            turns.append(Turn(role=role, parts=parts))
        return tuple(system), tuple(turns)

    def content(self, message: Message, place: str, within: str) -> tuple[Part, ...]:
        """A message's content, which must be there."""
        if message.content is None:
            raise BadRequestError(f"{place}.content: Field required", f"{place}.content")
        return self.parts(message.content, f"{place}.content", within)

    def said(self, message: Message, number: int) -> tuple[Part, ...]:
        """What the assistant thought, said and called."""
        place, within = f"messages[{number}]", f"messages.{number}"
        parts: list[Part] = []
        thought = message.reasoning_content or message.reasoning
        if isinstance(thought, str) and thought:
            parts.append(Thinking(text=thought, issuer=WIRE))
        elif thought:
            self.unread.append("messages.reasoning")
        if message.content:
            parts += self.parts(message.content, f"{place}.content", within)
        if message.refusal:
            parts.append(Refusal(text=message.refusal))
        for at, call in enumerate(message.tool_calls or ()):
            parts.append(_called(call, f"{place}.tool_calls[{at}]"))
        if message.function_call:
            parts.append(_use(_legacy_id(number), message.function_call))
        return tuple(parts)

    def result(self, message: Message, turns: list[Turn], number: int) -> ToolResult:
        """What a tool answered. The oldest form has no id: it answers the call right before it."""
        call = message.tool_call_id
        if call is None and message.role == "function":
            call = next((part.id for part in turns[-1].parts if isinstance(part, ToolUse)), "") if turns else ""
        if call is None:
            place = f"messages[{number}].tool_call_id"
            raise BadRequestError(f"{place}: Field required", place)
        within = f"messages.{number}"
        parts = self.parts(message.content or (), f"messages[{number}].content", within)
        if message.content == "":
            parts = (Text(text=""),)
        return ToolResult(id=call, parts=tuple(part for part in parts if isinstance(part, Text | Image | Document)))

    def parts(self, content: "str | list[Entry] | tuple[()]", place: str, within: str) -> tuple[Part, ...]:
        """Content, as a string or in parts. `place` is for errors, `within` for what is not read."""
        if isinstance(content, str):
            return (Text(text=content),)
        parts = []
        for number, entry in enumerate(content):
            part = self.part(entry, f"{place}[{number}]", within)
            if part is not None:
                parts.append(part)
        return tuple(parts)

    def part(self, entry: Entry, spot: str, within: str) -> Part | None:
        """One part of a content; None if there is no word for it."""
        match entry.get("type"):
            case "text":
                self.leftover(entry, TextPart, "messages")
                return Text(text=shaped(entry, TextPart, spot).text)
            case "refusal":
                return Refusal(text=shaped(entry, RefusalPart, spot).refusal)
            case "image_url":
                self.leftover(entry, ImagePart, "messages")
                return _image(shaped(entry, ImagePart, spot))
            case "file":
                self.leftover(entry, FilePart, "messages")
                document = _document(shaped(entry, FilePart, spot).file)
                if document is None:
                    self.unread.append(f"{within}.file")
                return document
            case str(kind):
                self.unread.append(f"{within}.{kind}")
                return None
        raise BadRequestError(f"{spot}.type: Field required", f"{spot}.type")

    # The rest

    def tool(self, entry: Entry, place: int) -> tuple[Tool, ...]:
        """A function; none if the tool is of another kind."""
        kind = entry.get("type", "function")
        if kind != "function":
            own = entry.get(kind) if isinstance(kind, str) else None
            self.unread.append(f"tools.{own.get('name', kind) if isinstance(own, dict) else kind}")
            return ()
        function = shaped(entry, ToolEntry, f"tools[{place}]").function
        self.leftover(entry["function"], FunctionTool, "tools")
        tool = Tool(name=function.name, description=function.description or "", strict=function.strict)
        return (tool if function.parameters is None else msgspec.structs.replace(tool, schema=function.parameters),)

    def choice(
        self, given: str | Entry | None, tools: tuple[Tool, ...]
    ) -> tuple[ToolChoice | None, str, tuple[Tool, ...]]:
        """Whether tools may or must be called, the one that must be, and those that are allowed."""
        if given is None:
            return None, "", tools
        if isinstance(given, str):
            if given not in _CHOICES:
                raise BadRequestError(f"tool_choice: Invalid value {given!r}", "tool_choice")
            return _CHOICES[given], "", tools
        match given.get("type"):
            case "function":
                named = shaped(given, NamedChoice, "tool_choice").function.name
                return ToolChoice.NAMED, named, tools
            case "allowed_tools":
                allowed = shaped(given, AllowedChoice, "tool_choice").allowed_tools
                names = {entry.function.name for entry in allowed.tools}
                return _CHOICES[allowed.mode], "", tuple(tool for tool in tools if tool.name in names)
            case str():
                self.unread.append("tool_choice")
                return None, "", tools
        raise BadRequestError("tool_choice.type: Field required", "tool_choice.type")

    def effort(self, word: str | None) -> Reasoning | None:
        """How hard to think."""
        if word is None:
            return None
        if word not in EFFORTS:
            self.unread.append("reasoning_effort")
            return None
        return Reasoning(enabled=EFFORTS[word] is not Effort.NONE, effort=EFFORTS[word])

    def output(self, wanted: ResponseFormat | None) -> OutputSchema | None:
        """Structured output."""
        if wanted is None or wanted.type == "text":
            return None
        if wanted.type == "json_object":
            return OutputSchema()
        schema = wanted.json_schema
        if wanted.type != "json_schema" or schema is None:
            self.unread.append("response_format")
            return None
        return OutputSchema(
            schema={} if schema.schema is None else schema.schema,
            name=schema.name,
            description=schema.description or "",
            strict=schema.strict,
        )


_CHOICES = {"auto": ToolChoice.AUTO, "none": ToolChoice.NONE, "required": ToolChoice.ANY}


def _of_results_alone(turn: Turn) -> bool:
    return turn.role is Role.USER and bool(turn.parts) and all(isinstance(part, ToolResult) for part in turn.parts)


def _called(call: ToolCall, place: str) -> ToolUse:
    if call.function is not None:
        return _use(call.id, call.function)
    if call.custom is not None:  # free text for a tool; here all input is JSON
        return ToolUse(
            id=call.id, name=call.custom.name, input=msgspec.json.encode({"input": call.custom.input}).decode()
        )
    raise BadRequestError(f"{place}.function: Field required", f"{place}.function")


def _use(call: str, function: Function) -> ToolUse:
    return ToolUse(id=call, name=function.name, input=arguments_as_written(function.arguments))


def _legacy_id(number: int) -> str:
    return f"call_{number}"


def _image(given: ImagePart) -> Image:
    wanted = ImageUrl(url=given.image_url) if isinstance(given.image_url, str) else given.image_url
    inline = from_data_url(wanted.url)
    if inline is None:
        return Image(url=wanted.url, detail=wanted.detail or "")
    return Image(media_type=inline[0], data=inline[1], detail=wanted.detail or "")


def _document(given: File) -> Document | None:
    if not given.file_data:
        return None
    media_type, data = from_data_url(given.file_data) or ("application/pdf", given.file_data)
    return Document(media_type=media_type, data=data, name=given.filename or "")
