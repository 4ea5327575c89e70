"""Requests on the Gemini wire, changed in a few places. It takes its fields in either spelling."""

from collections.abc import Iterator, Sequence
from typing import Any

from recloser.gateway.wires.editor import Editor, Fields, Result, Speaker

_TOOL_CONFIG = ("toolConfig", "tool_config")
_CALLING = ("functionCallingConfig", "function_calling_config")
_ALLOWED = ("allowedFunctionNames", "allowed_function_names")
_FORMS = (
    "responseMimeType", "response_mime_type", "responseSchema", "response_schema", "responseJsonSchema",
    "response_json_schema", "_responseJsonSchema",
)  # fmt: skip
_DECLARATIONS = ("functionDeclarations", "function_declarations")


class GeminiEditor(Editor):
    """Changes one request of `:generateContent`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end: to the last turn if it is the same speaker's and holds words alone."""
        contents = self.fields["contents"]
        if not isinstance(contents, list):
            contents = self.fields["contents"] = [contents]
        role = "model" if speaker == "assistant" else "user"
        last = contents[-1] if contents else {}
        parts = _parts(last)
        if parts and last.get("role", "user") == role and all("text" in part for part in parts):
            last["parts"] = [*parts, {"text": text}]
        else:
            contents.append({"role": role, "parts": [{"text": text}]})

    def think_no_more(self) -> None:
        """Ask for no thoughts to be shown. How much is thought is the model's own affair."""
        for config in _each(self.fields, "generationConfig", "generation_config"):
            config.pop("thinkingConfig", None)
            config.pop("thinking_config", None)

    def answer_in_any_form(self) -> None:
        """Ask for no form of the answer."""
        for config in _each(self.fields, "generationConfig", "generation_config"):
            for name in _FORMS:
                config.pop(name, None)

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""
        config = next(_each(self.fields, *_TOOL_CONFIG), None)
        if config is None:
            config = self.fields["toolConfig"] = {}
        config.pop("function_calling_config", None)
        config["functionCallingConfig"] = {"mode": "ANY", "allowedFunctionNames": [tool]}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        groups = self.fields.get("tools") or []
        kept = [smaller for group in groups if (smaller := _without(group, tool))]
        if kept == groups:
            return
        self.fields["tools"] = kept
        for config in _each(self.fields, *_TOOL_CONFIG):
            _allow_no_more(config, tool)
        if not kept:
            for name in ("tools", *_TOOL_CONFIG):
                self.fields.pop(name, None)

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        contents = self.fields["contents"]
        turns = contents if isinstance(contents, list) else [contents]
        parts = [part for turn in turns for part in _parts(turn)]
        given = [result for part in parts for result in _each(part, "functionResponse", "function_response")]
        return [_answered(result) for result in given]


def _each(holder: Fields, *spellings: str) -> Iterator[Fields]:
    """An object, wherever it stands under one of its spellings."""
    return (holder[name] for name in spellings if isinstance(holder.get(name), dict))


def _parts(content: Fields) -> list[Fields]:
    """What a turn holds; a single part may stand without a list around it."""
    given: Any = content.get("parts") or []
    return given if isinstance(given, list) else [given]


def _without(group: Fields, tool: str) -> Fields:
    """A group of tools without one of them; an empty one if there was no other."""
    smaller = dict(group)
    for name in _DECLARATIONS:
        given = group.get(name)
        if given:
            smaller[name] = [entry for entry in given if entry.get("name") != tool]
            if not smaller[name]:
                del smaller[name]
    return smaller


def _allow_no_more(config: Fields, tool: str) -> None:
    """Take a tool from those that the model must choose among. If there is no other, it may choose freely."""
    for calling in list(_each(config, *_CALLING)):
        for spelling in _ALLOWED:
            names = calling.get(spelling) or ()
            if tool in names:
                calling[spelling] = [name for name in names if name != tool]
                if not calling[spelling]:
                    calling["mode"] = "AUTO"
                    del calling[spelling]


def _answered(result: Fields) -> Result:
    """A result: its words, and what is shown beside them. One that told of a failure still does."""

    def put(text: str) -> None:
        failed = isinstance(result.get("response"), dict) and result["response"].keys() == {"error"}
        result["response"] = {"error" if failed else "output": text}
        result.pop("parts", None)

    return put
