"""`recloser init`."""

import dataclasses
import re
import tomllib
from typing import Any

from recloser.config import Config, StateSettings
from recloser.config.load import read
from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway.providers import provider_kinds
from recloser.gateway.settings import GatewaySettings

KEYS = {"ANTHROPIC_API_KEY": "sk-ant-1", "OPENAI_API_KEY": "sk-2"}


def uncommented(text: str) -> dict[str, Any]:
    """The file with every `# key = value` and `# [table]` made real."""
    return tomllib.loads(re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE))


def written(shell: Any) -> str:
    return str((shell.folder / "recloser.toml").read_text("utf-8"))


def test_without_keys_everything_is_a_comment_and_the_file_is_fine(shell: Any, nothing_local: None) -> None:
    done = shell("init")
    assert done.returncode == 0
    assert "wrote recloser.toml" in done.stdout
    assert "No API key and no local model was found" in done.stdout
    assert tomllib.loads(written(shell)) == {"gateway": {}, "state": {}, "circuit": {}}
    assert shell("check").returncode == 0


def test_with_keys_it_passes_check_and_serves_them(shell: Any, nothing_local: None) -> None:
    assert shell("init", **KEYS).returncode == 0
    assert "sk-ant-1" not in written(shell)
    done = shell("check", **KEYS)
    assert done.returncode == 0
    assert "2 providers (anthropic, openai), 6 routes" in done.stdout
    lost = shell("check")
    assert lost.returncode == 78
    assert "providers.anthropic.api_key: the environment variable ANTHROPIC_API_KEY is not set" in lost.stderr


def test_it_never_overwrites(shell: Any) -> None:
    shell.write("mine")
    done = shell("init")
    assert (done.returncode, done.stdout) == (1, "")
    assert "recloser.toml is there already" in done.stderr
    assert written(shell) == "mine"


def test_every_comment_shows_a_setting_that_exists_and_its_default(shell: Any) -> None:
    shell("init", **KEYS)
    tables = uncommented(written(shell))
    keys = {kind.key_env: "key-1" for kind in provider_kinds().values() if kind.key_env}
    config = read(tables, environ={**keys, "RECLOSER_KEY": "key-2"})
    gateway = dataclasses.replace(config.gateway, keys=())
    assert gateway == GatewaySettings()
    assert config.state == StateSettings()
    assert config.circuit == CircuitSettings(slow_call=60.0), "targets have the time of their first token judged"
    assert isinstance(config, Config)
    offered = {name for name, kind in provider_kinds().items() if kind.key_env or kind.local_port or kind.use_env}
    assert offered == set(config.providers)
    assert config.profiles
