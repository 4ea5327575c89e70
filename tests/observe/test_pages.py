"""The operating pages, asked without a socket."""

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.gateway.events import RequestFinished
from recloser.gateway.gateway import Gateway
from recloser.gateway.metering import Used
from recloser.gateway.settings import GatewaySettings, ProviderSettings, RouteSettings
from recloser.gateway.spending import Spending
from recloser.gateway.targets import Routes
from recloser.observe.metrics import Metrics
from recloser.observe.pages import Pages
from recloser.observe.redact import never_show
from recloser.observe.status import spend_facts
from recloser.testing import ManualClock

SETTINGS = CircuitSettings(failure_threshold=1, cooldown=60.0, jitter=0.0)
BROKEN = Failure(kind=FailureKind.SERVER_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS, message="it broke")
REFUSED = Failure(kind=FailureKind.AUTH, scope=Scope.ACCOUNT, effect=Effect.OPENS, until_proven=True)


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Site:
    """The pages of a gateway with two providers."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.breakers = Breakers(SETTINGS, clock=self.clock)
        providers = {
            "local": ProviderSettings(kind="ollama"),
            "far": ProviderSettings(kind="ollama", regions={"us": "http://us/v1", "eu": "http://eu/v1"}),
        }
        routes = {
            "claude-*": RouteSettings(targets=("local/{model}", "far/vendor/{model}")),
            "gpt-[45]": RouteSettings(targets=("local/gpt",)),
        }
        gateway = Gateway(
            settings=GatewaySettings(),
            routes=Routes(providers, routes, {"cheap": RouteSettings(targets=("local/small",))}),
            breakers=self.breakers,
            emit=lambda _: None,
            clock=self.clock,
        )
        self.stopping = False
        self.pages = Pages(
            gateway,
            Metrics(self.breakers),
            held=lambda: 2,
            store=lambda: {"url": "redis://:hunter2@host:1/0", "lost": False},
            stopping=lambda: self.stopping,
            others=[],
        )

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http",
            "server": ("127.0.0.1", 8686), "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"127.0.0.1:8686"), *((n.encode(), v.encode()) for n, v in headers.items())],
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.pages.application(scope, receive, send))
        seen = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]), seen)

    @property
    def status(self) -> Any:
        answer = self.ask("GET", "/api/status")
        assert answer.status == 200
        return answer.json

    def order(self, name: str, verb: str, body: Any = None, **headers: str) -> Answer:
        data = b"" if body is None else json.dumps(body).encode()
        return self.ask("POST", f"/api/circuits/{name}/{verb}", data, **headers)


@pytest.fixture
def site() -> Site:
    return Site()


def test_health_and_readiness(site: Site) -> None:
    assert site.ask("GET", "/healthz").status == 200
    assert site.ask("GET", "/readyz").status == 200
    site.stopping = True
    assert site.ask("GET", "/readyz").json == {"status": "stopping"}


def test_metrics(site: Site) -> None:
    answer = site.ask("GET", "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"recloser_held_requests 2.0" in answer.body


def test_the_status_says_what_was_spent_and_by_whom() -> None:
    spending = Spending(ManualClock().time)
    one = Used("a/m", "a", "m", 30, 5, 0, 0, 0.25, estimated=False)
    finished = RequestFinished(
        subject="request/1", seq=1, wire="anthropic", model="m", stream=True, target="a/m", status=200, outcome="ok",
        attempts=1, held=0.0, first_token=0.4, duration=2.0, client="env:KEY", agent="ci", used=(one,),
    )  # fmt: skip
    spending.heard(finished)
    facts = spend_facts(spending, ManualClock().time())
    assert facts["day"] == {
        "period": "2026-09-21", "usd": 0.25, "by": {"agent/ci": 0.25, "key/env:KEY": 0.25, "provider/a": 0.25},
    }  # fmt: skip
    assert facts["month"] == {**facts["day"], "period": "2026-09"}


def test_the_status_of_a_quiet_gateway(site: Site) -> None:
    status = site.status
    assert set(status) == {"circuits", "targets", "routes", "agents", "spend", "hold", "store"}
    assert status["circuits"] == status["agents"] == []
    assert status["hold"] == {"requests": 2, "max_hold_s": 60.0}
    assert status["store"] == {"url": "redis://[redacted]@host:1/0", "lost": False}
    assert status["routes"][0] == {"model": "claude-*", "targets": ["local/{model}", "far/vendor/{model}"]}
    assert status["routes"][2] == {"profile": "cheap", "targets": ["local/small"]}
    assert [target["name"] for target in status["targets"]] == [
        "local/claude-*", "far/us/vendor/claude-*", "far/eu/vendor/claude-*", "local/gpt", "local/small",
    ]  # fmt: skip
    assert status["targets"][0] == {
        "name": "local/claude-*", "admissible": True, "circuit": None, "reason": None, "retry_at": None,
        "circuits": ["account/local", "endpoint/local", "model/local/claude-*"],
    }  # fmt: skip


def test_an_open_circuit_and_the_targets_behind_it(site: Site) -> None:
    site.breakers["model/local/claude-opus"].acquire().fail(BROKEN)
    site.breakers["model/far/us/vendor/claude-opus"].acquire().succeed()
    status = site.status
    circuit = next(c for c in status["circuits"] if c["name"] == "model/local/claude-opus")
    assert circuit == {
        "name": "model/local/claude-opus", "state": "open", "kind": "server_error", "failures": 1,
        "opened_at": "2026-09-21T14:13:20.000Z", "retry_at": "2026-09-21T14:14:20.000Z", "until_proven": False,
        "reason": "server_error: it broke", "calls": 1,
    }  # fmt: skip
    local, far, *_ = status["targets"]
    assert (far["name"], far["admissible"]) == ("far/us/vendor/claude-opus", True)
    assert (local["name"], local["admissible"], local["circuit"]) == ("local/claude-opus", False, circuit["name"])
    assert (local["reason"], local["retry_at"]) == ("server_error: it broke", "2026-09-21T14:14:20.000Z")
    site.clock.advance(61)
    assert site.status["targets"][0]["admissible"]
    assert next(c for c in site.status["circuits"] if c["state"] == "open")["retry_at"] is None


def test_a_target_waits_for_the_circuit_that_refuses_for_longest(site: Site) -> None:
    site.breakers["model/local/gpt"].acquire().fail(BROKEN)
    site.breakers["account/local"].acquire().fail(REFUSED)
    target = next(t for t in site.status["targets"] if t["name"] == "local/gpt")
    assert (target["circuit"], target["retry_at"]) == ("account/local", None)
    account = next(c for c in site.status["circuits"] if c["name"] == "account/local")
    assert (account["until_proven"], account["retry_at"], account["kind"]) == (True, None, "auth")


def test_what_is_over_is_no_longer_told(site: Site) -> None:
    site.breakers["model/local/gpt"].acquire().fail(BROKEN)
    site.breakers["model/local/gpt"].reset()
    (circuit,) = site.status["circuits"]
    assert (circuit["state"], circuit["kind"], circuit["opened_at"], circuit["reason"]) == ("closed", None, None, None)


def test_a_secret_is_in_no_status(site: Site) -> None:
    never_show("hunter2-in-a-reason")
    site.breakers["model/local/gpt"].acquire().fail(BROKEN.saying("no such key: hunter2-in-a-reason"))
    assert "hunter2" not in json.dumps(site.status)


def test_a_circuit_is_opened_by_hand_for_a_time_before_any_request_needed_it(site: Site) -> None:
    answer = site.order("endpoint/local", "open", {"for": "10m", "reason": "new driver"})
    assert (answer.status, answer.json) == (200, {"name": "endpoint/local", "state": "forced_open"})
    (circuit,) = site.status["circuits"]
    assert (circuit["retry_at"], circuit["reason"]) == ("2026-09-21T14:23:20.000Z", "new driver")
    assert site.order("endpoint/local", "close").json["state"] == "closed"
    assert site.order("endpoint/local", "disable").json["state"] == "disabled"
    assert site.order("endpoint/local", "observe").json["state"] == "observe_only"
    assert site.order("endpoint/local", "release").json["state"] == "closed"
    assert site.order("endpoint/local", "open").json["state"] == "forced_open"
    assert site.order("endpoint/local", "release").json["state"] == "half_open"
    assert site.order("endpoint/local", "reset").json["state"] == "closed"


@pytest.mark.parametrize(
    ("name", "verb", "body", "status"),
    [
        ("endpoint/nobody", "open", None, 404),
        ("endpoint/local", "explode", None, 404),
        ("endpoint/local", "open", {"for": "soon"}, 400),
        ("endpoint/local", "open", {"for": -1}, 400),
        ("endpoint/local", "open", {"for": 1e300}, 400),
        ("endpoint/local", "open", {"for": True}, 400),
        ("endpoint/local", "open", [], 400),
        ("endpoint/local", "open", {"reason": "x" * 5000}, 413),
    ],
)
def test_an_order_that_cannot_be_followed(name: str, verb: str, body: Any, status: int, site: Site) -> None:
    answer = site.order(name, verb, body)
    assert answer.status == status
    assert set(answer.json["error"]) == {"message", "type", "code", "param"}
    assert all(breaker.state is CircuitState.CLOSED for breaker in site.breakers.snapshot().circuits.values())
    assert site.status


def test_what_is_not_there(site: Site) -> None:
    answer = site.ask("GET", "/nothing")
    assert (answer.status, answer.json["error"]["type"]) == (404, "not_found")
    assert site.ask("GET", "/api/circuits/endpoint/local/open").status == 405
