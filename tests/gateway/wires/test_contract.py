"""The codecs keep the contract that every wire's codec keeps."""

import pytest
from tests.observe.fresh_process import loaded_by, packages_of

import recloser.testing
from recloser.gateway.wires.anthropic_codec import AnthropicCodec
from recloser.gateway.wires.openai_chat_codec import ChatCodec
from recloser.testing import WireContract


class TestAnthropic(WireContract):
    rephrased = frozenset(
        {
            "a system turn in the middle",  # marked words of the user, for models that take it nowhere else
            "no limit",  # there must be one
            "an effort",  # a budget, for models that think by one
            "thinking as it likes",
            "no thinking",  # the word `none` is not known here
        }
    )

    def make_codec(self) -> AnthropicCodec:
        return AnthropicCodec()


class TestChat(WireContract):
    rephrased = frozenset(
        {
            "several system texts",  # one
            "a file of plain text",  # its words
            "a failed result",  # says so
            "a result with a picture",  # the user shows it
            "a budget",  # an effort
            "thinking as it likes",  # as every model here does unless it is told something
        }
    )

    def make_codec(self) -> ChatCodec:
        return ChatCodec()


def test_whoever_tests_a_store_needs_no_packages() -> None:
    assert packages_of(loaded_by("recloser.testing")) == {"recloser"}
    with pytest.raises(AttributeError, match="WireKontract"):
        _ = recloser.testing.WireKontract
