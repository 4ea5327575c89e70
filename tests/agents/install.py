"""The real agents, as their users install them: `python -m tests.agents.install`, the first half of `make agents`.

They go into `.venv/agents`, each into a folder of its own and in one version. What cannot be installed leaves its
reason there, and its tests fail with it.
"""

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HOME = Path(sys.prefix) / "agents"
PATIENCE = 240.0
"""Seconds that one installation may take."""
ROOM = 2 * 1024**3
"""Bytes that all of them may take, with what the installers need for themselves."""
_DONE, _REASON = "installed.txt", "reason.txt"


@dataclass(frozen=True)
class Package:
    """An agent in a registry."""

    name: str
    requirement: str
    """With its version, as the registry's own tool takes it."""
    program: str
    """Where it is then, in its folder."""

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return HOME / self.name

    @property
    def missing(self) -> str:
        """Why it cannot be run; empty if it can."""
        if _read(self.folder / _DONE) == self.requirement and (self.folder / self.program).exists():
            return ""
        return _read(self.folder / _REASON) or f"{self.requirement} is not installed: make agents does it"


CLAUDE = Package("claude", "@anthropic-ai/claude-code@2.1.328", "node_modules/.bin/claude")
CODEX = Package("codex", "@openai/codex@0.169.0", "node_modules/.bin/codex")
GEMINI = Package("gemini", "@google/gemini-cli@0.61.0", "node_modules/.bin/gemini")
AIDER = Package("aider", "aider-chat==0.86.2", "bin/aider")
ALL = (CLAUDE, CODEX, GEMINI, AIDER)


def install(package: Package) -> str:
    """Install it, unless it is there; why it could not be, if so."""
    if not package.missing:
        return ""
    shutil.rmtree(package.folder, ignore_errors=True)
    package.folder.mkdir(parents=True)
    try:
        reason = _from_npm(package) if package.program.startswith("node_modules") else _from_pypi(package)
    except (OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    name = _REASON if reason else _DONE
    (package.folder / name).write_text(reason or package.requirement, "utf-8")
    return reason


def _from_npm(package: Package) -> str:
    npm = shutil.which("npm")
    if npm is None:
        return "Node.js is missing: npm installs this agent"
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--fetch-retries=1")
    return _run([npm, "install", *quiet, "--prefix", str(package.folder), package.requirement])


def _from_pypi(package: Package) -> str:
    venv.create(package.folder, with_pip=True)
    pip = str(package.folder / "bin" / "pip")
    return _run([pip, "install", "-q", "--disable-pip-version-check", "--retries", "1", package.requirement])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode == 0:
        return ""
    return f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:] or done.stdout[-2000:]}"


def _read(file: Path) -> str:
    return file.read_text("utf-8") if file.exists() else ""


def main() -> None:
    """Install all of them, and say which could not be."""
    wanted = [package for package in ALL if package.missing]
    HOME.mkdir(exist_ok=True)
    if wanted and (free := shutil.disk_usage(HOME).free) < ROOM:
        reason = f"{free >> 20} MiB are free on the disk of {HOME.name}; {ROOM >> 20} are needed"
        for package in wanted:
            package.folder.mkdir(exist_ok=True)
            (package.folder / _REASON).write_text(reason, "utf-8")
        wanted = []
    with ThreadPoolExecutor() as several:
        for package, reason in zip(wanted, several.map(install, wanted), strict=True):
            print(f"{package.requirement}: {reason or 'installed'}", flush=True)


if __name__ == "__main__":
    main()
