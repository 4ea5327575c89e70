"""OpenAI Chat Completions, read and written."""

from recloser.gateway.canonical import Answer, Request, Written
from recloser.gateway.wires.openai_chat_codec.answers import read_answer, write_answer
from recloser.gateway.wires.openai_chat_codec.editing import ChatEditor
from recloser.gateway.wires.openai_chat_codec.reading import read_request
from recloser.gateway.wires.openai_chat_codec.streams import ChatReader, ChatWriter
from recloser.gateway.wires.openai_chat_codec.writing import write_request


class ChatCodec:
    """The codec of `POST /v1/chat/completions`."""

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

    def reader(self) -> ChatReader:
        """A reader for one stream of a provider."""
        return ChatReader()

    def writer(self, request: Request) -> ChatWriter:
        """A writer for the stream that answers this request of a client."""
        return ChatWriter(usage_wanted=request.stream_usage)

    def editor(self, body: bytes) -> ChatEditor:
        """Changes one request of a client in a few places."""
        return ChatEditor(body)
