"""What a provider says before its answer, with a bound."""

from typing import Any

from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError

MOST_HINTS = 32
"""Informational answers (100 to 199) that may come before the answer itself. Real servers send one, or two."""
_PIECE = 2**14


class BoundedResponses(ResponseHandler):
    """aiohttp's end of a connection, which by itself would read such answers for as long as they come.

    Thousands of them fit into one read, and to parse them all at once holds up everybody; so they are read in pieces.
    """

    _hints = 0

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer; in small pieces where its head is awaited."""
        size = _PIECE if self._waiter is not None else len(data) or 1
        for start in range(0, len(data) or 1, size):
            if self._hints > MOST_HINTS:
                return
            super().data_received(data[start : start + size])

    def feed_data(self, data: Any, size: int = 0) -> None:
        """An answer's head."""
        self._hints = self._hints + 1 if 100 <= data[0].code < 200 else 0
        if self._hints <= MOST_HINTS:
            super().feed_data(data, size)
        elif self.transport is not None:
            self.transport.close()
            self.set_exception(HttpProcessingError(code=data[0].code, message="no answer but hints of one"))
