"""How commands write for people: colours where they help, and nothing that a file or a pipe would choke on."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def own_name() -> str:
    """How this command is called from here: by its name where the shell finds it, else by the way to it."""
    called, found = Path(sys.argv[0]), shutil.which("recloser")
    if called.name != "recloser":
        return "recloser" if found else "python -m recloser"
    if found and called.exists() and called.samefile(found):
        return "recloser"
    return min(os.path.relpath(called), str(called), key=len)


class Screen:
    """Where a command writes."""

    def __init__(self, stream: TextIO | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        environ = os.environ if environ is None else environ
        self.terminal = self._stream.isatty()
        self._colours = self.terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.width = shutil.get_terminal_size((80, 24)).columns if self.terminal else None
        """Columns; None where lines may be as long as they are."""

    def paint(self, text: str, *styles: str) -> str:
        """The text in colours, where there are any."""
        if not self._colours or not styles:
            return text
        return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"

    def cut(self, text: str, taken: int = 0) -> str:
        """The text as far as it fits beside `taken` columns."""
        room = None if self.width is None else max(self.width - taken, 10)
        return text if room is None or len(text) <= room else f"{text[: room - 1]}…"

    def sign(self, sign: str, plain: str) -> str:
        """A sign, or plain letters where the stream cannot write it."""
        try:
            sign.encode(self._stream.encoding or "ascii")
        except UnicodeEncodeError:
            return plain
        return sign

    def print(self, text: str = "") -> None:
        """Write a line; it is there at once."""
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()
