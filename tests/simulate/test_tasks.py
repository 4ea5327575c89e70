"""A task for an agent: the same file, written with whatever tool the agent has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from recloser.simulate.task import File, TaskTurn
from recloser.simulate.wire import Tool

if TYPE_CHECKING:
    from tests.simulate.conftest import Site, Visit

FILE = File("/srv/it's here.txt", "hello\n")
WRITES = TaskTurn(say="I write it.", write=FILE)


def tool(name: str, required: list[str] | None = None, **properties: str) -> Tool:
    fields = {field: {"type": kind} for field, kind in properties.items()}
    return Tool(name, {"type": "object", "properties": fields, "required": required or []})


READ = tool("Read", ["file_path"], file_path="string")
COMMAND = "printf %s 'hello\n' > '/srv/it'\"'\"'s here.txt'"


@pytest.mark.parametrize(
    ("offered", "given"),
    [
        (tool("Write", file_path="string", content="string"), {"file_path": FILE.path, "content": "hello\n"}),
        (tool("write_file", file_path="string", content="string"), {"file_path": FILE.path, "content": "hello\n"}),
        (tool("create_file", path="string", file_text="string"), {"path": FILE.path, "file_text": "hello\n"}),
        (tool("exec_command", ["cmd", "login"], cmd="string", login="boolean"), {"cmd": COMMAND, "login": False}),
        (tool("shell", command="array"), {"command": ["bash", "-lc", COMMAND]}),
        (tool("run_shell_command", ["command", "description"], command="string", description="string"),
         {"command": COMMAND, "description": ""}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_the_tool_is_found_and_filled_by_its_names(offered: Tool, given: dict[str, Any]) -> None:
    call = WRITES.tool_call([READ, offered])
    assert call is not None
    assert call.name == offered.name
    assert json.loads(call.arguments) == given
    assert WRITES.words([READ, offered]) == "I write it."


def test_a_tool_that_is_made_for_it_goes_before_a_shell() -> None:
    shell, write = tool("Bash", command="string"), tool("Write", file_path="string", content="string")
    call = WRITES.tool_call([shell, write])
    assert call is not None
    assert call.name == "Write"


@pytest.mark.parametrize("tools", [[], [READ], [tool("write_todos", todos="array")], [tool("Write", topic="string")]])
def test_without_such_a_tool_the_file_is_told_as_a_listing(tools: list[Tool]) -> None:
    assert WRITES.tool_call(tools) is None
    assert WRITES.words(tools) == "I write it.\n\n/srv/it's here.txt\n```\nhello\n```\n"


TASK = [{"think": "Hm.", "say": "I write it.", "write": {"path": "a.txt", "content": "x"}}, {"say": "Done."}]
TOOLS = [{"name": "Write", "input_schema": {"properties": {"path": {}, "content": {}}}}]


def test_a_task_goes_turn_by_turn_as_the_conversation_does(visit: Visit) -> None:
    async def story(site: Site) -> None:
        assert (await site.chaos(task=TASK))["task"] == 2
        begun = json.loads((await site.ask(tools=TOOLS)).body)
        assert [block["type"] for block in begun["content"]] == ["thinking", "text", "tool_use"]
        assert begun["content"][2]["input"] == {"path": "a.txt", "content": "x"}
        result = {"type": "tool_result", "tool_use_id": begun["content"][2]["id"], "content": "ok"}
        messages = [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": begun["content"]},
            {"role": "user", "content": [result]},
        ]
        ended = json.loads((await site.ask(tools=TOOLS, messages=messages)).body)
        assert (ended["content"], ended["stop_reason"]) == ([{"type": "text", "text": "Done."}], "end_turn")
        messages.append({"role": "assistant", "content": "Do"})
        rest = json.loads((await site.ask(tools=TOOLS, messages=messages)).body)
        assert rest["content"] == [{"type": "text", "text": "ne."}]
        assert (await site.chaos(mode="529"))["task"] == 2
        assert (await site.chaos(mode="off"))["task"] == 2
        assert (await site.chaos(task=[]))["task"] == 0

    visit(story)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ("x", "task"),
        ([{"says": "x"}], "says"),
        ([{"write": {"path": "a"}}], "content"),
        ([{}] * 1001, "1000"),
    ],
)
def test_a_task_that_cannot_be_is_refused_and_named(visit: Visit, task: Any, complaint: str) -> None:
    async def story(site: Site) -> None:
        await site.chaos(task=TASK)
        answer = await site.chaos(task=task)
        assert answer["status"] == 400
        assert complaint in answer["error"]["message"]
        assert (await site.report())["task"] == 2

    visit(story)
