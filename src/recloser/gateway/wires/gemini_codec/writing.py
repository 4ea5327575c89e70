"""A request in the canonical form, written for a provider on the Gemini wire."""

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
from recloser.gateway.wires.files import words
from recloser.gateway.wires.gemini_codec.models import generation
from recloser.gateway.wires.gemini_codec.shapes import Fields
from recloser.gateway.wires.gemini_codec.signatures import NO_SIGNATURE, WIRE, write_signature
from recloser.gateway.wires.phrasing import arguments_object, as_written, budget_of, effort_of

_MOST_STOPS = 5
_LEVELS = {Effort.LOW: "LOW", Effort.MEDIUM: "MEDIUM", Effort.HIGH: "HIGH", Effort.XHIGH: "HIGH", Effort.MAX: "HIGH"}
_MODES = {ToolChoice.AUTO: "AUTO", ToolChoice.ANY: "ANY", ToolChoice.NAMED: "ANY", ToolChoice.NONE: "NONE"}
_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}


def write_request(request: Request) -> Written:
    """A request for a provider of this wire, and what it has no words for. Its address says model and streaming."""
    writing = _Writing(request)
    return as_written(writing.body, writing.dropped)


class _Writing:
    """Writes one request and collects the names of what is left out."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.takes = generation(request.model)
        self.dropped = list(request.unread)
        self.names = {
            part.id: part.name for turn in request.turns for part in turn.parts if isinstance(part, ToolUse)
        }  # fmt: skip

    def body(self) -> Fields:
        """The whole request."""
        request = self.request
        body: Fields = {"contents": self.contents()}
        system = [{"text": text.text} for text in request.system if text.text]
        if system:
            body["systemInstruction"] = {"parts": system}
        self.choose(body)
        config = self.generation()
        if config:
            body["generationConfig"] = config
        if request.user:
            self.dropped.append("user")
        return body

    # The conversation

    def contents(self) -> list[Fields]:
        """The turns. What several tools answered to one turn of the model is one content."""
        contents: list[Fields] = []
        for number, turn in enumerate(self.request.turns):
            role = "model" if turn.role is Role.ASSISTANT else "user"
            parts = self.turn(turn, f"messages.{number}")
            if not parts:
                continue
            if contents and role == contents[-1]["role"] and (role == "model" or _answers(contents[-1], parts)):
                contents[-1]["parts"] += parts
            else:
                contents.append({"role": role, "parts": parts})
        for content in contents:
            content["parts"].sort(key=lambda part: content["role"] == "user" and "functionResponse" not in part)
        return contents

    def turn(self, turn: Turn, within: str) -> list[Fields]:
        """One turn. System words in the middle are marked words of the user."""
        if turn.role is not Role.ASSISTANT:
            parts = [written for part in turn.parts for written in self.user_part(part, within)]
            if turn.role is Role.SYSTEM:
                for part in parts:
                    if "text" in part:
                        part["text"] = f"<system>\n{part['text']}\n</system>"
            return parts
        parts = [written for part in turn.parts for written in self.model_part(part, within)]
        if self.takes.signed:  # the first call of a step must bear one
            first = next((part for part in parts if "functionCall" in part), {})
            first.setdefault("thoughtSignature", NO_SIGNATURE)
        return parts

    def model_part(self, part: Part, within: str) -> list[Fields]:
        """What the model said."""
        match part:
            case Text() | Refusal():
                return _text(part.text)
            case ToolUse():
                return [write_call(part)]
            case Thinking() if part.issuer == WIRE and (part.text or part.signature):
                return [write_thought(part.text, write_signature(part))]
            case Thinking():
                self.dropped.append("messages.thinking")
                return []
            case Image():
                return [self.image(part)]
        self.dropped.append(f"{within}.{_kind(part)}")
        return []

    def user_part(self, part: Part, within: str) -> list[Fields]:
        """What the user said, or a tool answered."""
        match part:
            case Text():
                return _text(part.text)
            case Image():
                if part.detail not in ("", "auto"):
                    self.dropped.append(f"{within}.image.detail")
                return [self.image(part)]
            case Document():
                return [self.document(part, within)]
            case ToolResult():
                return self.result(part, within)
        self.dropped.append(f"{within}.{_kind(part)}")
        return []

    def image(self, part: Image) -> Fields:
        """A picture. One at an address needs its kind as well, which its name may tell."""
        if not part.url:
            return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
        ending = part.url.partition("?")[0].rpartition(".")[2].lower()
        media_type = part.media_type or _MEDIA_TYPES.get(ending, "image/jpeg")
        return {"fileData": {"mimeType": media_type, "fileUri": part.url}}

    def document(self, part: Document, within: str) -> Fields:
        """A file: its words where they can be had, otherwise its address or its data, which have no name here."""
        said = words(part)
        if said is not None:
            return {"text": f"{part.name}\n\n{said}" if part.name else said}
        if part.name:
            self.dropped.append(f"{within}.document.name")
        if part.url:
            return {"fileData": {"mimeType": part.media_type or "application/pdf", "fileUri": part.url}}
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}

    def result(self, part: ToolResult, within: str) -> list[Fields]:
        """What a tool answered; pictures inside of it where the model takes them there, otherwise behind it."""
        texts = [inner.text for inner in part.parts if isinstance(inner, Text)]
        shown = [
            written for inner in part.parts if not isinstance(inner, Text) for written in self.user_part(inner, within)
        ]
        response = {"error" if part.is_error else "output": "\n\n".join(texts)} if texts or part.is_error else {}
        name = self.names.get(part.id) or part.name or "unknown"
        answer: Fields = {"id": part.id, "name": name, "response": response}
        if shown and self.takes.signed:
            answer["parts"] = shown
            shown = []
        return [{"functionResponse": answer}, *shown]

    # The rest

    def choose(self, body: Fields) -> None:
        """The tools, and whether they may or must be called."""
        request = self.request
        choice = request.tool_choice
        if request.parallel_tools is False:
            self.dropped.append("parallel_tools")
        if not request.tools:
            if choice not in (None, ToolChoice.AUTO, ToolChoice.NONE):
                self.dropped.append("tool_choice")
            return
        body["tools"] = [{"functionDeclarations": [_declared(tool) for tool in request.tools]}]
        if any(tool.strict for tool in request.tools):
            self.dropped.append("tools.strict")
        if choice is ToolChoice.NAMED and request.tool_name not in {tool.name for tool in request.tools}:
            self.dropped.append("tool_choice")
        elif choice is not None:
            calling: Fields = {"mode": _MODES[choice]}
            if choice is ToolChoice.NAMED:
                calling["allowedFunctionNames"] = [request.tool_name]
            body["toolConfig"] = {"functionCallingConfig": calling}

    def generation(self) -> Fields:
        """How the answer is made."""
        request = self.request
        given = {
            "maxOutputTokens": request.max_tokens,
            "temperature": request.temperature,
            "topP": request.top_p,
            "topK": request.top_k,
            "stopSequences": request.stop[:_MOST_STOPS] or None,
            "seed": request.seed,
            "presencePenalty": request.presence_penalty,
            "frequencyPenalty": request.frequency_penalty,
            "thinkingConfig": self.thinking() or None,
        }
        self.dropped += ["stop"] * (len(request.stop) > _MOST_STOPS)
        config: Fields = {name: value for name, value in given.items() if value is not None}
        if request.output is not None:
            config["responseMimeType"] = "application/json"
            if request.output.schema is not None:
                config["responseJsonSchema"] = request.output.schema
        return config

    def thinking(self) -> Fields:
        """Whether and how much to think."""
        wanted, takes = self.request.reasoning, self.takes
        if wanted is None:
            return {}
        if not takes.thinks or (wanted.enabled is False and not takes.silent):
            if takes.thinks or wanted.enabled:
                self.dropped.append("reasoning")
            return {"thinkingLevel": "LOW"} if takes.levels else {"thinkingBudget": 128} if takes.thinks else {}
        if wanted.enabled is False:
            return {"thinkingBudget": 0}
        config: Fields = {} if wanted.shown is None else {"includeThoughts": wanted.shown}
        if takes.levels:
            effort = wanted.effort or (None if wanted.budget is None else effort_of(wanted.budget))
            if effort is not None:
                config["thinkingLevel"] = _LEVELS.get(effort, "LOW")
        elif wanted.budget is not None:
            config["thinkingBudget"] = min(wanted.budget, takes.most)
        elif wanted.effort is not None:
            config["thinkingBudget"] = min(budget_of(wanted.effort), takes.most)
        elif wanted.adaptive:
            config["thinkingBudget"] = -1
        return config


def write_call(part: ToolUse) -> Fields:
    """A call of a function."""
    called: Fields = {"functionCall": {"id": part.id, "name": part.name, "args": arguments_object(part.input)}}
    if part.signature:
        called["thoughtSignature"] = part.signature
    return called


def write_thought(text: str, signature: str, *, words: bool = False) -> Fields:
    """A thought; one of a signature alone may be that of the words before it."""
    thought: Fields = {"text": text}
    if text or not words:
        thought["thought"] = True
    return {**thought, "thoughtSignature": signature} if signature else thought


def _answers(content: Fields, parts: list[Fields]) -> bool:
    """Whether these parts go on with what tools answered."""
    return all("functionResponse" in part for part in (content["parts"][-1], parts[0]))


def _text(text: str) -> list[Fields]:
    """Words, if there are any: a part without is refused."""
    return [{"text": text}] if text else []


def _kind(part: Part) -> str:
    return str(part.__struct_config__.tag)


def _declared(tool: Tool) -> dict[str, Any]:
    declared: Fields = {"name": tool.name, "parametersJsonSchema": tool.schema}
    return {**declared, "description": tool.description} if tool.description else declared
