"""The section [guards]."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from recloser.config import BadConfigError, Config
from recloser.config.load import read
from recloser.config.problems import dotted
from recloser.gateway import guards
from recloser.gateway.guards.failing_tool import FailingSettings
from recloser.gateway.guards.tool_loop import LoopSettings

OTHERS = {"providers": {"local": {"kind": "lmstudio"}}, "routes": {"*": {"targets": ["local/x"]}}}


def loaded(**section: Any) -> Config:
    return read({**OTHERS, "guards": section}, environ={})


def problems(**section: Any) -> dict[str, str]:
    with pytest.raises(BadConfigError) as caught:
        loaded(**section)
    return {dotted(problem.key): problem.message for problem in caught.value.problems}


def test_a_key_is_a_guard_and_its_value_a_table_of_its_settings() -> None:
    config = loaded(tool_loop={"window": 5, "repeats": 3, "action": "warn"}, failing_tool={"cooldown": "2m"})
    assert config.guards == {"tool_loop": LoopSettings(), "failing_tool": FailingSettings(cooldown=120.0)}


def test_false_turns_one_off() -> None:
    assert loaded(tool_loop=False).guards == {"tool_loop": None}


def test_there_need_be_none() -> None:
    assert read(OTHERS, environ={}).guards == {}


@pytest.mark.parametrize(
    ("section", "key", "message"),
    [
        ({"tool_lop": {}}, "guards.tool_lop", "is no guard; did you mean 'tool_loop'?"),
        ({"tool_loop": {"windov": 3}}, "guards.tool_loop.windov", "is no setting; did you mean 'window'?"),
        (
            {"tool_loop": {"action": "stop"}},
            "guards.tool_loop.action",
            "must be 'warn' or 'hint' or 'refuse', not 'stop'",
        ),
        ({"tool_loop": 3}, "guards.tool_loop", "must be a table, not a number"),
        (
            {"tool_loop": {"window": 5, "repeats": 6}},
            "guards.tool_loop.window",
            "window (5) must not be below repeats (6): so many are never seen in it",
        ),
        ({"tool_count": {"limit": 0}}, "guards.tool_count.limit", "must be at least 1, not 0"),
        (
            {"request_size": {"bytes": "1 mile"}},
            "guards.request_size.bytes",
            "must be bytes, or a string such as '64MiB', not '1 mile'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_key(section: dict[str, Any], key: str, message: str) -> None:
    assert problems(**section)[key] == message


def test_one_that_could_never_see_anything_is_a_problem() -> None:
    assert "never sees anything: it needs a limit" in problems(context_budget={})["guards.context_budget"]
    assert problems(request_size={})["guards.request_size"].startswith("needs tokens, bytes or both")


def test_a_broken_plug_in_is_a_problem_only_for_whoever_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        EntryPoint("torn", "no_such_module:Guard", "recloser.guards"),
        EntryPoint("odd", "json:loads", "recloser.guards"),
        EntryPoint("tool_loop", "json:dumps", "recloser.guards"),
    ]
    monkeypatch.setattr("recloser.plugins.entry_points", lambda **_: entries)
    guards.guard_kinds.cache_clear()
    try:
        assert loaded(tool_loop={}).guards == {"tool_loop": LoopSettings()}
        assert set(guards.guard_kinds().broken) == {"torn", "odd", "tool_loop"}
        said = problems(torn={}, odd={})
        assert said["guards.torn"].startswith("cannot be loaded: no_such_module:Guard: ModuleNotFoundError: ")
        assert said["guards.odd"] == "cannot be loaded: json:loads: is no guard"
    finally:
        guards.guard_kinds.cache_clear()
