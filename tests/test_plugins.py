"""What installed packages add, as pip puts it there; and what of it is broken."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recloser.plugins import Offered, installed, offered

GUARD = """
from dataclasses import dataclass
from recloser.gateway.guards.guard import Action, Guard, Verdict

@dataclass(frozen=True)
class Settings:
    loud: bool = True

class Mine(Guard):
    Settings = Settings
    def __init__(self, settings): self.settings = settings
    def look(self, request, now): return Verdict(action=Action.WARN, why="mine")

no_guard = object()
"""
WIRE = """
from recloser.gateway.wires.openai_chat import OpenAIChat
from recloser.gateway.wires.openai_chat_codec import ChatCodec

class Wire(OpenAIChat):
    name = "theirs"
    path = "/theirs"

wire = (Wire(), ChatCodec())
taken = (OpenAIChat(), ChatCodec())
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where packages are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


def install(site: Path, module: str, source: str, entry_points: str) -> None:
    """A package as an installer leaves it."""
    (site / f"{module}.py").write_text(source, "utf-8")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(entry_points, "utf-8")


def test_a_plugin_stands_beside_what_is_in_the_house(site: Path) -> None:
    install(site, "their_guards", GUARD, "[recloser.guards]\nmine = their_guards:Mine\n")
    found: Offered[object] = offered("recloser.gateway.guards", lambda plugin: isinstance(plugin, type))
    assert {"mine", "tool_loop"} <= found.found.keys()


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("mine = their_guards:no_guard", "is no guard"),
        ("mine = their_guards:nothing", "AttributeError"),
        ("mine = no_such_module:Guard", "ModuleNotFoundError"),
        ("tool_loop = their_guards:Mine", "the name is taken"),
    ],
)
def test_a_broken_one_is_told_and_skipped(site: Path, entry: str, why: str) -> None:
    install(site, "their_guards", GUARD, f"[recloser.guards]\n{entry}\n")
    guards: Offered[object] = offered("recloser.gateway.guards", lambda plugin: isinstance(plugin, type))
    assert why in guards.broken[entry.partition(" ")[0]]
    assert "their_guards" not in str(guards.found.get("tool_loop")), "nobody takes the place of what is in the house"


def test_a_module_that_raises_whatever_it_likes_keeps_nothing_from_starting(site: Path) -> None:
    install(site, "angry", "raise RuntimeError('no')", "[recloser.repairs]\nangry = angry:Repair\n")
    assert installed("repairs", callable, taken=()).broken == {"angry": "angry:Repair: RuntimeError: no"}


def test_a_wire_is_spoken_at_its_own_path_and_a_taken_name_is_not(site: Path) -> None:
    """In a process of its own: wires are looked for once, when they are first needed."""
    install(site, "their_wire", WIRE, "[recloser.wires]\ntheirs = their_wire:wire\nother = their_wire:taken\n")
    ask = (
        "from recloser.gateway.wires import CODECS, PLUGINS, WIRES\n"
        "from recloser.gateway.runtime.ingress import place\n"
        "print(place('/theirs', '').wire.name, 'theirs' in CODECS, len(WIRES), PLUGINS.broken)"
    )
    said = subprocess.run([sys.executable, "-c", ask], env={"PYTHONPATH": str(site)}, capture_output=True, check=True)
    assert said.stdout.decode().strip() == "theirs True 5 {'other': 'their_wire:taken: is no wire'}"


def test_the_guard_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text("utf-8")
    source = page.partition("## A guard\n\n```python\n")[2].partition("```")[0]
    built: dict[str, Any] = {}
    exec(compile(source, "docs/plugins.md", "exec"), built)  # noqa: S102 - our own page
    guard = built["OfficeHours"](built["OfficeSettings"]())
    assert guard.look(None, 9 * 3600.0) is None
    assert guard.look(None, 7 * 3600.0).refusal.kind == "office_closed"


def test_what_cannot_be_loaded_is_told_when_the_gateway_starts(site: Path) -> None:
    install(site, "angry", "raise RuntimeError('no')", "[recloser.repairs]\nangry = angry:Repair\n")
    ask = "from recloser.compose import _broken_plugins; print(_broken_plugins())"
    said = subprocess.run([sys.executable, "-c", ask], env={"PYTHONPATH": str(site)}, capture_output=True, check=True)
    assert said.stdout.decode().strip() == "('the repair angry cannot be loaded: angry:Repair: RuntimeError: no',)"
