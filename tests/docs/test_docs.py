"""The documentation says what is so."""

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from recloser import cli
from recloser.config.load import read

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((PROJECT / "docs").glob("*.md")), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"]
NAMES = [str(page.relative_to(PROJECT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(?P<title>.+)$", re.MULTILINE)


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def fences(page: Path, *languages: str) -> Iterator[str]:
    for fence in _FENCE.finditer(page.read_text("utf-8")):
        if fence["language"] in languages:
            yield fence["text"]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


def generate(*arguments: str, project: Path = PROJECT) -> "subprocess.CompletedProcess[str]":
    script = str(project / "docs" / "generate.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_what_is_generated_is_fresh() -> None:
    checked = generate("--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_stale_block_is_named_and_renewed(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "docs", tmp_path / "docs")
    for name in ("pyproject.toml", "CONTRIBUTING.md"):
        shutil.copy(PROJECT / name, tmp_path)
    page = tmp_path / "docs" / "circuit.md"
    fresh = page.read_text("utf-8")
    page.write_text(fresh.replace("open --> half_open", "open --> closed"), "utf-8")
    checked = generate("--check", project=tmp_path)
    assert checked.returncode == 1
    assert "docs/circuit.md: block 'circuit states' is stale" in checked.stdout
    assert page.read_text("utf-8") != fresh
    generate(project=tmp_path)
    assert page.read_text("utf-8") == fresh


def test_local_links_lead_somewhere(page: Path) -> None:
    targets = [link["target"] for link in _LINK.finditer(prose(page))]
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not resolves(page, target)] == []


def resolves(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return False
    return not anchor or anchor in {anchor_of(heading["title"]) for heading in _HEADING.finditer(prose(there))}


def anchor_of(title: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_command_line_is_understood(page: Path) -> None:
    lines = "\n".join(fences(page, "console", "sh", "bash")).splitlines()
    mentioned = re.findall(r"`(recloser [^`]+)`", prose(page))
    asked = [line.lstrip("$ ").split("#", maxsplit=1)[0].split() for line in lines + mentioned]
    for words in asked:
        if words[:1] == ["recloser"]:
            understood(words[1:])


def understood(words: list[str]) -> None:
    """Have the command's own parser look at an example: its options exist, but nothing is run."""
    words = [word for word in words if word not in ("&", "…", "...")]
    if words[0] in ("--help", "--version"):
        return
    assert words[0] in commands(), f"there is no command `recloser {words[0]}`"
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f"recloser.cli.{words[0]}").arguments(parser)
    if "--help" not in words:
        parser.parse_args(words[1:])


def commands() -> set[str]:
    (folder,) = cli.__path__
    return {file.stem for file in Path(folder).glob("*.py") if "def arguments(" in file.read_text("utf-8")}


def test_configurations_are_taken(page: Path, tmp_path: Path) -> None:
    for block in fences(page, "toml"):
        text = re.sub(r'"(env|file|cmd):[^"]+"', '"env:SECRET"', block)  # the secrets of the examples are nowhere
        read(tomllib.loads(text), path=tmp_path / "recloser.toml", text=text, environ={"SECRET": "a secret"})


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + [name for extra in project["optional-dependencies"].values() for name in extra]
    names = {re.split(r"[\[<>=;]", name)[0] for name in wanted} - {"recloser"}
    explained = {h["title"] for h in _HEADING.finditer((PROJECT / "docs" / "dependencies.md").read_text("utf-8"))}
    assert names - explained == set()


def test_every_exit_code_is_explained() -> None:
    codes = vars(importlib.import_module("recloser.cli.exit_codes"))
    text = (PROJECT / "docs" / "commands.md").read_text("utf-8")
    assert [name for name, code in codes.items() if name.isupper() and f"| {code} |" not in text] == []
