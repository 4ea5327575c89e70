"""Reads what a call is made of while it comes: JSON, call syntax, a name and what stands behind it."""

import re
from collections.abc import Sequence
from typing import Any

from recloser.gateway.repairs.call_formats import (
    ARG_KEY,
    ARG_VALUE,
    CLOSERS,
    END_OF_ARG_KEY,
    END_OF_ARG_VALUE,
    GLUE,
)
from recloser.gateway.repairs.declared import LONGEST_NAME, Declared
from recloser.gateway.repairs.fitting import from_text
from recloser.gateway.repairs.json_walk import JsonWalk
from recloser.gateway.repairs.scanning import SPACE, Called, OtherwiseError, Scanner, Steps
from recloser.gateway.repairs.written_call import calls_in_json, calls_in_python, input_of, parameters

BETWEEN = re.compile(r"[\s,;]*")
LETTERS = re.compile(r"[A-Za-z_]")
_NAME = re.compile(r"[\w.:/-]*")
_PLAIN_JSON = re.compile(r"""[^"'{}\[\]:,<`\n]*""")
_PLAIN_CALL = re.compile(r"""[^"'()`]*""")
_NOT_A_TAG = re.compile(r"[^<]*")
_IN_STRING = {quote: re.compile(rf"[^{quote}\\\n]*") for quote in "\"'"}
_MOST_GLUE = 8


class CallValues(Scanner):
    """A scanner that can read these. Each of its steps holds what it takes; OtherwiseError if it is something else."""

    def __init__(self, tools: Declared) -> None:
        super().__init__()
        self._tools = tools

    # JSON ------------------------------------------------------------------------------------------------------------

    def _json(self, *, marked: bool, keys: bool = True, before: str = "") -> Steps[str]:
        """A balanced piece of JSON. What cannot be a call is let pass, and looked at no more, up to its end."""
        walk = JsonWalk(self._tools if keys else None)
        taken = [before]
        for char in before:
            walk.sign(char)
        while not walk.over:
            plain = yield from self.take_while(_PLAIN_JSON)
            walk.word(plain)
            char = yield from self.next_char()
            if char in ("", "<", "`") or (char == "\n" and self.passing and walk.blank_line):
                if marked and char == "<" and not self.passing:
                    return "".join([*taken, plain])
                raise OtherwiseError
            piece = (yield from self._string(char)) if char in "\"'" else self.take(1)
            walk.string(piece[1:-1]) if char in "\"'" else walk.sign(char)
            taken += plain, piece
            if walk.wrong and not self.passing:
                self.let_pass()
                taken = []
        if self.passing:
            raise OtherwiseError
        return "".join(taken)

    def _string(self, quote: str) -> Steps[str]:
        """A string with its quotes. Models break lines in it, but not where it would be none of theirs."""
        pieces = [self.take(1)]
        while True:
            pieces.append((yield from self.take_while(_IN_STRING[quote])))
            char = yield from self.next_char()
            if not char:
                raise OtherwiseError
            if char == "\n" and (quote == "'" or self.passing):
                return "".join([*pieces, quote])
            count = 2 if char == "\\" else 1
            if not (yield from self.has(count)):
                raise OtherwiseError
            pieces.append(self.take(count))
            if char == quote:
                return "".join(pieces)

    def _list(self, *, marked: bool) -> Steps[Sequence[Called]]:
        """An array of calls: in JSON, or in call syntax."""
        before = self.take(1) + (yield from self.take_while(SPACE))
        char = yield from self.next_char()
        if char == "{":
            return calls_in_json((yield from self._json(marked=marked, before=before)), self._tools, marked=marked)
        calls: list[Called] = []
        while char and LETTERS.match(char):
            name = yield from self._name()
            calls += yield from self._python(name)
            yield from self.take_while(BETWEEN)
            char = yield from self.next_char()
        if char != "]":
            raise OtherwiseError
        self.take(1)
        return calls

    # Names and what follows them -------------------------------------------------------------------------------------

    def _name(self) -> Steps[str]:
        name = ""
        while len(name) <= LONGEST_NAME:
            match = _NAME.match(self.window, self.at, self.at + LONGEST_NAME + 1 - len(name))
            name += self.take(match.end() - self.at if match else 0)
            if self.at < len(self.window) or self.ended:
                break
            yield
        return name

    def _line(self) -> Steps[Sequence[Called]]:
        """A call in call syntax, alone on its line or printed there."""
        name = yield from self._name()
        if name != "print":
            return (yield from self._python(name))
        if not (yield from self.sees("(")):
            raise OtherwiseError
        self.take(1)
        calls = yield from self._python((yield from self._name()))
        yield from self.take_while(SPACE)
        if not (yield from self.sees(")")):
            raise OtherwiseError
        self.take(1)
        return calls

    def _python(self, name: str) -> Steps[Sequence[Called]]:
        """The brackets that follow a declared tool's name, and what it is called with."""
        if not (yield from self.sees("(")) or self._tools.named(name) is None:
            raise OtherwiseError
        calls = calls_in_python(name + (yield from self._brackets()), self._tools)
        if not calls:
            raise OtherwiseError
        return calls

    def _brackets(self) -> Steps[str]:
        pieces: list[str] = []
        depth = 0
        while True:
            pieces.append((yield from self.take_while(_PLAIN_CALL)))
            char = yield from self.next_char()
            if char in ("", "`"):
                raise OtherwiseError
            if char in "\"'":
                pieces.append((yield from self._quoted(char)))
                continue
            pieces.append(self.take(1))
            depth += 1 if char == "(" else -1
            if depth == 0:
                return "".join(pieces)

    def _quoted(self, quote: str) -> Steps[str]:
        if not (yield from self.sees(quote * 3)):
            return (yield from self._string(quote))
        pieces = [self.take(3)]
        while not (yield from self.sees(quote * 3)):
            if not (yield from self.has()):
                raise OtherwiseError
            pieces.append(self.take(1))
        return "".join([*pieces, self.take(3)])

    def _named(self) -> Steps[Sequence[Called]]:
        """A tool's name, and its arguments behind whatever stands between."""
        name = yield from self._name()
        glued = 0
        while glued <= _MOST_GLUE:
            yield from self.take_while(SPACE)
            if word := (yield from self.sees(*GLUE)):
                self.take(len(word))
                glued += 1
                if word == "[CALL_ID]":
                    yield from self._name()
                continue
            char = yield from self.next_char()
            if char == "{":
                return (yield from self._json_input(name))
            if char == "(":
                return (yield from self._python(name))
            if (yield from self.sees(ARG_KEY)):
                return (yield from self._keys_and_values(name))
            if not (glued and char and LETTERS.match(char)):
                break
            glued += 1
            name = yield from self._name()  # what came before said only what sort of thing is called
        raise OtherwiseError

    def _json_input(self, name: str) -> Steps[Sequence[Called]]:
        tool = self._declared(name)
        given = input_of((yield from self._json(marked=True, keys=False)), unclosed=True)
        yield from self.take_while(SPACE)
        if (yield from self.sees("```")):
            self.take(3)
        return () if given is None else (Called(tool, given),)

    def _declared(self, name: str) -> str:
        tool = self._tools.named(name)
        if tool is None:
            raise OtherwiseError
        return tool

    def _keys_and_values(self, name: str) -> Steps[Sequence[Called]]:
        tool = self._declared(name)
        pairs: list[tuple[str, Any]] = []
        while (yield from self.sees(ARG_KEY)):
            self.take(len(ARG_KEY))
            key = yield from self._value(END_OF_ARG_KEY, (ARG_VALUE,))
            self.take(len(ARG_VALUE))
            value = yield from self._value(END_OF_ARG_VALUE, (ARG_KEY, *CLOSERS))
            pairs.append((key.strip(), self._typed(tool, key.strip(), value)))
        return self._called(tool, pairs)

    def _typed(self, tool: str, parameter: str, text: str) -> Any:
        return from_text(text, parameter, self._tools.schema(tool))

    def _called(self, tool: str, pairs: Sequence[tuple[str, Any]]) -> Sequence[Called]:
        given = parameters(pairs)
        return () if given is None else (Called(tool, given),)

    def _value(self, end: str, follow: tuple[str, ...]) -> Steps[str]:
        """Text up to its end tag. One that nothing of the call follows belongs to the text."""
        pieces: list[str] = []
        while True:
            pieces.append((yield from self.take_while(_NOT_A_TAG)))
            if not (yield from self.has()):
                raise OtherwiseError
            if not (yield from self.sees(end)):
                pieces.append(self.take(1))
                continue
            tag = self.take(len(end))
            space = yield from self.take_while(SPACE)
            if (yield from self.sees(*follow)) or not (yield from self.has()):
                return "".join(pieces).removeprefix("\n").removesuffix("\n")
            pieces += tag, space
