"""Google's tokens, from a token endpoint and a metadata server on this machine, at an endpoint that takes only them."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from recloser.breaker import SystemClock
from recloser.core.classify import AUTH, UNREACHABLE
from recloser.gateway.asks import Broke, Chunk, Head, Send
from recloser.gateway.request import Request
from recloser.gateway.runtime.deadline import Deadline
from recloser.gateway.runtime.models import list_models
from recloser.gateway.runtime.upstream import UpstreamCall, open_session, request_headers
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes, Target
from recloser.gateway.translation import Translation
from recloser.gateway.wires import WIRES

CLOCK = SystemClock()
MESSAGE = b'{"model":"claude-opus-4-6","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'


@cache
def key_pair() -> tuple[str, str]:
    """A service account's own key, and the half of it that Google has."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


class Cloud:
    """A token endpoint that checks who asks, a metadata server, and models that take only the last token given."""

    def __init__(self) -> None:
        self.url = ""
        self.tokens = 0
        self.lifetime = 3600
        self.refuses: int | None = None
        self.taken: list[tuple[str, Mapping[str, str], bytes]] = []

    async def token(self, request: web.Request) -> web.Response:
        if self.refuses is not None:
            return web.json_response({"error": "invalid_grant"}, status=self.refuses)
        form = await request.post()
        decode: Any = jwt.decode
        claims = decode(str(form["assertion"]), certs=key_pair()[1], audience="https://oauth2.googleapis.com/token")
        assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        return self._given()

    async def metadata(self, request: web.Request) -> web.Response:
        assert request.headers["metadata-flavor"] == "Google"
        headers = {"metadata-flavor": "Google"}
        if request.path.endswith("/token"):
            return self._given(headers)
        if request.path.endswith("/project-id"):
            return web.Response(text="p-1", headers=headers)
        account = {"email": "a@p-1.iam", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
        return web.json_response(account, headers=headers)

    def _given(self, headers: Mapping[str, str] | None = None) -> web.Response:
        self.tokens += 1
        token = {"access_token": f"ya29.{self.tokens}", "expires_in": self.lifetime, "token_type": "Bearer"}
        return web.json_response(token, headers=headers)

    async def model(self, request: web.Request) -> web.Response:
        if request.headers.get("authorization") != f"Bearer ya29.{self.tokens}":
            return web.json_response({"error": {"code": 401, "status": "UNAUTHENTICATED"}}, status=401)
        self.taken.append((request.path_qs, dict(request.headers), await request.read()))
        if request.method == "GET":
            return web.json_response({"publisherModels": [{"name": "publishers/google/models/gemini-3-pro"}]})
        return web.json_response({"type": "message", "content": [{"type": "text", "text": "taken"}]})


@asynccontextmanager
async def cloud() -> AsyncIterator[Cloud]:
    there = Cloud()
    application = web.Application()
    application.router.add_post("/token", there.token)
    application.router.add_get("/computeMetadata/{tail:.*}", there.metadata)
    application.router.add_get("/", there.metadata)
    application.router.add_route("*", "/{tail:.*}", there.model)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert runner.addresses
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield there
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def google(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which there are no credentials at all."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_QUOTA_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", True)  # it was read when it was loaded
    return monkeypatch


def service_account(there: Cloud, folder: Path, **more: str) -> str:
    """A service account's file."""
    told = {
        "type": "service_account", "client_email": "a@p-1.iam", "private_key": key_pair()[0], "private_key_id": "1",
        "project_id": "p-1", "token_uri": f"{there.url}/token", "universe_domain": "googleapis.com", **more,
    }  # fmt: skip
    path = folder / "account.json"
    path.write_text(json.dumps(told), "utf-8")
    return str(path)


def target(there: Cloud, model: str = "claude-opus-4-6", **options: str) -> Target:
    options = {"region": "global", "project": "p-1", **options}
    base_url = f"{there.url}/v1/projects/p-1/locations/global"
    settings = ProviderSettings(kind="vertex", base_url=base_url, options=options)
    (found,) = Routes({"a": settings}, {"*": RouteSettings(targets=("a/{model}",))}, {}).targets(model) or ()
    return found


async def ask(found: Target, *, stream: bool = False) -> Head | Broke:
    """Ask as the gateway does: a client's request on the Anthropic wire, with what a real client adds."""
    wire = WIRES["anthropic"]
    body = MESSAGE[:-1] + b',"stream":true}' if stream else MESSAGE
    request = Request(id="r", wire=wire, envelope=wire.read(body), body=body, targets=(found,))
    passage = Translation(request, lambda: 0.0).to(found)
    send = Send(found, passage.body, CLOCK.monotonic() + 20, passage.wire.name, passage.path)
    async with open_session() as session:
        with closing(Deadline()) as deadline:
            theirs = request_headers([(b"anthropic-version", b"2023-06-01"), (b"x-goog-user-project", b"evil")])
            call = UpstreamCall(session, wire, CLOCK, headers=theirs, query="beta=true", deadline=deadline)
            head = await call.send(send)
            if isinstance(head, Head):
                assert isinstance(await call.read_all(CLOCK.monotonic() + 10, 10_000), Chunk)
            return head


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(bounded())


def test_a_service_account_s_token_reaches_the_model(tmp_path: Path) -> None:
    async def story() -> None:
        async with cloud() as there:
            found = target(there, service_account=service_account(there, tmp_path))
            for stream, method in ((False, "rawPredict"), (True, "streamRawPredict")):
                head = await ask(found, stream=stream)
                assert isinstance(head, Head)
                assert head.status == 200
                path, headers, body = there.taken.pop()
                place = "/v1/projects/p-1/locations/global/publishers/anthropic/models"
                assert path == f"{place}/claude-opus-4-6:{method}", "without a query that Google would refuse"
                assert "x-goog-user-project" not in headers, "nobody else pays"
                said = msgspec.json.decode(body)
                assert "model" not in said
                assert said["anthropic_version"] == "vertex-2023-10-16"
            assert there.tokens == 1, "one token serves many requests"

    play(story())


def test_the_default_credentials_are_found_where_google_s_tools_find_them(
    google: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def story() -> None:
        async with cloud() as there:
            google.setenv("GOOGLE_APPLICATION_CREDENTIALS", service_account(there, tmp_path))
            google.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
            head = await ask(target(there))
            assert isinstance(head, Head)
            assert head.status == 200
            assert there.taken[0][1]["x-goog-user-project"] == "payer"

    play(story())


def test_a_machine_of_google_s_asks_its_metadata_server(google: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with cloud() as there:
            place = there.url.removeprefix("http://")
            google.setattr("google.auth.compute_engine._metadata._NO_GCE_CHECK", False)
            google.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", place)
            google.setenv("GCE_METADATA_IP", place)
            head = await ask(target(there))
            assert isinstance(head, Head)
            assert (head.status, there.tokens) == (200, 1)

    play(story())


def test_gemini_is_asked_on_its_own_wire_at_vertex_paths(tmp_path: Path) -> None:
    async def story() -> None:
        async with cloud() as there:
            found = target(there, "gemini-3-pro", service_account=service_account(there, tmp_path))
            head = await ask(found, stream=True)
            assert isinstance(head, Head)
            assert there.taken[0][0] == (
                "/v1/projects/p-1/locations/global/publishers/google/models/gemini-3-pro:streamGenerateContent?alt=sse"
            )

    play(story())


def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with cloud() as there:
            there.lifetime = 1  # second: half of it is waited for
            found = target(there, service_account=service_account(there, tmp_path))
            await ask(found)
            async with asyncio.timeout(20):
                while there.tokens < 2:  # noqa: ASYNC110 - what is waited for is a timer of the credential
                    await asyncio.sleep(0.01)

    play(story())


@pytest.mark.parametrize(("status", "row"), [(400, AUTH), (401, AUTH), (503, UNREACHABLE)])
def test_a_token_endpoint_that_refuses_is_a_failure_of_the_account_or_of_the_place(
    status: int, row: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)  # between its tries

    async def story() -> None:
        async with cloud() as there:
            there.refuses = status
            head = await ask(target(there, service_account=service_account(there, tmp_path)))
            assert isinstance(head, Broke)
            assert (head.row, head.message) == (row, "no Google token: RefreshError")
            assert there.taken == []

    play(story())


def test_a_token_endpoint_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)  # between its tries

    async def story() -> None:
        async with cloud() as there:
            path = service_account(there, tmp_path, token_uri="http://127.0.0.1:9/token")
            head = await ask(target(there, service_account=path))
            assert isinstance(head, Broke)
            assert head.row is UNREACHABLE

    play(story())


@pytest.mark.parametrize("content", [None, "no json", "{}", '{"type": "service_account"}'])
def test_credentials_that_are_none(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    if content is not None:
        path.write_text(content, "utf-8")

    async def story() -> None:
        async with cloud() as there:
            head = await ask(target(there, service_account=str(path)))
            assert isinstance(head, Broke)
            assert head.row is AUTH
            assert head.message.startswith("no Google token: ")

    play(story())


def test_no_credentials_at_all() -> None:
    async def story() -> None:
        async with cloud() as there:
            head = await ask(target(there))
            assert isinstance(head, Broke)
            assert (head.row, head.message) == (AUTH, "no Google token: DefaultCredentialsError")

    play(story())


def test_the_list_of_models_is_asked_for_with_a_token(tmp_path: Path) -> None:
    async def story() -> None:
        async with cloud() as there, open_session() as session:
            found = target(there, service_account=service_account(there, tmp_path))
            assert await list_models(session, found.endpoint) == ("gemini-3-pro",)

    play(story())


def test_no_token_stands_in_a_repr(tmp_path: Path) -> None:
    async def story() -> None:
        async with cloud() as there:
            found = target(there, service_account=service_account(there, tmp_path))
            await ask(found)
            assert "ya29" not in repr(found)
            assert "PRIVATE" not in repr(found)

    play(story())
