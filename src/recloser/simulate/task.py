"""A task for an agent: what the model thinks, says and calls, turn by turn.

`{"task": [{"say": "I write it.", "write": {"path": "/tmp/a.txt", "content": "hi"}}, {"say": "Done."}]}` makes any
agent write that file with the tool that it has for it. Which turn it is, the conversation tells: as many were taken
as tools were called. So a second provider with the same task goes on where the first was left.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from recloser.simulate.wire import Tool, ToolCall, to_json

MAX_TURNS = 1000


class File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A file that the agent is to write."""

    path: str
    content: str


class Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A call of a tool by its name."""

    tool: str
    input: dict[str, Any] = {}


class TaskTurn(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One turn of the model."""

    think: str = ""
    say: str = ""
    write: File | None = None
    call: Call | None = None

    def words(self, tools: Sequence[Tool]) -> str:
        """What is said. An agent without tools is told the file as a listing, which such agents ask for."""
        if self.write is None or self.tool_call(tools) is not None:
            return self.say
        listing = f"{self.write.path}\n```\n{self.write.content.removesuffix(chr(10))}\n```\n"
        return f"{self.say}\n\n{listing}" if self.say else listing

    def tool_call(self, tools: Sequence[Tool]) -> ToolCall | None:
        """What is called, among the tools that the request declares."""
        if self.call is not None:
            return ToolCall(self.call.tool, to_json(self.call.input).decode())
        return _writing(self.write, tools) if self.write else None


_WRITERS = (
    re.compile(r"(?:write|create)(?:_?file)?|fs_?write|file_?write", re.IGNORECASE),
    re.compile(r"(?:(?:exec|run|local)_?)?(?:shell|bash|terminal|exec)?(?:_?command)?", re.IGNORECASE),
)
"""Names of the tools that can write a file, those that are made for it first."""
_PATHS = frozenset({"path", "file_path", "filepath", "absolute_path", "filename", "file_name", "target_file", "file"})
_CONTENTS = frozenset({"content", "contents", "file_text", "text", "code", "data"})
_COMMANDS = frozenset({"command", "cmd", "script"})
_NOTHING: Mapping[str, Any] = {
    "string": "", "boolean": False, "number": 0, "integer": 0, "array": [], "object": {},
}  # fmt: skip


def _writing(file: File, tools: Sequence[Tool]) -> ToolCall | None:
    for pattern in _WRITERS:
        for tool in tools:
            if pattern.fullmatch(tool.name) and (given := _filled(tool.schema, file)):
                return ToolCall(tool.name, to_json(given).decode())
    return None


def _filled(schema: Mapping[str, Any], file: File) -> dict[str, Any]:
    """The input that a schema asks for; empty if it has no place for a file."""
    properties = schema.get("properties")
    fields: dict[str, Any] = properties if isinstance(properties, dict) else {}
    given = {name: value for name, of in fields.items() if (value := _value(name, of, file)) is not None}
    if given.keys().isdisjoint(_COMMANDS) and (given.keys().isdisjoint(_PATHS) or given.keys().isdisjoint(_CONTENTS)):
        return {}
    required = schema.get("required")
    for name in required if isinstance(required, list) else ():
        kind = str(fields.get(name, {}).get("type", "string"))
        given.setdefault(name, _NOTHING.get(kind, ""))
    return given


def _value(name: str, of: Any, file: File) -> Any:
    known = name.lower()
    if known in _PATHS:
        return file.path
    if known in _CONTENTS:
        return file.content
    if known in _COMMANDS:
        line = f"printf %s {shlex.quote(file.content)} > {shlex.quote(file.path)}"
        as_list = isinstance(of, dict) and of.get("type") == "array"
        return ["bash", "-lc", line] if as_list else line
    return None
