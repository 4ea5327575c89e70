"""Values as models write them: JSON and Python literals, with the slips that leave no doubt of what was meant.

Taken are quotes of either kind, keys without quotes, commas at the end, doubled braces, the words of both languages,
line breaks inside strings, and, where the caller says so, brackets that are missing at the very end. Anything else is
refused: nothing is guessed.
"""

import math
import re
from collections.abc import Callable
from typing import Any

DEEPEST = 64
_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*")
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?(?![\w.])")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'", "\n": ""}
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_PLAIN = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}
_LONGEST_NUMBER = 300


def value_of(text: str, *, unclosed: bool = False) -> Any:
    """The value that a text writes; ValueError if it writes none, or more than one.

    `unclosed`: brackets may be missing at its end, but nothing else, and the last thing before must be whole for sure.
    """
    return _Literal(text, unclosed=unclosed).whole(_Literal.value)


def call_of(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a call in Python's words, `f(a=1)`; ValueError if it is none."""
    call: tuple[str, dict[str, Any]] = _Literal(text, unclosed=False).whole(_Literal.call)
    return call


class _Literal:
    """A text that is being read."""

    __slots__ = ("_at", "_cut", "_depth", "_sure", "_text", "_unclosed")

    def __init__(self, text: str, *, unclosed: bool) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._unclosed = unclosed
        self._cut = False
        """Whether the text ended before its brackets did."""
        self._sure = True
        """Whether the last value could not have gone on."""

    def whole(self, read: "Callable[[_Literal], Any]") -> Any:
        """What the whole text says."""
        value = read(self)
        self._skip()
        if self._at < len(self._text):
            raise ValueError("something follows")
        return value

    def value(self) -> Any:
        """A value of any kind."""
        char = self._next()
        if char in "\"'":
            return self._string(char)
        if char in "{[":
            return self._nested(char)
        if match := _NUMBER.match(self._text, self._at):
            return self._number(match)
        word = self._matched(_WORD)
        if word not in _WORDS:
            raise ValueError("a word that is no value")
        self._sure = True
        return _WORDS[word]

    def call(self) -> tuple[str, dict[str, Any]]:
        """A call with arguments by name."""
        self._skip()
        name = self._matched(_NAME)
        self._expect("(")
        given: dict[str, Any] = {}
        while self._next() != ")":
            key = self._matched(_WORD)
            self._expect("=")
            if key in given:
                raise ValueError("an argument twice")
            given[key] = self.value()
            if self._next() != ")":
                self._expect(",")
        self._at += 1
        return name, given

    def _nested(self, char: str) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError("nested too deeply")
        self._at += 1
        self._sure = False
        value = self._doubled() if char == "{" and self._next() == "{" else self._inside(char)
        self._depth -= 1
        return value

    def _doubled(self) -> Any:
        """`{{...}}`: an object in a template's words."""
        value = self.value()
        self._close("}")
        return value

    def _inside(self, char: str) -> Any:
        return self._object() if char == "{" else self._list()

    def _object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not self._closes("}"):
            char = self._next()
            key = self._string(char) if char in "\"'" else self._matched(_WORD)
            self._expect(":")
            if key in found:
                raise ValueError("a key twice")
            found[key] = self.value()
            if self._comma("}"):
                break
        return found

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while not self._closes("]"):
            found.append(self.value())
            if self._comma("]"):
                break
        return found

    def _comma(self, end: str) -> bool:
        """Go on after a value: True if that was the last one."""
        if self._closes(end):
            return True
        self._expect(",")
        self._sure = False
        return False

    def _closes(self, end: str) -> bool:
        self._skip()
        if self._at < len(self._text) and self._text[self._at] != end:
            return False
        self._close(end)
        return True

    def _close(self, end: str) -> None:
        self._skip()
        if self._at < len(self._text):
            self._expect(end)
            self._sure = True
        elif not (self._unclosed and self._sure):
            raise ValueError("the end is missing")

    def _string(self, quote: str) -> str:
        if self._text.startswith(quote * 3, self._at):
            return self._triple(quote * 3)
        pieces = []
        self._at += 1
        while True:
            pieces.append(self._matched(_PLAIN[quote]))
            char = self._text[self._at : self._at + 1]
            self._at += 1
            if char == quote:
                self._sure = True
                return "".join(pieces)
            if not char:
                raise ValueError("a string without an end")
            pieces.append(self._escape())

    def _triple(self, quotes: str) -> str:
        end = self._text.find(quotes, self._at + 3)
        inner = self._text[self._at + 3 : end]
        if end < 0 or "\\" in inner:
            raise ValueError("a string that is not plain")
        self._at = end + 3
        return inner

    def _escape(self) -> str:
        char = self._text[self._at : self._at + 1]
        self._at += 1
        if char != "u":
            if char not in _ESCAPES:
                raise ValueError("an escape that is none")
            return _ESCAPES[char]
        first = self._hex()
        if 0xD800 <= first < 0xDC00 and self._text.startswith("\\u", self._at):
            self._at += 2
            return (first.to_bytes(2, "big") + self._hex().to_bytes(2, "big")).decode("utf-16-be")
        return first.to_bytes(2, "big").decode("utf-16-be")

    def _hex(self) -> int:
        return int(self._matched(_HEX), 16)

    def _number(self, match: "re.Match[str]") -> int | float:
        if len(match[0]) > _LONGEST_NUMBER:
            raise ValueError("a number that is too long")
        self._at = match.end()
        self._sure = self._at < len(self._text)
        value = float(match[0]) if match[1] or match[2] else int(match[0])
        if not math.isfinite(value):
            raise ValueError("a number that is too large")
        return value

    def _next(self) -> str:
        """The character that comes next; ValueError at the end."""
        self._skip()
        if self._at >= len(self._text):
            raise ValueError("the text is over")
        return self._text[self._at]

    def _expect(self, char: str) -> None:
        if self._next() != char:
            raise ValueError(f"{char} is missing")
        self._at += 1

    def _skip(self) -> None:
        self._matched(_SPACE)

    def _matched(self, pattern: "re.Pattern[str]") -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError("something else was expected")
        self._at = match.end()
        return match[0]
