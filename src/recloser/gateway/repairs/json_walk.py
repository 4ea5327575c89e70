"""Follows JSON while it is being written: where it ends, and whether it can still be a call of a tool."""

from recloser.gateway.repairs.declared import LONGEST_NAME, Declared
from recloser.gateway.repairs.written_call import KEYS, NAMES


class JsonWalk:
    """The brackets that are open, and what has been said on the level of a call: in the outermost object, or one in it.

    With `tools`, an object whose key is none of a call's, or that names nobody, is `wrong` as soon as it says so.
    """

    __slots__ = ("_begun", "_depth", "_key", "_level", "_newlines", "_object", "_tools", "over", "wrong")

    def __init__(self, tools: Declared | None) -> None:
        self._tools = tools
        self._depth = self._level = 0
        self._begun = self._object = False
        self._key: str | None = None
        self._newlines = 0
        self.over = False
        self.wrong = False

    @property
    def blank_line(self) -> bool:
        """Whether a line ended and nothing has come since."""
        return self._newlines > 0

    def word(self, plain: str) -> None:
        """What stands between signs: a key or a value without quotes, or nothing."""
        if plain := plain.strip():
            self._said(plain, quoted=False)

    def string(self, text: str) -> None:
        """A string."""
        self._said(text, quoted=True)

    def sign(self, char: str) -> None:
        """A bracket, a comma, a colon or a line's end."""
        if char == "\n":
            self._newlines += 1
            return
        self._newlines = 0
        if char in "{[":
            self._depth += 1
            if not self._begun:
                self._level, self._object = self._depth, char == "{"
            if self._depth == self._level:
                self._key = None
        elif char in "}]":
            self._depth -= 1
            self.over = self._depth <= 0
        elif char == "," and self._depth == self._level:
            self._key = None

    def _said(self, text: str, *, quoted: bool) -> None:
        self._newlines = 0
        self._begun = True
        if self._tools is None or self._depth != self._level:
            return
        if self._key is None:
            self._key = text
            self.wrong = self.wrong or not self._object or text not in KEYS
        elif self._key in NAMES or (self._key == "function" and quoted):
            named = quoted and len(text) <= LONGEST_NAME and self._tools.named(text) is not None
            self.wrong = self.wrong or not named
