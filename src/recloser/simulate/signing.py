"""Signatures of thoughts: who thought them can tell, and nobody else."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence

from recloser.simulate.wire import Seal

_USUAL = str.maketrans("-_", "+/")
"""Base64 as in addresses, which some clients make of it, is the same."""


class Signer:
    """Signs with a provider's name as the key: providers of one name take each other's thoughts, as regions do."""

    def __init__(self, name: str) -> None:
        self._key = name.encode(errors="surrogateescape")

    def sign(self, words: str) -> str:
        """A signature over these words, in base64 as real ones are."""
        return b64encode(hmac.digest(self._key, words.encode(errors="surrogatepass"), "sha256")).decode()

    def complaint(self, seals: Sequence[Seal]) -> str | None:
        """What to say of the first that is not one's own."""
        return next((seal.complaint for seal in seals if not self._made(seal)), None)

    def _made(self, seal: Seal) -> bool:
        given = seal.signature.translate(_USUAL)
        return hmac.compare_digest(self.sign(seal.words).encode(), given.encode(errors="replace"))
