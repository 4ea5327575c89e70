"""Calls of tools that a model wrote as text become calls.

Only of tools that the request declares, and never what is spoken of: in code, in a thought, behind words like "for
example", or in the middle of a sentence. Where that is in doubt the text stays text.
"""

import re
from collections.abc import Sequence

from recloser.gateway.canonical import Refusal, Request, Text, Thinking, ToolUse
from recloser.gateway.repairs.call_formats import CHANNELS, CLOSERS, CUES, FUNCTIONS, LANGUAGES, OPENERS, THOUGHTS
from recloser.gateway.repairs.call_tags import CallTags
from recloser.gateway.repairs.call_values import BETWEEN, LETTERS
from recloser.gateway.repairs.declared import Declared
from recloser.gateway.repairs.retelling import Retelling
from recloser.gateway.repairs.scanning import BLANKS, SPACE, Called, OtherwiseError, Scanner, Steps
from recloser.gateway.repairs.written_call import calls_in_json

_REST_OF_LINE = re.compile(r"[ \t\r,;]*")
_ONLY_JOINS = re.compile(r"[`~,;\s]*(?:or|and)?(?: then)?:?[`~,;\s]*", re.IGNORECASE)
"""What stands between two examples."""
_LONGEST_JOIN = 64


class ToolCallText(Retelling):
    """The repair."""

    only_with_tools = True

    def __init__(self, request: Request) -> None:
        super().__init__()
        self._tools = Declared(request)
        self._answers_json = request.output is not None

    def scanner(self, part: Text | Thinking | ToolUse | Refusal) -> Scanner | None:
        """Words are read; nothing else."""
        if not self._tools or not isinstance(part, Text):
            return None
        return CallScanner(self._tools, answers_json=self._answers_json)


class CallScanner(CallTags):
    """Finds the calls in a text. `answers_json`: JSON is what was asked for, so it is no call unless it says so."""

    marks = "<["

    def __init__(self, tools: Declared, *, answers_json: bool = False) -> None:
        super().__init__(tools)
        self._answers_json = answers_json
        self._thought = ""
        """What ends the thought that is told."""
        self._shown = False
        """Whether the last candidate was only shown."""
        self._since = ""
        """What was said since, outside of fences."""
        self._words = (*OPENERS, *FUNCTIONS, *CHANNELS, *THOUGHTS)

    def candidate(self, char: str) -> Steps[bool]:
        """A thought, a mark of a call, or what stands at the beginning of a line."""
        if self._thought:
            return (yield from self._end_thought())
        if self.quoted:
            return False
        if char in self.marks:
            word = yield from self.sees(*self._words, *(self._tags if self.fresh else ()))
            if word in THOUGHTS:
                self._thought = THOUGHTS[word]
                self.take(len(word))
                return True
            if word:
                return (yield from self._calls(marked=True))
        if not self.fresh or self._answers_json or not (char in "{[" or LETTERS.match(char)):
            return False
        return (yield from self._calls(marked=False))

    def say(self, text: str) -> None:
        """Text goes on."""
        super().say(text)
        self._since = "" if self.fence else (self._since + text)[: _LONGEST_JOIN + 1]

    def opened(self, language: str) -> Steps[None]:
        """A fence whose whole content is calls."""
        if language not in LANGUAGES or self._thought or self._answers_json or self._is_shown():
            return
        calls: list[Called] = []
        while True:
            yield from self.take_while(BETWEEN)
            if (yield from self.sees(self.fence)) or not (yield from self.has()):
                break
            calls += yield from self._call_here(marked=False)
        yield from self._rest_of_fence()
        self.fence = ""
        if calls:
            self._give(calls)

    def _rest_of_fence(self) -> Steps[None]:
        self.take(min(len(self.fence), len(self.window) - self.at))
        yield from self.take_while(BLANKS)
        if (yield from self.next_char()) not in ("\n", ""):
            raise OtherwiseError

    def _end_thought(self) -> Steps[bool]:
        if not (yield from self.sees(self._thought)):
            return False
        self.take(len(self._thought))
        self._thought, self.fence = "", ""
        return True

    def _is_shown(self) -> bool:
        """Whether the words before say that what follows is an example, or goes on with one."""
        lines = [line for line in self.tail.casefold().split("\n") if line.strip()][-1 if self.fresh else -2 :]
        self._shown = any(cue in line for line in lines for cue in CUES) or (self._shown and self._goes_on())
        return self._shown

    def _goes_on(self) -> bool:
        """Whether nothing was said since the last example but what joins it to the next."""
        since = self._since
        for word in CLOSERS:
            since = since.replace(word, "")
        return len(since) <= _LONGEST_JOIN and bool(_ONLY_JOINS.fullmatch(since.strip()))

    # One call after another ------------------------------------------------------------------------------------------

    def _calls(self, *, marked: bool) -> Steps[bool]:
        """Calls that follow one another. They are told as soon as each is whole."""
        if self._is_shown():
            yield from self._pass_over(marked=marked)
            return True
        while True:
            calls = yield from self._call_here(marked=marked)
            if not marked:
                yield from self._end_line()
            self._give(calls)
            closed = yield from self._closers()
            if closed or (yield from self.next_char()) not in ("{", "["):
                return True

    def _pass_over(self, *, marked: bool) -> Steps[None]:
        """Say what is only shown, up to its end."""
        is_word = bool(LETTERS.match(self.window, self.at))
        self.let_pass()
        try:
            yield from self._call_here(marked=marked)
        except OtherwiseError:
            if is_word:  # any line begins with one
                return
        self._since = ""

    def _give(self, calls: Sequence[Called]) -> None:
        self.drop()
        self.tail, self._shown = "", False
        for call in calls:
            self.give(call)

    def _end_line(self) -> Steps[None]:
        """What nobody has marked as a call stands on lines of its own."""
        yield from self.take_while(_REST_OF_LINE)
        if (yield from self.next_char()) not in ("\n", "", "{", "[") and not (yield from self.sees(*CLOSERS)):
            raise OtherwiseError

    def _closers(self) -> Steps[bool]:
        closed = False
        while True:
            yield from self.take_while(BETWEEN if not closed else SPACE)
            word = yield from self.sees(*CLOSERS)
            if not word:
                return closed
            closed = True
            self.take(len(word))
            self.drop()

    def _call_here(self, *, marked: bool) -> Steps[Sequence[Called]]:
        """The calls that one piece is, with the marks before it."""
        while word := (yield from self.sees(*OPENERS)):
            marked = True
            self.take(len(word))
            yield from self.take_while(SPACE)
        char = yield from self.next_char()
        calls: Sequence[Called] = ()
        if char == "{":
            calls = calls_in_json((yield from self._json(marked=marked)), self._tools, marked=marked)
        elif char == "[":
            calls = yield from self._list(marked=marked)
        elif char == "<":
            calls = yield from self._tag()
        elif char and LETTERS.match(char):
            calls = yield from (self._named() if marked else self._line())
        if not calls:
            raise OtherwiseError
        return calls


offer = ToolCallText
