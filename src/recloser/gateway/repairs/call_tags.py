"""Reads calls that are written as tags: `<function=f>`, `<invoke name="f">`, `<f a="1"/>`, a channel to a tool."""

from collections.abc import Sequence
from html import unescape
from typing import Any

from recloser.gateway.repairs.call_formats import CHANNELS, CLOSERS, FUNCTIONS, MESSAGE, PARAMETERS
from recloser.gateway.repairs.call_values import CallValues
from recloser.gateway.repairs.declared import Declared
from recloser.gateway.repairs.scanning import SPACE, Called, OtherwiseError, Steps
from recloser.gateway.repairs.written_call import INPUTS, input_of

_LONGEST_GAP = 64
"""Characters between the name of a channel and the message in it."""


class CallTags(CallValues):
    """A scanner that can read these, too."""

    def __init__(self, tools: Declared) -> None:
        super().__init__(tools)
        self._tags = tuple(f"<{name}" for name in tools.tools)

    def _tag(self) -> Steps[Sequence[Called]]:
        """A tag that names a tool, or a channel to one."""
        word = yield from self.sees(*FUNCTIONS, *CHANNELS, *self._tags)
        self.take(len(word))
        if word in CHANNELS:
            return (yield from self._channel("functions." if word.endswith("functions.") else ""))
        if word in FUNCTIONS:
            quote = yield from self._quote()
            tool = self._declared((yield from self._name()))
            if quote and (yield from self._quote()) != quote:
                raise OtherwiseError
            ends: tuple[str, ...] = (f"</{word[1:].partition('=')[0].partition(' ')[0]}>",)
        elif word:
            tool = word[1:]
            ends = (f"</{tool}>",)
        else:
            raise OtherwiseError
        attributes, closed = yield from self._attributes()
        if closed:
            return self._from_attributes(tool, attributes)
        return (yield from self._content(tool, attributes, ends, strict=word in self._tags))

    def _quote(self) -> Steps[str]:
        char = yield from self.next_char()
        return self.take(1) if char and char in "\"'" else ""

    def _attributes(self) -> Steps[tuple[list[tuple[str, str]], bool]]:
        """What a tag says up to its end, and whether that is all."""
        found: list[tuple[str, str]] = []
        while True:
            space = yield from self.take_while(SPACE)
            char = yield from self.next_char()
            if char == ">":
                self.take(1)
                return found, False
            if (yield from self.sees("/>")):
                self.take(2)
                return found, True
            key = yield from self._name()
            if not key or not space or not (yield from self.sees("=")):
                raise OtherwiseError
            self.take(1)
            quote = yield from self.next_char()
            if not quote or quote not in "\"'":
                raise OtherwiseError
            found.append((key, (yield from self._attribute(quote))))

    def _attribute(self, quote: str) -> Steps[str]:
        pieces: list[str] = []
        self.take(1)
        while (char := (yield from self.next_char())) != quote:
            if not char:
                raise OtherwiseError
            pieces.append(self.take(1))
        self.take(1)
        return unescape("".join(pieces))

    def _from_attributes(self, tool: str, attributes: Sequence[tuple[str, str]]) -> Sequence[Called]:
        if len(attributes) == 1 and attributes[0][0] in INPUTS:
            given = input_of(attributes[0][1])
            if given is not None:
                return (Called(tool, given),)
        return self._called(tool, [(key, self._typed(tool, key, text)) for key, text in attributes])

    def _content(
        self, tool: str, attributes: Sequence[tuple[str, str]], ends: tuple[str, ...], *, strict: bool
    ) -> Steps[Sequence[Called]]:
        """What stands between a tool's tags: its arguments as JSON, or a tag each. `strict`: its end must stand."""
        yield from self.take_while(SPACE)
        if (yield from self.next_char()) == "{":
            given = input_of((yield from self._json(marked=True, keys=False)), unclosed=True)
            calls: Sequence[Called] = () if given is None or attributes else (Called(tool, given),)
        else:
            pairs = [(key, self._typed(tool, key, text)) for key, text in attributes]
            calls = self._called(tool, [*pairs, *(yield from self._parameters(tool, ends))])
        yield from self.take_while(SPACE)
        end = yield from self.sees(*ends)
        if not end and (strict or ((yield from self.has()) and not (yield from self.sees(*CLOSERS)))):
            raise OtherwiseError
        self.take(len(end))
        return calls

    def _parameters(self, tool: str, ends: tuple[str, ...]) -> Steps[list[tuple[str, Any]]]:
        properties = self._tools.schema(tool).get("properties")
        own = tuple(f"<{name}>" for name in properties) if isinstance(properties, dict) else ()
        follow = (*PARAMETERS, *own, *ends, *CLOSERS)
        pairs: list[tuple[str, Any]] = []
        while word := (yield from self.sees(*PARAMETERS, *own)):
            self.take(len(word))
            key = word[1:-1]
            end = f"</{key}>"
            if word in PARAMETERS:
                quote = yield from self._quote()
                key = yield from self._name()
                if quote and (yield from self._quote()) != quote:
                    raise OtherwiseError
                yield from self._attributes()
                end = f"</{word[1:].partition('=')[0].partition(' ')[0]}>"
            pairs.append((key, self._typed(tool, key, (yield from self._value(end, follow)))))
        return pairs

    def _channel(self, before: str) -> Steps[Sequence[Called]]:
        """gpt-oss: a message to a tool."""
        name = before + (yield from self._name())
        for _ in range(_LONGEST_GAP):
            if (yield from self.sees(MESSAGE)):
                self.take(len(MESSAGE))
                yield from self.take_while(SPACE)
                return (yield from self._json_input(name))
            if not (yield from self.has()):
                break
            self.take(1)
        raise OtherwiseError
