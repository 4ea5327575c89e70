"""OpenAI embeddings: the answers of `/v1/embeddings`. Its errors are those of the chat wire."""

from __future__ import annotations

import base64
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recloser.simulate.answers.openai_chat import OpenAIChat
from recloser.simulate.wire import Address, Ask, BadAskError, Reply, Turn

_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class _Ask(Ask):
    texts: tuple[str, ...] = ()
    dimensions: int = _DIMENSIONS
    base64: bool = False


class OpenAIEmbeddings(OpenAIChat):
    """Never a stream; the same text always gets the same numbers."""

    name = "openai-embeddings"
    paths = ("/v1/embeddings",)

    def claims(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Nobody on a shared path."""
        return False

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:  # noqa: ARG002
        """Understand a request."""
        if "model" not in body:
            raise BadAskError("you must provide a model parameter", "model")
        given = body.get("input")
        texts = tuple(map(str, given)) if isinstance(given, list) else (str(given),)
        if given is None or not texts or "" in texts:
            raise BadAskError("'$.input' is invalid. Please check the API reference.", "input")
        wanted = body.get("dimensions")
        return _Ask(
            model=str(body["model"]), turns=(Turn(by_model=False, text=texts[0]),), texts=texts,
            input_tokens=max(1, size // 4),
            dimensions=wanted if isinstance(wanted, int) and 0 < wanted <= 4096 else _DIMENSIONS,
            base64=body.get("encoding_format") == "base64",
        )  # fmt: skip

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """One embedding a text; none where the model has nothing to say."""
        assert isinstance(ask, _Ask)
        texts = ask.texts if reply.pieces else ()
        data = [
            {"object": "embedding", "index": index, "embedding": _embedding(text, ask)}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": ask.input_tokens, "total_tokens": ask.input_tokens}
        return {"object": "list", "data": data, "model": ask.model, "usage": usage}


WIRE = OpenAIEmbeddings()


def _embedding(text: str, ask: _Ask) -> Any:
    dice = random.Random(text)
    numbers = [round(dice.uniform(-1.0, 1.0), 6) for _ in range(ask.dimensions)]
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if ask.base64 else numbers
