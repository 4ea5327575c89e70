"""Clients as they come: those who leave, dawdle, send nonsense, have the wrong key; and what they never get to see."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Canned, Client, Gateway, Provider, Server, Starts, Until

KEYS = {
    "CLIENT_KEY": "client-key-0123456789",
    "OTHER_KEY": "other-key-9876543210",
    "UPSTREAM_KEY": "sk-up-abcdefghijklmn",
}


def one_target(provider: Provider, **gateway: Any) -> dict[str, Any]:
    return {
        "gateway": {"max_hold": "0s", **gateway},
        "providers": {"a": {"kind": "simulated", "base_url": provider.base_url}},
        "routes": {"served-*": {"targets": ["a/{model}"]}},
        "profiles": {"cheap": {"targets": ["a/served-cheaply"]}},
    }


@pytest.fixture(scope="module")
def gateway(first: Provider, start_shared: Starts) -> Gateway:
    return start_shared(one_target(first, max_body="64KiB", body_timeout="500ms"))


@pytest.fixture(scope="module")
def open_to_all(first: Provider, start_shared: Starts) -> Gateway:
    """A gateway that takes every model's name."""
    return start_shared({**one_target(first), "routes": {"*": {"targets": ["a/{model}"]}}})


@pytest.fixture(scope="module")
def locked(first: Provider, start_shared: Starts) -> Gateway:
    """A gateway with keys."""
    config = one_target(first, keys=["env:CLIENT_KEY", "env:OTHER_KEY"])
    config["providers"]["a"]["api_key"] = "env:UPSTREAM_KEY"
    return start_shared(config, KEYS)


# Leaving -------------------------------------------------------------------------------------------------------------


def head(client: Client, length: int | str, **more: str) -> bytes:
    """The head of a request; a length of `chunked` has it chunked."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", **more}
    fields |= {"transfer-encoding": "chunked"} if length == "chunked" else {"content-length": str(length)}
    return f"POST {client.path} HTTP/1.1\r\n".encode() + "".join(
        f"{name}: {value}\r\n" for name, value in fields.items()
    ).encode() + b"\r\n"  # fmt: skip


@contextlib.contextmanager
def asked(client: Client, server: Server, model: str) -> Iterator[socket.socket]:
    """A connection on which a whole request was sent."""
    body = client.body(model)
    with server.connect() as connection:
        connection.sendall(head(client, len(body)) + body)
        yield connection


@pytest.mark.parametrize("mode", ["hang", "hang-headers", "pings"])
def test_a_client_that_leaves_before_the_answer_is_noticed_and_nobody_pays(
    mode: str, client: Client, first: Provider, gateway: Gateway, until: Until
) -> None:
    model = f"served-left-{mode}-{client.name}"
    first.misbehave(model, mode)
    cancelled = first.report["cancelled"]
    with asked(client, gateway, model):
        until(lambda: first.asked(model) == 1, "the provider is asked")
    # The contract says within 1 s; `until` is patient, since the machine may be busy.
    until(lambda: first.report["cancelled"] == cancelled + 1, "the provider sees the client leave")
    assert gateway.charged("a") == []
    assert first.asked(model) == 1


def test_a_client_that_leaves_in_mid_stream_is_noticed_and_nobody_pays(
    streaming: Client, first: Provider, gateway: Gateway, until: Until
) -> None:
    model = f"served-left-midway-{streaming.wire}"
    first.misbehave(model, "slow=100ms")
    cancelled = first.report["cancelled"]
    with asked(streaming, gateway, model) as connection:
        seen = b""
        while not streaming_has_content(streaming, seen):
            seen += connection.recv(65536)
    until(lambda: first.report["cancelled"] == cancelled + 1, "the provider sees the client leave")
    assert gateway.charged("a") == []


def streaming_has_content(client: Client, seen: bytes) -> bool:
    return b"text_delta" in seen if client.wire == "anthropic" else b'"content":"Answer' in seen


def test_a_client_that_leaves_while_held_is_forgotten(
    client: Client, first: Provider, start: Starts, until: Until
) -> None:
    gateway = start(one_target(first, max_hold="5m"))
    model = f"served-left-held-{client.name}"
    first.misbehave(model, "429=1m")
    with asked(client, gateway, model):
        until(lambda: gateway.status()["hold"]["requests"] == 1, "it is held")
    until(lambda: gateway.status()["hold"]["requests"] == 0, "it is forgotten")
    assert gateway.circuit(f"model/a/{model}")["failures"] == 1


def test_a_trial_whose_client_leaves_gives_its_turn_back(
    client: Client, first: Provider, start: Starts, until: Until
) -> None:
    config = one_target(first)
    config["circuit"] = {"failure_threshold": 1, "cooldown": "100ms", "cooldown_max": "100ms"}
    gateway = start(config)
    model = f"served-left-trying-{client.name}"
    first.misbehave(model, "529", count=1)
    client.is_refused(gateway.url, model)
    first.misbehave(model, "hang")

    def admissible() -> bool:
        # The route is a glob, so the target is known by its circuit.
        return client.fetch(gateway, model).status == 200

    with contextlib.ExitStack() as connections:

        def tried() -> bool:
            connections.enter_context(asked(client, gateway, model))
            return first.asked(model) == 2

        until(tried, "somebody tries")
        assert gateway.circuit(f"model/a/{model}")["state"] == "half_open"
        first.behave(model)
        assert client.fetch(gateway, model).status == 503  # one at a time
    until(admissible, "the turn is given back")
    assert gateway.circuit(f"model/a/{model}")["state"] == "closed"


def test_leaving_is_written_down_as_leaving(client: Client, first: Provider, start: Starts, until: Until) -> None:
    gateway = start(one_target(first))
    model = f"served-noted-{client.name}"
    first.misbehave(model, "hang")
    with asked(client, gateway, model):
        until(lambda: first.asked(model) == 1, "the provider is asked")

    def outcomes() -> list[str]:
        return [event["outcome"] for event in gateway.events if event["kind"] == "request_finished"]

    assert until(outcomes, "an event") == ["cancelled"]


# Dawdling and nonsense -----------------------------------------------------------------------------------------------


def answer_on(connection: socket.socket) -> tuple[int, Any]:
    """The status and the decoded body of the answer on a connection."""
    seen = b""
    while True:
        with contextlib.suppress(ConnectionResetError):
            piece = connection.recv(65536)
            seen += piece
        top, blank, body = seen.partition(b"\r\n\r\n")
        if blank:
            lengths = [line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths and len(body) >= int(lengths[0].split(b":")[1]):
                return int(top.split()[1]), json.loads(body)
        assert piece, f"the connection ended: {seen!r}"


@pytest.mark.parametrize("sent", [0, 20])
def test_a_request_that_does_not_arrive_is_refused(sent: int, plain: Client, gateway: Gateway) -> None:
    body = plain.body("served-slowly")
    with gateway.connect() as connection:
        connection.sendall(head(plain, len(body)) + body[:sent])
        status, told = answer_on(connection)
    assert status == 408
    plain.kind_of_error(told)


def test_a_request_in_many_pieces_is_served(client: Client, gateway: Gateway) -> None:
    body = client.body("served-in-pieces")
    with gateway.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        whole = head(client, "chunked", connection="close")
        for at in range(0, len(body), 5):
            piece = body[at : at + 5]
            whole += b"%x\r\n%s\r\n" % (len(piece), piece)
        whole += b"0\r\n\r\n"
        for at in range(0, len(whole), 11):
            connection.sendall(whole[at : at + 11])
        seen = b""
        while piece := connection.recv(65536):
            seen += piece
    assert seen.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("length", ["told", "chunked", "lied"])
def test_a_body_over_the_limit_is_refused_in_the_wires_shape(length: str, plain: Client, gateway: Gateway) -> None:
    body = plain.body("served-large", padding="x" * 100_000)
    with gateway.connect() as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        if length == "chunked":
            connection.sendall(head(plain, "chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        else:
            connection.sendall(head(plain, len(body) if length == "told" else 10**15) + body[:1000])
        status, told = answer_on(connection)
        assert status == 413
        kind = plain.kind_of_error(told)
        assert kind == ("request_too_large" if plain.wire == "anthropic" else "invalid_request_error")
        assert "65536" in told["error"]["message"] or "64" in told["error"]["message"]
        return
    pytest.fail("the connection was reset before the answer")


def test_a_body_just_under_the_limit_is_served(client: Client, gateway: Gateway) -> None:
    rest = 65536 - len(client.body("served-just", padding=""))
    assert client.fetch(gateway, "served-just", padding="x" * rest).status == 200


NONSENSE = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"model":"served-\xff","messages":[]}',
    "an array": b"[]",
    "a string": b'"model"',
    "no model": b'{"messages":[{"role":"user","content":"hi"}]}',
    "a number as model": b'{"model":5,"messages":[{"role":"user","content":"hi"}]}',
    "null as model": b'{"model":null,"messages":[{"role":"user","content":"hi"}]}',
    "no messages": b'{"model":"served-x"}',
    "words as messages": b'{"model":"served-x","messages":"hi"}',
    "a word as stream": b'{"model":"served-x","messages":[{"role":"user","content":"hi"}],"stream":"yes"}',
    "deep nesting": b'{"model":"served-x","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_in_the_wires_shape(name: str, plain: Client, first: Provider, gateway: Gateway) -> None:
    requests = first.report["requests"]
    told = gateway.fetch(plain.path, NONSENSE[name], {"content-type": "application/json"})
    assert told.status == 400, told.body
    kind = plain.kind_of_error(told.json)
    assert kind == "invalid_request_error"
    if name in {"no model", "a number as model", "null as model"}:
        assert "model" in told.json["error"]["message"]
    assert first.report["requests"] == requests
    assert gateway.fetch("/healthz").status == 200


def test_no_messages_at_all_is_the_providers_to_judge(plain: Client, gateway: Gateway) -> None:
    told = gateway.fetch(plain.path, json.dumps({"model": "served-x", "max_tokens": 1, "messages": []}).encode())
    assert told.status == 400
    plain.kind_of_error(told.json)
    assert gateway.charged("a") == []


def test_an_unknown_model_is_404_and_named(client: Client, gateway: Gateway) -> None:
    told = client.is_refused(gateway.url, "nobody-serves-this")
    assert told.status == 404
    kind = client.kind_of_error(told.json)
    assert kind == ("not_found_error" if client.wire == "anthropic" else "invalid_request_error")
    assert "nobody-serves-this" in told.json["error"]["message"]
    if client.wire == "openai":
        assert told.json["error"]["code"] == "model_not_found"


def test_profiles_are_chosen_by_header_and_by_name(client: Client, gateway: Gateway) -> None:
    for model, headers in (("cheap", {}), ("served-well", {"x-recloser-profile": "cheap"})):
        answer = client.ask(gateway.url, model, headers=headers)
        assert answer.model == "served-cheaply"
        assert answer.headers["x-recloser-target"] == "a/served-cheaply"


def test_an_unknown_profile_is_400_and_named(client: Client, gateway: Gateway) -> None:
    told = client.is_refused(gateway.url, "served-x", headers={"x-recloser-profile": "no-such"})
    assert told.status == 400
    client.kind_of_error(told.json)
    assert "no-such" in told.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/nothing"), ("POST", "/v1/nothing"), ("GET", "/nothing"), ("POST", "/v1/messages/"), ("GET", "//")],
)
def test_an_unknown_path_is_404(method: str, path: str, gateway: Gateway) -> None:
    told = gateway.fetch(path, b"{}" if method == "POST" else None, method=method)
    assert told.status == 404
    assert told.json["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_on_a_wires_path_is_refused_in_its_shape(method: str, plain: Client, gateway: Gateway) -> None:
    told = gateway.fetch(plain.path, method=method)
    assert told.status in {404, 405}
    plain.kind_of_error(told.json)


@pytest.mark.parametrize(
    "model",
    [
        "\u6a21\u578b",
        "caf\u00e9",
        "a\r\nset-cookie: evil=1",
        "a\u0000b",
        "\U0001f600",
        "x" * 5000,
        "../../etc",
        "",
        " ",
        "%2e",
    ],
    ids=["chinese", "latin", "line break", "null", "emoji", "long", "path", "empty", "blank", "percent"],
)
def test_an_odd_model_name_is_served_or_refused(
    model: str, client: Client, first: Provider, open_to_all: Gateway
) -> None:
    gateway, said = open_to_all, len(open_to_all.output)
    seen = client.fetch(gateway, model)
    assert seen.status in {200, 400, 404}, seen.body
    assert "set-cookie" not in seen.headers
    assert gateway.fetch("/api/status").status == 200
    assert gateway.fetch("/metrics").status == 200
    first.misbehave(model, "529")
    again = client.fetch(gateway, model)
    first.behave(model)
    assert again.status in {200, 400, 404, 503}, again.body
    assert "set-cookie" not in again.headers
    assert client.fetch(gateway, "ordinary").status == 200
    assert "Traceback" not in gateway.output[said:]


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(client: Client, gateway: Gateway) -> None:
    body = client.body("served-x")
    with gateway.connect() as connection:
        connection.sendall(head(client, len(body), expect="100-continue", connection="close"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        seen = b""
        while piece := connection.recv(65536):
            seen += piece
    assert seen.startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_served(plain: Client, gateway: Gateway) -> None:
    body = plain.body("served-x")
    with gateway.connect() as connection:
        connection.sendall(head(plain, len(body)).replace(b"HTTP/1.1", b"HTTP/1.0") + body)
        seen = b""
        while piece := connection.recv(65536):
            seen += piece
    top, _, rest = seen.partition(b"\r\n\r\n")
    assert top.split()[1] == b"200"
    assert json.loads(rest)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1.evil.example"])
def test_a_foreign_page_cannot_ask(origin: str, plain: Client, first: Provider, gateway: Gateway) -> None:
    requests = first.report["requests"]
    assert plain.fetch(gateway, "served-x", {"origin": origin, "content-type": "text/plain"}).status == 403
    told = gateway.fetch("/api/circuits/account%2Fa/disable", b"{}", {"origin": origin, "content-type": "text/plain"})
    assert told.status == 403
    assert gateway.circuit("account/a")["state"] == "closed"
    assert first.report["requests"] == requests


# The door ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("carried", ["x-api-key", "bearer"])
@pytest.mark.parametrize("key", ["CLIENT_KEY", "OTHER_KEY"])
def test_the_key_is_taken_either_way_on_every_wire(carried: str, key: str, client: Client, locked: Gateway) -> None:
    headers = {"x-api-key": KEYS[key]} if carried == "x-api-key" else {"authorization": f"Bearer {KEYS[key]}"}
    assert client.fetch(locked, "served-x", headers).status == 200
    assert locked.fetch("/api/status", headers=headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "wrong"},
        {"x-api-key": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {KEYS['CLIENT_KEY']}"},
        {"authorization": KEYS["CLIENT_KEY"]},
        {"x-api-key": KEYS["UPSTREAM_KEY"]},
        {"x-api-key": KEYS["CLIENT_KEY"][:-1]},
    ],
    ids=["none", "wrong", "empty", "wrong bearer", "basic", "bare", "the provider's", "a part"],
)
def test_without_the_key_nobody_comes_in(
    headers: dict[str, str], plain: Client, first: Provider, locked: Gateway
) -> None:
    requests = first.report["requests"]
    told = plain.fetch(locked, "served-x", headers)
    assert told.status == 401
    kind = plain.kind_of_error(told.json)
    assert kind == ("authentication_error" if plain.wire == "anthropic" else "invalid_request_error")
    assert first.report["requests"] == requests
    for path in ("/api/status", "/metrics", "/v1/models", "/api/circuits/account%2Fa/reset"):
        assert locked.fetch(path, headers=headers).status == 401, path
    for path in ("/healthz", "/readyz"):
        assert locked.fetch(path, headers=headers).status == 200, path


def test_the_provider_gets_its_own_key_and_not_the_clients(client: Client, first: Provider, locked: Gateway) -> None:
    client.fetch(locked, "served-x", {"x-api-key": KEYS["CLIENT_KEY"]})
    seen = json.loads(first.fetch("/chaos/last-headers").body)
    assert seen["authorization"].startswith("Bearer sha256:")
    assert "x-api-key" not in seen


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "localhost.evil"])
def test_a_foreign_host_is_refused(host: str, plain: Client, gateway: Gateway) -> None:
    told = plain.fetch(gateway, "served-x", {"host": host})
    assert told.status == 403
    plain.kind_of_error(told.json)
    for path in ("/api/status", "/", "/metrics"):
        assert gateway.fetch(path, headers={"host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:99", "[::1]"])
def test_an_own_host_is_taken(host: str, plain: Client, gateway: Gateway) -> None:
    assert plain.fetch(gateway, "served-x", {"host": host}).status == 200


# Secrets -------------------------------------------------------------------------------------------------------------


def test_secrets_are_in_no_answer_no_event_and_no_output(
    plain: Client, first: Provider, start: Starts, canned_provider: type[Canned], until: Until
) -> None:
    """A session of failures, some from a provider that repeats the key it was given."""
    own = {"authorization": f"Bearer {KEYS['CLIENT_KEY']}"}
    with canned_provider() as echoing:
        parrot = {"type": "error", "error": {"type": "api_error", "message": f"bad key {KEYS['UPSTREAM_KEY']} given"}}
        echoing.says("500 Oops", "application/json", json.dumps(parrot).encode(), f"x-echo: {KEYS['UPSTREAM_KEY']}")
        upstream = {"kind": "simulated", "api_key": "env:UPSTREAM_KEY"}
        gateway = start(
            {
                "gateway": {"max_hold": "0s", "keys": ["env:CLIENT_KEY", "env:OTHER_KEY"]},
                "providers": {
                    "chaotic": {**upstream, "account": "one", "base_url": first.base_url},
                    "echoing": {**upstream, "account": "two", "base_url": f"{echoing.url}/v1"},
                    "absent": {**upstream, "account": "three", "base_url": "http://127.0.0.1:9/v1"},
                },
                "routes": {
                    "parrot": {"targets": ["echoing/m"]},
                    "*": {"targets": ["chaotic/{model}", "absent/{model}", "echoing/{model}"]},
                },
            },
            environ=KEYS,
        )
        seen = b""
        for mode in ("500", "529", "html", "cut=0", "400", "401", "quota=1h"):
            model = f"leak-{mode}-{plain.wire}"
            first.misbehave(model, mode)
            answer = plain.fetch(gateway, model, own)
            seen += answer.body + repr(answer.headers).encode()
        answer = plain.fetch(gateway, "parrot", own)
        assert answer.status >= 400
        seen += answer.body + repr(answer.headers).encode()
        seen += plain.fetch(gateway, "parrot", {"x-api-key": "a wrong key"}).body
        for path in ("/api/status", "/metrics", "/v1/models", "/healthz", "/readyz"):
            seen += gateway.fetch(path, headers=own).body
        until(lambda: any(event["kind"] == "attempt_failed" for event in gateway.events), "events")
        assert gateway.stop() == 0
    seen += gateway.output.encode()
    kept = [file for file in (gateway.folder / ".recloser").rglob("*") if file.is_file()]
    assert kept
    places = {"answers and output": seen, **{str(file): file.read_bytes() for file in kept}}
    leaks = [(place, name) for place, text in places.items() for name, key in KEYS.items() if key.encode() in text]
    assert leaks == []


def test_a_prompt_and_an_answer_are_in_no_event(
    client: Client, first: Provider, start: Starts, canned_provider: type[Canned], until: Until
) -> None:
    """Not even when a provider repeats the prompt in its error."""
    with canned_provider() as echoing:
        parrot = {"type": "error", "error": {"type": "api_error", "message": "cannot say 'my-secret-prompt' now"}}
        echoing.says("500 Oops", "application/json", json.dumps(parrot).encode())
        gateway = start({
            "gateway": {"max_hold": "0s"},
            "providers": {
                "echoing": {"kind": "simulated", "base_url": f"{echoing.url}/v1"},
                "a": {"kind": "simulated", "base_url": first.base_url},
            },
            "routes": {"*": {"targets": ["echoing/{model}", "a/{model}"]}},
        })  # fmt: skip
        answer = client.ask(gateway.url, "m", "my-secret-prompt")
        assert answer.headers["x-recloser-attempts"] == "2"
        until(lambda: any(event["kind"] == "request_finished" for event in gateway.events), "events")
        assert gateway.stop() == 0
    places = {str(file): file.read_bytes() for file in (gateway.folder / ".recloser").rglob("*") if file.is_file()}
    leaks = [
        (place, word)
        for place, text in places.items()
        for word in ("my-secret-prompt", answer.text)
        if word.encode() in text
    ]
    assert leaks == []


def test_the_event_log_is_for_its_owner_alone(client: Client, start: Starts, first: Provider, until: Until) -> None:
    gateway = start(one_target(first))
    client.ask(gateway.url, "served-x")
    until(lambda: gateway.events, "an event")
    kept = [file for file in (gateway.folder / ".recloser").rglob("*") if file.is_file() and file.stat().st_size]
    assert kept
    assert [file for file in kept if file.stat().st_mode & 0o077] == []


# Half requests -------------------------------------------------------------------------------------------------------


def test_half_requests_do_not_keep_others_from_being_served(client: Client, gateway: Gateway) -> None:
    halves = (b"", b"P", b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n", head(client, 1000) + b"{")
    with contextlib.ExitStack() as stack:
        for at in range(100):
            stack.enter_context(gateway.connect()).sendall(halves[at % len(halves)])
        assert client.ask(gateway.url, "served-x").ending == client.ordinary_ending


def test_endless_headers_are_cut_off(gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\n")
        line = b"x-more: " + b"m" * 1000 + b"\r\n"
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(4000):
                connection.sendall(line)
            answer = connection.recv(65536)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert gateway.fetch("/healthz").status == 200


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n" * 50, b"\0" * 500]
)
def test_what_is_no_http_is_refused(junk: bytes, gateway: Gateway) -> None:
    with gateway.connect() as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(65536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert gateway.fetch("/healthz").status == 200


def test_two_requests_on_one_connection(plain: Client, gateway: Gateway) -> None:
    """One after another, and both at once."""
    body = plain.body("served-x")
    with gateway.connect() as connection:
        for times in (1, 1, 2):
            connection.sendall((head(plain, len(body)) + body) * times)
            for _ in range(times):
                status, answer = one_answer(connection)
                assert status == 200
                assert answer["model"] == "served-x"


def one_answer(connection: socket.socket) -> tuple[int, Any]:
    """Exactly one answer off a connection, and not a byte more."""
    top = b""
    while not top.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, top
        top += byte
    length = next(
        int(line.split(b":")[1]) for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    body = b""
    while len(body) < length:
        body += connection.recv(length - len(body))
    return int(top.split()[1]), json.loads(body)
