"""The wires that clients and providers speak, one file each.

A wire says what the gateway must know of a request, an answer and a stream, and how to speak to a client in its own
shapes. The bytes themselves pass through: nothing is re-serialised.
"""

from collections.abc import Mapping

from recloser.gateway.wires.anthropic_messages import AnthropicMessages
from recloser.gateway.wires.openai_chat import OpenAIChat
from recloser.gateway.wires.wire import Wire

WIRES: Mapping[str, Wire] = {wire.name: wire for wire in (AnthropicMessages(), OpenAIChat())}
