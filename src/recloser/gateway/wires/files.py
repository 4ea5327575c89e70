"""Files as wires give them: base64 with a media type, or plain words."""

import binascii
from base64 import b64decode

from recloser.gateway.canonical import Document


def words(part: Document) -> str | None:
    """What a file says, if it is plain text; None if it is not, or if its words are elsewhere."""
    if part.text or not part.media_type.startswith("text/") or not part.data:
        return part.text or None
    try:
        return b64decode(part.data).decode()
    except (binascii.Error, ValueError):
        return None
