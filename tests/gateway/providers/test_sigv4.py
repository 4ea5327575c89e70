"""AWS signatures, checked by a server that makes them itself from what arrived."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from recloser.breaker import SystemClock
from recloser.core.classify import AUTH
from recloser.gateway.asks import Broke, Chunk, Head, Send
from recloser.gateway.credentials.credential import CredentialError
from recloser.gateway.credentials.sigv4 import SigV4
from recloser.gateway.runtime.deadline import Deadline
from recloser.gateway.runtime.models import list_models
from recloser.gateway.runtime.upstream import UpstreamCall, open_session, request_headers
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes, Target
from recloser.gateway.wires import WIRES

CLOCK = SystemClock()
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-aws"}


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with keys, and without anything else that botocore would look at."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**KEYS, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return monkeypatch


class Bedrock:
    """Takes only requests that are signed with the secret it knows, for its service and region, body and all."""

    def __init__(self, service: str, region: str, keys: Credentials) -> None:
        self.service, self.region, self.keys = service, region, keys
        self.taken: list[tuple[str, Mapping[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self._is_signed(request, body):
            return web.json_response({"message": "The request signature does not match"}, status=403)
        self.taken.append((request.path_qs, dict(request.headers), body))
        if request.method == "GET":
            return web.json_response({"data": [{"id": "anthropic.claude-opus-5"}]})
        return web.json_response({"type": "message", "content": [{"type": "text", "text": "signed"}]})

    def _is_signed(self, request: web.Request, body: bytes) -> bool:
        told = request.headers.get("authorization", "")
        signed = told.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        again = AWSRequest(
            method=request.method,
            url=f"http://{request.host}{request.path_qs}",
            data=body,
            headers={name: request.headers[name] for name in signed if name != "host"},
        )
        again.context["timestamp"] = request.headers["x-amz-date"]
        auth = SigV4Auth(self.keys, self.service, self.region)
        text = auth.string_to_sign(again, auth.canonical_request(again))
        scope = f"Credential={self.keys.access_key}/{auth.scope(again).partition('/')[2]}"
        same_token = request.headers.get("x-amz-security-token") == self.keys.token
        return (
            scope in told and same_token and hmac.compare_digest(told.rpartition("=")[2], auth.signature(text, again))
        )


@asynccontextmanager
async def bedrock(service: str = "bedrock", region: str = "eu-west-1", token: str | None = None) -> AsyncIterator[Any]:
    there = Bedrock(service, region, Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], token))
    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{tail:.*}", there.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    try:
        yield there, f"http://127.0.0.1:{runner.addresses[0][1]}/anthropic"
    finally:
        await runner.cleanup()


def target(url: str, kind: str = "bedrock", region: str = "eu-west-1", **options: str) -> Target:
    settings = ProviderSettings(kind=kind, base_url=url, options={"region": region, **options})
    (found,) = (
        Routes({"a": settings}, {"*": RouteSettings(targets=("a/{model}",))}, {}).targets("us.anthropic.claude-opus-5")
        or ()
    )
    return found


async def ask(found: Target, body: bytes = b"{}", query: str = "", headers: Any = ()) -> tuple[Head | Broke, bytes]:
    send = Send(found, body, CLOCK.monotonic() + 10, "anthropic", "/v1/messages")
    async with open_session() as session:
        with closing(Deadline()) as deadline:
            call = UpstreamCall(
                session,
                WIRES["anthropic"],
                CLOCK,
                headers=request_headers(list(headers)),
                query=query,
                deadline=deadline,
            )
            head = await call.send(send)
            if isinstance(head, Broke):
                return head, b""
            answer = await call.read_all(CLOCK.monotonic() + 10, 10_000)
            assert isinstance(answer, Chunk)
            return head, answer.data


def play(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await story

    asyncio.run(bounded())


@pytest.mark.parametrize("query", ["", "beta=true", "b=2&a=1%20x"])
def test_a_request_is_signed_as_it_arrives(query: str) -> None:
    async def story() -> None:
        async with bedrock() as (there, url):
            head, answer = await ask(target(url), '{"max_tokens": 5, "x": "é"}'.encode(), query)
            assert isinstance(head, Head)
            assert (head.status, b"signed" in answer) == (200, True)
            assert there.taken[0][2] == '{"max_tokens": 5, "x": "é"}'.encode()

    play(story())


def test_a_large_request_is_signed_too() -> None:
    async def story() -> None:
        async with bedrock() as (_, url):
            head, _ = await ask(target(url), b"x" * (2 * 2**20))
            assert isinstance(head, Head)
            assert head.status == 200

    play(story())


@pytest.mark.parametrize(
    ("kind", "region", "status"), [("bedrock", "us-east-1", 403), ("bedrock-mantle", "eu-west-1", 403)]
)
def test_a_signature_holds_for_its_region_and_service_alone(kind: str, region: str, status: int) -> None:
    async def story() -> None:
        async with bedrock() as (there, url):
            head, _ = await ask(target(url, kind, region))
            assert isinstance(head, Head)
            assert (head.status, there.taken) == (status, [])

    play(story())


def test_the_other_endpoint_has_a_service_of_its_own() -> None:
    async def story() -> None:
        async with bedrock("bedrock-mantle") as (_, url):
            head, _ = await ask(target(url, "bedrock-mantle"))
            assert isinstance(head, Head)
            assert head.status == 200

    play(story())


def test_temporary_keys_bring_their_token_and_a_client_cannot_put_its_own(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_SESSION_TOKEN", "t0ken")

    async def story() -> None:
        async with bedrock(token="t0ken") as (there, url):
            theirs = [(b"x-amz-security-token", b"evil"), (b"x-amz-date", b"evil"), (b"authorization", b"evil")]
            head, _ = await ask(target(url), headers=theirs)
            assert isinstance(head, Head)
            assert head.status == 200
            assert "evil" not in str(there.taken)

    play(story())


def test_a_client_s_token_does_not_reach_an_endpoint_whose_keys_have_none() -> None:
    async def story() -> None:
        async with bedrock() as (_, url):
            head, _ = await ask(target(url), headers=[(b"x-amz-security-token", b"evil")])
            assert isinstance(head, Head)
            assert head.status == 200

    play(story())


def test_a_profile_of_the_config_file_is_used(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        aws.delenv(name)
    lines = "\n".join(f"{name.lower()} = {value}" for name, value in KEYS.items())
    (tmp_path / "credentials").write_text(f"[work]\n{lines}\n", "utf-8")

    async def story() -> None:
        async with bedrock() as (_, url):
            head, _ = await ask(target(url, profile="work"))
            assert isinstance(head, Head)
            assert head.status == 200
            head, _ = await ask(target(url, profile="nobody"))
            assert isinstance(head, Broke)
            assert (head.row, head.message) == (AUTH, "no AWS credentials: ProfileNotFound")

    play(story())


def test_without_keys_a_request_fails_as_one_that_is_not_taken(aws: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        aws.delenv(name)

    async def story() -> None:
        async with bedrock() as (there, url):
            head, _ = await ask(target(url))
            assert isinstance(head, Broke)
            assert (head.row, head.message, there.taken) == (AUTH, "no AWS credentials are to be found", [])

    play(story())


def test_keys_that_were_changed_in_their_file_are_found(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in KEYS:
        aws.delenv(name)

    def write(secret: str) -> None:
        text = f"[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {secret}\n"
        (tmp_path / "credentials").write_text(text, "utf-8")

    async def story() -> None:
        write("old")
        credential = SigV4({"service": "bedrock"}, {"region": "eu-west-1"})
        first = credential._fetch().value
        write("new")
        second = credential._fetch().value
        assert (first.secret_key, second.secret_key) == ("old", "new")

    play(story())


def test_the_list_of_models_is_asked_for_with_a_signature() -> None:
    async def story() -> None:
        async with bedrock() as (there, url), open_session() as session:
            assert await list_models(session, target(url).endpoint) == ("anthropic.claude-opus-5",)
            assert there.taken[0][0] == "/anthropic/v1/models"

    play(story())


def test_no_secret_stands_in_a_repr_or_in_a_failure(aws: pytest.MonkeyPatch) -> None:
    found = target("http://127.0.0.1:9/anthropic")
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in repr(found)
    aws.setenv("AWS_ACCESS_KEY_ID", "")
    aws.delenv("AWS_SECRET_ACCESS_KEY")

    async def story() -> None:
        credential = SigV4({"service": "bedrock"}, {"region": "eu-west-1"})
        with pytest.raises(CredentialError) as told:
            await credential.headers("POST", "http://h/", b"")
        assert "AKID" not in str(told.value)

    play(story())
