"""Bytes that a tokenizer had no word for, and a backend wrote out one by one, become the characters that they are.

`<0xE4><0xBD><0xA0>` is one. Only what is whole and valid UTF-8 is changed, and nothing in inline code: there it is
spoken of.
"""

import re

from recloser.gateway.canonical import Refusal, Request, Text, Thinking, ToolUse
from recloser.gateway.repairs.retelling import Retelling
from recloser.gateway.repairs.scanning import Scanner, Steps

_LENGTH = len("<0x00>")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_BEGINNING = re.compile(r"(?:<(?:0(?:x[0-9A-Fa-f]{0,2})?)?)?")
_SPACES = frozenset("\t\n\r")


class ByteFallback(Retelling):
    """The repair."""

    def __init__(self, request: Request) -> None:  # noqa: ARG002
        super().__init__()

    def scanner(self, part: Text | Thinking | ToolUse | Refusal) -> Scanner | None:
        """Words and thoughts are read. In a tool's input a character may mean something else than its bytes' names."""
        return ByteScanner() if isinstance(part, Text | Thinking) else None


class ByteScanner(Scanner):
    """Finds characters written as bytes."""

    marks = "<"

    def candidate(self, char: str) -> Steps[bool]:
        """A character's first byte, and as many more as that one says."""
        if char != "<" or (self.inline and not self.fence):
            return False
        found = b""
        length = 1
        while len(found) < length:
            byte = yield from self._byte(len(found) * _LENGTH)
            if byte is None:
                return False
            found += bytes([byte])
            length = _length(found[0])
        try:
            text = found.decode()
        except UnicodeDecodeError:
            return False
        if not text.isprintable() and text not in _SPACES:
            return False
        self.take(length * _LENGTH)
        self.drop()
        self.say(text)
        return True

    def _byte(self, offset: int) -> Steps[int | None]:
        while True:
            start = self.at + offset
            ahead = self.window[start : start + _LENGTH]
            if len(ahead) == _LENGTH:
                match = _BYTE.fullmatch(ahead)
                return int(match[1], 16) if match else None
            if self.ended or not _BEGINNING.fullmatch(ahead):
                return None
            yield


def _length(first: int) -> int:
    """How many bytes a character has, by its first."""
    return 1 + (first >= 0xC0) + (first >= 0xE0) + (first >= 0xF0)


offer = ByteFallback
