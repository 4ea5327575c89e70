"""A request, an answer and a stream in no vendor's words.

Every wire reads its own shape into this one and writes it out of it; so any wire comes out as any other. What a wire
cannot say is left out by its writer and named in `Written.dropped`: nothing is lost in silence. What this form has no
word for stays in the raw request, and survives where both ends speak the same wire, because there the bytes pass.

Frozen, so that one reading serves several attempts.
"""

from enum import StrEnum
from typing import Any

import msgspec


class _Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value; fields are given by name."""


# What is said --------------------------------------------------------------------------------------------------------


class Text(_Value, frozen=True, tag="text"):
    """Words."""

    text: str


class Image(_Value, frozen=True, tag="image"):
    """A picture: base64 data with its media type, or an address."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    detail: str = ""
    """`low`, `high`, `auto`: how closely to look, where the wire has such."""


class Document(_Value, frozen=True, tag="document"):
    """A file: base64 data with its media type, an address, or plain text (`media_type` text/plain and `text`)."""

    media_type: str = ""
    data: str = ""
    url: str = ""
    text: str = ""
    name: str = ""


class Thinking(_Value, frozen=True, tag="thinking"):
    """What a model thought. `signature` and `redacted` are of use to the provider that made them alone."""

    text: str = ""
    signature: str = ""
    redacted: str = ""
    """Thought that only its provider can read; `text` is empty then."""
    issuer: str = ""
    """The wire on which the signature was issued, as far as it is known."""


class ToolUse(_Value, frozen=True, tag="tool_use"):
    """A call of a tool. `input` is its arguments as JSON text, as the model wrote it: it may be broken."""

    id: str
    name: str
    input: str = "{}"
    signature: str = ""
    """A thought signature that belongs to the call, where the provider has such (Gemini)."""


class ToolResult(_Value, frozen=True, tag="tool_result"):
    """What a tool answered."""

    id: str
    parts: tuple["Text | Image | Document", ...] = ()
    is_error: bool = False
    name: str = ""
    """The tool's name, where the wire gives it beside the id or instead of one."""


class Refusal(_Value, frozen=True, tag="refusal"):
    """The model's own words of why it will not."""

    text: str


Part = Text | Image | Document | Thinking | ToolUse | ToolResult | Refusal


class Role(StrEnum):
    """Who speaks. A system turn in the middle keeps its place; the first ones are `Request.system`."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


class Turn(_Value, frozen=True):
    """What one side says at a time. Results of tools are parts of a user's turn."""

    role: Role
    parts: tuple[Part, ...]


# What is asked -------------------------------------------------------------------------------------------------------


class Tool(_Value, frozen=True):
    """A function the model may call. `schema` is the JSON Schema of its input."""

    name: str
    description: str = ""
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class ToolChoice(StrEnum):
    """Whether the model may, must, or must not call tools."""

    AUTO = "auto"
    ANY = "any"
    NONE = "none"
    NAMED = "named"


class Effort(StrEnum):
    """How hard to think, for wires that say it in a word."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class Reasoning(_Value, frozen=True):
    """Whether and how much to think: a budget in tokens, or a word for it; wires translate one into the other."""

    enabled: bool | None = True
    """None: the client named an effort and left the rest to the model."""
    budget: int | None = None
    effort: Effort | None = None
    adaptive: bool = False
    """The model decides how much."""
    shown: bool | None = None
    """Whether the thoughts are wanted in the answer; None: as the provider does by itself."""


class OutputSchema(_Value, frozen=True):
    """Structured output: any JSON (`schema` is None), or JSON of this schema."""

    schema: dict[str, Any] | None = None
    name: str = "answer"
    description: str = ""
    strict: bool | None = None


class Request(_Value, frozen=True):
    """One request. None means that the client did not say."""

    model: str
    turns: tuple[Turn, ...]
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    tool_name: str = ""
    """The tool that must be called, if `tool_choice` is NAMED."""
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    reasoning: Reasoning | None = None
    output: OutputSchema | None = None
    user: str = ""
    """Who the end user is, for the provider's abuse checks."""
    stream: bool = False
    stream_usage: bool = False
    """Whether the client wants the usage at the end of a stream, on wires where it has to ask."""
    unread: tuple[str, ...] = ()
    """The names of fields this form has no word for: they are dropped where the wire changes."""


# What is answered ----------------------------------------------------------------------------------------------------


class Stop(StrEnum):
    """Why an answer ended."""

    END = "end"
    LENGTH = "length"
    SEQUENCE = "sequence"
    TOOL_USE = "tool_use"
    REFUSAL = "refusal"
    FILTER = "filter"
    PAUSE = "pause"
    CONTEXT = "context"
    """The context window was full."""


class Usage(_Value, frozen=True):
    """Tokens. `input` includes what came from or went into the cache; None: not told."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    """Of the output, what was thought."""


class Answer(_Value, frozen=True):
    """A whole answer."""

    id: str
    model: str
    parts: tuple[Part, ...]
    stop: Stop = Stop.END
    stop_sequence: str = ""
    usage: Usage = Usage()
    created: int = 0
    """Unix time in seconds, where the provider says it. No codec has a clock: who has one may put it here."""


# What is streamed ----------------------------------------------------------------------------------------------------


class Began(_Value, frozen=True, tag="began"):
    """The answer begins. Once, and first."""

    id: str
    model: str
    usage: Usage = Usage()
    created: int = 0
    """As in `Answer`."""


class PartBegan(_Value, frozen=True, tag="part_began"):
    """A part begins: its number, counted from 0, and what it is, with nothing in it yet (a tool's id and name are)."""

    index: int
    part: Text | Thinking | ToolUse | Refusal


class Grew(_Value, frozen=True, tag="grew"):
    """More of a part: of its text, of a tool's input, or its signature. Parts may grow by turns."""

    index: int
    text: str = ""
    signature: str = ""


class PartEnded(_Value, frozen=True, tag="part_ended"):
    """A part is whole."""

    index: int


class Ended(_Value, frozen=True, tag="ended"):
    """The answer is whole. Once, after the last part; what a wire's own terminator adds comes with it."""

    stop: Stop = Stop.END
    stop_sequence: str = ""
    usage: Usage = Usage()


Event = Began | PartBegan | Grew | PartEnded | Ended


# What was left out ---------------------------------------------------------------------------------------------------


class Written(_Value, frozen=True):
    """A request as another wire says it, and the names of what that wire has no words for."""

    body: bytes
    dropped: tuple[str, ...] = ()
