"""OpenAI Responses, read and written."""

from recloser.gateway.canonical import Answer, Request, Written
from recloser.gateway.wires.openai_responses_codec.answers import read_answer, write_answer
from recloser.gateway.wires.openai_responses_codec.editing import ResponsesEditor
from recloser.gateway.wires.openai_responses_codec.reading import read_request
from recloser.gateway.wires.openai_responses_codec.stream_reading import ResponsesReader
from recloser.gateway.wires.openai_responses_codec.stream_writing import ResponsesWriter
from recloser.gateway.wires.openai_responses_codec.writing import write_request


class ResponsesCodec:
    """The codec of `POST /v1/responses`."""

    def read_request(  # the body says it all
        self,
        body: bytes,
        model: str = "",  # noqa: ARG002
        *,
        stream: bool = False,  # noqa: ARG002
    ) -> Request:
        """A client's request; BadRequestError that names the field if it is none."""
        return read_request(body)

    def write_request(self, request: Request) -> Written:
        """A request for a provider of this wire, and what it has no words for."""
        return write_request(request)

    def read_answer(self, body: bytes) -> Answer:
        """A provider's plain answer; ValueError if it is none."""
        return read_answer(body)

    def write_answer(self, answer: Answer) -> bytes:
        """A plain answer for a client of this wire."""
        return write_answer(answer)

    def reader(self) -> ResponsesReader:
        """A reader for one stream of a provider."""
        return ResponsesReader()

    def writer(self, request: Request) -> ResponsesWriter:  # noqa: ARG002 - this wire's streams are all alike
        """A writer for the stream that answers this request of a client."""
        return ResponsesWriter()

    def editor(self, body: bytes) -> ResponsesEditor:
        """Changes one request of a client in a few places."""
        return ResponsesEditor(body)
