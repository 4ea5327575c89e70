"""Where a request's model name leads."""

from typing import Any

import pytest

from recloser.core.classify import AUTH
from recloser.core.route import CircuitPath
from recloser.core.units import Secret
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes


def provider(kind: str = "openai", **more: Any) -> ProviderSettings:
    return ProviderSettings(kind=kind, **more)


def routes(
    providers: dict[str, ProviderSettings], profiles: dict[str, Any] | None = None, **globs: list[str]
) -> Routes:
    given = {glob.replace("_star", "*"): RouteSettings(targets=tuple(t)) for glob, t in globs.items()}
    named = {name: RouteSettings(targets=tuple(t)) for name, t in (profiles or {}).items()}
    return Routes(providers, given, named)


def labels(found: Any) -> list[str] | None:
    return None if found is None else [target.label for target in found]


def test_the_first_route_that_matches_wins() -> None:
    made = routes({"a": provider(), "b": provider()}, gpt_star=["a/{model}"], _star=["b/fixed"])
    assert labels(made.targets("gpt_5")) == ["a/gpt_5"]
    assert labels(made.targets("other")) == ["b/fixed"]


def test_a_name_that_no_route_knows() -> None:
    assert routes({"a": provider()}, gpt_star=["a/{model}"]).targets("claude") is None


def test_a_profile_is_chosen_by_name_or_by_header() -> None:
    made = routes({"a": provider(), "b": provider()}, {"cheap": ["b/small"]}, _star=["a/{model}"])
    assert labels(made.targets("cheap")) == ["b/small"]
    assert labels(made.targets("gpt", "cheap")) == ["b/small"]


def test_a_model_s_own_slashes_stay() -> None:
    made = routes({"a": provider()}, _star=["a/org/{model}"])
    assert labels(made.targets("x/y")) == ["a/org/x/y"]


def test_regions_are_targets_of_their_own_home_first() -> None:
    made = routes({"a": provider(regions={"us": "http://u/v1", "eu": "http://e/v1"})}, _star=["a/{model}"])
    home, second = made.targets("m") or ()
    assert (home.label, second.label) == ("a/us/m", "a/eu/m")
    assert home.path == CircuitPath("account/a", "endpoint/a/us", "model/a/us/m")
    assert second.path.account == "account/a"
    assert second.endpoint.urls == {"openai-chat": "http://e/v1", "openai-responses": "http://e/v1"}


def test_entries_with_the_same_key_share_an_account() -> None:
    key = Secret("k", "env:KEY")
    made = routes(
        {"a": provider(api_key=key), "b": provider(api_key=key), "c": provider(), "d": provider(account="a")},
        _star=["a/{model}", "b/{model}", "c/{model}", "d/{model}"],
    )
    assert [t.path.account for t in made.targets("m") or ()] == ["account/a", "account/a", "account/c", "account/a"]


@pytest.mark.parametrize(
    ("settings", "urls"),
    [
        (provider("anthropic"), {"anthropic": "https://api.anthropic.com"}),
        (
            provider("openai", base_url="http://h:1/prefix/v1/"),
            {"openai-chat": "http://h:1/prefix/v1", "openai-responses": "http://h:1/prefix/v1"},
        ),
        (
            provider("gemini", base_url="http://h:1/pre"),
            {"gemini": "http://h:1/pre", "openai-chat": "http://h:1/pre/v1beta/openai"},
        ),
        (
            provider("ollama", base_url="http://h:1/v1"),
            {"openai-chat": "http://h:1/v1", "anthropic": "http://h:1"},
        ),
        (
            provider("ollama", base_url="http://h:1/pre/v1"),
            {"openai-chat": "http://h:1/pre/v1", "anthropic": "http://h:1/pre"},
        ),
        (provider("ollama", wire="anthropic", base_url="http://h:1"), {"anthropic": "http://h:1"}),
        (provider("ollama", wire="anthropic"), {"anthropic": "http://127.0.0.1:11434"}),
        (provider("compatible", wire="openai-chat", base_url="http://h/v1"), {"openai-chat": "http://h/v1"}),
    ],
)
def test_where_a_provider_speaks_its_wires(settings: ProviderSettings, urls: dict[str, str]) -> None:
    ((target),) = routes({"a": settings}, _star=["a/{model}"]).targets("m") or ()
    assert target.endpoint.urls == urls


def test_how_a_key_is_carried() -> None:
    key = Secret("k", "env:KEY")
    made = routes(
        {"a": provider("anthropic", api_key=key, headers={"X-Org": "o"}), "b": provider(api_key=key)},
        _star=["a/{model}", "b/{model}"],
    )
    one, other = made.targets("m") or ()
    assert one.endpoint.headers_on("anthropic") == {"x-api-key": "k", "x-org": "o"}
    assert other.endpoint.headers_on("openai-chat") == {"authorization": "Bearer k"}


def test_a_vendor_that_wants_its_key_in_another_place_on_another_wire() -> None:
    made = routes({"a": provider("gemini", api_key=Secret("k", "env:KEY"))}, _star=["a/{model}"])
    (target,) = made.targets("m") or ()
    assert target.endpoint.headers_on("gemini") == {"x-goog-api-key": "k"}
    assert target.endpoint.headers_on("openai-chat") == {"authorization": "Bearer k"}


@pytest.mark.parametrize(
    ("client", "asked_on"),
    [
        ("gemini", "gemini"),
        ("openai-chat", "openai-chat"),
        ("anthropic", "gemini"),
        ("openai-responses", "gemini"),
    ],
)
def test_a_target_is_asked_on_the_clients_wire_or_else_on_its_first(client: str, asked_on: str) -> None:
    (target,) = routes({"a": provider("gemini")}, _star=["a/{model}"]).targets("m") or ()
    assert target.wire_for(client) == asked_on


def test_no_key_stands_in_a_repr() -> None:
    settings = provider(api_key=Secret("k-123", "env:KEY"), headers={"x-org": Secret("o-456", "env:ORG")})
    (target,) = routes({"a": settings}, _star=["a/{model}"]).targets("m") or ()
    assert target.endpoint.headers_on(next(iter(target.endpoint.urls))) == {
        "authorization": "Bearer k-123",
        "x-org": "o-456",
    }
    assert "k-123" not in repr((target, settings))
    assert "o-456" not in repr((target, settings))
    failure = AUTH.failure(message="no such key: k-123 of o-456")
    assert target.endpoint.without_secrets(failure).message == "no such key: [key] of [key]"


def test_names_from_outside_are_not_remembered_without_bound() -> None:
    made = routes({"a": provider()}, _star=["a/{model}"])
    for number in range(5000):
        made.targets(f"m{number}")
    assert made.targets.cache_info().currsize <= 1024
