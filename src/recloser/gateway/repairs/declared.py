"""The tools that a request declares, and which of them a name means that is not quite one of theirs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from recloser.gateway.canonical import Request, Tool, ToolChoice

LONGEST_NAME = 128
_PREFIX = re.compile(r"(?:functions?|default_api|tools?|api|namespace)[.:/]|mcp__[^_]+(?:_[^_]+)*__", re.IGNORECASE)
"""What models put before a name: a namespace of the format they were trained on, or of a server of tools."""
_SUFFIX = re.compile(r"(?::\d+|<\|.*|\(\))$", re.DOTALL)
"""What is left behind a name: the number of the call, a mark of the next section, empty brackets."""


class Declared:
    """The tools of a request that may be called."""

    __slots__ = ("_found", "tools")

    def __init__(self, request: Request) -> None:
        offered = () if request.tool_choice is ToolChoice.NONE else request.tools
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in offered}
        self._found: Mapping[str, str] | None = None

    def __bool__(self) -> bool:
        return bool(self.tools)

    def __contains__(self, name: object) -> bool:
        return name in self.tools

    @property
    def _by_form(self) -> Mapping[str, str]:
        """The tools by what their names are but for case and the like. Most answers never ask."""
        if self._found is None:
            forms: dict[str, set[str]] = {}
            for name in self.tools:
                for form in {_form(name), _form(_bare(name))}:
                    forms.setdefault(form, set()).add(name)
            self._found = {form: min(names) for form, names in forms.items() if len(names) == 1}
        return self._found

    def schema(self, name: str) -> Mapping[str, Any]:
        """What a tool's input must be."""
        return self.tools[name].schema

    def named(self, name: str) -> str | None:
        """The tool of this name, but for case, hyphens, a namespace before it or a mark behind it."""
        if name in self.tools or len(name) > LONGEST_NAME:
            return name if name in self.tools else None
        name = name.strip()
        return next((found for form in _forms(name) if (found := self._by_form.get(form)) is not None), None)

    def nearest(self, name: str) -> str | None:
        """The only tool that this name can be a misspelling of, if there is one.

        One slip in a name of at least four letters, two from eight on. The first letter and all digits are as they
        are: `get_user` is not `set_user`, nor is `page1` `page2`.
        """
        if len(name) > LONGEST_NAME:
            return None
        meant = _form(_bare(name))
        slips = 2 if len(meant) >= 8 else 1 if len(meant) >= 4 else 0
        near = {
            full
            for full in self.tools
            for form in {_form(full), _form(_bare(full))}
            if _alike(meant, form) and _within(meant, form, slips)
        }
        return near.pop() if len(near) == 1 else None


def _forms(name: str) -> Iterable[str]:
    """The forms in which a name is looked for, the most faithful first."""
    short = _SUFFIX.sub("", name)
    return _form(name), _form(short), _form(_bare(short))


def _form(name: str) -> str:
    return re.sub(r"[-. ]", "_", name).casefold()


def _bare(name: str) -> str:
    """A name without the namespaces before it."""
    while (match := _PREFIX.match(name)) and match.end() < len(name):
        name = name[match.end() :]
    return name


def _alike(one: str, other: str) -> bool:
    return one[:1] == other[:1] and re.findall(r"\d", one) == re.findall(r"\d", other)


def _within(one: str, other: str, most: int) -> bool:
    """Whether so many slips (a letter more, less, another, or two swapped) make one of the other."""
    if abs(len(one) - len(other)) > most:
        return False
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
        if min(*row, *before) > most:
            return False
    return row[-1] <= most
