"""The estimate beside counts that vendors have published, and what must hold for any text."""

import base64
import json
import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.gateway import estimate
from recloser.gateway.canonical import Document, Image, Request, Role, Text, Thinking, ToolResult, ToolUse, Turn
from recloser.gateway.wires import CODECS

WEATHER = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
        },
        "required": ["location"],
    },
}
TOOLS_PREAMBLE = 313
"""What Anthropic adds to every request with tools, by its own table: 313 to 346 tokens."""


def asked(**fields: Any) -> Request:
    body = json.dumps({"model": "m", **fields}).encode()
    return CODECS["anthropic"].read_request(body)


def said(*parts: Any) -> Request:
    return Request(model="m", turns=(Turn(role=Role.USER, parts=parts),))


class TestBesidePublishedCounts:
    """Near enough: never under three quarters of the truth, and not over twice of it."""

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            # OpenAI, how to count tokens with tiktoken
            ("tiktoken is great!", 6),
            ("antidisestablishmentarianism", 6),
            ("お誕生日おめでとう", 9),
            # Google, the reference of countTokens
            ("The quick brown fox jumps over the lazy dog.", 10),
            # S. Willison on the GPT tokenisers: of GPT-3, the oldest
            ("The dog eats the apples", 5),
            ("El perro come las manzanas", 8),
        ],
    )
    def test_of_texts(self, text: str, tokens: int) -> None:
        assert 0.75 * tokens <= estimate.len_of(text) <= 2 * tokens

    def test_of_a_message(self) -> None:
        """Anthropic, token counting: 14."""
        request = asked(system="You are a scientist", messages=[{"role": "user", "content": "Hello, Claude"}])
        assert 0.75 * 14 <= estimate.tokens(request) <= 2 * 14

    def test_of_a_message_with_a_tool(self) -> None:
        """Anthropic, token counting: 403, most of which is nothing that was sent."""
        question = "What's the weather like in San Francisco?"
        request = asked(tools=[WEATHER], messages=[{"role": "user", "content": question}])
        assert 0.75 * (403 - TOOLS_PREAMBLE) <= estimate.tokens(request) <= 2 * (403 - TOOLS_PREAMBLE)

    def test_of_a_message_with_an_image(self) -> None:
        """Anthropic, token counting: 1551."""
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/" * 5000}}
        request = asked(messages=[
            {"role": "user", "content": [image, {"type": "text", "text": "Describe this image"}]}
        ])  # fmt: skip
        assert 0.75 * 1551 <= estimate.tokens(request) <= 2 * 1551


class TestWhatIsCounted:
    LONG = "Nobody knows the trouble. " * 40

    @pytest.mark.parametrize(
        "part",
        [
            Text(text=LONG),
            Thinking(text=LONG),
            ToolUse(id="a", name="look", input=json.dumps({"text": LONG})),
            ToolResult(id="a", parts=(Text(text=LONG),)),
            Document(text=LONG),
            Document(data="A" * 20_000, media_type="application/pdf"),
            ToolResult(id="a", parts=(Image(data="AAAA", media_type="image/png"),)),
        ],
        ids=lambda part: type(part).__name__,
    )
    def test_every_part(self, part: Any) -> None:
        assert estimate.tokens(said(part)) > 200

    def test_instructions_and_tools(self) -> None:
        bare = estimate.tokens(asked(messages=[]))
        tool = {**WEATHER, "description": self.LONG}
        assert estimate.tokens(asked(messages=[], system=self.LONG)) > bare + 200
        assert estimate.tokens(asked(messages=[], tools=[tool])) > bare + 200
        deep = {**WEATHER, "input_schema": {"type": "object", "description": self.LONG}}
        assert estimate.tokens(asked(messages=[], tools=[deep])) > bare + 200

    def test_a_file_in_a_text_has_more_tokens_than_words_have(self) -> None:
        """Tokenisers know no words in it: two characters a token, or fewer."""
        data = base64.b64encode(random.Random(1).randbytes(3000)).decode()
        in_lines = "\n".join(data[at : at + 76] for at in range(0, len(data), 76))
        for text in (data, in_lines):
            assert estimate.len_of(text) >= len(data) / 2
        assert estimate.len_of(self.LONG) < len(self.LONG) / 3

    @pytest.mark.parametrize(
        ("text", "unbroken"),
        [
            ("A" * 63, 0),
            ("A" * 64, 64),
            ("A" * 64 + " " + "B" * 64, 128),
            ("word " * 30 + "A" * 80 + "." + "B" * 63 + ")" + "C" * 64, 144),
            ("A" * 32 + "é" + "A" * 32, 0),
        ],
    )
    def test_which_rows_are_no_words(self, text: str, unbroken: int) -> None:
        beyond = sum(not letter.isascii() for letter in text)
        words = (len(text) - unbroken - beyond) / estimate.CHARACTERS_PER_TOKEN
        expected = words + beyond + unbroken / estimate.UNBROKEN_CHARACTERS_PER_TOKEN
        assert estimate.len_of(text) == pytest.approx(expected)

    def test_code_is_no_file(self) -> None:
        code = 'if value.strip().startswith("--very-long-option-name=") and not self._settings.is_disabled:\n' * 50
        minified = json.dumps({f"name_{n}": [n, {"type": "string"}] for n in range(200)}, separators=(",", ":"))
        for text in (code, minified):
            assert estimate.len_of(text) == pytest.approx(len(text) / estimate.CHARACTERS_PER_TOKEN)


TEXTS = st.text() | st.text("aB3+/= .\n語", min_size=30, max_size=400)


class TestForAnyText:
    @given(TEXTS, TEXTS)
    def test_more_text_never_has_fewer_tokens(self, text: str, more: str) -> None:
        alone = estimate.len_of(text)
        assert estimate.len_of(text + more) >= alone - 1e-9
        assert estimate.len_of(more + text) >= alone - 1e-9

    @given(TEXTS)
    def test_it_is_bounded_by_its_bytes(self, text: str) -> None:
        """Whoever looks at the bytes alone may rely on this."""
        size = len(text.encode("utf-8", "surrogatepass"))
        assert 0 <= estimate.len_of(text) <= size / estimate.UNBROKEN_CHARACTERS_PER_TOKEN + 1e-9

    @given(st.lists(TEXTS, max_size=5), TEXTS)
    def test_one_more_turn_has_more(self, texts: list[str], more: str) -> None:
        turns = tuple(Turn(role=Role.USER, parts=(Text(text=text),)) for text in texts)
        added = (*turns, Turn(role=Role.ASSISTANT, parts=(Text(text=more),)))
        assert estimate.tokens(Request(model="m", turns=added)) > estimate.tokens(Request(model="m", turns=turns))


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.\n" * 4500,
        "A" * 200_000,
        (" " + "A" * 63) * 3125,
        " " * 200_000,
        "語" * 67_000,
        "Ünï çödé " * 22_000,
    ],
    ids=["prose", "one row", "rows just too short", "spaces", "signs", "accents"],
)
def test_a_large_text_costs_about_a_millisecond(text: str) -> None:
    """In time that grows with its length alone. The bound is wide, as the machine may be busy."""
    took = []
    for _ in range(5):
        started = time.perf_counter()
        estimate.len_of(text)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.005
