"""OpenAI embeddings: `POST /v1/embeddings`.

A wire without a stream and without a codec: no other wire has words for it. Whoever speaks an OpenAI wire is asked for
embeddings at the same address; a target that speaks none is passed over.
"""

from typing import Any

import msgspec

from recloser.gateway.canonical import Usage
from recloser.gateway.wires.openai_chat import OpenAIChat
from recloser.gateway.wires.openai_chat_codec.answers import read_usage
from recloser.gateway.wires.wire import UNREADABLE, Answer, Envelope, error_object, read_request


class _Request(msgspec.Struct):
    model: str
    input: str | list[msgspec.Raw]


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw
    """Numbers, or their bytes in base64. Hundreds of thousands of them are not worth decoding."""

    def anything(self) -> bool:
        """Whether it is one."""
        said = bytes(self.embedding)
        return said[:1] in (b"[", b'"') and said[1:-1].strip() != b""


class _Answer(msgspec.Struct):
    data: list[_Embedding] | None = None
    error: Any = None
    usage: Any = None


_decode_request = msgspec.json.Decoder(_Request).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class OpenAIEmbeddings(OpenAIChat):
    """Its errors are those of the chat wire."""

    name = "openai-embeddings"
    path = "/v1/embeddings"
    upstream_path = "/embeddings"

    def read(  # the body says it all
        self,
        body: bytes,
        model: str = "",  # noqa: ARG002
        *,
        stream: bool = False,  # noqa: ARG002
    ) -> Envelope:
        """What routing needs of a request."""
        return Envelope(read_request(_decode_request, body).model, stream=False, after_tool_result=False)

    def judge(self, body: bytes) -> Answer:
        """What an answer is. One without embeddings, or with an empty one among them, says nothing."""
        try:
            answer = _decode_answer(body)
            if answer.error is not None:
                return Answer(error=error_object(body))
            if answer.data is None:
                return Answer(broken="not an answer: no data")
            content = bool(answer.data) and all(embedding.anything() for embedding in answer.data)
            return Answer(content, usage=Usage(input=read_usage(answer.usage).input, output=0))
        except UNREADABLE as error:
            return Answer(broken=f"not an answer: {error}")
