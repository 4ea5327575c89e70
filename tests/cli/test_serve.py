"""`recloser serve`: what it says, and what it serves without a configuration."""

import signal
import socket
from typing import Any

CONFIG = """\
[gateway]
keys = ["env:GATEWAY_KEY"]
[providers.ollama]
kind = "ollama"
base_url = "http://127.0.0.1:1/v1"
[routes."*"]
targets = ["ollama/{model}"]
"""


def test_with_nothing_at_all_it_answers_by_itself_and_says_so_loudly(start: Any, nothing_local: None) -> None:
    gateway = start("serve")
    gateway.says("recloser events --follow")
    assert "SIMULATED: no model answers here" in gateway.output
    assert gateway.output.startswith("recloser listens on http://"), "what scripts wait for comes first"
    assert f"export ANTHROPIC_BASE_URL=http://{gateway.listen}\n" in gateway.output
    assert f"export OPENAI_BASE_URL=http://{gateway.listen}/v1\n" in gateway.output
    status, answer = gateway.ask("claude-sonnet-4-5")
    assert (status, answer["type"], answer["model"]) == (200, "message", "claude-sonnet-4-5")
    body = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
    assert gateway.fetch("/v1/chat/completions", body)[0] == 200
    assert gateway.fetch("/readyz")[0] == 200
    assert gateway.fetch("/api/status")[1]["routes"] == [{"model": "*", "targets": ["simulated/{model}"]}]
    assert gateway.stop() == 0


def test_state_lies_in_the_working_directory(start: Any, shell: Any, nothing_local: None) -> None:
    gateway = start("serve")
    gateway.ask("x")
    gateway.stop()
    assert (shell.folder / ".recloser" / "state.db").is_file()
    assert (shell.folder / ".recloser" / "events" / "events.jsonl").is_file()


def test_with_a_key_it_tells_the_chain_it_made(start: Any, nothing_local: None) -> None:
    gateway = start("serve", ANTHROPIC_API_KEY="sk-ant-api03-secret", OPENROUTER_API_KEY="sk-or-secret-1")
    gateway.says("writes what was found into a recloser.toml")
    assert "SIMULATED" not in gateway.output
    assert "the key in ANTHROPIC_API_KEY" in gateway.output
    assert gateway.says(r"^  claude-\*  anthropic/\{model\}$")
    assert gateway.says(r"^  \*/\*       openrouter/\{model\}$")
    assert "secret" not in gateway.output


def test_with_a_configuration_it_says_what_to_do_next(start: Any, shell: Any) -> None:
    gateway = start("serve", "--config", str(shell.write(CONFIG)), GATEWAY_KEY="gateway-key-1")
    gateway.says(r"`(\S*recloser|python -m recloser) status --listen 127\.0\.0\.1:\d+` and `\1 events --follow`")
    assert "one of [gateway] keys" in gateway.output
    assert "gateway-key-1" not in gateway.output
    assert gateway.fetch("/healthz")[0] == 200
    assert gateway.stop(signal.SIGINT) == 0


def test_a_configuration_without_a_route_is_told(start: Any, shell: Any) -> None:
    gateway = start("serve", "--config", str(shell.write("[gateway]\n")))
    assert gateway.says("has no route: every request will be answered with 404")


def test_a_bad_configuration_is_78_and_all_of_it_on_stderr(shell: Any) -> None:
    shell.write("[gateway]\nlistn = 1\n[state]\nurl = 'x'\n")
    done = shell("serve")
    assert (done.returncode, done.stdout) == (78, "")
    assert "line 2: gateway.listn" in done.stderr
    assert "line 4: state.url" in done.stderr


def test_without_keys_nobody_else_is_let_in(shell: Any) -> None:
    done = shell("serve", "--listen", "0.0.0.0:0")
    assert done.returncode == 78
    assert "only loopback may be listened on" in done.stderr
    assert shell("serve", "--listen", "here").returncode == 78


def test_a_port_that_is_taken(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_that_is_not_ours(shell: Any) -> None:
    shell.write(CONFIG.replace("[gateway]", '[gateway]\nlisten = "192.0.2.1:8686"'))
    done = shell("serve", GATEWAY_KEY="gateway-key-1")
    assert done.returncode == 1
    assert "recloser cannot start" in done.stderr
    assert "192.0.2.1:8686" in done.stderr
    assert "Traceback" not in done.stderr
