"""Operating the gateway: health, status, metrics, models, circuits by hand, and a configuration that is wrong."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Client, Gateway, Provider, Starts, Until


def two_targets(first: Provider, second: Provider, **gateway: Any) -> dict[str, Any]:
    return {
        "gateway": {"max_hold": "0s", **gateway},
        "circuit": {"cooldown": "5m", "jitter": 0.0},
        "providers": {
            "a": {"kind": "simulated", "base_url": first.base_url},
            "b": {"kind": "simulated", "base_url": second.base_url},
        },
        "routes": {"chat": {"targets": ["a/one", "b/other"]}},
    }


@pytest.fixture
def gateway(first: Provider, second: Provider, start: Starts) -> Gateway:
    return start(two_targets(first, second))


# Health --------------------------------------------------------------------------------------------------------------


def test_alive_and_ready(gateway: Gateway) -> None:
    for path in ("/healthz", "/readyz"):
        assert gateway.fetch(path).status == 200
        assert gateway.fetch(path, method="HEAD").status == 200


def test_ready_only_while_some_target_is_admissible(gateway: Gateway, plain: Client) -> None:
    for circuit, expected in (("account/a", 200), ("endpoint/b", 503)):
        assert gateway.order(circuit, "open").status == 200
        assert gateway.fetch("/readyz").status == expected
        assert gateway.fetch("/healthz").status == 200
    told = plain.is_refused(gateway.url, "chat")
    assert told.status == 503
    assert gateway.order("endpoint/b", "close").status == 200
    assert gateway.fetch("/readyz").status == 200
    assert plain.ask(gateway.url, "chat").headers["x-recloser-target"] == "b/other"


def test_ready_when_the_only_route_is_a_glob(first: Provider, second: Provider, start: Starts) -> None:
    config = two_targets(first, second)
    config["routes"] = {"*": {"targets": ["a/{model}", "b/{model}"]}}
    gateway = start(config)
    assert gateway.fetch("/readyz").status == 200
    for circuit in ("endpoint/a", "endpoint/b"):
        assert gateway.order(circuit, "open").status == 200
    assert gateway.fetch("/readyz").status == 503


# Status --------------------------------------------------------------------------------------------------------------


def test_the_status_has_the_promised_shape(gateway: Gateway, client: Client, first: Provider) -> None:
    first.misbehave("one", "429=10m")
    client.ask(gateway.url, "chat")
    first.behave("one")
    status = gateway.status()
    assert set(status) >= {"circuits", "targets", "routes", "agents", "hold", "store"}
    assert isinstance(status["agents"], list)
    circuits = {circuit["name"]: circuit for circuit in status["circuits"]}
    assert set(circuits) >= {"account/a", "endpoint/a", "model/a/one", "account/b", "endpoint/b", "model/b/other"}
    for circuit in circuits.values():
        assert set(circuit) >= {"name", "state", "kind", "failures", "opened_at", "retry_at", "reason"}
    closed, opened = circuits["model/b/other"], circuits["model/a/one"]
    assert (closed["state"], closed["failures"], closed["retry_at"]) == ("closed", 0, None)
    assert (opened["state"], opened["kind"], opened["failures"]) == ("open", "quota", 1)
    opened_at, retry_at = (datetime.fromisoformat(opened[name]) for name in ("opened_at", "retry_at"))
    assert opened["opened_at"].endswith("Z")
    assert (retry_at - opened_at).total_seconds() == pytest.approx(600.0, abs=1.0)
    assert opened["reason"]
    targets = {target["name"]: target for target in status["targets"]}
    assert set(targets) == {"a/one", "b/other"}
    assert [targets[name]["admissible"] for name in ("a/one", "b/other")] == [False, True]
    assert [route["targets"] for route in status["routes"]] == [["a/one", "b/other"]]


def test_status_names_nobodys_secret(first: Provider, second: Provider, start: Starts) -> None:
    config = two_targets(first, second)
    config["providers"]["a"] |= {"api_key": "env:SECRET"}
    gateway = start(config, environ={"SECRET": "sk-0123456789abcdef"})
    assert b"sk-0123456789abcdef" not in gateway.fetch("/api/status").body


# Metrics -------------------------------------------------------------------------------------------------------------


def samples(gateway: Gateway) -> dict[str, float]:
    answer = gateway.fetch("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    rows = [line.rpartition(" ") for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def total(seen: dict[str, float], name: str, *labels: str) -> float:
    return sum(
        value for row, value in seen.items() if row.partition("{")[0] == name and all(label in row for label in labels)
    )


def test_the_metrics_count(gateway: Gateway, client: Client, first: Provider) -> None:
    first.misbehave("one", "429=10m")
    for _ in range(3):
        client.ask(gateway.url, "chat")
    first.behave("one")
    seen = samples(gateway)
    assert total(seen, "recloser_requests_total", 'outcome="ok"') == 3
    assert total(seen, "recloser_attempts_total", 'provider="a"') == 1
    assert total(seen, "recloser_attempts_total", 'provider="b"', 'outcome="ok"') == 3
    assert seen['recloser_circuit_state{circuit="model/a/one"}'] == 2
    assert seen['recloser_circuit_state{circuit="model/b/other"}'] == 0
    assert total(seen, "recloser_circuit_transitions_total", 'circuit="model/a/one"', 'to="open"') == 1
    assert total(seen, "recloser_first_token_seconds_count") == 3
    assert total(seen, "recloser_request_seconds_count") == 3
    assert seen["recloser_held_requests"] == 0
    assert all(name.startswith("recloser_") for name in seen)


def test_names_from_outside_make_no_endless_metrics(
    first: Provider, second: Provider, start: Starts, plain: Client
) -> None:
    config = two_targets(first, second)
    gateway = start(config)
    before = len(samples(gateway))
    for number in range(50):
        plain.fetch(gateway, f"unknown-{number}")
    assert len(samples(gateway)) - before < 40


# Models --------------------------------------------------------------------------------------------------------------


def test_the_models_in_either_wire(first: Provider, second: Provider, start: Starts) -> None:
    config = two_targets(first, second)
    config["profiles"] = {"cheap": {"targets": ["b/other"]}}
    gateway = start(config)
    openais = gateway.fetch("/v1/models", headers={"authorization": "Bearer unused"}).json
    assert openais["object"] == "list"
    assert {model["id"] for model in openais["data"]} == {"chat", "cheap"}
    assert {model["object"] for model in openais["data"]} == {"model"}
    anthropics = gateway.fetch("/v1/models", headers={"anthropic-version": "2023-06-01"}).json
    assert {model["id"] for model in anthropics["data"]} == {"chat", "cheap"}
    assert {model["type"] for model in anthropics["data"]} == {"model"}
    assert anthropics["has_more"] is False
    assert {anthropics["first_id"], anthropics["last_id"]} <= {"chat", "cheap"}


def test_the_sdks_list_the_models(gateway: Gateway, sdks: Any) -> None:
    anthropics, openais = sdks
    listed = openais.with_options(base_url=f"{gateway.url}/v1").models.list()
    assert [model.id for model in listed] == ["chat"]
    assert [model.id for model in anthropics.with_options(base_url=gateway.url).models.list()] == ["chat"]


def test_a_globs_models_are_asked_of_its_provider(first: Provider, second: Provider, start: Starts) -> None:
    config = two_targets(first, second)
    config["routes"] = {"chaos-*": {"targets": ["a/{model}"]}, "own": {"targets": ["a/x"]}}
    gateway = start(config)
    assert {model["id"] for model in gateway.fetch("/v1/models").json["data"]} == {"chaos-1", "own"}


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_circuit_is_opened_and_closed_by_hand(
    gateway: Gateway, client: Client, first: Provider, until: Until
) -> None:
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "a/one"
    assert gateway.order("endpoint/a", "open", reason="maintenance").status == 200
    circuit = gateway.circuit("endpoint/a")
    assert circuit["state"] in {"open", "forced_open"}
    assert circuit["retry_at"] is None
    assert "maintenance" in circuit["reason"]
    touched = first.asked("one")
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "b/other"
    assert first.asked("one") == touched
    assert gateway.order("endpoint/a", "close").status == 200
    assert gateway.circuit("endpoint/a")["state"] == "closed"
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "a/one"

    def forced() -> list[dict[str, Any]]:
        return [event for event in gateway.events if event["kind"] == "circuit_forced"]

    until(lambda: len(forced()) == 2, "the events")
    assert forced()[0]["reason"] == "maintenance"
    assert [event["subject"] for event in forced()] == ["endpoint/a"] * 2


def test_a_circuit_is_opened_for_a_time(gateway: Gateway, client: Client, until: Until) -> None:
    assert gateway.order("model/a/one", "open", **{"for": "1s"}).status == 200
    assert gateway.circuit("model/a/one")["retry_at"] is not None
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "b/other"
    until(lambda: client.ask(gateway.url, "chat").headers["x-recloser-target"] == "a/one", "its time is over")
    assert gateway.circuit("model/a/one")["state"] == "closed"


@pytest.mark.parametrize("mode", ["401", "quota=2h", "404", "402"])
def test_reset_ends_what_only_a_hand_or_time_ends(mode: str, gateway: Gateway, client: Client, first: Provider) -> None:
    first.misbehave("one", mode)
    client.ask(gateway.url, "chat")
    first.behave("one")
    (charged,) = gateway.charged("a")
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "b/other"
    assert gateway.order(charged, "reset").status == 200
    assert gateway.charged("a") == []
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "a/one"


def test_a_disabled_circuit_lets_everything_pass_and_counts_nothing(
    gateway: Gateway, client: Client, first: Provider
) -> None:
    client.ask(gateway.url, "chat")
    assert gateway.order("model/a/one", "disable").status == 200
    first.misbehave("one", "529")
    touched = first.asked("one")
    for _ in range(7):
        assert client.ask(gateway.url, "chat").headers["x-recloser-attempts"] == "2"
    assert first.asked("one") == touched + 7
    assert gateway.circuit("model/a/one")["state"] == "disabled"
    assert gateway.order("model/a/one", "reset").status == 200
    assert gateway.circuit("model/a/one")["state"] == "closed"
    first.behave("one")


def test_a_circuit_that_nothing_happened_to_yet_can_be_set(gateway: Gateway, client: Client) -> None:
    """The targets of the configuration are known from the start."""
    assert gateway.order("model/a/one", "open").status == 200
    assert client.ask(gateway.url, "chat").headers["x-recloser-target"] == "b/other"


def test_orders_that_make_no_sense_are_refused(gateway: Gateway, client: Client) -> None:
    client.ask(gateway.url, "chat")
    assert gateway.order("model/a/nobody", "open").status == 404
    assert gateway.order("model/a/one", "explode").status == 404
    assert gateway.order("model/a/one", "open", **{"for": "a while"}).status == 400
    assert gateway.order("model/a/one", "open", **{"for": "-5s"}).status == 400
    path = f"/api/circuits/{quote('model/a/one', safe='')}/open"
    assert gateway.fetch(path, b"{").status == 400
    assert gateway.fetch(path, b"[]").status == 400
    assert gateway.fetch(path, b"x" * 10_000).status == 413
    assert gateway.fetch(path).status in {404, 405}  # a GET changes nothing
    assert gateway.circuit("model/a/one")["state"] == "closed"


def test_orders_survive_a_restart(
    gateway: Gateway, plain: Client, first: Provider, second: Provider, start: Starts
) -> None:
    plain.ask(gateway.url, "chat")
    assert gateway.order("account/a", "open", reason="holiday").status == 200
    assert gateway.stop() == 0
    again = start(two_targets(first, second))
    assert again.circuit("account/a")["state"] in {"open", "forced_open"}
    assert plain.ask(again.url, "chat").headers["x-recloser-target"] == "b/other"


# Events --------------------------------------------------------------------------------------------------------------


def test_what_happened_is_written_down(gateway: Gateway, client: Client, first: Provider, until: Until) -> None:
    first.misbehave("one", "429=10m")
    answer = client.ask(gateway.url, "chat")
    first.behave("one")
    until(lambda: any(event["kind"] == "request_finished" for event in gateway.events), "the events")
    events = gateway.events
    assert all({"ts", "seq", "kind", "subject"} <= set(event) for event in events)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["ts"]) for event in events)
    (opened,) = [event for event in events if event["kind"] == "circuit_opened"]
    assert opened["subject"] == "model/a/one"
    (failed,) = [event for event in events if event["kind"] == "attempt_failed"]
    assert failed["target"] == "a/one"
    assert failed["circuit"] == "model/a/one"
    (finished,) = [event for event in events if event["kind"] == "request_finished"]
    assert finished["target"] == "b/other"
    assert finished["attempts"] == 2
    assert answer.headers["x-recloser-request-id"] in finished["subject"]
    for subject in {event["subject"] for event in events}:
        numbers = [event["seq"] for event in events if event["subject"] == subject]
        assert numbers == sorted(set(numbers))


# Starting ------------------------------------------------------------------------------------------------------------


def serve(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recloser", "serve", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_taken_port_says_who_has_it(gateway: Gateway, tmp_path: Path) -> None:
    host, port = gateway.address
    ended = serve(tmp_path, "--config", str(gateway.folder / "recloser.toml"), "--listen", f"{host}:{port}")
    assert ended.returncode not in {0, 2, 78}
    assert f"{host}:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    if Path("/proc/net/tcp").exists():
        assert str(gateway.process.pid) in ended.stderr
    assert ended.stdout == ""


def test_every_mistake_is_reported_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "recloser.toml"
    file.write_text(
        "[gateway]\n"
        'listn = "127.0.0.1:0"\n'
        'max_hold = "a while"\n'
        "\n"
        "[providers.a]\n"
        'kind = "anthropc"\n'
        "[providers.b]\n"
        'kind = "anthropic"\n'
        'api_key = "sk-ant-in-plain-sight"\n'
        "\n"
        '[routes."*"]\n'
        'targets = ["c/{model}"]\n',
        "utf-8",
    )
    ended = serve(tmp_path, "--config", str(file))
    assert ended.returncode == 78
    assert ended.stdout == ""
    for key, line in (
        ("gateway.listn", 2), ("gateway.max_hold", 3), ("providers.a.kind", 6), ("providers.b.api_key", 9),
        ("targets", 12),
    ):  # fmt: skip
        assert [row for row in ended.stderr.splitlines() if key in row and str(line) in row], (key, ended.stderr)
    assert "'listen'" in ended.stderr  # the nearest known key
    assert "sk-ant-in-plain-sight" not in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[gateway\n", "TOML"),
        ('[gateway]\nlisten = "0.0.0.0:0"\n', "keys"),
        ('[providers.a]\nkind = "anthropic"\napi_key = "env:NOT_SET_ANYWHERE"\n', "NOT_SET_ANYWHERE"),
        ('[providers.a]\nkind = "anthropic"\nbase_url = "ftp://x"\n', "base_url"),
        ("[circuit]\nfailure_threshold = -1\n", "failure_threshold"),
        ('[gateway]\nmidstream = "perhaps"\n', "midstream"),
        ('[state]\nurl = "mysql:x"\n', "state.url"),
    ],
    ids=["no TOML", "open to the world", "unset key", "no http", "negative", "unknown word", "unknown store"],
)
def test_a_wrong_configuration_ends_with_78(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "recloser.toml"
    file.write_text(text, "utf-8")
    ended = serve(tmp_path, "--config", str(file))
    assert ended.returncode == 78, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_configuration_ends_with_78(tmp_path: Path) -> None:
    ended = serve(tmp_path, "--config", str(tmp_path / "nowhere.toml"))
    assert ended.returncode == 78
    assert "nowhere.toml" in ended.stderr


def test_the_gateway_itself_is_asked_at_the_host_it_listens_on(
    first: Provider, second: Provider, start: Starts
) -> None:
    gateway = start(two_targets(first, second, listen="localhost:0"))
    assert gateway.fetch("/healthz").status == 200


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
def test_it_listens_on_ipv6(first: Provider, second: Provider, start: Starts) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("there is no IPv6 here")
    gateway = start(two_targets(first, second, listen="[::1]:0"))
    assert gateway.url.startswith("http://[::1]:")
    assert gateway.fetch("/healthz").status == 200
