"""What is wrong with a recloser.toml, all at once, each with its key and line."""

import os
from pathlib import Path
from typing import Any

import pytest

from recloser.config import BadConfigError, Config
from recloser.config.load import find, load, load_nearby, read
from recloser.config.problems import dotted

ENVIRON = {"ANTHROPIC_API_KEY": "sk-ant-secret-1", "GATEWAY_KEY": "gateway-secret"}
GOOD = """\
[gateway]
listen = "127.0.0.1:9000"
keys = ["env:GATEWAY_KEY"]
max_hold = "0s"
max_body = "8MiB"

[circuit]
cooldown = "10s"
jitter = 0.0

[providers.anthropic]
kind = "anthropic"
api_key = "env:ANTHROPIC_API_KEY"
connect_timeout = 1
circuit = { failure_threshold = 3 }

[providers.ollama]
kind = "ollama"
regions = { near = "http://127.0.0.1:11434/v1", far = "http://10.0.0.1:11434/v1" }

[routes."claude-*"]
targets = ["anthropic/{model}", "ollama/qwen3"]

[profiles.cheap]
targets = ["ollama/qwen3"]
"""


def problems(text: str, tmp_path: Path) -> list[tuple[str, int, str]]:
    path = tmp_path / "recloser.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadConfigError) as caught:
        load(path, ENVIRON)
    return [(dotted(p.key), p.line, p.message) for p in caught.value.problems]


def only_problem(text: str, tmp_path: Path) -> tuple[str, int, str]:
    (problem,) = problems(text, tmp_path)
    return problem


def loaded(text: str, tmp_path: Path) -> Config:
    path = tmp_path / "recloser.toml"
    path.write_text(text, "utf-8")
    return load(path, ENVIRON)


def test_a_good_file(tmp_path: Path) -> None:
    config = loaded(GOOD, tmp_path)
    assert config.gateway.max_body == 8 * 2**20
    assert config.gateway.max_hold == 0
    assert config.providers["anthropic"].connect_timeout == 1.0
    circuit = config.providers["anthropic"].circuit
    assert (circuit.failure_threshold, circuit.cooldown, circuit.jitter) == (3, 10.0, 0.0)
    assert config.providers["ollama"].circuit.failure_threshold == 5
    assert list(config.providers["ollama"].regions) == ["near", "far"]
    key = config.providers["anthropic"].api_key
    assert key is not None
    assert (key.reveal(), "secret" in repr(config)) == ("sk-ant-secret-1", False)


def test_a_file_with_a_mark_and_line_ends_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "recloser.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path, ENVIRON) == loaded(GOOD, tmp_path)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = """\
[gateway]
idle = 3
hold_attempt = 0
max_hold = -1

[cirucit]
cooldown = 1

[providers.a]
kind = "anthropc"
api_key = "env:NOPE"

[routes."x"]
targets = ["b/{model}", "a"]
"""
    assert [(key, line) for key, line, _ in problems(text, tmp_path)] == [
        ("gateway.idle", 2), ("gateway.hold_attempt", 3), ("gateway.max_hold", 4), ("cirucit", 6),
        ("providers.a.kind", 10), ("providers.a.api_key", 11), ("routes.x.targets", 14), ("routes.x.targets", 14),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_hld = 1", "max_hld: is no setting; did you mean 'max_hold'?"),
        ("hold_attempt = '0s'", "hold_attempt: must be above 0, not '0s'"),
        ("drain = -1", "drain: must be at least 0, not -1"),
        ("drain = 'soon'", "drain: 'soon' is not a duration; write seconds or e.g. '90s', '10m', '1h30m'"),
        ("drain = true", "drain: must be seconds, or a string such as '90s', '10m', '5h', not a boolean"),
        ("drain = inf", "drain: 'inf' is not a finite duration"),
        ("drain = '500d'", "drain: must be at most 366 days, not '500d'"),
        ("max_body = '1 ZiB'", "max_body: must be bytes, or a string such as '64MiB', not '1 ZiB'"),
        ("max_body = 0", "max_body: must be above 0"),
        ("max_body = 1.5", "max_body: must be bytes, or a string such as '64MiB', not a number"),
        ("listen = 8686", "listen: must be a string, not a number"),
        ("listen = 'localhost'", "listen: 'localhost' is no HOST:PORT, such as '127.0.0.1:8686' or '[::1]:8686'"),
        ("listen = 'a:99999'", "listen: 'a:99999' is no HOST:PORT, such as '127.0.0.1:8686' or '[::1]:8686'"),
        (
            "listen = '0.0.0.0:1'",
            "listen: without [gateway] keys only loopback may be listened on, and '0.0.0.0' is not loopback",
        ),
        ("hosts = 'a'", "hosts: must be an array of strings, not a string"),
        ("hosts = [1]", "hosts: must be an array of strings"),
        ("midstream = 'resum'", "midstream: must be 'resume' or 'error', not 'resum'"),
        ("keys = ['env:NOPE']", "keys: the environment variable NOPE is not set"),
    ],
)
def test_a_wrong_value_in_gateway(line: str, said: str, tmp_path: Path) -> None:
    assert only_problem(f"\n[gateway]\n{line}\n", tmp_path) == (
        f"gateway.{said.partition(':')[0]}",
        3,
        said.partition(": ")[2],
    )


def test_each_wrong_key_of_a_list_is_told(tmp_path: Path) -> None:
    text = "[gateway]\nlisten = '0.0.0.0:1'\nkeys = ['env:A', 'env:GATEWAY_KEY', 'sk-ant-api03-abcdef']\n"
    found = problems(text, tmp_path)
    assert [(key, line) for key, line, _ in found] == [("gateway.keys", 3)] * 2
    assert not any("abcdef" in said for _, _, said in found)


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("cooldown = 0", "circuit.cooldown", "must be above 0, not 0"),
        ("jitter = 1", "circuit.jitter", "must be at least 0 and below 1, not 1.0"),
        ("cooldown_factor = nan", "circuit.cooldown_factor", "must be finite and at least 1, not nan"),
        ("failure_threshold = 2.5", "circuit.failure_threshold", "must be a whole number, not 2.5"),
        ("failure_threshold = -1", "circuit.failure_threshold", "must be a whole number of at least 0, not -1"),
        ("half_open_permit = 1", "circuit.half_open_permit", "is no setting; did you mean 'half_open_permits'?"),
        ("cooldown = '10m'", "circuit", "cooldown_max (300 s) must not be below cooldown (600 s)"),
        ("cooldown_max = 1", "circuit.cooldown_max", "cooldown_max (1 s) must not be below cooldown (5 s)"),
    ],
)
def test_a_wrong_circuit_is_told_once_with_key_and_line(line: str, key: str, said: str, tmp_path: Path) -> None:
    provider = "\n[providers.ollama]\nkind = 'ollama'\n"
    at = 3 if key != "circuit" else 2
    assert only_problem(f"\n[circuit]\n{line}\n{provider}", tmp_path) == (key, at, said)
    own = f"{provider}[providers.ollama.circuit]\n{line}\n"
    at = 5 if key != "circuit" else 4
    assert only_problem(own, tmp_path) == (f"providers.ollama.{key}", at, said)


def test_all_that_is_wrong_with_one_circuit_is_told(tmp_path: Path) -> None:
    text = "[circuit]\njitter = 7\ncooldown_factor = 0\nhalf_open_permits = 0\ncooldown = 9\ncooldown_max = 8\n"
    assert [line for _, line, _ in problems(text, tmp_path)] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("lines", "key", "said"),
    [
        ("kind = 'olama'", "kind", "'olama' is not known; did you mean 'ollama'?"),
        ("", "kind", "is missing"),
        ("kind = 'ollama'\nwire = 'openai_chat'", "wire", "'openai_chat' is not known; did you mean 'openai-chat'?"),
        ("kind = 'compatible'\nbase_url = 'http://x'", "wire", "is needed for the kind 'compatible'"),
        ("kind = 'compatible'\nwire = 'anthropic'", "base_url", "is needed"),
        ("kind = 'ollama'\nbase_url = 'localhost:1'", "base_url", "is no http or https address"),
        ("kind = 'ollama'\nbase_url = 'http://[x'", "base_url", "is no http or https address"),
        ("kind = 'ollama'\nbase_url = 'http://x:99999'", "base_url", "is no http or https address"),
        ("kind = 'ollama'\nbase_url = 'http://me:pass@x'", "base_url", "must not carry credentials"),
        ("kind = 'ollama'\nbase_url = 'http://x/?a=b'", "base_url", "must have no '?'"),
        ("kind = 'ollama'\nbase_url = 'http://x/v1/chat/completions'", "base_url", "must not end in '/chat/compl"),
        ("kind = 'ollama'\nbase_url = 'http://x'\nregions = { a = 'http://y' }", "base_url", "exclude each other"),
        ("kind = 'ollama'\nregions = { 'a/b' = 'http://y' }", "regions", "is no name for a region"),
        ("kind = 'ollama'\nheaders = { 'a b' = 'c' }", "headers", "is no name of a header"),
        ("kind = 'ollama'\nheaders = { a = \"c\\nd\" }", "headers", "cannot be sent"),
        ("kind = 'ollama'\nheaders = { a = 1 }", "headers", "must be a table of strings"),
        ("kind = 'ollama'\naccount = 'a/b'", "account", "is no name for an account"),
        ("kind = 'ollama'\nidle_timeout = 0", "idle_timeout", "must be above 0"),
        ("kind = 'ollama'\ncircuit = 3", "circuit", "must be a table, not a number"),
        ("kind = 'anthropic'", "api_key", 'Anthropic takes nobody without a key; try "env:ANTHROPIC_API_KEY"'),
        ("kind = 'anthropic'\napi_key = 'file:nope'", "api_key", "the file nope cannot be read"),
        ("kind = 'anthropic'\napi_key = 3", "api_key", "must be a reference to a secret"),
    ],
)  # fmt: skip
def test_a_wrong_provider(lines: str, key: str, said: str, tmp_path: Path) -> None:
    place, line, message = only_problem(f"[providers.p]\n{lines}\n", tmp_path)
    assert place == f"providers.p.{key}"
    assert said in message
    assert line == next((n for n, text in enumerate(lines.split("\n"), 2) if text.startswith(key)), 1)


def test_a_name_that_no_circuit_could_have(tmp_path: Path) -> None:
    key, line, said = only_problem('[providers."a/b"]\nkind = "ollama"\n', tmp_path)
    assert (key, line) == ('providers."a/b"', 1)
    assert "is no name for a provider" in said


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("'olama/x'", "'olama/x' names the provider 'olama', which is not configured; did you mean 'ollama'?"),
        ("'zzz/x'", "'zzz/x' names the provider 'zzz', which is not configured; known are ollama"),
        ("'ollama'", "'ollama' is no target; write 'provider/model' or 'provider/{model}'"),
        ("'ollama/'", "'ollama/' is no target; write 'provider/model' or 'provider/{model}'"),
        (
            "'ollama/{name}'",
            "'ollama/{name}': '{name}' stands for nothing; only '{model}' does, for the request's model",
        ),
        ("", "must name at least one target"),
        ("3", "must be an array of strings and tables"),
    ],
)
def test_a_wrong_target(target: str, said: str, tmp_path: Path) -> None:
    text = f"[providers.ollama]\nkind = 'ollama'\n[routes.x]\ntargets = [{target}]\n"
    assert only_problem(text, tmp_path) == ("routes.x.targets", 4, said)


def test_the_target_of_a_provider_that_is_wrong_itself_is_not_wrong_too(tmp_path: Path) -> None:
    text = "[providers.a]\nkind = 3\n[routes.x]\ntargets = ['a/{model}']\n"
    assert only_problem(text, tmp_path) == ("providers.a.kind", 2, "must be a string, not a number")


def routes(*globs: str) -> str:
    return "[providers.ollama]\nkind = 'ollama'\n" + "".join(f"[routes.'{g}']\ntargets = ['ollama/x']\n" for g in globs)


def test_a_route_that_is_never_asked(tmp_path: Path) -> None:
    said = 'is never asked: routes."claude-*" stands before it and takes every such name; put it above that'
    assert only_problem(routes("claude-*", "gpt-*", "claude-opus-*"), tmp_path) == ('routes."claude-opus-*"', 7, said)
    loaded(routes("claude-opus-*", "gpt-*", "claude-*", "*"), tmp_path)


def test_a_route_behind_a_profile_of_its_name(tmp_path: Path) -> None:
    text = routes("cheap") + "[profiles.cheap]\ntargets = ['ollama/x']\n"
    key, line, said = only_problem(text, tmp_path)
    assert (key, line) == ("routes.cheap", 3)
    assert "profiles.cheap answers to that name" in said


def test_a_store_of_no_kind(tmp_path: Path) -> None:
    assert only_problem("[state]\nurl = 'mongo:x'\n", tmp_path)[:2] == ("state.url", 2)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[gateway]\nlisten = \n", 2, "is no TOML: Invalid value (column 10)"),
        ("[gateway]\nlisten = 'a'\nlisten = 'b'\n", 3, "is no TOML: Cannot overwrite a value"),
        ("[gateway]\nx = '''never\nends", 3, "is no TOML: Expected \"'''\" (at the end of the file)"),
        ("a = " + "[" * 5000, 0, "is no TOML"),
        ("a = " + "9" * 5000, 0, "is no TOML"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    key, at, message = only_problem(text, tmp_path)
    assert (key, at) == ("", line)
    assert message.startswith(said)


def test_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "recloser.toml"
    path.write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(BadConfigError, match="line 2: is no UTF-8 text"):
        load(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("section", ["gateway", "state", "circuit", "providers", "routes", "profiles"])
@pytest.mark.parametrize("value", [3, "x", [], True])
def test_a_section_that_is_no_table(section: str, value: Any) -> None:
    with pytest.raises(BadConfigError) as caught:
        read({section: value})
    assert [problem.key for problem in caught.value.problems] == [(section,)]


def test_nearby_commands_need_neither_secrets_nor_sound_providers(tmp_path: Path) -> None:
    path = tmp_path / "recloser.toml"
    path.write_text("[gateway]\nkeys = ['env:NOPE']\nlisten = '0.0.0.0:1'\n[providers.x]\nkind = 4\n", "utf-8")
    config = load_nearby(path, {})
    assert [(key.reference, key.reveal()) for key in config.gateway.keys] == [("env:NOPE", "")]
    path.write_text("[gateway]\nlisten = 3\n", "utf-8")
    with pytest.raises(BadConfigError, match=r"line 2: gateway\.listen"):
        load_nearby(path, {})


def test_where_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    home = tmp_path / "home"
    (home / "recloser").mkdir(parents=True)
    environ = {"XDG_CONFIG_HOME": str(home)}
    monkeypatch.chdir(below)
    if find(environ=environ) is not None:
        pytest.skip("there is a recloser.toml above the temporary directory")
    at_home, above, named, given = (
        home / "recloser" / "recloser.toml", tmp_path / "recloser.toml", tmp_path / "n.toml", tmp_path / "g.toml"
    )  # fmt: skip
    at_home.touch()
    assert find(environ=environ) == at_home
    above.touch()
    assert find(environ=environ) == above
    named.touch()
    assert find(environ={**environ, "RECLOSER_CONFIG": str(named)}) == named
    given.touch()
    assert find(given, environ={**environ, "RECLOSER_CONFIG": str(named)}) == given
    os.unlink(named)  # noqa: PTH108 - by its name, as somebody else would
    with pytest.raises(BadConfigError, match=r"there is no such file .*RECLOSER_CONFIG"):
        find(environ={"RECLOSER_CONFIG": str(named)})


def test_a_name_with_a_dot_and_no_quotes_is_told_to_need_them(tmp_path: Path) -> None:
    file = tmp_path / "recloser.toml"
    file.write_text('[providers.a]\nkind = "ollama"\n\n[routes.gpt-4.1]\ntargets = ["a/m"]\n', "utf-8")
    with pytest.raises(BadConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert problem.message == 'a name with a dot is written in quotes: [routes."gpt-4.1"]'
    assert problem.line == 4


def test_a_table_of_tables_that_means_nothing_has_the_line_of_the_first(tmp_path: Path) -> None:
    file = tmp_path / "recloser.toml"
    file.write_text('\n[profile.z]\ntargets = ["a/m"]\n', "utf-8")
    with pytest.raises(BadConfigError) as caught:
        load(file)
    assert [problem.line for problem in caught.value.problems] == [2]
