"""Requests on the Chat Completions wire, changed in a few places."""

from collections.abc import Sequence

from recloser.gateway.wires.editor import Editor, Result, Speaker, in_place


class ChatEditor(Editor):
    """Changes one request of `POST /v1/chat/completions`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end. They go on with what an assistant was saying; a user's are a message of their own."""
        messages = self.fields["messages"]
        last = messages[-1] if messages else {}
        if speaker == "assistant" and last.get("role") == speaker and isinstance(last.get("content"), str):
            last["content"] += text
        else:
            messages.append({"role": speaker, "content": text})

    def think_no_more(self) -> None:
        """Nothing: this wire says how hard to think, and no value of it is taken by every model."""

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once."""
        self.fields["tool_choice"] = {"type": "function", "function": {"name": tool}}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        given = self.fields.get("tools") or []
        tools = [entry for entry in given if (entry.get("function") or {}).get("name") != tool]
        choice = self.fields.get("tool_choice")
        self.fields["tools"] = tools
        if not tools:  # what only goes with tools is refused without any
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                self.fields.pop(name, None)
        elif isinstance(choice, dict) and (choice.get("function") or {}).get("name") == tool:
            del self.fields["tool_choice"]

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        messages = self.fields["messages"]
        return [in_place(message, "content") for message in messages if message["role"] in ("tool", "function")]
