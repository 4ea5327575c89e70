"""How each wire is asked how many tokens a request has: one class a wire that can be asked.

A count is a question of its own, about a request for an answer: clients ask it beside the wire's own address, with
nearly the same body, and so are providers asked.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from recloser.gateway.wires.gemini import upstream_address
from recloser.gateway.wires.wire import read_request

Fields = dict[str, msgspec.Raw]


class Counter(Protocol):
    """One wire's question."""

    wire: str
    path: str
    """Where clients ask, if their address names no model."""

    def counted(self, body: bytes) -> bytes:
        """The request that a client's question is about; BadRequestError if there is none in it."""
        ...

    def asked_at(self, model: str) -> str:
        """Where a provider is asked, relative to the base URL."""
        ...

    def question(self, request: bytes, model: str, *, translated: bool) -> bytes:
        """The question about a request: a client's own, or what one of another wire was translated to."""
        ...

    def count(self, answer: bytes) -> int:
        """The number in a provider's answer; raises one of `UNREADABLE` if there is none."""
        ...

    def answer(self, tokens: int) -> bytes:
        """The answer for a client."""
        ...


class _InputTokens(msgspec.Struct):
    input_tokens: int


class _TotalTokens(msgspec.Struct, rename="camel"):
    total_tokens: int


class _Wrapped(msgspec.Struct, rename="camel"):
    generate_content_request: msgspec.Raw = msgspec.Raw(b"null")


_decode_fields = msgspec.json.Decoder(Fields).decode
_decode_input_tokens = msgspec.json.Decoder(_InputTokens).decode
_decode_total_tokens = msgspec.json.Decoder(_TotalTokens).decode
_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode


class _OfTheSameShape:
    """A question with the fields of a request, as far as they make tokens: the others are refused as unknown."""

    wire: str
    path: str
    fields: frozenset[str]

    def counted(self, body: bytes) -> bytes:
        """The question itself."""
        return body

    def question(self, request: bytes, model: str, *, translated: bool) -> bytes:  # noqa: ARG002 - the request names it
        """A client's own as it is; a translated request without what says how to answer."""
        if not translated:
            return request
        given = _decode_fields(request)
        return msgspec.json.encode({name: value for name, value in given.items() if name in self.fields})

    def count(self, answer: bytes) -> int:
        """The number in an answer."""
        return _not_negative(_decode_input_tokens(answer).input_tokens)


class AnthropicCounter(_OfTheSameShape):
    """`POST /v1/messages/count_tokens`."""

    wire = "anthropic"
    path = "/v1/messages/count_tokens"
    fields = frozenset({"messages", "model", "system", "thinking", "tool_choice", "tools"})

    def asked_at(self, model: str) -> str:  # noqa: ARG002 - the body names it
        """Where a provider is asked."""
        return self.path

    def answer(self, tokens: int) -> bytes:
        """The answer for a client."""
        return msgspec.json.encode({"input_tokens": tokens})


class ResponsesCounter(_OfTheSameShape):
    """`POST /v1/responses/input_tokens`."""

    wire = "openai-responses"
    path = "/v1/responses/input_tokens"
    fields = frozenset(
        {"input", "instructions", "model", "parallel_tool_calls", "reasoning", "text", "tool_choice", "tools"}
    )

    def asked_at(self, model: str) -> str:  # noqa: ARG002 - the body names it
        """Where a provider is asked."""
        return "/responses/input_tokens"

    def answer(self, tokens: int) -> bytes:
        """The answer for a client."""
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": tokens})


class GeminiCounter:
    """`POST /v1beta/models/{model}:countTokens`: contents alone, or a whole request in a field of its own."""

    wire = "gemini"
    path = ""

    def counted(self, body: bytes) -> bytes:
        """The request in it, or the contents."""
        inside = bytes(read_request(_decode_wrapped, body).generate_content_request)
        return body if inside == b"null" else inside

    def asked_at(self, model: str) -> str:
        """Where a provider is asked."""
        return upstream_address(model, stream=False).removesuffix("generateContent") + "countTokens"

    def question(self, request: bytes, model: str, *, translated: bool) -> bytes:  # noqa: ARG002 - both look alike
        """Contents alone stand by themselves; a whole request names its model."""
        given: dict[str, Any] = dict(_decode_fields(request))
        if given.keys() == {"contents"}:
            return request
        name = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        return msgspec.json.encode({"generateContentRequest": {**given, "model": name}})

    def count(self, answer: bytes) -> int:
        """The number in an answer."""
        return _not_negative(_decode_total_tokens(answer).total_tokens)

    def answer(self, tokens: int) -> bytes:
        """The answer for a client."""
        return msgspec.json.encode({"totalTokens": tokens})


COUNTERS: Mapping[str, Counter] = {
    counter.wire: counter for counter in (AnthropicCounter(), ResponsesCounter(), GeminiCounter())
}


def _not_negative(tokens: int) -> int:
    if tokens < 0:
        raise ValueError(f"{tokens} tokens")
    return tokens
