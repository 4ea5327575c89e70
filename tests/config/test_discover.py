"""What is made of the keys and servers that are there."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recloser.config import BadConfigError
from recloser.config.discover import Discovery, discover
from recloser.gateway.providers import ProviderKind, provider_kinds

VENDORS = {name: kind for name, kind in provider_kinds().items() if kind.key_env}


class Server:
    """A server on this machine that answers `GET /v1/models` with `body`."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status if self.path == "/v1/models" else 404)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.port = self._server.server_port

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def listing(*models: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": model, "object": "model"} for model in models]}).encode()


def local(port: int, title: str = "Local") -> ProviderKind:
    wires = {"openai-chat": f"http://127.0.0.1:{port}/v1", "anthropic": f"http://127.0.0.1:{port}"}
    return ProviderKind(title=title, auth="bearer", wires=wires, local_port=port)


def routes(discovery: Discovery) -> dict[str, tuple[str, ...]]:
    return {glob: route.names for glob, route in discovery.config.routes.items()}


@pytest.fixture
def ollama() -> Iterator[Server]:
    server = Server(listing("qwen3:8b", "nomic-embed-text", "llama3[x]", "gemma3"))
    yield server
    server.close()


def test_nothing_at_all_is_simulated() -> None:
    found = discover({"ANTHROPIC_API_KEY": "  "}, VENDORS)
    assert (found.found, found.config.providers, found.config.routes) == ((), {}, {})
    assert found.config.simulated


def test_a_key_leads_its_own_names_to_its_vendor() -> None:
    found = discover({"ANTHROPIC_API_KEY": "sk-ant-1234"}, VENDORS)
    assert routes(found) == {"claude-*": ("anthropic/{model}",)}
    key = found.config.providers["anthropic"].api_key
    assert key is not None
    assert (key.reference, key.reveal()) == ("env:ANTHROPIC_API_KEY", "sk-ant-1234")
    assert not found.config.simulated


def test_a_reseller_is_asked_after_the_vendor_where_it_knows_the_name() -> None:
    keys = dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY"), "key-1234")
    made = routes(discover(keys, VENDORS))
    assert made["gpt-*"] == ("openai/{model}", "openrouter/openai/{model}")
    assert made["gemini-*"] == ("gemini/{model}", "openrouter/google/{model}")
    assert made["claude-*"] == ("anthropic/{model}",)
    assert list(made)[-1] == "*/*"


def test_local_models_have_routes_and_with_no_vendor_any_name_goes_to_the_first(ollama: Server) -> None:
    found = discover({}, {"ollama": local(ollama.port, "Ollama")})
    assert routes(found) == {"qwen3:8b": ("ollama/qwen3:8b",), "gemma3": ("ollama/gemma3",), "*": ("ollama/qwen3:8b",)}
    (server,) = found.found
    assert (server.title, server.url, server.models) == (
        "Ollama",
        f"http://127.0.0.1:{ollama.port}",
        ("qwen3:8b", "gemma3"),
    )


def test_beside_a_vendor_local_models_answer_to_their_own_names_only(ollama: Server) -> None:
    kinds = {"anthropic": VENDORS["anthropic"], "ollama": local(ollama.port)}
    made = routes(discover({"ANTHROPIC_API_KEY": "sk-ant-1234"}, kinds))
    assert list(made) == ["qwen3:8b", "gemma3", "claude-*"]


def test_a_model_that_two_servers_have_has_two_targets(ollama: Server) -> None:
    made = routes(discover({}, {"a": local(ollama.port), "b": local(ollama.port)}))
    assert made["gemma3"] == ("a/gemma3", "b/gemma3")
    assert made["*"] == ("a/qwen3:8b", "b/qwen3:8b")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b"[]", 200), (b'{"data": 3}', 200), (listing("x"), 404), (listing("x"), 302), (b"", 200)],
)
def test_a_server_of_another_sort_is_none(body: bytes, status: int) -> None:
    server = Server(body, status)
    try:
        assert discover({}, {"x": local(server.port)}).found == ()
    finally:
        server.close()


@pytest.mark.parametrize("body", [b'{"data": null}', b'{"data": []}', listing("text-embed")])
def test_a_server_without_models_is_found_but_cannot_answer(body: bytes) -> None:
    server = Server(body)
    try:
        found = discover({}, {"x": local(server.port)})
    finally:
        server.close()
    assert [(one.name, one.models) for one in found.found] == [("x", ())]
    assert found.config.simulated


def test_a_silent_server_does_not_keep_anybody_waiting(ollama: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        found = discover({}, {"a": local(port), "b": local(port), "c": local(ollama.port)})
        assert time.monotonic() - began < 5
    assert [one.name for one in found.found] == ["c"]


def test_a_key_that_cannot_be_sent_is_a_problem() -> None:
    with pytest.raises(BadConfigError, match="OPENAI_API_KEY: what is in env:OPENAI_API_KEY cannot be sent"):
        discover({"OPENAI_API_KEY": "sk-\N{EN DASH}1234"}, VENDORS)
