"""A client's request on the Responses wire, read into the canonical form."""

from collections.abc import Callable, Iterable

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
from recloser.gateway.wires.openai_responses_codec.shapes import (
    Allowed,
    Asked,
    Call,
    CustomCall,
    FilePart,
    Function,
    ImagePart,
    Item,
    Message,
    Named,
    ReasoningConfig,
    RefusalPart,
    Result,
    Schema,
    TextConfig,
    Thought,
    Words,
)
from recloser.gateway.wires.phrasing import EFFORTS, arguments_as_written, fields, from_data_url, shaped, unknown
from recloser.gateway.wires.thoughts import opened
from recloser.gateway.wires.wire import BadRequestError

WIRE = "openai-responses"

_PDF = "application/pdf"
_STORED = ("previous_response_id", "conversation", "prompt")
"""What of a request may be kept by the provider."""


def read_request(body: bytes) -> Request:
    """A client's request; BadRequestError that names the field if it is none."""
    given = fields(body)
    asked = shaped(given, Asked)
    if asked.input is None and not any(given.get(name) for name in _STORED):
        raise BadRequestError("input: Field required", "input")
    reading = _Reading([name for name in unknown(given, Asked) if given[name] != {}])
    reading.options(asked, given)
    reading.conversation([] if asked.input is None else asked.input)
    tools = tuple(tool for number, entry in enumerate(asked.tools or ()) for tool in reading.tool(entry, number))
    choice, name, tools = reading.choice(asked.tool_choice, tools)
    instructions = () if asked.instructions is None else (Text(text=asked.instructions),)
    return Request(
        model=asked.model,
        turns=tuple(Turn(role=role, parts=tuple(parts)) for role, parts in reading.turns),
        system=(*instructions, *reading.system),
        tools=tools,
        tool_choice=choice,
        tool_name=name,
        parallel_tools=asked.parallel_tool_calls,
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        reasoning=reading.reasoning(asked.reasoning),
        output=reading.output(asked.text),
        user=asked.safety_identifier or asked.user or "",
        stream=bool(asked.stream),
        stream_usage=bool(asked.stream),
        unread=tuple(dict.fromkeys(reading.unread)),
    )


def thoughts_text(summary: Iterable[str], content: Iterable[str]) -> str:
    """What was thought, from a reasoning item: its summary, or where there is none the thoughts themselves."""
    return "\n\n".join(summary) or "\n\n".join(content)


class _Reading:
    """Reads the parts of one request and collects the names of what has no word in the canonical form."""

    def __init__(self, unread: list[str]) -> None:
        self.unread = unread
        self.system: list[Text] = []
        """What the developer says before anybody else does."""
        self.turns: list[tuple[Role, list[Part]]] = []

    def leftover(self, given: Item, shape: type[msgspec.Struct], within: str) -> None:
        """Note the fields of an object that are not in its shape; those that say nothing to a model do not count."""
        missed = unknown(given, shape, "type", "id", "status", "annotations", "logprobs")
        self.unread += [f"{within}.{name}" for name in missed]

    def options(self, asked: Asked, given: Item) -> None:
        """Note what is asked beside the answer itself. What is so anyway is not missed."""
        self.unread += [name for name in ("background", "store") if getattr(asked, name)]
        self.unread += [f"include.{name}" for name in asked.include or () if name != "reasoning.encrypted_content"]
        if asked.truncation not in (None, "disabled"):
            self.unread.append("truncation")
        self.leftover(given.get("reasoning") or {}, ReasoningConfig, "reasoning")
        self.leftover(given.get("text") or {}, TextConfig, "text")

    # The conversation

    def conversation(self, given: str | list[Item]) -> None:
        """Words of the user, or items."""
        if isinstance(given, str):
            self.say(Role.USER, [Text(text=given)])
            return
        for number, item in enumerate(given):
            spot = f"input[{number}]"
            kind = item.get("type", "message" if "role" in item else None)
            if not isinstance(kind, str):
                raise BadRequestError(f"{spot}.type: Field required", f"{spot}.type")
            read = _ITEMS.get(kind)
            if read is None:
                self.unread.append(f"input.{kind}")
            else:
                read(self, item, spot)

    def say(self, role: Role, parts: list[Part]) -> None:
        """Add to the last turn, or begin one. What the model says is one turn, as are results and words after them."""
        if self.turns and self.turns[-1][0] is role:
            last = self.turns[-1][1]
            if role is Role.ASSISTANT or (role is Role.USER and all(isinstance(part, ToolResult) for part in last)):
                last += parts
                return
        self.turns.append((role, parts))

    def message(self, item: Item, spot: str) -> None:
        """A message of anybody."""
        said = shaped(item, Message, spot)
        self.leftover(item, Message, "input")
        parts = self.content(said.content, f"{spot}.content")
        if said.role in ("user", "assistant"):
            self.say(Role(said.role), parts)
            return
        words = [part for part in parts if isinstance(part, Text)]
        if len(words) < len(parts):
            self.unread.append(f"input.{said.role}")
        if self.turns:
            self.say(Role.SYSTEM, list(words))
        else:
            self.system += words

    def content(self, content: str | list[Item], spot: str) -> list[Part]:
        """Content, as a string or in parts."""
        if isinstance(content, str):
            return [Text(text=content)]
        return [
            part for number, entry in enumerate(content) for part in self.content_part(entry, f"{spot}[{number}]")
        ]  # fmt: skip

    def content_part(self, entry: Item, place: str) -> list[Part]:
        """One part of a content; none if there is no word for it."""
        match entry.get("type"):
            case "input_text" | "output_text" | "text":
                return [Text(text=shaped(entry, Words, place).text)]
            case "refusal":
                return [Refusal(text=shaped(entry, RefusalPart, place).refusal)]
            case "input_image":
                return self.image(shaped(entry, ImagePart, place), place)
            case "input_file":
                return self.file(shaped(entry, FilePart, place), place)
            case str(kind):
                self.unread.append(f"input.{kind}")
                return []
        raise BadRequestError(f"{place}.type: Field required", f"{place}.type")

    def image(self, given: ImagePart, place: str) -> list[Part]:
        """A picture; none if only its provider has it."""
        if not given.image_url:
            return self.kept_elsewhere(given.file_id, "input_image", f"{place}.image_url")
        inline = from_data_url(given.image_url)
        detail = given.detail or ""
        if inline is None:
            return [Image(url=given.image_url, detail=detail)]
        return [Image(media_type=inline[0], data=inline[1], detail=detail)]

    def file(self, given: FilePart, place: str) -> list[Part]:
        """A file; none if only its provider has it."""
        name = given.filename or ""
        if given.file_url:
            return [Document(media_type=_PDF, url=given.file_url, name=name)]
        if not given.file_data:
            return self.kept_elsewhere(given.file_id, "input_file", f"{place}.file_data")
        media_type, data = from_data_url(given.file_data) or (_PDF, given.file_data)
        return [Document(media_type=media_type, data=data, name=name)]

    def kept_elsewhere(self, file_id: str | None, kind: str, needed: str) -> list[Part]:
        """Note a file that is known by its provider's id alone; without that, there is none at all."""
        if not file_id:
            raise BadRequestError(f"{needed}: Field required", needed)
        self.unread.append(f"input.{kind}.file_id")
        return []

    def call(self, item: Item, spot: str) -> None:
        """A call of a function."""
        call = shaped(item, Call, spot)
        self.leftover(item, Call, "input")
        use = ToolUse(id=call.call_id, name=call.name, input=arguments_as_written(call.arguments))
        self.say(Role.ASSISTANT, [use])

    def custom_call(self, item: Item, spot: str) -> None:
        """A call of a tool with free text; here all input is JSON."""
        call = shaped(item, CustomCall, spot)
        given = msgspec.json.encode({"input": call.input}).decode()
        self.say(Role.ASSISTANT, [ToolUse(id=call.call_id, name=call.name, input=given)])

    def result(self, item: Item, spot: str) -> None:
        """What a tool answered."""
        result = shaped(item, Result, spot)
        self.leftover(item, Result, "input")
        parts = self.content(result.output, f"{spot}.output")
        carried = tuple(part for part in parts if isinstance(part, Text | Image | Document))
        self.say(Role.USER, [ToolResult(id=result.call_id, parts=carried)])

    def thought(self, item: Item, spot: str) -> None:
        """What the model thought; nothing if it is known by its id alone."""
        given = shaped(item, Thought, spot)
        text = thoughts_text((part.text for part in given.summary or ()), (part.text for part in given.content or ()))
        issuer, signature, redacted = opened(given.encrypted_content or "", WIRE)
        if text or signature or redacted:
            thought = Thinking(text=text, signature=signature, redacted=redacted, issuer=issuer)
            self.say(Role.ASSISTANT, [thought])
        else:
            self.unread.append("input.reasoning")

    # The rest

    def tool(self, entry: Item, number: int) -> tuple[Tool, ...]:
        """A function; none if the tool is of another kind. Not to be strict is said in so many words on this wire."""
        kind = entry.get("type")
        if not isinstance(kind, str):
            raise BadRequestError(f"tools[{number}].type: Field required", f"tools[{number}].type")
        if kind != "function":
            self.unread.append(f"tools.{entry.get('name') or kind}")
            return ()
        function = shaped(entry, Function, f"tools[{number}]")
        self.leftover(entry, Function, "tools")
        tool = Tool(name=function.name, description=function.description or "", strict=function.strict or None)
        return (tool if function.parameters is None else msgspec.structs.replace(tool, schema=function.parameters),)

    def choice(
        self, given: str | Item | None, tools: tuple[Tool, ...]
    ) -> tuple[ToolChoice | None, str, tuple[Tool, ...]]:
        """Whether tools may or must be called, the one that must be, and those that are allowed."""
        if given is None:
            return None, "", tools
        if isinstance(given, str):
            if given not in _CHOICES:
                raise BadRequestError(f"tool_choice: Invalid value {given[:100]!r}", "tool_choice")
            return _CHOICES[given], "", tools
        match given.get("type"):
            case "function":
                return ToolChoice.NAMED, shaped(given, Named, "tool_choice").name, tools
            case "allowed_tools":
                allowed = shaped(given, Allowed, "tool_choice")
                names = [entry.get("name") for entry in allowed.tools]
                return _CHOICES[allowed.mode], "", tuple(tool for tool in tools if tool.name in names)
            case str():
                self.unread.append("tool_choice")
                return None, "", tools
        raise BadRequestError("tool_choice.type: Field required", "tool_choice.type")

    def reasoning(self, given: ReasoningConfig | None) -> Reasoning | None:
        """Whether and how much to think."""
        if given is None:
            return None
        effort = EFFORTS.get(given.effort or "")
        if given.effort is not None and effort is None:
            self.unread.append("reasoning.effort")
        shown = True if given.summary or given.generate_summary else None
        if effort is None and shown is None:
            return None
        enabled = None if effort is None else effort is not Effort.NONE
        return Reasoning(enabled=enabled, effort=effort, shown=shown)

    def output(self, given: TextConfig | None) -> OutputSchema | None:
        """Structured output."""
        wanted = given.format if given else None
        match wanted.get("type") if wanted else "text":
            case "text":
                return None
            case "json_object":
                return OutputSchema()
            case "json_schema":
                schema = shaped(wanted, Schema, "text.format")
                return OutputSchema(
                    schema=schema.schema,
                    name=schema.name,
                    description=schema.description or "",
                    strict=schema.strict,
                )
        self.unread.append("text.format")
        return None


_CHOICES = {"none": ToolChoice.NONE, "auto": ToolChoice.AUTO, "required": ToolChoice.ANY}
_ITEMS: dict[str, Callable[[_Reading, Item, str], None]] = {
    "message": _Reading.message,
    "function_call": _Reading.call,
    "function_call_output": _Reading.result,
    "custom_tool_call": _Reading.custom_call,
    "custom_tool_call_output": _Reading.result,
    "reasoning": _Reading.thought,
}
