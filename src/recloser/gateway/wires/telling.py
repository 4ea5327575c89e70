"""An answer told event by event, and told events put together to an answer."""

from collections.abc import Iterable, Iterator

from recloser.gateway.canonical import (
    Answer,
    Began,
    Ended,
    Event,
    Grew,
    Part,
    PartBegan,
    PartEnded,
    Refusal,
    Text,
    Thinking,
    ToolUse,
)


def told(answer: Answer) -> Iterator[Event]:
    """A whole answer as the stream that says it. Parts that are never answered with (files, results) are left out."""
    yield Began(id=answer.id, model=answer.model, created=answer.created)
    index = 0
    for part in answer.parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                empty: Text | Thinking | ToolUse | Refusal = type(part)(text="")
                grown = Grew(index=index, text=text)
            case Thinking():
                empty = Thinking(redacted=part.redacted, issuer=part.issuer)
                grown = Grew(index=index, text=part.text, signature=part.signature)
            case ToolUse():
                empty = ToolUse(id=part.id, name=part.name, signature=part.signature)
                grown = Grew(index=index, text=part.input)
            case _:
                continue
        yield PartBegan(index=index, part=empty)
        if grown.text or grown.signature:
            yield grown
        yield PartEnded(index=index)
        index += 1
    yield Ended(stop=answer.stop, stop_sequence=answer.stop_sequence, usage=answer.usage)


def gathered(events: Iterable[Event]) -> Answer:
    """The answer that a stream tells, as far as it has been told."""
    began, ended = Began(id="", model=""), Ended()
    kinds: dict[int, Part] = {}
    texts: dict[int, list[str]] = {}
    signatures: dict[int, list[str]] = {}
    for event in events:
        match event:
            case Began():
                began = event
            case PartBegan():
                kinds[event.index], texts[event.index], signatures[event.index] = event.part, [], []
            case Grew():
                texts[event.index].append(event.text)
                signatures[event.index].append(event.signature)
            case Ended():
                ended = event
            case PartEnded():
                pass
    parts = tuple(_whole(part, "".join(texts[index]), "".join(signatures[index])) for index, part in kinds.items())
    return Answer(
        id=began.id,
        model=began.model,
        created=began.created,
        parts=parts,
        stop=ended.stop,
        stop_sequence=ended.stop_sequence,
        usage=ended.usage,
    )


def _whole(part: Part, text: str, signature: str) -> Part:
    match part:
        case Thinking():
            return Thinking(text=text, signature=signature, redacted=part.redacted, issuer=part.issuer)
        case ToolUse():
            return ToolUse(id=part.id, name=part.name, input=text or "{}", signature=part.signature or signature)
        case Refusal():
            return Refusal(text=text)
        case _:
            return Text(text=text)
