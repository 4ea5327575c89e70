"""Names of tools that are nearly right."""

import msgspec
import pytest
from tests.gateway.repairs.told import ASKED, BARE, answer, mended

from recloser.gateway.canonical import Request, Tool, ToolUse
from recloser.gateway.repairs.tool_names import ToolNames
from recloser.gateway.wires.telling import told


def offering(*names: str) -> Request:
    """A request with these tools."""
    return msgspec.structs.replace(ASKED, tools=tuple(Tool(name=name) for name in names))


def meant(written: str, *names: str) -> str:
    """The name that a call has in the end."""
    (part,) = mended("tool_names", answer(ToolUse(id="c", name=written)), offering(*names)).parts
    assert isinstance(part, ToolUse)
    return part.name


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("read_file", "Read_File"),
        ("READ-FILE", "read_file"),
        ("read.file", "read_file"),
        ("functions.read_file", "read_file"),
        ("default_api.read_file", "read_file"),
        ("functions.read_file:0", "read_file"),
        ("functions.mcp__fs__read_file", "read_file"),
        ("mcp__fs__read_file", "read_file"),
        ("read_file", "mcp__fs__read_file"),
        ("read_file<|channel|>commentary", "read_file"),
        ("read_file()", "read_file"),
        (" read_file ", "read_file"),
        ("read_files", "read_file"),
        ("raed_file", "read_file"),
        ("read_fle", "read_file"),
        ("reads_files", "read_file"),
        ("Bahs", "Bash"),
        ("todo_write", "TodoWrite"),
    ],
)
def test_a_near_miss_is_the_tool_that_was_meant(written: str, declared: str) -> None:
    assert meant(written, "clock", declared) == declared


@pytest.mark.parametrize(
    ("written", "declared"),
    [
        ("read_file", ["read_file", "read_files"]),
        ("read_filez", ["read_files", "read_filed"]),
        ("get_user", ["set_user"]),
        ("page1", ["page2"]),
        ("cat", ["car"]),
        ("Bush_", ["Bash"]),
        ("Read-File", ["read_file", "READ_FILE"]),
        ("read_file", ["mcp__a__read_file", "mcp__b__read_file"]),
        ("delete", ["create"]),
        ("", ["clock"]),
        ("x" * 500, ["clock"]),
        ("functions.", ["clock"]),
    ],
)
def test_what_can_be_several_or_none_stays_as_it_is(written: str, declared: list[str]) -> None:
    assert meant(written, *declared) == written


def test_nothing_but_the_name_changes() -> None:
    call = ToolUse(id="c", name="Clock", input='{"a":1}', signature="s")
    (part,) = mended("tool_names", answer(call)).parts
    assert part == msgspec.structs.replace(call, name="clock")


def test_without_tools_every_name_stays() -> None:
    repair = ToolNames(BARE)
    events = list(told(answer(ToolUse(id="c", name="Clock"))))
    assert [one for event in events for one in repair.feed(event)] == events
