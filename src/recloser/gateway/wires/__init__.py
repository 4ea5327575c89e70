"""The wires that clients and providers speak, one file each.

A wire says what the gateway must know of a request, an answer and a stream, and how to speak to a client in its own
shapes. Between two ends of the same wire the bytes themselves pass through: nothing is re-serialised. Its codec reads
it into the canonical form and writes it out of it, where the ends differ.

An installed package adds a wire by an entry point of the group `recloser.wires`: a pair of a `Wire` and its `Codec`.
`recloser.testing.WireContract` says what a codec must do.
"""

from collections.abc import Mapping

from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.anthropic_messages import AnthropicMessages
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.gemini import Gemini
from recloser.gateway.wires.gemini_codec import GeminiCodec
from recloser.gateway.wires.openai_chat import OpenAIChat
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.openai_embeddings import OpenAIEmbeddings
from recloser.gateway.wires.openai_responses import OpenAIResponses
from recloser.gateway.wires.openai_responses_codec import ResponsesCodec
from recloser.gateway.wires.wire import Wire
from recloser.plugins import Offered, installed

_SPOKEN: tuple[tuple[Wire, Codec], ...] = (
    (AnthropicMessages(), AnthropicCodec()),
    (OpenAIChat(), ChatCodec()),
    (OpenAIResponses(), ResponsesCodec()),
    (Gemini(), GeminiCodec()),
)


def _is_spoken(plugin: object) -> bool:
    """Whether that is a wire and its codec, under a name of its own."""
    match plugin:
        case (wire, codec):
            name = getattr(wire, "name", "")
            whole = callable(getattr(wire, "watch", None)) and callable(getattr(codec, "reader", None))
            return whole and bool(name) and name not in {known.name for known, _ in _SPOKEN}
    return False


PLUGINS: Offered[tuple[Wire, Codec]] = installed("wires", _is_spoken, taken=())
"""What installed packages add, and what of them cannot be had."""
_ALL_SPOKEN = (*_SPOKEN, *PLUGINS.found.values())
WIRES: Mapping[str, Wire] = {wire.name: wire for wire, _ in _ALL_SPOKEN}
CODECS: Mapping[str, Codec] = {wire.name: codec for wire, codec in _ALL_SPOKEN}
EMBEDDINGS: Wire = OpenAIEmbeddings()
ALL_WIRES: Mapping[str, Wire] = {**WIRES, EMBEDDINGS.name: EMBEDDINGS}
"""Also those that cannot be translated: a target that does not speak them is passed over."""
