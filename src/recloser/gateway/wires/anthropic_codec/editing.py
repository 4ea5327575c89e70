"""Requests on the Messages wire, changed in a few places."""

from collections.abc import Sequence
from typing import Any

from recloser.gateway.wires.editor import Editor, Result, Speaker, in_place, inside


class MessagesEditor(Editor):
    """Changes one request of `POST /v1/messages`."""

    __slots__ = ()

    def say(self, speaker: Speaker, text: str) -> None:
        """Add words at the end. They go on with what an assistant was saying, which would otherwise be two blocks."""
        messages = self.fields["messages"]
        last = messages[-1] if messages else {}
        if last.get("role") != speaker:
            messages.append({"role": speaker, "content": [{"type": "text", "text": text}]})
            return
        blocks = last["content"]
        if isinstance(blocks, str):
            blocks = last["content"] = [{"type": "text", "text": blocks}] if blocks else []
        if speaker == "assistant" and blocks and blocks[-1].get("type") == "text":
            blocks[-1]["text"] += text
        else:
            blocks.append({"type": "text", "text": text})

    def think_no_more(self) -> None:
        """Ask for no thoughts. What clears old ones from the context is refused without thinking."""
        self.fields.pop("thinking", None)
        management = inside(self.fields, "context_management")
        edits = management.get("edits")
        if isinstance(edits, list):
            kept = [edit for edit in edits if not _clears_thinking(edit)]
            management["edits"] = kept
            if not kept:
                del self.fields["context_management"]

    def answer_in_any_form(self) -> None:
        """Ask for no form of the answer."""
        self.fields.pop("output_format", None)
        inside(self.fields, "output_config").pop("format", None)

    def must_call(self, tool: str) -> None:
        """Have the model call this tool, once. It may not think then."""
        self.think_no_more()
        self.fields["tool_choice"] = {"type": "tool", "name": tool, "disable_parallel_tool_use": True}

    def without_tool(self, tool: str) -> None:
        """Take a tool from those that the model may call."""
        given = self.fields.get("tools") or []
        tools = [entry for entry in given if entry.get("name") != tool]
        if len(tools) == len(given):
            return
        self.fields["tools"] = tools
        if not tools:
            del self.fields["tools"]
        if not tools or inside(self.fields, "tool_choice").get("name") == tool:
            self.fields.pop("tool_choice", None)

    def results(self) -> Sequence[Result]:
        """The tools' results of the whole conversation, in order."""
        blocks = [
            block
            for message in self.fields["messages"]
            if isinstance(message["content"], list)
            for block in message["content"]
        ]
        return [in_place(block, "content") for block in blocks if block.get("type") == "tool_result"]


def _clears_thinking(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type", "")).startswith("clear_thinking")
