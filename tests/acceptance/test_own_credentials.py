"""`api_key = "client"`: a client's own credential reaches the provider that is set so, and nobody else."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import anthropic
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Canned, Fetched, Gateway, Starts

TOKEN = "sk-ant-oat01-the-client-s-own"
OTHER_TOKEN = "sk-ant-oat01-of-another-client"
GATEWAY_KEY = "gateway-key-0123456789"
HOUSE_KEY = "sk-house-0123456789"
WORDS = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
CHAT_WORDS = {"id": "1", "object": "chat.completion", "model": "gpt", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}  # fmt: skip


def failure(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


class House:
    """A gateway before three providers: one takes the client's own credential, two have a key of the house."""

    def __init__(self, own: Canned, house: Canned, other: Canned, gateway: Gateway) -> None:
        self.own, self.house, self.other, self.gateway = own, house, other, gateway

    def asks(self, headers: dict[str, str], path: str = "/v1/messages", model: str = "claude-x") -> Fetched:
        body = {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
        return self.gateway.fetch(path, json.dumps(body).encode(), {"content-type": "application/json", **headers})

    def told(self) -> bytes:
        """Everything that any provider was told."""
        return b"".join(b"".join(provider.requests) for provider in (self.own, self.house, self.other))

    def written(self) -> str:
        """Everything that the gateway wrote down or shows."""
        status = self.gateway.fetch("/api/status", headers={"x-recloser-key": GATEWAY_KEY}).body.decode()
        return json.dumps(self.gateway.events) + status + self.gateway.output


@pytest.fixture
def house(canned_provider: type[Canned], start: Starts) -> Iterator[House]:
    with canned_provider() as own, canned_provider() as house, canned_provider() as other:
        for provider in (own, house):
            provider.says("200 OK", "application/json", json.dumps(WORDS).encode())
        other.says("200 OK", "application/json", json.dumps(CHAT_WORDS).encode())
        config = {
            "gateway": {"keys": ["env:GATEWAY_KEY"], "max_hold": "0s"},
            "providers": {
                "own": {"kind": "anthropic", "base_url": own.url, "api_key": "client"},
                "house": {"kind": "anthropic", "base_url": house.url, "api_key": "env:HOUSE_KEY"},
                "other": {"kind": "openai", "base_url": f"{other.url}/v1", "api_key": "env:HOUSE_KEY"},
            },
            "routes": {
                "claude-*": {"targets": ["own/{model}", "house/{model}", "other/gpt"]},
                "gpt": {"targets": ["other/gpt"]},
                "mine": {"targets": ["own/mine"]},
            },
        }
        yield House(
            own, house, other, start(config, environ={"GATEWAY_KEY": GATEWAY_KEY, "HOUSE_KEY": HOUSE_KEY})
        )  # fmt: skip


def head(request: bytes) -> dict[str, str]:
    """The headers of a request, with lower-case names."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


OAUTH = {"authorization": f"Bearer {TOKEN}", "anthropic-beta": "oauth-2025-04-20,context-1m-2025-08-07"}


def test_a_subscription_works_through_the_gateway(house: House) -> None:
    with contextlib.closing(
        anthropic.Anthropic(
            base_url=house.gateway.url,
            auth_token=TOKEN,
            api_key=None,
            max_retries=0,
            default_headers={"x-recloser-key": GATEWAY_KEY, "anthropic-beta": OAUTH["anthropic-beta"]},
        )
    ) as sdk:
        answer = sdk.messages.create(model="claude-x", max_tokens=10, messages=[{"role": "user", "content": "hi"}])
    assert answer.content[0].type == "text"
    (request,) = house.own.requests
    seen = head(request)
    assert seen["authorization"] == f"Bearer {TOKEN}"
    assert seen["anthropic-beta"] == OAUTH["anthropic-beta"]
    assert GATEWAY_KEY.encode() not in house.told()
    assert (house.house.requests, house.other.requests) == ([], [])


@pytest.mark.parametrize("carrier", ["authorization", "x-api-key"])
def test_after_a_failover_each_provider_gets_its_own_key_and_nothing_of_the_client_s(
    house: House, carrier: str
) -> None:
    house.own.says("529 Overloaded", "application/json", failure("overloaded_error", "Overloaded"))
    house.house.says("500 Oops", "application/json", failure("api_error", "oops"))
    shown = f"Bearer {TOKEN}" if carrier == "authorization" else TOKEN
    answer = house.asks({**OAUTH, "authorization": "", carrier: shown, "x-recloser-key": GATEWAY_KEY})
    assert (answer.status, answer.headers["x-recloser-attempts"]) == (200, "3")
    assert head(house.own.requests[0])[carrier] == shown
    seen = head(house.house.requests[0])
    assert seen["x-api-key"] == HOUSE_KEY
    assert "authorization" not in seen
    assert seen["anthropic-beta"] == "context-1m-2025-08-07"  # not that the key is a subscription's: it is none
    assert head(house.other.requests[0])["authorization"] == f"Bearer {HOUSE_KEY}"
    for provider in (house.house, house.other):
        assert TOKEN.encode() not in b"".join(provider.requests)
    assert HOUSE_KEY.encode() not in b"".join(house.own.requests)
    assert GATEWAY_KEY.encode() not in house.told()


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-recloser-key": GATEWAY_KEY}, ""),
        ({"x-api-key": GATEWAY_KEY}, ""),
        ({"authorization": f"Bearer {GATEWAY_KEY}"}, ""),
        ({"authorization": f"bearer   {GATEWAY_KEY} "}, ""),
        ({"x-goog-api-key": GATEWAY_KEY}, ""),
        ({}, f"?key={GATEWAY_KEY}"),
    ],
)
def test_a_key_of_the_gateway_is_nobody_s_credential_and_never_leaves(
    house: House, headers: dict[str, str], query: str
) -> None:
    answer = house.asks(headers, f"/v1/messages{query}")
    assert answer.headers["x-recloser-target"] == "house/claude-x"
    assert house.own.requests == []
    house.asks({**headers, "x-recloser-key": GATEWAY_KEY}, f"/v1/chat/completions{query}", "gpt")
    assert len(house.other.requests) == 1
    assert GATEWAY_KEY.encode() not in house.told()
    refused = house.asks(headers, f"/v1/messages{query}", "mine")
    assert refused.status == 401
    assert "none came" in refused.json["error"]["message"]


def test_the_gateway_still_wants_its_own_key(house: House) -> None:
    assert house.asks(OAUTH).status == 401
    assert house.asks({**OAUTH, "x-recloser-key": GATEWAY_KEY[:-1]}).status == 401
    assert house.told() == b""


def test_a_credential_of_one_wire_is_shown_on_no_other(house: House) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "x-recloser-key": GATEWAY_KEY}
    answer = house.asks(headers, "/v1/chat/completions")
    assert answer.headers["x-recloser-target"] == "house/claude-x"
    assert TOKEN.encode() not in house.told()


def test_a_refused_credential_is_told_to_the_client_who_alone_can_renew_it(house: House) -> None:
    said = failure("authentication_error", f"OAuth token {TOKEN} has expired")
    house.own.says("401 Unauthorized", "application/json", said)
    answer = house.asks({**OAUTH, "x-recloser-key": GATEWAY_KEY})
    assert (answer.status, answer.body) == (401, said)
    assert house.house.requests == []
    house.own.says("200 OK", "application/json", json.dumps(WORDS).encode())
    again = house.asks({**OAUTH, "x-recloser-key": GATEWAY_KEY})  # no circuit has opened
    assert again.headers["x-recloser-target"] == "own/claude-x"
    assert TOKEN not in house.written()


def test_one_client_s_used_up_quota_is_not_another_s(house: House) -> None:
    said = failure("rate_limit_error", "You have reached your usage limit")
    limit = ("retry-after: 7200", "anthropic-ratelimit-unified-status: rejected")
    house.own.says("429 Too Many Requests", "application/json", said, *limit)
    headers: dict[str, Any] = {**OAUTH, "x-recloser-key": GATEWAY_KEY}
    assert house.asks(headers).headers["x-recloser-target"] == "house/claude-x"
    house.own.says("200 OK", "application/json", json.dumps(WORDS).encode())
    assert house.asks(headers).headers["x-recloser-attempts"] == "1"  # it is known that there is none left
    assert len(house.own.requests) == 1
    others = house.asks({**headers, "authorization": f"Bearer {OTHER_TOKEN}"})
    assert others.headers["x-recloser-target"] == "own/claude-x"
    assert TOKEN not in house.written()
    assert OTHER_TOKEN not in house.written()
