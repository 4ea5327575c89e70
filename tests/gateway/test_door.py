"""Who may come in."""

import pytest

from recloser.core.units import Secret
from recloser.gateway.runtime.ingress import Door, place

OPEN = Door(("localhost", "127.0.0.1", "[::1]"), ())
LOCKED = Door(("localhost",), (Secret("first-key", "env:A"), Secret("zweiter-schlüssel", "env:B")))


def status(door: Door, path: str = "/v1/messages", query: str = "", **headers: str) -> int | None:
    given = {b"host": b"localhost:8686"} | {k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}
    refusal = door.refusal(path, given, query)
    return None if refusal is None else refusal.status


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "LOCALHOST:80", "127.0.0.1:8686", "[::1]:8686", "[::1]"])
def test_hosts_that_are_served(host: str) -> None:
    assert status(OPEN, host=host) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil:80", "::1", "localhost:x"]
)
def test_hosts_that_are_not(host: str) -> None:
    assert status(OPEN, host=host) == 403
    assert status(OPEN, "/healthz", host=host) == 403


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"origin": "http://localhost:8686"}, None),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-origin"}, None),
        ({"sec_fetch_site": "none"}, None),
    ],
)
def test_pages_of_other_sites_are_kept_out(headers: dict[str, str], answer: int | None) -> None:
    assert status(OPEN, **headers) == answer


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, 401),
        ({"x_api_key": "first-key"}, None),
        ({"authorization": "Bearer first-key"}, None),
        ({"authorization": "bearer  first-key"}, None),
        ({"x_goog_api_key": "first-key"}, None),
        ({"x_goog_api_key": "first-ke"}, 401),
        ({"x_api_key": "zweiter-schlüssel"}, None),
        ({"x_api_key": "first-ke"}, 401),
        ({"x_api_key": ""}, 401),
        ({"x_api_key": "an-old-one", "authorization": "Bearer first-key"}, None),
        ({"authorization": "Basic first-key"}, 401),
        ({"authorization": "Bearer"}, 401),
    ],
)
def test_keys(headers: dict[str, str], answer: int | None) -> None:
    assert status(LOCKED, **headers) == answer


def test_health_needs_no_key_but_everything_else_does() -> None:
    assert status(LOCKED, "/healthz") is None
    assert status(LOCKED, "/readyz") is None
    assert status(LOCKED, "/metrics") == 401


@pytest.mark.parametrize(
    ("query", "answer"),
    [("key=first-key", None), ("alt=sse&key=zweiter-schl%C3%BCssel", None), ("key=", 401), ("monkey=first-key", 401)],
)
def test_a_key_in_the_address(query: str, answer: int | None) -> None:
    assert status(LOCKED, "/v1beta/models/m:generateContent", query) == answer


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v1/messages", "anthropic"),
        ("/v1/chat/completions", "openai-chat"),
        ("/v1/responses", "openai-responses"),
        ("/v1beta/models/m:generateContent", "gemini"),
        ("/v1/models/m:streamGenerateContent", "gemini"),
        ("/v1/embeddings", "openai-embeddings"),
    ],
)
def test_where_the_wires_are_asked(path: str, wire: str) -> None:
    there = place(path, "")
    assert there is not None
    assert there.wire.name == wire
    assert there.counter is None


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v1/messages/count_tokens", "anthropic"),
        ("/v1/responses/input_tokens", "openai-responses"),
        ("/v1beta/models/m:countTokens", "gemini"),
    ],
)
def test_where_tokens_are_counted(path: str, wire: str) -> None:
    there = place(path, "")
    assert there is not None
    assert there.counter is not None
    assert there.counter.wire == there.wire.name == wire


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/models", "/v1beta/models/m", "/v1/models/m"])
def test_what_is_no_wire(path: str) -> None:
    assert place(path, "") is None


@pytest.mark.parametrize(
    ("method", "query", "stream", "answer"),
    [
        ("generateContent", "", False, b"{}"),
        ("streamGenerateContent", "alt=sse", True, b"{}"),
        ("streamGenerateContent", "", False, b"[{}]"),
    ],
)
def test_what_geminis_address_says(method: str, query: str, stream: bool, answer: bytes) -> None:
    there = place(f"/v1beta/models/org/m:{method}", query)
    assert there is not None
    assert (there.model, there.stream, there.dress(b"{}")) == ("org/m", stream, answer)


def test_a_client_is_known_by_the_reference_of_its_key() -> None:
    """Events and spend limits name it so; the key itself is nobody's business."""
    keys = (b"first-key", "zweiter-schlüssel".encode(), b"neither")
    assert [LOCKED.client({b"x-api-key": key}) for key in keys] == ["env:A", "env:B", ""]
    assert LOCKED.client({b"authorization": b"Bearer first-key", b"x-api-key": b"of its provider"}) == "env:A"
    assert OPEN.client({b"x-api-key": b"first-key"}) == ""
