"""The client's own credential, as a value: where it is found, and what its failures mean."""

import json

import pytest
from tests.gateway.conversation import Conversation

from recloser.gateway.own_credentials import own_credentials
from recloser.gateway.settings import CLIENTS_OWN

OURS = b"ours"


def found(wire: str = "anthropic", query: str = "", **headers: str) -> dict[str, str]:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return own_credentials(wire, given, query, lambda key: key == OURS)


@pytest.mark.parametrize(
    ("wire", "headers", "names"),
    [
        ("anthropic", {"authorization": "Bearer t"}, {"authorization"}),
        ("anthropic", {"x_api_key": "t", "authorization": "Bearer u"}, {"authorization", "x-api-key"}),
        ("anthropic", {"x_api_key": "ours", "authorization": "Bearer u"}, {"authorization"}),
        ("anthropic", {"x_api_key": "t", "authorization": "bearer  ours"}, {"x-api-key"}),
        ("anthropic", {"x_goog_api_key": "t", "x_recloser_key": "t", "cookie": "t"}, set()),
        ("anthropic", {"authorization": "Basic t"}, set()),
        ("anthropic", {"authorization": "Bearer"}, set()),
        ("anthropic", {"authorization": "Bearer tökän"}, set()),
        ("openai-chat", {"x_api_key": "t"}, set()),
        ("openai-responses", {"authorization": "Bearer t", "x_api_key": "t"}, {"authorization"}),
        ("gemini", {"x_goog_api_key": "t"}, {"x-goog-api-key"}),
    ],
)
def test_where_a_credential_is_found(wire: str, headers: dict[str, str], names: set[str]) -> None:
    own = found(wire, **headers)
    assert set(own) == names
    assert all(headers[name.replace("-", "_")] == value for name, value in own.items())


def test_a_key_in_the_address_moves_to_a_header() -> None:
    assert found("gemini", "alt=sse&key=t%2F1") == {"x-goog-api-key": "t/1"}
    assert found("gemini", "key=ours") == {}
    assert found("gemini", "key=a%0d%0ax-evil:1") == {}
    assert found("anthropic", "key=t") == {}


def asked(status: int, kind: str, message: str) -> Conversation:
    talk = Conversation(
        wire="anthropic",
        body=b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}',
        providers={"a": {"api_key": CLIENTS_OWN}},
        credentials={"authorization": "Bearer some-token"},
    )
    assert talk.asked == ["a/m"]
    return talk.fails(status, json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode())


def test_a_refused_credential_is_told_charged_to_nobody_and_not_written_down() -> None:
    talk = asked(401, "authentication_error", "no such token: some-token")
    assert (talk.reply.status, talk.failures) == (401, [("auth", "nobody")])
    assert b"some-token" in talk.reply.body  # it is the client's own
    assert talk.attempts[0].message == "no such token: [key]"
    assert talk.breakers.denial("account/a") is None


def test_an_unpaid_bill_of_the_client_s_is_the_next_target_s_chance() -> None:
    talk = asked(402, "billing_error", "your credit balance is too low")
    assert talk.failures == [("billing", "nobody")]
    assert talk.asked == ["a/m", "b/m"]


def test_whatever_else_fails_fails_as_always() -> None:
    assert asked(529, "overloaded_error", "Overloaded").failures == [("overloaded", "model/a/m")]


def test_without_a_credential_or_on_another_wire_nobody_is_asked() -> None:
    talk = Conversation(targets=["a/m"], providers={"a": {"api_key": CLIENTS_OWN}})
    assert (talk.asked, talk.reply.status) == ([], 401)
    other = Conversation(
        targets=["a/m"], wires={"a": "anthropic"}, providers={"a": {"api_key": CLIENTS_OWN}}, credentials={"x": "y"}
    )
    assert (other.asked, other.reply.status) == ([], 401)
    assert b"belongs to another wire" in other.reply.body
