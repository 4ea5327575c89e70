"""The wires that clients and providers speak, one file each.

A wire says what the gateway must know of a request, an answer and a stream, and how to speak to a client in its own
shapes. Between two ends of the same wire the bytes themselves pass through: nothing is re-serialised. Its codec reads
it into the canonical form and writes it out of it, where the ends differ.
"""

from collections.abc import Mapping

from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.anthropic_messages import AnthropicMessages
from recloser.gateway.wires.codec import Codec
from recloser.gateway.wires.gemini import Gemini
from recloser.gateway.wires.gemini_codec import GeminiCodec
from recloser.gateway.wires.openai_chat import OpenAIChat
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.gateway.wires.openai_responses import OpenAIResponses
from recloser.gateway.wires.openai_responses_codec import ResponsesCodec
from recloser.gateway.wires.wire import Wire

_SPOKEN: tuple[tuple[Wire, Codec], ...] = (
    (AnthropicMessages(), AnthropicCodec()),
    (OpenAIChat(), ChatCodec()),
    (OpenAIResponses(), ResponsesCodec()),
    (Gemini(), GeminiCodec()),
)
WIRES: Mapping[str, Wire] = {wire.name: wire for wire, _ in _SPOKEN}
CODECS: Mapping[str, Codec] = {wire.name: codec for wire, codec in _SPOKEN}
