"""Requests on the Responses wire, changed in a few places."""

from collections.abc import Sequence

from recloser.gateway.wires.editor import Editor, Result, Speaker, in_place, inside

_RESULTS = ("function_call_output", "custom_tool_call_output")


class ResponsesEditor(Editor):
    """Changes one request of `POST /v1/responses`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end, as a message of their own."""
        kind = "output_text" if speaker == "assistant" else "input_text"
        said = self.fields.get("input")
        if not isinstance(said, list):
            said = self.fields["input"] = [{"role": "user", "content": said}] if said else []
        said.append({"type": "message", "role": speaker, "content": [{"type": kind, "text": text}]})

    def think_no_more(self) -> None:
        """Nothing: this wire says how hard to think, and no value of it is taken by every model."""

    def answer_in_any_form(self) -> None:
        """Ask for no form of the answer."""
        inside(self.fields, "text").pop("format", None)

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""
        self.fields["tool_choice"] = {"type": "function", "name": tool}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        given = self.fields.get("tools") or []
        tools = [entry for entry in given if entry.get("name") != tool]
        if len(tools) == len(given):
            return
        choice = inside(self.fields, "tool_choice")
        self.fields["tools"] = tools
        if "tools" in choice:
            choice["tools"] = [entry for entry in choice["tools"] if entry.get("name") != tool]
        if not tools:
            del self.fields["tools"]
        if not tools or choice.get("name") == tool or choice.get("tools") == []:
            self.fields.pop("tool_choice", None)

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        said = self.fields.get("input")
        items = said if isinstance(said, list) else ()
        return [in_place(item, "output") for item in items if item.get("type") in _RESULTS]
