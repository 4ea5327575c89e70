"""`has_document = true`: if a file is in the conversation, also in the result of a tool."""

from recloser.gateway.canonical import Document
from recloser.gateway.conditions.parts import HasPart


class HasDocument(HasPart):
    """Whether there is a file."""

    sort = Document


offer = HasDocument
