"""What a vendor needs to be told, and to have installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recloser.config.discover import discover
from recloser.config.load import read
from recloser.config.problems import BadConfigError
from recloser.gateway.credentials import ways
from recloser.gateway.providers import ProviderKind, plugged_in, provider_kinds

VENDORS = {name: kind for name, kind in provider_kinds().items() if not kind.local_port}
ROUTES = {"routes": {"*": {"targets": ["a/{model}"]}}}


def problems(provider: dict[str, Any], environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """What is wrong with a provider: the last part of the key, and the message."""
    try:
        read({"providers": {"a": provider}, **ROUTES}, environ=environ or {})
    except BadConfigError as error:
        return [(problem.key[-1], problem.message) for problem in error.problems]
    return []


def test_an_option_that_is_missing_is_named_with_every_place_where_it_may_stand() -> None:
    where = "give it here or in AZURE_OPENAI_ENDPOINT or AZURE_RESOURCE_NAME"
    said = f"needs resource, the name of the Azure resource: {where}"
    assert problems({"kind": "azure", "api_key": "env:K"}, {"K": "key-1"}) == [("options", said)]
    missing = [message.split(",")[0] for _, message in problems({"kind": "vertex"})]
    assert missing == ["needs project", "needs region"]


@pytest.mark.parametrize(
    ("provider", "environ"),
    [
        ({"kind": "azure", "api_key": "env:K", "options": {"resource": "r"}}, {"K": "key-1"}),
        ({"kind": "azure", "api_key": "env:K"}, {"K": "key-1", "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com/"}),
        ({"kind": "azure", "api_key": "env:K", "base_url": "http://h/openai/v1"}, {"K": "key-1"}),
        ({"kind": "bedrock"}, {"AWS_REGION": "eu-west-1"}),
        ({"kind": "bedrock", "regions": {"us-east-1": "", "eu-west-1": ""}}, {}),
        ({"kind": "vertex", "options": {"region": "global", "project": "example.com:p"}}, {}),
    ],
)
def test_what_is_complete(provider: dict[str, Any], environ: dict[str, str]) -> None:
    assert problems(provider, environ) == []


def test_a_signature_needs_its_region_wherever_the_server_is() -> None:
    there = {"kind": "bedrock", "base_url": "http://127.0.0.1:9/anthropic"}
    assert [key for key, _ in problems(there)] == ["options"]
    assert problems({**there, "api_key": "env:K"}, {"K": "key-1"}) == [], "a key needs none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regoin": "x", "region": "us"}, "'regoin' is no option of the kind 'bedrock'; did you mean 'region'?"),
        ({"region": "a/b"}, "'a/b' cannot be region: it becomes part of an address"),
        ({"region": ""}, "'' cannot be region: it becomes part of an address"),
    ],
)
def test_an_option_that_is_none(options: dict[str, str], message: str) -> None:
    assert ("options", message) in problems({"kind": "bedrock", "options": options})


def test_an_empty_address_is_of_use_only_to_those_whose_region_is_their_address() -> None:
    wrong = problems({"kind": "openai", "api_key": "env:K", "regions": {"us": ""}}, {"K": "key-1"})
    assert wrong == [("regions", "'' is no http or https address")]


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("bedrock", "botocore", "bedrock"), ("vertex", "google.auth", "vertex")]
)
def test_an_extra_that_is_missing_is_told_with_what_to_type(
    kind: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = ways()[provider_kinds()[kind].credential["way"]]
    monkeypatch.setattr(way, "packages", ("no_such_package.inside", *way.packages))
    told = problems({"kind": kind, "options": {"region": "us", **({"project": "p"} if kind == "vertex" else {})}})
    said = f"{kind!r} without an api_key needs the package no_such_package.inside: pip install 'recloser[{extra}]'"
    assert told == [("kind", said)]
    assert package in way.packages


def test_the_path_of_a_file_is_relative_to_the_configuration(tmp_path: Path) -> None:
    options = {"region": "us", "project": "p", "service_account": "keys/sa.json"}
    tables = {"providers": {"a": {"kind": "vertex", "options": options}}, **ROUTES}
    with pytest.raises(BadConfigError, match="service_account: there is no file"):
        read(tables, path=tmp_path / "recloser.toml", environ={})
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "sa.json").write_text("{}", "utf-8")
    config = read(tables, path=tmp_path / "recloser.toml", environ={})
    assert config.providers["a"].options["service_account"] == str(tmp_path / "keys" / "sa.json")


class Entry:
    """An entry point of an installed package."""

    def __init__(self, name: str, plugin: object) -> None:
        self.name, self.value, self._plugin = name, f"package:{name}", plugin

    def load(self) -> object:
        return self._plugin


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderKind]:
    """A package that adds a vendor, one that takes a name of ours, and one that adds none."""
    mine = ProviderKind(title="Mine", auth="bearer", wires={"openai-chat": "https://mine.example/v1"})
    entries = [Entry("mine", mine), Entry("openai", mine), Entry("junk", "no vendor")]
    monkeypatch.setattr("recloser.plugins.entry_points", lambda **_: entries)
    for found in (provider_kinds, plugged_in):
        found.cache_clear()
    yield mine
    monkeypatch.undo()
    for found in (provider_kinds, plugged_in):
        found.cache_clear()


def test_an_installed_package_adds_a_vendor_and_takes_nobody_s_place(installed: ProviderKind) -> None:
    assert provider_kinds()["mine"] is installed
    assert provider_kinds()["openai"].title == "OpenAI"
    assert problems({"kind": "mine"}) == []
    assert problems({"kind": "junk"}) == [("kind", "'junk' cannot be loaded: package:junk: is no provider")]


# Found by themselves -----------------------------------------------------------------------------------------------

KEYS = {kind.key_env: "key-1234" for kind in VENDORS.values() if kind.key_env}
SAID = {
    "AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com",
    "AWS_REGION": "us-east-1",
    "ANTHROPIC_FOUNDRY_RESOURCE": "r",
}


def found(environ: dict[str, str]) -> set[str]:
    return {one.name for one in discover(environ, VENDORS).found}


def test_every_vendor_is_found_by_its_usual_key() -> None:
    wanted = {name for name, kind in VENDORS.items() if kind.key_env}
    assert found({**KEYS, **SAID}) == wanted
    assert {"azure", "bedrock", "groq", "xai", "nvidia"} <= wanted


def test_one_whose_address_is_not_complete_is_not_found() -> None:
    assert found({"AZURE_OPENAI_API_KEY": "key-1234", "AWS_BEARER_TOKEN_BEDROCK": "key-1234"}) == set()


def test_what_stands_in_the_environment_becomes_its_options() -> None:
    config = discover({"AWS_BEARER_TOKEN_BEDROCK": "key-1234", "AWS_REGION": "us-east-1"}, VENDORS).config
    assert config.providers["bedrock"].options == {"region": "us-east-1"}
    assert config.routes["*anthropic.claude-*"].targets == ("bedrock/{model}",)


@pytest.mark.parametrize(("said", "there"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_a_vendor_without_keys_is_found_where_every_tool_is_told_to_use_it(said: str, there: bool) -> None:
    environ = {"GOOGLE_GENAI_USE_VERTEXAI": said, "GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global"}
    discovery = discover(environ, VENDORS)
    assert [(one.name, one.told_by) for one in discovery.found] == (
        [("vertex", "GOOGLE_GENAI_USE_VERTEXAI")] if there else []
    )
    if there:
        assert discovery.config.providers["vertex"].api_key is None


def test_two_vendors_with_the_same_names_are_both_asked() -> None:
    routes = discover({"OPENROUTER_API_KEY": "key-1234", "TOGETHER_API_KEY": "key-1234"}, VENDORS).config.routes
    assert set(routes["*/*"].targets) == {"openrouter/{model}", "together/{model}"}
