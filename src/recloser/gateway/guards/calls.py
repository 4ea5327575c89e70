"""The calls of tools in a conversation, with what came of them: what several guards look at."""

from collections.abc import Iterator
from typing import NamedTuple

from recloser.gateway.canonical import Request, Role, Text, ToolResult, ToolUse, Turn
from recloser.gateway.guards.guard import HINT

_ADDED = ("<", HINT.strip())
"""What words beside a tool's result begin with that no user wrote: clients wrap what they add by themselves in tags."""
_LONGEST_NAME = 64


class Call(NamedTuple):
    """A call and its result, where that is part of the conversation."""

    use: ToolUse
    result: ToolResult | None


class Given(NamedTuple):
    """A result that the model has not seen yet, and the tool that it is from; the name is empty if nobody says it."""

    tool: str
    result: ToolResult


def calls_backwards(turns: tuple[Turn, ...]) -> Iterator[Call]:
    """All calls, the last one first. Ids may come again in another turn."""
    waiting: dict[str, ToolResult] = {}
    for turn in reversed(turns):
        if turn.role is Role.ASSISTANT:
            for part in reversed(turn.parts):
                if isinstance(part, ToolUse):
                    yield Call(part, waiting.pop(part.id, None))
        else:
            waiting.update({part.id: part for part in turn.parts if isinstance(part, ToolResult)})


def fresh(request: Request) -> list[Given]:
    """The results that came since the model spoke last."""
    results: list[ToolResult] = []
    names: dict[str, str] = {}
    for turn in reversed(request.turns):
        if turn.role is Role.ASSISTANT:
            names = {part.id: part.name for part in turn.parts if isinstance(part, ToolUse)} | names
        elif names:
            break
        else:
            results[:0] = [part for part in turn.parts if isinstance(part, ToolResult)]
    return [Given(names.get(result.id, result.name), result) for result in results]


def since_the_user_spoke(request: Request) -> tuple[Turn, ...]:
    """The last turns, from the user's own words on; all of them if there are none."""
    turns = request.turns
    for place in range(len(turns) - 1, -1, -1):
        if is_the_users(turns[place]):
            return turns[place + 1 :]
    return turns


def named(tools: list[str]) -> str:
    """Tools for people: each once, and no name of endless length."""
    return ", ".join(dict.fromkeys(name[:_LONGEST_NAME] or "(no name)" for name in tools))


def is_the_users(turn: Turn) -> bool:
    """Whether the user speaks in this turn, and not only tools and the client."""
    if turn.role is not Role.USER:
        return False
    if not any(isinstance(part, ToolResult) for part in turn.parts):
        return bool(turn.parts)
    return any(isinstance(part, Text) and not part.text.lstrip().startswith(_ADDED) for part in turn.parts)
