"""Gemini generateContent, read and written."""

from recloser.gateway.canonical import Answer, Request, Written
from recloser.gateway.wires.gemini_codec.answers import read_answer, write_answer
from recloser.gateway.wires.gemini_codec.editing import GeminiEditor
from recloser.gateway.wires.gemini_codec.reading import read_request
from recloser.gateway.wires.gemini_codec.streams import GeminiReader, GeminiWriter
from recloser.gateway.wires.gemini_codec.writing import write_request


class GeminiCodec:
    """The codec of `POST /v1beta/models/{model}:generateContent`. What the address says is not in the body."""

    def read_request(self, body: bytes, model: str = "", *, stream: bool = False) -> Request:
        """A client's request; BadRequestError that names the field if it is none."""
        return read_request(body, model, stream=stream)

    def write_request(self, request: Request) -> Written:
        """A request for a provider of this wire, and what it has no words for."""
        return write_request(request)

    def read_answer(self, body: bytes) -> Answer:
        """A provider's plain answer; ValueError if it is none."""
        return read_answer(body)

    def write_answer(self, answer: Answer) -> bytes:
        """A plain answer for a client of this wire."""
        return write_answer(answer)

    def reader(self) -> GeminiReader:
        """A reader for one stream of a provider."""
        return GeminiReader()

    def writer(self, request: Request) -> GeminiWriter:  # noqa: ARG002 - this wire's streams are all alike
        """A writer for the stream that answers this request of a client."""
        return GeminiWriter()

    def editor(self, body: bytes) -> GeminiEditor:
        """Changes one request of a client in a few places."""
        return GeminiEditor(body)
