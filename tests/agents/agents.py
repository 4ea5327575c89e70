"""How each agent is started without anybody at the keyboard, pointed at a gateway by what its users would set."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agents import install
from tests.agents.install import Package

MODEL = "claude-sonnet-4-5"
NOBODY = "http://127.0.0.1:9"
"""Where whatever an agent wants of the rest of the world goes: nothing listens there."""


@dataclass(frozen=True)
class Start:
    """One way to start an agent."""

    arguments: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """What it finds in its home."""


@dataclass(frozen=True)
class Run:
    """What came of it."""

    code: int
    output: str
    seconds: float


@dataclass(frozen=True)
class Agent:
    """An agent, the wire that it speaks, and another that it has never heard of."""

    package: Package
    wire: str
    foreign: str
    start: Callable[[str, str, Path], Start]
    """Of the gateway's address, the prompt and the file that is to be written."""
    last_words: Callable[[str], str]
    """What it says in the end, out of its output."""
    thinks: bool = True
    """Whether it keeps a model's thoughts and gives them back."""

    @property
    def name(self) -> str:
        """For ids."""
        return self.package.name

    def run(self, gateway: str, prompt: str, file: Path, home: Path, patience: float) -> Run:
        """Let it work in the file's folder. Whatever it has started ends with it."""
        start = self.start(gateway, prompt, file)
        for name, text in start.files.items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text, "utf-8")
        began = time.monotonic()
        process = subprocess.Popen(
            [str(self.package.folder / self.package.program), *start.arguments],
            cwd=file.parent,
            env=_environ(home) | dict(start.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with _ended(process):
            try:
                output, _ = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                output, _ = process.communicate()
                output += f"\n... and nothing more within {patience:g} s"
        return Run(process.returncode, output, time.monotonic() - began)


def _environ(home: Path) -> dict[str, str]:
    node = shutil.which("node")
    places = ([str(Path(node).parent)] if node else []) + ["/usr/bin", "/bin"]
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOBODY)
    direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    return {"PATH": os.pathsep.join(places), "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", **proxies, **direct}


@contextlib.contextmanager
def _ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        _kill_group(process)
        process.wait(10)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # its session is its own, so this is nobody else's group


def _json_lines(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value


# Claude Code ---------------------------------------------------------------------------------------------------------


def _claude(gateway: str, prompt: str, file: Path) -> Start:
    return Start(
        ["-p", prompt, "--model", MODEL, "--output-format", "stream-json", "--verbose",
         "--permission-mode", "acceptEdits"],
        {
            "ANTHROPIC_BASE_URL": gateway,
            "ANTHROPIC_API_KEY": "unused",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
    )  # fmt: skip


def _claude_said(output: str) -> str:
    return next((str(line.get("result")) for line in _json_lines(output) if line.get("type") == "result"), "")


# Codex ---------------------------------------------------------------------------------------------------------------


def _codex(gateway: str, prompt: str, file: Path) -> Start:
    provider = {
        "name": "recloser", "base_url": f"{gateway}/v1", "env_key": "RECLOSER_KEY", "wire_api": "responses",
    }  # fmt: skip
    settings = {f"model_providers.recloser.{key}": value for key, value in provider.items()}
    settings |= {"model_provider": "recloser", "check_for_update_on_startup": "false", "analytics.enabled": "false"}
    given = [part for key, value in settings.items() for part in ("-c", f"{key}={_toml(value)}")]
    # The only commands that it is told are this test's own.
    flags = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-m", "gpt-5")
    return Start(["exec", *flags, *given, prompt], {"RECLOSER_KEY": "unused"})


def _toml(value: str) -> str:
    return value if value == "false" else json.dumps(value)


def _codex_said(output: str) -> str:
    items = [line.get("item", {}) for line in _json_lines(output) if line.get("type") == "item.completed"]
    return next((str(item["text"]) for item in reversed(items) if item.get("type") == "agent_message"), "")


# Gemini CLI ----------------------------------------------------------------------------------------------------------


def _gemini(gateway: str, prompt: str, file: Path) -> Start:
    settings = {
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": False},
        "general": {"enableAutoUpdate": False, "disableAutoUpdate": True, "disableUpdateNag": True},
    }
    return Start(
        ["-m", "gemini-2.5-flash", "-p", prompt, "--output-format", "json", "--approval-mode", "yolo"],
        {
            "GEMINI_API_KEY": "unused",
            "GOOGLE_GEMINI_BASE_URL": gateway,
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            # It would send everything to a proxy, whatever is named as an exception.
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), ""),
        },
        {".gemini/settings.json": json.dumps(settings)},
    )


def _gemini_said(output: str) -> str:
    """Its output is one JSON object over many lines, after whatever it warns of."""
    start = output.find("\n{\n") + 1 if not output.startswith("{") else 0
    with contextlib.suppress(ValueError):
        value, _ = json.JSONDecoder().raw_decode(output, start)
        return str(value.get("response"))
    return ""


# Aider ---------------------------------------------------------------------------------------------------------------


def _aider(gateway: str, prompt: str, file: Path) -> Start:
    flags = (
        "--yes-always", "--no-auto-commits", "--no-git", "--no-check-update", "--analytics-disable",
        "--no-show-model-warnings", "--no-show-release-notes", "--no-pretty", "--map-tokens", "0",
    )  # fmt: skip
    # Without a list of prices it asks for one in the middle of its start.
    prices = {".aider/caches/model_prices_and_context_window.json": json.dumps({"nobody/nothing": {"mode": "chat"}})}
    return Start(
        ["--model", "openai/mock-model", *flags, "--message", prompt, file.name],
        {"OPENAI_API_BASE": f"{gateway}/v1", "OPENAI_API_KEY": "unused", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        prices,
    )


def _aider_said(output: str) -> str:
    """It ends with 0 whatever happens; but what it wrote, it tells."""
    return next((line for line in output.splitlines() if line.startswith("Applied edit to ")), "")


CLAUDE = Agent(install.CLAUDE, "anthropic", "openai-chat", _claude, _claude_said)
CODEX = Agent(install.CODEX, "openai-responses", "anthropic", _codex, _codex_said)
GEMINI = Agent(install.GEMINI, "gemini", "openai-responses", _gemini, _gemini_said)
AIDER = Agent(install.AIDER, "openai-chat", "gemini", _aider, _aider_said, thinks=False)
ALL = (CLAUDE, CODEX, GEMINI, AIDER)
