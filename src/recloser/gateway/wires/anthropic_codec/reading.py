"""A client's request on the Messages wire, read into the canonical form."""

from collections.abc import Callable
from typing import Any

import msgspec

from recloser.gateway.canonical import (
    Document,
    Effort,
    Image,
    OutputSchema,
    Part,
    Reasoning,
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
from recloser.gateway.wires.anthropic_codec.shapes import (
    Asked,
    Block,
    Choice,
    DocumentBlock,
    Format,
    ImageBlock,
    Message,
    Metadata,
    OutputConfig,
    RedactedBlock,
    SearchBlock,
    TextBlock,
    ThinkingBlock,
    ThinkingConfig,
    ToolEntry,
    ToolResultBlock,
    ToolUseBlock,
)
from recloser.gateway.wires.phrasing import EFFORTS, arguments_text, fields, shaped, unknown, unsealed
from recloser.gateway.wires.wire import BadRequestError

WIRE = "anthropic"


def read_request(body: bytes) -> Request:
    """A client's request; BadRequestError that names the field if it is none."""
    given = fields(body)
    asked = shaped(given, Asked)
    reading = _Reading(unknown(given, Asked))
    system = reading.texts(asked.system, "system")
    turns = tuple(reading.turn(message, number) for number, message in enumerate(asked.messages))
    tools = tuple(tool for place, entry in enumerate(asked.tools or ()) for tool in reading.tool(entry, place))
    choice = asked.tool_choice
    config = asked.output_config or OutputConfig()
    reading.leftover(given.get("output_config"), OutputConfig, "output_config")
    reading.leftover(given.get("metadata"), Metadata, "metadata")
    return Request(
        model=asked.model,
        turns=turns,
        system=system,
        tools=tools,
        tool_choice=_CHOICES[choice.type] if choice else None,
        tool_name=choice.name if choice and choice.type == "tool" else "",
        parallel_tools=_parallel(choice),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=tuple(asked.stop_sequences or ()),
        reasoning=reading.reasoning(asked.thinking, reading.effort(config.effort)),
        output=_output(config.format or asked.output_format),
        user=(asked.metadata.user_id if asked.metadata else None) or "",
        stream=bool(asked.stream),
        stream_usage=bool(asked.stream),
        unread=tuple(dict.fromkeys(reading.unread)),
    )


_CHOICES = {"auto": ToolChoice.AUTO, "any": ToolChoice.ANY, "tool": ToolChoice.NAMED, "none": ToolChoice.NONE}


def _parallel(choice: Choice | None) -> bool | None:
    if choice is None or choice.disable_parallel_tool_use is None:
        return None
    return not choice.disable_parallel_tool_use


def _output(wanted: Format | None) -> OutputSchema | None:
    return OutputSchema(schema=wanted.schema) if wanted else None


class _Reading:
    """Reads the parts of one request and collects the names of what has no word in the canonical form."""

    def __init__(self, unread: list[str]) -> None:
        self.unread = unread

    def leftover(self, given: Any, shape: type[msgspec.Struct], within: str) -> None:
        """Note the fields of an object that are not in its shape."""
        if given is not None and (missed := unknown(given, shape, "type")):
            self.unread += [f"{within}.{name}" for name in missed]

    def texts(self, given: str | list[Block] | None, place: str) -> tuple[Text, ...]:
        """Words alone."""
        return tuple(part for part in self.parts(given or (), place, place) if isinstance(part, Text))

    def turn(self, message: Message, number: int) -> Turn:
        """A message."""
        return Turn(
            role=Role(message.role),
            parts=self.parts(message.content, f"messages[{number}].content", f"messages.{number}"),
        )

    def parts(self, content: "str | list[Block] | tuple[()]", place: str, within: str) -> tuple[Part, ...]:
        """Content, as a string or in blocks. `place` is for errors, `within` for what is not read."""
        if isinstance(content, str):
            return (Text(text=content),)
        parts: list[Part] = []
        for number, block in enumerate(content):
            spot = f"{place}[{number}]"
            kind = block.get("type")
            if not isinstance(kind, str):
                raise BadRequestError(f"{spot}.type: Field required", f"{spot}.type")
            shape, read = _KINDS.get(kind, (None, None))
            if shape is None or read is None:
                self.unread.append(f"{within}.{kind}")
                continue
            self.leftover(block, shape, within.partition(".")[0])
            part = read(self, shaped(block, shape, spot), spot, within)
            if part is not None:
                parts.append(part)
        return tuple(parts)

    def tool(self, entry: Block, place: int) -> tuple[Tool, ...]:
        """A tool that the client carries out; none if the provider or the model's own knowledge is needed for it."""
        if entry.get("type") not in (None, "custom"):
            self.unread.append(f"tools.{entry.get('name') or entry['type']}")
            return ()
        self.leftover(entry, ToolEntry, "tools")
        tool = shaped(entry, ToolEntry, f"tools[{place}]")
        return (Tool(name=tool.name, description=tool.description or "", schema=tool.input_schema, strict=tool.strict),)

    def effort(self, word: str | None) -> Effort | None:
        """How hard to work; new words come with new models."""
        if word is not None and word not in EFFORTS:
            self.unread.append("output_config.effort")
        return EFFORTS.get(word or "")

    def reasoning(self, thinking: ThinkingConfig | None, effort: Effort | None) -> Reasoning | None:
        """Whether and how much to think."""
        if thinking is None:
            return None if effort is None else Reasoning(enabled=None, effort=effort)
        shown = {"omitted": False, "summarized": True}.get(thinking.display or "")
        match thinking.type:
            case "enabled":
                return Reasoning(budget=thinking.budget_tokens, effort=effort, shown=shown)
            case "adaptive":
                return Reasoning(adaptive=True, effort=effort, shown=shown)
            case "disabled":
                return Reasoning(enabled=False, effort=effort)
        self.unread.append(f"thinking.{thinking.type}")
        return None if effort is None else Reasoning(enabled=None, effort=effort)

    def image(self, block: ImageBlock, spot: str, within: str) -> Image | None:
        """A picture; None if only its provider has it."""
        source = block.source
        match source.type:
            case "base64":
                return Image(media_type=source.media_type, data=_said(source.data, f"{spot}.source.data"))
            case "url":
                return Image(url=_said(source.url, f"{spot}.source.url"))
        self.unread.append(f"{within}.image")
        return None

    def document(self, block: DocumentBlock, spot: str, within: str) -> Document | None:
        """A file; None if only its provider has it."""
        source, name = block.source, block.title or ""
        match source.type:
            case "base64":
                data = _said(source.data, f"{spot}.source.data")
                return Document(media_type=source.media_type or "application/pdf", data=data, name=name)
            case "url":
                return Document(media_type="application/pdf", url=_said(source.url, f"{spot}.source.url"), name=name)
            case "text":
                return Document(media_type="text/plain", text=source.data, name=name)
            case "content":
                parts = self.parts(source.content, f"{spot}.source.content", within)
                self.unread += [f"{within}.document.image" for part in parts if not isinstance(part, Text)]
                text = "\n\n".join(part.text for part in parts if isinstance(part, Text))
                return Document(media_type="text/plain", text=text, name=name)
        self.unread.append(f"{within}.document")
        return None

    def result(self, block: ToolResultBlock, spot: str, within: str) -> ToolResult:
        """What a tool answered."""
        parts = self.parts(block.content, f"{spot}.content", within) if block.content is not None else ()
        carried = tuple(part for part in parts if isinstance(part, Text | Image | Document))
        if len(carried) < len(parts):
            self.unread.append(f"{within}.tool_result")
        return ToolResult(id=block.tool_use_id, parts=carried, is_error=bool(block.is_error))


def _thought(block: ThinkingBlock) -> Thinking:
    issuer, signature = unsealed(block.signature, WIRE)
    return Thinking(text=block.thinking, signature=signature, issuer=issuer)


def _redacted(block: RedactedBlock) -> Thinking:
    issuer, data = unsealed(block.data, WIRE)
    return Thinking(redacted=data, issuer=issuer)


def _tool_use(block: ToolUseBlock) -> ToolUse:
    return ToolUse(id=block.id, name=block.name, input=arguments_text(block.input))


def _search(block: SearchBlock) -> Document:
    text = "\n\n".join(part.text for part in block.content)
    return Document(media_type="text/plain", text=text, name=f"{block.title} ({block.source})")


def _said(value: str, place: str) -> str:
    if not value:
        raise BadRequestError(f"{place}: Field required", place)
    return value


_Read = Callable[[_Reading, Any, str, str], Part | None]

_KINDS: dict[str, tuple[type[msgspec.Struct], _Read]] = {
    "text": (TextBlock, lambda _r, block, _s, _w: Text(text=block.text)),
    "image": (ImageBlock, _Reading.image),
    "document": (DocumentBlock, _Reading.document),
    "search_result": (SearchBlock, lambda _r, block, _s, _w: _search(block)),
    "thinking": (ThinkingBlock, lambda _r, block, _s, _w: _thought(block)),
    "redacted_thinking": (RedactedBlock, lambda _r, block, _s, _w: _redacted(block)),
    "tool_use": (ToolUseBlock, lambda _r, block, _s, _w: _tool_use(block)),
    "tool_result": (ToolResultBlock, _Reading.result),
}
