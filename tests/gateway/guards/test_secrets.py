"""Keys and tokens that are about to leave the house. None of these was ever one."""

import json
import time
from typing import Any

import pytest
from tests.gateway.guards.asking import EVERY_WIRE, asked, sent, steps, user

from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.guards.secrets import LOOKS, MOST, Look, Secrets, SecretsSettings, found_in
from recloser.gateway.request import Request

WORDS = "Zk3vQ9xTb7LmWc2RpY8nHd5GsJf4KaEu1XtV6oBiCqDhMrNwPyLzUe0SgFj9"
PEM = f"-----BEGIN {{}}PRIVATE KEY-----\n{WORDS}\n-----END {{}}PRIVATE KEY-----"
FAKE = {
    "an API key (sk-)": [
        f"sk-ant-api03-{WORDS}", f"sk-proj-{WORDS}", f"sk-{WORDS[:48]}", f"sk-or-v1-{'0f' * 32}", f"sk-{'0a' * 16}",
    ],
    "a key of Google": [f"AIza{WORDS[:35]}"],
    "a key of xAI": [f"xai-{WORDS}{WORDS[:20]}"],
    "a key of Groq": [f"gsk_{WORDS[:52]}"],
    "a token of Hugging Face": [f"hf_{WORDS[:34]}"],
    "a key of AWS": ["AKIA" + "Q3EGRTIZ7PLMN2VW", "ASIA" + "Q3EGRTIZ7PLMN2VW"],
    "a token of GitHub": [f"gh{kind}_{WORDS[:36]}" for kind in "pousr"] + [f"github_pat_{WORDS[:22]}_{WORDS[:59]}"],
    "a token of GitLab": [f"glpat-{WORDS[:20]}"],
    "a token of Slack": [f"xoxb-123456789012-123456789012-{WORDS[:24]}"],
    "a key of Stripe": [f"sk_live_{WORDS[:24]}", f"rk_live_{WORDS[:24]}"],
    "a token of npm": [f"npm_{WORDS[:36]}"],
    "a token of PyPI": [f"pypi-AgEIcHlwaS5vcmc{WORDS}"],
    "a key of SendGrid": [f"SG.{WORDS[:22]}.{WORDS[:43]}"],
    "a token of DigitalOcean": [f"dop_v1_{'0f' * 32}"],
    "a private key": [PEM.format(kind, kind) for kind in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ")],
}  # fmt: skip
EACH = [(title, secret) for title, secrets in FAKE.items() for secret in secrets]


def seen(request: Request, **settings: Any) -> Verdict | None:
    return Secrets(SecretsSettings(**settings)).look(request, 0.0)


def test_there_is_an_example_of_each() -> None:
    assert {look.title for look in LOOKS} == set(FAKE)


@pytest.mark.parametrize(("title", "secret"), EACH)
@pytest.mark.parametrize("wire", EVERY_WIRE)
def test_one_is_found_wherever_it_stands(title: str, secret: str, wire: str) -> None:
    arguments = json.dumps({"text": f"key={secret}"})
    for request in (
        asked(user(f"my key is\n{secret}\n"), wire=wire),
        asked(user(f"('{secret}')"), wire=wire),
        asked(user("look"), *steps(("open", "{}", f"A=1\nKEY={secret}\nB=2")), wire=wire),
        asked(user("write"), *steps(("open", arguments)), wire=wire),
    ):
        verdict = seen(request)
        assert verdict is not None
        assert verdict.why == f"in the request stands {title}"


@pytest.mark.parametrize(("title", "secret"), EACH)
def test_one_is_never_told(title: str, secret: str) -> None:
    for action in ("warn", "refuse"):
        said = repr(seen(asked(user(secret)), action=action))
        told = seen(asked(user(secret)), action=action)
        assert told is not None
        assert title in said
        for piece in (secret, secret[-20:], WORDS[:12]):
            assert piece not in told.why
            assert told.refusal is None or piece not in told.refusal.message


@pytest.mark.parametrize(
    "harmless",
    [
        "the task-force of the risk-averse", "sk-", "sk-short", "a sk-learn-pipeline-with-a-rather-long-name",
        "-----BEGIN RSA PRIVATE KEY-----", 'if line == "-----BEGIN PRIVATE KEY-----":\\n    return',
        "-----BEGIN CERTIFICATE-----\n" + WORDS, "-----BEGIN PUBLIC KEY-----\n" + WORDS, f"disk-{WORDS[:40]}",
        "AKIA", "AKIAIOSFODNN7", "ghp_xxx", "hf_model", "npm_config_registry", f"data:image/png;base64,{WORDS * 20}",
        "SG.1", "xoxo", "AIza", "req_0123456789abcdef0123456789abcdef", "toolu_01A09q90qw90lq917835lq9",
    ],
)  # fmt: skip
def test_what_only_looks_a_little_like_one_is_none(harmless: str) -> None:
    assert seen(asked(user(harmless))) is None


def test_several_are_counted_and_named_by_their_kinds() -> None:
    verdict = seen(asked(user(f"ghp_{WORDS[:36]} gho_{WORDS[:36]} glpat-{WORDS[:20]}")))
    assert verdict is not None
    assert verdict.action is Action.WARN
    assert verdict.why == "in the request stands a token of GitHub (2 times), a token of GitLab"


def test_a_refusal_names_itself() -> None:
    verdict = seen(asked(user(f"npm_{WORDS[:36]}")), action="refuse")
    assert verdict is not None
    assert verdict.refusal is not None
    assert (verdict.refusal.status, verdict.refusal.kind) == (400, "secret_found")


def test_a_request_that_cannot_be_read_is_looked_at_all_the_same() -> None:
    assert seen(sent({"model": "m", "messages": [{"odd": f"hf_{WORDS[:34]}"}]})) is not None


@pytest.mark.parametrize("look", LOOKS, ids=[look.sign.decode() for look in LOOKS])
def test_time_grows_with_the_size_and_no_faster(look: Look) -> None:
    """Whatever is repeated, sixteen times as much of it takes about sixteen times as long."""
    sign = look.sign.decode()
    for piece in (f"{sign}", f"{sign}ant-", f" {sign}{'a' * 19}-", f"{sign}-----\\n"):
        shorter, longer = (took(piece * (size // len(piece)) + "-") for size in (10_000, 160_000))
        assert longer < 0.01 + 64 * shorter, piece  # what is quadratic takes 256 times as long


def took(text: str) -> float:
    best = 9.0
    for _ in range(3):
        began = time.process_time()
        assert len(list(found_in(text.encode()))) <= MOST
        best = min(best, time.process_time() - began)
    return best
