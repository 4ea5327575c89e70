"""`recloser status`, of a gateway that runs and of one that does not."""

import json
import pty
import select
import socket
import subprocess
import sys
import threading
from contextlib import closing
from os import close, read
from typing import Any

import pytest

CONFIG = """\
[gateway]
keys = ["env:GATEWAY_KEY"]
max_hold = "0s"
[circuit]
failure_threshold = 1
cooldown = "1h"
cooldown_max = "2h"
[providers.gone]
kind = "ollama"
base_url = "http://127.0.0.1:1/v1"
[providers.unused]
kind = "ollama"
base_url = "http://127.0.0.1:2/v1"
[routes."claude-*"]
targets = ["gone/{model}"]
[routes."gpt-*"]
targets = ["unused/{model}"]
"""
KEY = {"GATEWAY_KEY": "gateway-key-1"}


@pytest.fixture
def gateway(shell: Any, start: Any) -> Any:
    """A gateway of which one target has failed."""
    shell.write(CONFIG)
    running = start("serve", **KEY)
    assert running.ask("claude-x", **{"x-api-key": "gateway-key-1"})[0] == 503
    return running


def test_of_a_running_gateway(gateway: Any, shell: Any) -> None:
    done = shell("status", "--listen", gateway.listen, **KEY)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"recloser runs on http://{gateway.listen}"
    shut = next(line for line in lines if "gone/claude-x" in line)
    assert "unreachable, reopens in" in shut
    assert "[endpoint/gone]" in shut
    assert any("unused/gpt-*" in line and line.endswith("ready") for line in lines)
    assert any("endpoint/gone" in line and "open, reopens in" in line for line in lines)
    assert "unreachable: Cannot connect to host 127.0.0.1:1" in done.stdout
    assert "Held requests  none" in lines
    assert "Spent          0.00 USD today, 0.00 this month (UTC)" in lines
    assert "Store          sqlite:.recloser/state.db" in lines
    assert "\033" not in done.stdout


def test_as_json(gateway: Any, shell: Any) -> None:
    done = shell("status", "--json", "--listen", gateway.listen, **KEY)
    told = json.loads(done.stdout)
    assert told["gateway"] == {"running": True, "listen": gateway.listen}
    assert [c["state"] for c in told["circuits"] if c["name"] == "endpoint/gone"] == ["open"]
    assert {"targets", "routes", "agents", "hold", "store"} <= set(told)


def test_of_a_gateway_that_is_gone(gateway: Any, shell: Any) -> None:
    gateway.stop()
    done = shell("status", "--listen", gateway.listen)  # nor is any key needed
    assert done.returncode == 0
    assert done.stdout.startswith(f"recloser is not running on http://{gateway.listen}\n")
    assert "endpoint/gone  open, reopens in" in done.stdout
    told = json.loads(shell("status", "--json", "--listen", gateway.listen).stdout)
    assert told["gateway"]["running"] is False
    (circuit,) = [c for c in told["circuits"] if c["name"] == "endpoint/gone"]
    assert (circuit["state"], circuit["kind"]) == ("open", "unreachable")
    assert circuit["retry_at"] > circuit["opened_at"]


def test_where_no_gateway_ever_was(shell: Any) -> None:
    done = shell("status", "--listen", free_port())
    assert done.returncode == 0
    assert "is not running" in done.stdout
    assert "(nothing is stored there)" in done.stdout
    assert not (shell.folder / ".recloser").exists()
    shell.write("[state]\nurl = 'memory:'\n")
    assert "memory: (nothing is stored there)" in shell("status", "--listen", free_port()).stdout


def test_a_store_that_is_none(shell: Any) -> None:
    (shell.folder / ".recloser").mkdir()
    (shell.folder / ".recloser" / "state.db").write_text("this is no database, however long it may be" * 99)
    done = shell("status", "--listen", free_port())
    assert done.returncode == 0
    assert "cannot be used file is not a database" in done.stdout


def test_without_the_right_key(gateway: Any, shell: Any) -> None:
    done = shell("status", "--listen", gateway.listen)
    assert (done.returncode, done.stdout) == (1, "")
    assert "wants another key than this one; none of env:GATEWAY_KEY can be had here" in done.stderr
    assert "wants another key" in shell("status", "--listen", gateway.listen, GATEWAY_KEY="wrong-key").stderr


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", b"SSH-2.0-x\r\n", b""])
def test_somebody_else_on_that_port(answer: bytes, shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        done = shell("status", "--listen", f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert "is no gateway" in done.stderr


def test_a_bad_configuration_and_a_bad_address(shell: Any) -> None:
    shell.write("[gateway]\nlisten = 3\n")
    assert shell("status").returncode == 78
    assert shell("status", "--listen", "nowhere").returncode == 78


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_on_a_terminal_it_fits_and_has_colours_unless_told_not_to(
    no_color: str | None, coloured: bool, gateway: Any, shell: Any
) -> None:
    more = {**KEY, "TERM": "xterm", "COLUMNS": "80", **({"NO_COLOR": no_color} if no_color else {})}
    screen = on_a_terminal(["status", "--listen", gateway.listen], shell, more)
    assert ("\033[32m" in screen) is coloured
    plain = screen if not coloured else screen.replace("\033[0m", "")
    assert "TARGETS" in plain
    if not coloured:
        assert max(len(line) for line in screen.splitlines()) <= 80


def on_a_terminal(arguments: list[str], shell: Any, environ: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "recloser", *arguments],
            cwd=shell.folder, env={"PATH": "/usr/bin", "HOME": str(shell.folder), "LANG": "C.UTF-8", **environ},
            stdin=subprocess.DEVNULL, stdout=theirs,
        )  # fmt: skip
        close(theirs)
        said = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                piece = read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
        assert process.wait(30) == 0
    finally:
        close(ours)
    return said.decode().replace("\r\n", "\n")


def free_port() -> str:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"
