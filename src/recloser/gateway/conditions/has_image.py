"""`has_image = true`: if a picture is in the conversation, also in the result of a tool."""

from recloser.gateway.canonical import Image
from recloser.gateway.conditions.parts import HasPart


class HasImage(HasPart):
    """Whether there is a picture."""

    sort = Image


offer = HasImage
