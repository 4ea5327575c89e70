"""Events from bytes: whole ones only, whatever the size of the chunks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.gateway import sse

NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\r"])
WORDS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A stream with one kind of line end, and the events in it."""
    newline = draw(NEWLINES)
    events = draw(st.lists(st.tuples(st.sampled_from([b"", b"ping", b"delta"]), WORDS), max_size=8))
    whole, said = b"", []
    for name, text in events:
        data = text.encode().strip() or b"x"
        if any(sign in data for sign in (b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e")):
            data = b"y"
        whole += (b"event: " + name + newline if name else b"") + b"data: " + data + newline + newline
        said.append((name, data))
    return whole, said


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(whole) + 1) for place in places} | {0, len(whole)})
    return [whole[start:end] for start, end in itertools.pairwise(marks)]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=20))
def test_a_stream_cut_anywhere_gives_the_same_bytes_and_events(
    stream: tuple[bytes, list[tuple[bytes, bytes]]], places: list[int]
) -> None:
    whole, said = stream
    splitter = sse.Splitter()
    pieces = [splitter.feed(chunk) for chunk in cut(whole, places)]
    last = splitter.end()
    assert b"".join(pieces) == whole or last
    events = [event for piece in pieces for event in sse.parse(piece)] + list(sse.parse(last))
    assert [(name, data) for name, data, _ in events if data] == said
    assert sum(length for piece in pieces for _, _, length in sse.parse(piece)) == sum(map(len, pieces))


@given(streams(), st.integers(0, 10_000))
def test_what_is_let_through_always_ends_at_a_boundary(
    stream: tuple[bytes, list[tuple[bytes, bytes]]], place: int
) -> None:
    whole, _ = stream
    piece = sse.Splitter().feed(whole[: place % (len(whole) + 1)])
    assert piece == b"" or piece.endswith((b"\n\n", b"\n\r\n", b"\r\r"))


def test_a_large_event_in_small_pieces_is_looked_at_once() -> None:
    splitter = sse.Splitter()
    piece, count = b"x" * 1024, 12 * 1024
    assert all(splitter.feed(piece) == b"" for _ in range(count))
    assert splitter.feed(b"\n\n") == piece * count + b"\n\n"


def test_the_end_completes_an_event_that_lacks_its_blank_line() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b"data: 1\n\ndata: [DONE]\n") == b"data: 1\n\n"
    assert splitter.end() == b"data: [DONE]\n\n"
    assert splitter.end() == b""


def test_an_event_that_never_ends_is_refused() -> None:
    splitter = sse.Splitter()
    for _ in range(16):
        splitter.feed(b"x" * (2**20 - 1))
    with pytest.raises(sse.EventTooLargeError):
        splitter.feed(b"x" * 17)


def test_comments_and_multi_line_data() -> None:
    ((name, data, length),) = sse.parse(b": hi\nevent: a\ndata: 1\ndata:2\nid: 7\n\n")
    assert (name, data, length) == (b"a", b"1\n2", 36)


def test_an_event_is_written_as_it_is_read() -> None:
    assert list(sse.parse(sse.event(b"{}", b"ping"))) == [(b"ping", b"{}", 22)]
    assert list(sse.parse(sse.event(b"[DONE]"))) == [(b"", b"[DONE]", 14)]
