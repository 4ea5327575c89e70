"""A provider's repairs, as its configuration lists them."""

from pathlib import Path

import pytest

from recloser.config import BadConfigError
from recloser.config.load import load

TOML = """\
[providers.ollama]
kind = "ollama"
repairs = {}

[routes."*"]
targets = ["ollama/qwen3"]
"""


def test_repairs_are_listed_by_name_and_none_is_there_unasked(tmp_path: Path) -> None:
    path = tmp_path / "recloser.toml"
    path.write_text(TOML.format('["stop_markers", "tool_names"]'), "utf-8")
    assert load(path, {}).providers["ollama"].repairs == ("stop_markers", "tool_names")
    path.write_text(TOML.replace("repairs = {}\n", ""), "utf-8")
    assert load(path, {}).providers["ollama"].repairs == ()


def test_an_unknown_repair_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "recloser.toml"
    path.write_text(TOML.format('["tool_name", "stop_markers"]'), "utf-8")
    with pytest.raises(BadConfigError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert problem.key == ("providers", "ollama", "repairs")
    assert problem.line == 3
    assert problem.message == "'tool_name' is not known; did you mean 'tool_names'?"
