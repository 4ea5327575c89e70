"""Requests on the Chat Completions wire, changed in a few places."""

from collections.abc import Sequence

from recloser.gateway.wires.editor import Editor, Fields, Result, Speaker, in_place, inside

_FORMS = (
    "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "grammar", "json_schema", "format",
)  # fmt: skip
_RESULTS = ("tool", "function")


class ChatEditor(Editor):
    """Changes one request of `POST /v1/chat/completions`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end. They go on with what an assistant was saying; a user's are a message of their own.

        But for a tool's result, which they are added to: Mistral's models take no user's message after one.
        """
        messages = self.fields["messages"]
        last = messages[-1] if messages else {}
        if speaker == "assistant" and last.get("role") == speaker and isinstance(last.get("content"), str):
            last["content"] += text
        elif speaker == "user" and last.get("role") in _RESULTS:
            _add(last, text)
        else:
            messages.append({"role": speaker, "content": text})

    def think_no_more(self) -> None:
        """Nothing: this wire says how hard to think, and no value of it is taken by every model."""

    def answer_in_any_form(self) -> None:
        """Ask for no form of the answer, in the words of the wire or of those that run models themselves."""
        for name in _FORMS:
            self.fields.pop(name, None)

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""
        self.fields["tool_choice"] = {"type": "function", "function": {"name": tool}}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        given = self.fields.get("tools") or []
        tools = [entry for entry in given if _name(entry) != tool]
        if len(tools) == len(given):
            return
        self.fields["tools"] = tools
        if not tools:  # what only goes with tools is refused without any
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                self.fields.pop(name, None)
            return
        choice = inside(self.fields, "tool_choice")
        allowed = inside(choice, "allowed_tools")
        if "tools" in allowed:
            allowed["tools"] = [entry for entry in allowed["tools"] if _name(entry) != tool]
        if _name(choice) == tool or allowed.get("tools") == []:
            del self.fields["tool_choice"]

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        messages = self.fields["messages"]
        return [in_place(message, "content") for message in messages if message["role"] in _RESULTS]


def _name(entry: Fields) -> str | None:
    """The name of a tool, or of what is said of one: it stands under the tool's kind."""
    kind = entry.get("type", "function")
    return inside(entry, kind).get("name") if isinstance(kind, str) else None


def _add(message: Fields, text: str) -> None:
    """Add words to what a tool gave."""
    said = message.get("content")
    if isinstance(said, list):
        said.append({"type": "text", "text": text})
    else:
        message["content"] = f"{said}\n\n{text}" if said else text
