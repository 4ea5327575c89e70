"""How many tokens a request has, about, where nobody can be asked.

No vendor's tokeniser is used: they differ, and the newest are not public. English text and code come out a little high,
which is the safe side for whoever asks whether something fits.
"""

from collections.abc import Iterable

import msgspec

from recloser.gateway.canonical import Document, Image, Part, Refusal, Request, Text, Thinking, ToolResult, ToolUse

CHARACTERS_PER_TOKEN = 3.5
"""Of text in ASCII. Another character counts as a token of its own, as in most scripts that is near the truth."""
LONGEST_WORD = 64
"""Letters and digits in a row, from which on they are no word any more but a key, a digest or a file in base64."""
UNBROKEN_CHARACTERS_PER_TOKEN = 1.5
"""Of such a row: no part of it is in any vocabulary but pairs and triples of letters. Nothing else has more tokens."""
PER_IMAGE = 1600
"""Anthropic's own upper bound for an image that is not scaled down: its width times its height over 750."""
PER_TURN = 4
"""What separates the turns."""
PER_DOCUMENT_BYTE = 0.05
"""Of a file that we cannot read: about 3,000 tokens for a page of 60 KB."""


def tokens(request: Request) -> int:
    """The tokens of a whole request: what is said, the tools, images and files."""
    said = sum(len_of(text.text) for text in request.system)
    said += sum(PER_TURN + of_parts(turn.parts) for turn in request.turns)
    said += sum(len_of(tool.name) + len_of(tool.description) + len_of(_text(tool.schema)) for tool in request.tools)
    if request.output is not None and request.output.schema is not None:
        said += len_of(_text(request.output.schema))
    return round(said)


def of_parts(parts: Iterable[Part]) -> float:
    """The tokens of some parts of a turn."""
    return sum(map(_of_part, parts))


def len_of(text: str) -> float:
    """The tokens of a text. More text never has fewer."""
    plain = text.encode("ascii", "replace")
    beyond = 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))
    unbroken = _unbroken(plain.translate(_WORDS))
    broken = len(text) - beyond - unbroken
    return broken / CHARACTERS_PER_TOKEN + unbroken / UNBROKEN_CHARACTERS_PER_TOKEN + beyond


_IN_WORDS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_WORDS = bytes(byte if byte in _IN_WORDS else 32 for byte in range(256))
"""What is no part of a word becomes a space."""


def _unbroken(words: bytes) -> int:
    """How many characters stand in rows that are too long for words. Hops from space to space, far at once."""
    found = start = 0
    while len(words) - start >= LONGEST_WORD:
        gap = words.rfind(b" ", start, start + LONGEST_WORD)
        if gap < 0:
            gap = words.find(b" ", start + LONGEST_WORD)
            gap = len(words) if gap < 0 else gap
            found += gap - start
        start = gap + 1
    return found


def _of_part(part: Part) -> float:
    match part:
        case Text() | Refusal():
            return len_of(part.text)
        case Thinking():
            return len_of(part.text or part.redacted)
        case ToolUse():
            return len_of(part.name) + len_of(part.input)
        case ToolResult():
            return of_parts(part.parts)
        case Image():
            return PER_IMAGE
        case Document():
            return len_of(part.text) + len(part.data) * PER_DOCUMENT_BYTE


def _text(schema: object) -> str:
    return msgspec.json.encode(schema).decode()
