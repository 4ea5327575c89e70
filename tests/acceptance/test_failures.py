"""What a failure means: every row of the contract's table, through the official SDKs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Canned, Client, Gateway, Provider, Starts, Until

NOBODY = "nobody"
COUNTS = "counts"
OPENS = "opens"
THRESHOLD = 2
EVERYWHERE = frozenset({"anthropic-plain", "anthropic-stream", "openai-plain", "openai-stream"})
PLAIN = frozenset({"anthropic-plain", "openai-plain"})
STREAM = frozenset({"anthropic-stream", "openai-stream"})
SHORT = {"first_token_timeout": "0.4s", "idle_timeout": "0.4s", "total_timeout": "0.4s"}


@dataclass(frozen=True)
class Row:
    """A failure of the first target, and what it means."""

    name: str
    kind: str
    charged: str
    effect: str
    mode: str = "off"
    opens_for: float | None = None
    clients: frozenset[str] = EVERYWHERE
    provider: Mapping[str, Any] = field(default_factory=dict)


def counting(kind: str, charged: str, *modes: str, **more: Any) -> list[Row]:
    return [Row(mode, kind, charged, COUNTS, mode, **more) for mode in modes]


def opening(kind: str, charged: str, *modes: str, **more: Any) -> list[Row]:
    return [Row(mode, kind, charged, OPENS, mode, **more) for mode in modes]


ROWS = [
    # refused, reset, DNS, TLS, connect timeout
    Row("refused", "unreachable", "endpoint", COUNTS, provider={"base_url": "http://127.0.0.1:{refusing}/v1"}),
    Row("dns", "unreachable", "endpoint", COUNTS, provider={"base_url": "http://nowhere.invalid/v1"}),
    Row("tls", "unreachable", "endpoint", COUNTS, provider={"base_url": "https://127.0.0.1:{first}/v1"}),
    Row(
        "connect", "unreachable", "endpoint", COUNTS,
        provider={"base_url": "http://127.0.0.1:{deaf}/v1", "connect_timeout": "0.3s"},
    ),
    *counting("unreachable", "endpoint", "reset", "close"),
    # no first token, idle stream, total time
    *counting("timeout", "model", "hang", "hang-headers", "stall=0", "first=5m", provider=SHORT),
    *counting("timeout", "model", "pings", "slow=5m", clients=STREAM, provider=SHORT),
    *counting("timeout", "model", "stall=3", "slow=1m", clients=PLAIN, provider=SHORT),
    # 500 502 503 504 520-524, api_error; any other 5xx
    *counting("server_error", "endpoint", "500", "502", "503", "504", "520", "521", "522", "523", "524"),
    *counting("server_error", "endpoint", "501", "508", "599", "error=0:api_error"),
    # 529, overloaded_error, 503 "model overloaded"
    *counting("overloaded", "model", "529", "overloaded503", "error=0:overloaded_error"),
    # 429
    *opening("rate_limited", "model", "429=30s", opens_for=30.0),
    *opening("rate_limited", "model", "429=2500ms", opens_for=2.5),
    *opening("quota", "model", "429=10m", opens_for=600.0),  # its message names the model
    *opening("quota", "account", "quota=2h", opens_for=7200.0),
    *opening("quota", "account", "quota=30d", opens_for=8 * 86400.0),
    *counting("rate_limited", "model", "429", "429=400d", "error=0:rate_limit_error"),
    # 402, insufficient_quota, credit balance too low
    *opening("billing", "account", "402", "credit", "insufficient_quota", "error=0:insufficient_quota"),
    # 401 403
    *opening("auth", "account", "401", "403", "error=0:authentication_error"),
    # 404, model not found; 410
    *opening("not_found", "model", "404", "410", opens_for=300.0),
    *opening("not_found", "model", "error=0:not_found_error", opens_for=300.0),
    # 408 409 423 424 425, 505 507
    *counting("server_error", "model", "408", "409", "423", "424", "425", "505", "507"),
    # out of memory, model loading
    *opening("resources", "endpoint", "oom", "loading", opens_for=120.0),
    # 413, context too long
    *(Row(mode, "too_large", NOBODY, "nothing", mode) for mode in ("413", "too_long")),
    # 200 with HTML or broken JSON, a redirect, an empty answer
    *counting("malformed", "model", "html", "badjson", "redirect", "empty", "blank", "error=0:surprise"),
    # reset or end in the middle, after the headers
    *counting("interrupted", "model", "cut=0", "eof=0", clients=STREAM),
    *counting("interrupted", "model", "cut", clients=PLAIN),
    *counting("malformed", "model", "eof", clients=PLAIN),
]  # fmt: skip
CLIENTS_FAULTS = ["400", "422", "405", "406", "418", "451"]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


@dataclass(frozen=True)
class Street:
    """A gateway with two providers of their own for each case, so that no case meets another's circuits."""

    gateway: Gateway
    first: Provider
    second: Provider


@pytest.fixture(scope="module")
def street(first: Provider, second: Provider, start_shared: Starts, refusing_port: int, deaf_port: int) -> Street:
    providers: dict[str, Any] = {}
    routes: dict[str, Any] = {}
    ports = {"refusing": refusing_port, "deaf": deaf_port, "first": first.address[1]}

    def add(case: str, mode: str, more: Mapping[str, Any]) -> None:
        own = {"kind": "simulated", "base_url": first.base_url, "headers": {"x-chaos": mode}, **more}
        providers[f"a-{case}"] = own | {"base_url": own["base_url"].format(**ports)}
        providers[f"b-{case}"] = {"kind": "simulated", "base_url": second.base_url}
        routes[case] = {"targets": [f"a-{case}/first-{case}", f"b-{case}/second-{case}"]}

    for row in ROWS:
        for name in row.clients:
            add(f"{_slug(row.name)}-{name}", row.mode, row.provider)
    for mode in CLIENTS_FAULTS:
        for name in EVERYWHERE:
            add(f"{mode}-{name}", mode, {})
    gateway = start_shared({
        "gateway": {"max_hold": "0s"},
        "circuit": {"failure_threshold": THRESHOLD, "cooldown": "5m", "jitter": 0.0},
        "providers": providers,
        "routes": routes,
    })  # fmt: skip
    return Street(gateway, first, second)


def pairs(rows: list[Row]) -> pytest.MarkDecorator:
    """Every row with every client that can meet it."""
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pairs([row for row in ROWS if row.clients == EVERYWHERE])
def test_the_second_answers_and_the_right_circuit_pays(row: Row, client: Client, street: Street) -> None:
    check(row, client, street)


@pairs([row for row in ROWS if row.clients == STREAM])
def test_so_it_is_with_what_happens_to_streams_alone(row: Row, streaming: Client, street: Street) -> None:
    check(row, streaming, street)


@pairs([row for row in ROWS if row.clients == PLAIN])
def test_so_it_is_with_what_happens_to_plain_answers_alone(row: Row, plain: Client, street: Street) -> None:
    check(row, plain, street)


def check(row: Row, client: Client, street: Street) -> None:
    """The first target fails as the row says; see what the client gets, and who is charged."""
    gateway, first, second = street.gateway, street.first, street.second
    case = f"{_slug(row.name)}-{client.name}"
    charged = {
        "account": f"account/a-{case}",
        "endpoint": f"endpoint/a-{case}",
        "model": f"model/a-{case}/first-{case}",
    }.get(row.charged)

    def ask() -> str:
        """Ask; the attempts it took. Whatever happened, the client has one whole answer."""
        answer = client.ask(gateway.url, case)
        assert answer.text == expected.text
        assert answer.model == f"second-{case}"
        assert answer.ending == client.ordinary_ending
        assert answer.headers["x-recloser-target"] == f"b-{case}/second-{case}"
        return answer.headers["x-recloser-attempts"]

    expected = client.ask(second.url, "for comparison")

    assert ask() == "2"
    now = time.time()
    assert gateway.charged(f"b-{case}") == []
    if charged is None:
        assert gateway.charged(f"a-{case}") == []
        assert ask() == "2"
        return
    assert gateway.charged(f"a-{case}") == [charged]
    circuit = gateway.circuit(charged)
    assert circuit["failures"] == 1
    assert circuit["kind"] == row.kind
    if row.effect == COUNTS:
        assert circuit["state"] == "closed"
        for _ in range(1, THRESHOLD):
            assert ask() == "2"
        circuit = gateway.circuit(charged)
        assert circuit["failures"] == THRESHOLD
        now = time.time()
    assert circuit["state"] == "open"
    assert gateway.charged(f"a-{case}") == [charged]

    if row.kind in {"auth", "billing"}:
        assert circuit["retry_at"] is None  # time does not cure it
    else:
        remaining = datetime.fromisoformat(circuit["retry_at"]).timestamp() - now
        expected_wait = row.opens_for or 300.0
        assert expected_wait - 3.0 < remaining < expected_wait + 2.0  # a server says it in whole seconds
    touched = first.asked(f"first-{case}")
    assert ask() == "1"
    assert first.asked(f"first-{case}") == touched


@pytest.mark.parametrize("mode", CLIENTS_FAULTS)
def test_the_clients_own_fault_is_told_once_and_verbatim(mode: str, client: Client, street: Street) -> None:
    gateway, case = street.gateway, f"{mode}-{client.name}"
    expected = client.is_refused(street.first.url, f"first-{case}", headers={"x-chaos": mode})
    before = street.first.asked(f"first-{case}")

    told = client.is_refused(gateway.url, case)

    assert told.status == int(mode)
    request_id = "request-id" if client.wire == "anthropic" else "x-request-id"
    assert told.body == expected.body.replace(expected.headers[request_id].encode(), told.headers[request_id].encode())
    assert told.headers["content-type"] == expected.headers["content-type"]
    assert told.headers["x-recloser-attempts"] == "1"
    assert street.first.asked(f"first-{case}") == before + 1
    assert street.second.asked(f"second-{case}") == 0
    assert gateway.charged(f"a-{case}") == []


# Everything fails ----------------------------------------------------------------------------------------------------


def everything(first: Provider, second: Provider, one: str, other: str, **gateway: Any) -> dict[str, Any]:
    """A configuration whose two targets fail in these ways."""
    return {
        "gateway": {"max_hold": "0s", **gateway},
        "circuit": {"failure_threshold": 1, "cooldown": "40s", "jitter": 0.0},
        "providers": {
            "a": {"kind": "simulated", "base_url": first.base_url, "headers": {"x-chaos": one}},
            "b": {"kind": "simulated", "base_url": second.base_url, "headers": {"x-chaos": other}},
        },
        "routes": {"both": {"targets": ["a/one", "b/other"]}, "single": {"targets": ["a/one"]}},
    }


@pytest.mark.parametrize(
    ("one", "other", "status", "wait"),
    [
        pytest.param("529", "500", 503, 40, id="broken"),
        pytest.param("429=30s", "429=20s", 429, 20, id="limits"),
        pytest.param("quota=2h", "quota=3h", 429, 7200, id="quotas"),
        pytest.param("quota=2h", "529", 503, 40, id="a limit and a failure"),
        pytest.param("401", "529", 503, 40, id="refused and a failure"),
    ],
)
def test_everything_failing_is_told_in_the_wires_own_shape(
    one: str, other: str, status: int, wait: int, first: Provider, second: Provider, client: Client, start: Starts
) -> None:
    gateway = start(everything(first, second, one, other))
    for attempts in ("2", "0"):  # the first time they fail, the second time their circuits are open
        now = time.time()
        told = client.is_refused(gateway.url, "both")
        assert told.status == status
        kind = client.kind_of_error(told.json)
        if client.wire == "anthropic":
            assert kind == ("rate_limit_error" if status == 429 else "overloaded_error")
            assert told.json["request_id"] == told.headers["x-recloser-request-id"]
        # Once all is closed, a single request at a time may still try what failures (never limits) have closed.
        assert told.headers["x-recloser-attempts"] in ({attempts} if status == 429 else {attempts, "1"})
        assert min(wait, 60) - 3 <= int(told.headers["retry-after"]) <= min(wait, 60)
        reset = datetime.fromisoformat(told.headers["x-recloser-reset"]).timestamp() - now
        assert wait - 4 < reset < wait + 4
        circuit = told.headers["x-recloser-circuit"]
        assert gateway.circuit(circuit)["state"] == "open"


@pytest.mark.parametrize("mode", ["401", "402", "403", "credit"])
def test_what_a_provider_says_of_our_key_is_not_the_clients_business(
    mode: str, first: Provider, second: Provider, client: Client, start: Starts
) -> None:
    gateway = start(everything(first, second, mode, mode))
    for model, count in (("single", "1"), ("both", "1")):
        told = client.is_refused(gateway.url, model)
        assert told.status == 503
        assert told.headers["x-recloser-attempts"] == count
        client.kind_of_error(told.json)
        words = told.body.decode().lower()
        assert not any(word in words for word in ("api key", "api-key", "credit balance", "insufficient balance"))


def test_a_single_targets_not_found_is_told(first: Provider, second: Provider, client: Client, start: Starts) -> None:
    gateway = start(everything(first, second, "404", "404"))
    told = client.is_refused(gateway.url, "single")
    assert told.status == 404
    client.kind_of_error(told.json)
    assert "one" in told.json["error"]["message"]


def test_too_large_for_every_target_is_told(first: Provider, second: Provider, client: Client, start: Starts) -> None:
    gateway = start(everything(first, second, "too_long", "413"))
    told = client.is_refused(gateway.url, "both")
    assert told.status in {400, 413}
    client.kind_of_error(told.json)
    said = told.body.decode()
    assert "too long" in said or "maximum context length" in said or "too large" in said or "maximum size" in said
    assert told.headers["x-recloser-attempts"] == "2"
    assert gateway.charged("a") == gateway.charged("b") == []


def test_retry_after_max_bounds_what_clients_are_told(
    first: Provider, second: Provider, client: Client, start: Starts
) -> None:
    gateway = start(everything(first, second, "quota=2h", "quota=2h", retry_after_max="7s"))
    told = client.is_refused(gateway.url, "both")
    assert told.headers["retry-after"] == "7"
    said = told.json["error"]["message"].replace(" ", "")
    assert "2h" in said or "1h59m" in said


# What servers say ----------------------------------------------------------------------------------------------------


def _in(seconds: float) -> datetime:
    return datetime.fromtimestamp(time.time() + seconds, UTC)


def _hints() -> list[tuple[str, str, list[str], dict[str, Any], float | None, str]]:
    """Name, wire, headers, body, seconds (None: no hint), the circuit charged."""
    plain = {"error": {"message": "slow down", "type": "rate_limit_error"}}
    soon, later = _in(40).isoformat(timespec="seconds"), _in(3000).isoformat(timespec="seconds")
    epoch = int(time.time()) + 3000

    def says(message: str, **more: Any) -> dict[str, Any]:
        return {"error": {"message": message, "type": "rate_limit_error", **more}}

    return [
        ("http-date", "openai", [f"retry-after: {format_datetime(_in(3000), usegmt=True)}"], plain, 3000, "account"),
        ("retry-after-ms", "openai", ["retry-after-ms: 1500"], plain, 1.5, "model"),
        ("retry-after-wins", "openai", ["retry-after: 20", "retry-after-ms: 900000"], plain, 20, "model"),
        (
            "anthropic-reset", "anthropic",
            [
                f"anthropic-ratelimit-requests-reset: {later}", "anthropic-ratelimit-requests-remaining: 5",
                f"anthropic-ratelimit-tokens-reset: {soon}", "anthropic-ratelimit-tokens-remaining: 0",
            ],
            plain, 40, "model",
        ),
        (
            "x-ratelimit-reset", "openai",
            ["x-ratelimit-reset-tokens: 6m0s", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-requests: 1s",
             "x-ratelimit-remaining-requests: 0"],
            plain, 360, "account",
        ),
        (
            "unified", "anthropic",
            ["anthropic-ratelimit-unified-status: rejected", f"anthropic-ratelimit-unified-reset: {epoch}"],
            plain, 3000, "account",
        ),
        ("resetsAt", "openai", [], says("no", resetsAt=epoch), 3000, "account"),
        ("resets_at-ms", "openai", [], says("no", resets_at=epoch * 1000), 3000, "account"),
        ("resets_at-iso", "openai", [], says("no", resets_at=later), 3000, "account"),
        ("in-words", "openai", [], says("try again in 4 days 3 hours"), 99 * 3600, "account"),
        ("negative", "openai", ["retry-after: -5"], plain, None, "model"),
        ("not-finite", "openai", ["retry-after: nan"], plain, None, "model"),
        ("infinite", "openai", ["retry-after: inf"], plain, None, "model"),
        ("unreadable", "openai", ["retry-after: soon"], plain, None, "model"),
        ("over-8-days", "openai", [f"retry-after: {20 * 86400}"], plain, 8 * 86400, "account"),
        ("over-366-days", "openai", [f"retry-after: {400 * 86400}"], plain, None, "model"),
    ]  # fmt: skip


def test_every_hint_is_understood(start: Starts, canned_provider: type[Canned], plain: Client) -> None:
    """One gateway and one hand-made provider for each; the answers are fixed bytes."""
    hints = [hint for hint in _hints() if hint[1] == plain.wire]
    providers = {name: canned_provider() for name, *_ in hints}
    seen: dict[str, tuple[str, bool, str | None]] = {}
    expected: dict[str, tuple[str, float | None]] = {}
    try:
        for name, _, headers, body, seconds, charged in hints:
            providers[name].__enter__()
            providers[name].says("429 Too Many Requests", "application/json", json.dumps(body).encode(), *headers)
            expected[name] = (charged, seconds)
        gateway = start({
            "gateway": {"max_hold": "0s"},
            "providers": {
                name: {"kind": "simulated", "base_url": f"{provider.url}/v1"} for name, provider in providers.items()
            },
            "routes": {name: {"targets": [f"{name}/chaos-1"]} for name in providers},
        })  # fmt: skip
        now = time.time()
        for name in providers:
            assert plain.is_refused(gateway.url, name).status in {429, 503}
            circuits = gateway.charged(name)
            assert len(circuits) == 1, (name, circuits)
            circuit = gateway.circuit(circuits[0])
            seen[name] = (circuits[0].partition("/")[0], circuit["state"] == "open", circuit["retry_at"])
    finally:
        for provider in providers.values():
            provider.__exit__()
    for name, (charged, seconds) in expected.items():
        scope, is_open, retry_at = seen[name]
        assert (scope, is_open) == (charged, seconds is not None), name
        if seconds is not None:
            assert retry_at is not None, name
            assert abs(datetime.fromisoformat(retry_at).timestamp() - now - seconds) < 4, name


def test_a_models_name_inside_another_word_is_no_mention(
    start: Starts, canned_provider: type[Canned], plain: Client
) -> None:
    with canned_provider() as provider:
        body = {"type": "error", "error": {"type": "rate_limit_error", "message": "too much"}, "request_id": "req_o3x"}
        provider.says("429 Too Many Requests", "application/json", json.dumps(body).encode(), "retry-after: 3000")
        gateway = start({
            "gateway": {"max_hold": "0s"},
            "providers": {"a": {"kind": "simulated", "base_url": f"{provider.url}/v1"}},
            "routes": {"o3": {"targets": ["a/o3"]}},
        })  # fmt: skip
        plain.is_refused(gateway.url, "o3")
        assert gateway.charged("a") == ["account/a"]


def test_a_refusal_before_the_request_is_read_is_understood(
    client: Client, start: Starts, canned_provider: type[Canned], second: Provider
) -> None:
    """As proxies refuse what is too large: they answer, and hang up on the rest of it."""
    with canned_provider() as provider:
        provider.says("413 Content Too Large", "text/html", b"<html><h1>413 Request Entity Too Large</h1></html>")
        provider.hasty = True
        gateway = start({
            "gateway": {"max_hold": "0s"},
            "providers": {
                "a": {"kind": "simulated", "base_url": f"{provider.url}/v1"},
                "b": {"kind": "simulated", "base_url": second.base_url},
            },
            "routes": {"*": {"targets": ["a/{model}", "b/{model}"]}},
        })  # fmt: skip
        seen = client.fetch(gateway, "m", padding="x" * 20_000_000)
        assert seen.headers["x-recloser-target"] == "b/m"
        assert gateway.charged("a") == []


def test_one_account_for_entries_with_one_secret(
    first: Provider, second: Provider, client: Client, start: Starts
) -> None:
    gateway = start(
        {
            "gateway": {"max_hold": "0s"},
            "providers": {
                "a": {
                    "kind": "simulated", "base_url": first.base_url, "api_key": "env:SHARED",
                    "headers": {"x-chaos": "quota=1h"},
                },
                "b": {"kind": "simulated", "base_url": first.base_url, "api_key": "env:SHARED"},
                "c": {"kind": "simulated", "base_url": second.base_url, "api_key": "env:OWN"},
                "d": {"kind": "simulated", "base_url": second.base_url, "account": "mine"},
                "e": {
                    "kind": "simulated", "base_url": first.base_url, "account": "mine",
                    "headers": {"x-chaos": "quota=1h"},
                },
            },
            "routes": {
                "one": {"targets": ["a/chaos-1", "b/chaos-1", "c/chaos-1"]},
                "other": {"targets": ["e/chaos-1", "d/chaos-1", "c/chaos-1"]},
            },
        },
        environ={"SHARED": "sk-one", "OWN": "sk-two"},
    )  # fmt: skip
    for model in ("one", "other"):
        answer = client.ask(gateway.url, model)
        assert answer.headers["x-recloser-target"] == "c/chaos-1"
        assert answer.headers["x-recloser-attempts"] == "2"


def test_regions_fail_over_and_share_their_account(
    first: Provider, second: Provider, client: Client, start: Starts
) -> None:
    model = f"regional-{client.name}"
    gateway = start({
        "gateway": {"max_hold": "0s"},
        "circuit": {"failure_threshold": 1, "cooldown": "5m"},
        "providers": {"a": {"kind": "simulated", "regions": {"us": first.base_url, "eu": second.base_url}}},
        "routes": {"*": {"targets": ["a/{model}"]}},
    })  # fmt: skip
    first.misbehave(model, "503")
    answer = client.ask(gateway.url, model)
    assert answer.headers["x-recloser-target"] == f"a/eu/{model}"
    assert gateway.charged("a") == ["endpoint/a/us"]
    second.misbehave(model, "quota=1h")
    assert client.is_refused(gateway.url, model).status in {429, 503}
    assert gateway.charged("a") == ["account/a", "endpoint/a/us"]
    first.behave(model)
    second.behave(model)


def test_a_good_answer_ends_the_row_of_failures(
    first: Provider, second: Provider, client: Client, start: Starts, until: Until
) -> None:
    model = f"mended-{client.name}"
    gateway = start({
        "gateway": {"max_hold": "0s"},
        "circuit": {"failure_threshold": 3},
        "providers": {
            "a": {"kind": "simulated", "base_url": first.base_url},
            "b": {"kind": "simulated", "base_url": second.base_url},
        },
        "routes": {"*": {"targets": ["a/{model}", "b/{model}"]}},
    })  # fmt: skip
    first.misbehave(model, "529", count=2)
    attempts = [client.ask(gateway.url, model).headers["x-recloser-attempts"] for _ in range(3)]
    assert attempts == ["2", "2", "1"]
    until(lambda: gateway.circuit(f"model/a/{model}")["failures"] == 0, "the failures are forgotten")
    first.behave(model)
