"""A client's request on the Gemini wire, read into the canonical form."""

import binascii
from base64 import b64decode
from typing import TypeVar

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
from recloser.gateway.wires.gemini_codec import shapes
from recloser.gateway.wires.gemini_codec.schemas import json_schema
from recloser.gateway.wires.gemini_codec.shapes import Fields, Shape, spelled
from recloser.gateway.wires.gemini_codec.signatures import NO_SIGNATURE, read_signature
from recloser.gateway.wires.phrasing import EFFORTS, arguments_text, fields, shaped
from recloser.gateway.wires.wire import BadRequestError

S = TypeVar("S", bound=Shape)


def read_request(body: bytes, model: str, *, stream: bool) -> Request:
    """A client's request; BadRequestError that names the field if it is none.

    The model and whether it streams are what the address says; a model in the body serves where that says none.
    """
    try:
        return _read_request(spelled(fields(body), shapes.Asked), model, stream=stream)
    except RecursionError as error:
        raise BadRequestError("the request is nested too deeply") from error


def _read_request(given: Fields, model: str, *, stream: bool) -> Request:
    asked = shaped(given, shapes.Asked)
    name = model or asked.model.removeprefix("models/")
    if not name:
        raise BadRequestError("model: Field required", "model")
    reading = _Reading()
    reading.leftover(given, shapes.Asked, "")
    turns = reading.turns(asked.contents)
    system = reading.system(asked.system_instruction)
    tools = tuple(tool for number, entry in enumerate(asked.tools or ()) for tool in reading.tools(entry, number))
    choice, tool_name, tools = reading.choice(asked.tool_config or {}, tools)
    wanted = reading.shaped(asked.generation_config or {}, shapes.Generation, "generationConfig")
    return Request(
        model=name,
        turns=turns,
        system=system,
        tools=tools,
        tool_choice=choice,
        tool_name=tool_name,
        max_tokens=wanted.max_output_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        top_k=None if wanted.top_k is None else int(wanted.top_k),
        stop=tuple(wanted.stop_sequences or ()),
        seed=wanted.seed,
        presence_penalty=wanted.presence_penalty,
        frequency_penalty=wanted.frequency_penalty,
        reasoning=reading.reasoning(wanted.thinking_config),
        output=reading.output(wanted),
        stream=stream,
        stream_usage=stream,
        unread=tuple(dict.fromkeys(reading.unread)),
    )


class _Reading:
    """Reads the parts of one request and collects the names of what has no word in the canonical form."""

    def __init__(self) -> None:
        self.unread: list[str] = []
        self.calls = _Calls()

    def shaped(self, given: Fields, shape: type[S], place: str) -> S:
        """What stands at a place, in its shape; what is beside that is noted."""
        known = spelled(given, shape)
        self.leftover(known, shape, place.partition("[")[0])
        return shaped(known, shape, place)

    def leftover(self, given: Fields, shape: type[Shape], within: str) -> None:
        """Note the fields of an object that are not in its shape. Null says nothing."""
        missed = [name for name in given if name not in shape.__struct_encode_fields__ and given[name] is not None]
        self.unread += [f"{within}.{name}".lstrip(".") for name in missed]

    # The conversation

    def system(self, given: Fields | None) -> tuple[Text, ...]:
        """What the system says."""
        if given is None:
            return ()
        parts = self.parts({"parts": given.get("parts")}, "systemInstruction")
        return tuple(part for part in parts if isinstance(part, Text))

    def turns(self, contents: list[Fields] | Fields) -> tuple[Turn, ...]:
        """The turns. What the model said piece by piece, as clients keep a stream, is one of them."""
        turns: list[tuple[Role, list[Part]]] = []
        for number, given in enumerate(contents if isinstance(contents, list) else [contents]):
            role = Role.ASSISTANT if given.get("role") == "model" else Role.USER
            parts = self.parts(given, f"contents[{number}]")
            if role is Role.ASSISTANT and turns and turns[-1][0] is role:
                _join(turns[-1][1], parts)
            else:
                turns.append((role, parts))
        return tuple(Turn(role=role, parts=tuple(parts)) for role, parts in turns)

    def parts(self, given: Fields, place: str) -> list[Part]:
        """What one side says."""
        said = shaped(given, shapes.Content, place).parts or []
        parts: list[Part] = []
        for number, part in enumerate(said if isinstance(said, list) else [said]):
            self.part(part, f"{place}.parts[{number}]", parts)
        return parts

    def part(self, given: Fields, place: str, parts: list[Part]) -> None:
        """Read a part to those before it."""
        part = self.shaped(given, shapes.Part, place)
        signature = part.thought_signature or ""
        if signature == NO_SIGNATURE:
            signature = ""
        if part.function_call is not None:
            call = self.shaped(part.function_call, shapes.Call, f"{place}.functionCall")
            call_id = self.calls.made(call.id, call.name)
            given_input = arguments_text(call.args or {})
            parts.append(ToolUse(id=call_id, name=call.name, input=given_input, signature=signature))
        elif part.function_response is not None:
            parts.append(self.result(part.function_response, f"{place}.functionResponse"))
        elif part.inline_data is not None:
            parts += self.inline(part.inline_data, f"{place}.inlineData")
        elif part.file_data is not None:
            parts += self.elsewhere(part.file_data, f"{place}.fileData")
        elif part.text is not None:
            read_words(part.text, signature, parts, thought=bool(part.thought))

    def inline(self, given: Fields, place: str) -> list[Part]:
        """A picture or a file; none if it is to be heard or watched."""
        blob = self.shaped(given, shapes.Blob, place)
        data = blob.data.translate(_STANDARD) if "-" in blob.data or "_" in blob.data else blob.data
        kind, name = blob.mime_type.partition("/")[0].lower(), blob.display_name or ""
        if kind == "image":
            return [Image(media_type=blob.mime_type, data=data)]
        if kind in _NO_WORD:
            self.unread.append(f"contents.{kind}")
            return []
        if blob.mime_type == "text/plain":
            return [Document(media_type="text/plain", text=_decoded(data, f"{place}.data"), name=name)]
        return [Document(media_type=blob.mime_type, data=data, name=name)]

    def elsewhere(self, given: Fields, place: str) -> list[Part]:
        """A picture or a file at an address that everybody can reach; none if only its provider can."""
        file = self.shaped(given, shapes.File, place)
        media_type = file.mime_type or ""
        kind = media_type.partition("/")[0].lower()
        if not file.file_uri.startswith(("https://", "http://")) or _OWN_FILES in file.file_uri or kind in _NO_WORD:
            self.unread.append("contents.fileData")
            return []
        if kind == "image":
            return [Image(media_type=media_type, url=file.file_uri)]
        return [Document(media_type=media_type, url=file.file_uri, name=file.display_name or "")]

    def result(self, given: Fields, place: str) -> ToolResult:
        """What a function answered. By agreement `output` is what it said, and `error` why it failed."""
        answer = self.shaped(given, shapes.Response, place)
        parts: list[Part] = []
        said = answer.response or {}
        is_error = said.keys() == {"error"}
        words = next(iter(said.values())) if said.keys() in _WORDS else said
        if said and not (is_error and words == ""):
            parts.append(Text(text=words if isinstance(words, str) else msgspec.json.encode(words).decode()))
        for number, inner in enumerate(answer.parts or ()):
            self.part(inner, f"{place}.parts[{number}]", parts)
        return ToolResult(
            id=self.calls.answered(answer.id, answer.name),
            parts=tuple(part for part in parts if isinstance(part, Text | Image | Document)),
            is_error=is_error,
            name=answer.name,
        )

    # The rest

    def tools(self, entry: Fields, number: int) -> list[Tool]:
        """The functions; other kinds of tools are noted."""
        group = self.shaped(entry, shapes.Tools, f"tools[{number}]")
        tools = []
        for at, given in enumerate(group.function_declarations or ()):
            place = f"tools[{number}].functionDeclarations[{at}]"
            declared = self.shaped(given, shapes.Declaration, place)
            tool = Tool(name=declared.name, description=declared.description or "")
            schema = declared.parameters_json_schema
            if schema is None and declared.parameters is not None:
                schema = json_schema(declared.parameters)
            tools.append(tool if schema is None else msgspec.structs.replace(tool, schema=schema))
        return tools

    def choice(self, given: Fields, tools: tuple[Tool, ...]) -> tuple[ToolChoice | None, str, tuple[Tool, ...]]:
        """Whether tools may or must be called, the one that must be, and those that are allowed."""
        config = self.shaped(given, shapes.ToolConfig, "toolConfig").function_calling_config
        if config is None:
            return None, "", tools
        calling = self.shaped(config, shapes.Calling, "toolConfig.functionCallingConfig")
        mode = (calling.mode or "").upper()
        allowed = calling.allowed_function_names or []
        if mode not in _MODES:
            place = "toolConfig.functionCallingConfig.mode"
            raise BadRequestError(f"{place}: Invalid value {mode[:100]!r}", place)
        choice = _MODES[mode]
        if choice is ToolChoice.ANY and len(allowed) == 1:
            return ToolChoice.NAMED, allowed[0], tools
        if allowed:
            tools = tuple(tool for tool in tools if tool.name in allowed)
        return choice, "", tools

    def reasoning(self, given: Fields | None) -> Reasoning | None:
        """Whether and how much to think."""
        if given is None:
            return None
        config = self.shaped(given, shapes.Thinking, "generationConfig.thinkingConfig")
        level = (config.thinking_level or "").lower()
        effort: Effort | None = EFFORTS.get(level)
        if level not in EFFORTS and level not in ("", "thinking_level_unspecified"):
            self.unread.append("generationConfig.thinkingConfig.thinkingLevel")
        budget = config.thinking_budget
        if budget is None and effort is None:
            return Reasoning(enabled=None, shown=config.include_thoughts)
        if budget is not None and budget < 0:
            return Reasoning(adaptive=True, effort=effort, shown=config.include_thoughts)
        return Reasoning(enabled=budget != 0, budget=budget or None, effort=effort, shown=config.include_thoughts)

    def output(self, wanted: shapes.Generation) -> OutputSchema | None:
        """Structured output. Of how many answers, and in which form, there is no word."""
        if (wanted.candidate_count or 1) > 1:
            self.unread.append("generationConfig.candidateCount")
        if any(form.upper() != "TEXT" for form in wanted.response_modalities or ()):
            self.unread.append("generationConfig.responseModalities")
        schema = wanted.response_json_schema
        if schema is None and wanted.response_schema is not None:
            schema = json_schema(wanted.response_schema)
        match wanted.response_mime_type:
            case "application/json":
                return OutputSchema(schema=schema)
            case None | "" | "text/plain":
                return None
        self.unread.append("generationConfig.responseMimeType")
        return None


def read_words(text: str, signature: str, parts: list[Part], *, thought: bool) -> None:
    """Read words to the parts before them.

    The signature of what was thought may come after it, in a part without words. That of words which were said
    becomes a thought without words, behind them.
    """
    issuer, plain, redacted = read_signature(signature)
    last = parts[-1] if parts else None
    if thought and not text and isinstance(last, Thinking) and last.text and not last.signature and plain:
        parts[-1] = Thinking(text=last.text, signature=plain, issuer=issuer)
    elif thought and (text or signature):
        parts.append(Thinking(text=text, signature=plain, redacted=redacted, issuer=issuer))
    elif not thought:
        if text:
            parts.append(Text(text=text))
        if signature:
            parts.append(Thinking(signature=plain, redacted=redacted, issuer=issuer))


def _join(parts: list[Part], more: list[Part]) -> None:
    """Add what the model said next; words go on where they were broken off."""
    match parts[-1:], more[:1]:
        case [Text() as last], [Text() as first]:
            parts[-1:] = [Text(text=last.text + first.text)]
            more = more[1:]
        case [Thinking() as last], [Thinking() as first] if not last.signature and not (
            last.redacted or first.redacted
        ):
            parts[-1:] = [Thinking(text=last.text + first.text, signature=first.signature, issuer=first.issuer)]
            more = more[1:]
    parts += more


class _Calls:
    """Which call a result answers. Clients of this wire may give ids to both, to one of them, or to neither."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str, bool]] = []
        """Id, name, and whether the client gave the id, of the calls that have no result yet."""
        self._count = 0

    def made(self, given: str | None, name: str) -> str:
        """The id of a call: the client's, or one that is the same whenever the same conversation comes."""
        call = given or self._next()
        self._waiting.append((call, name, bool(given)))
        return call

    def answered(self, given: str | None, name: str) -> str:
        """The id of the call that a result belongs to: of its own id, else the first of its name that waits."""
        for fits in (
            lambda call: given is not None and call[0] == given,
            lambda call: call[1] == name and not call[2],
            lambda call: call[1] == name and not given,
        ):
            found = next(filter(fits, self._waiting), None)
            if found is not None:
                self._waiting.remove(found)
                return found[0]
        return given or self._next()

    def _next(self) -> str:
        self._count += 1
        return f"call_{self._count}"


def _decoded(data: str, place: str) -> str:
    try:
        return b64decode(data).decode("utf-8", "replace")
    except binascii.Error as error:
        raise BadRequestError(f"{place}: not base64: {error}", place) from error


_STANDARD = str.maketrans("-_", "+/")
_NO_WORD = ("audio", "video")
_OWN_FILES = "generativelanguage.googleapis.com/"
_WORDS: tuple[set[str], ...] = ({"output"}, {"error"}, {"result"})
_MODES: dict[str, ToolChoice | None] = {
    "": None,
    "MODE_UNSPECIFIED": None,
    "AUTO": ToolChoice.AUTO,
    "VALIDATED": ToolChoice.AUTO,
    "ANY": ToolChoice.ANY,
    "NONE": ToolChoice.NONE,
}
