"""What a stranger's text may cost."""

from time import process_time

import pytest
from tests.gateway.repairs.told import calls, mended, text

from recloser.gateway.repairs.scanning import MOST_LOOKS

NAMES = ("byte_fallback", "reasoning_leak", "tool_call_text", "stop_markers")


@pytest.mark.parametrize("mark", ["<", "["])
def test_a_text_of_nothing_but_beginnings_is_not_looked_at_for_ever(mark: str) -> None:
    started = process_time()
    mended(NAMES, mark * (MOST_LOOKS + 1000))
    once = process_time() - started
    started = process_time()
    whole = mark * 40 * MOST_LOOKS
    assert text(mended(NAMES, whole)) == whole
    assert process_time() - started < 4 * once + 1


def test_up_to_there_calls_are_found() -> None:
    given = (
        "< " * (MOST_LOOKS // 10) + '\n<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'
    )
    assert calls(mended("tool_call_text", given)) == [("get_weather", '{"city":"Oslo"}')]
