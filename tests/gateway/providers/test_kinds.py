"""The facts about vendors: that they fit together, and what follows from them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.units import Secret
from recloser.gateway.credentials import ways
from recloser.gateway.providers import Asked, Option, ProviderKind, provider_kinds
from recloser.gateway.settings import ProviderSettings, RouteSettings
from recloser.gateway.targets import Routes, Target
from recloser.gateway.wires import WIRES

KINDS = provider_kinds()
KEY = Secret("k", "env:KEY")
OPTIONS = {"region": "eu-west-1", "project": "p-1", "resource": "res", "api_version": "2024-10-21"}


def target(kind: str, model: str, **more: Any) -> Target:
    options = {name: OPTIONS[name] for name in KINDS[kind].options if name in OPTIONS}
    settings = ProviderSettings(kind=kind, **{"options": options, "api_key": KEY, **more})
    (found,) = Routes({"a": settings}, {"*": RouteSettings(targets=("a/{model}",))}, {}).targets(model) or ()
    return found


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_vendor_s_facts_fit_together(name: str) -> None:
    kind = KINDS[name]
    assert set(kind.wires) <= set(WIRES)
    for about_wires in (kind.models_on, kind.asked, kind.wire_auth, kind.prefill.wires if kind.prefill else ()):
        assert set(about_wires) <= set(kind.wires)
    addresses = [*kind.wires.values(), kind.lists or "", *(one.path for one in kind.asked.values())]
    assert {missing for url in addresses for missing in kind.lacks(url, {})} <= set(kind.options)
    needed = {option for option, facts in kind.options.items() if facts.needed}
    assert needed <= {missing for url in addresses for missing in kind.lacks(url, {})}, "nobody is asked for nothing"
    assert not kind.credential or set(ways()[kind.credential["way"]].wants) <= set(kind.options)
    for url in kind.wires.values():
        whole = kind.filled(url, OPTIONS)
        assert whole.startswith("http"), whole
        assert "{" not in whole


def test_every_vendor_of_the_list_is_there() -> None:
    wanted = (
        "anthropic openai azure bedrock vertex gemini openrouter groq mistral deepseek together zai moonshot xai "
        "nvidia ollama lmstudio llamacpp vllm"
    )
    assert set(wanted.split()) <= set(KINDS)


@pytest.mark.parametrize(
    ("kind", "model", "client", "asked"),
    [
        ("azure", "my-gpt", "openai-chat", "https://res.openai.azure.com/openai/v1"),
        ("azure-foundry", "claude-opus-4-6", "openai-chat", "https://res.services.ai.azure.com/anthropic"),
        ("azure-foundry", "command-r", "anthropic", "https://res.services.ai.azure.com/openai/v1"),
        ("bedrock", "us.anthropic.claude-opus-5", "gemini", "https://bedrock-runtime.eu-west-1.amazonaws.com/anthropic"),
        ("bedrock", "openai.gpt-oss-20b-1:0", "anthropic", "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1"),
        ("bedrock-mantle", "anthropic.claude-opus-5", "openai-chat", "https://bedrock-mantle.eu-west-1.api.aws/anthropic"),
        ("bedrock-mantle", "openai.gpt-oss-20b", "openai-responses", "https://bedrock-mantle.eu-west-1.api.aws/v1"),
        ("bedrock-mantle", "openai.gpt-5.6", "openai-chat", "https://bedrock-mantle.eu-west-1.api.aws/openai/v1"),
        ("vertex", "gemini-3-pro", "anthropic", "https://eu-west-1-aiplatform.googleapis.com/v1/projects/p-1/locations/eu-west-1"),
        ("deepseek", "deepseek-flash", "anthropic", "https://api.deepseek.com/anthropic"),
        ("deepseek", "deepseek-flash", "gemini", "https://api.deepseek.com/beta"),
        ("moonshot", "kimi-k2.6", "anthropic", "https://api.moonshot.ai/anthropic"),
        ("zai", "glm-5", "anthropic", "https://api.z.ai/api/anthropic"),
    ],
)  # fmt: skip
def test_where_a_model_is_asked(kind: str, model: str, client: str, asked: str) -> None:
    found = target(kind, model)
    assert found.endpoint.url_on(found.wire_for(client)) == asked


@pytest.mark.parametrize(
    ("kind", "wire", "headers"),
    [
        ("azure", "openai-chat", {"api-key": "k"}),
        ("azure-foundry", "anthropic", {"x-api-key": "k"}),
        ("bedrock", "anthropic", {"authorization": "Bearer k"}),
        ("deepseek", "anthropic", {"x-api-key": "k"}),
        ("zai", "anthropic", {"authorization": "Bearer k"}),
    ],
)
def test_how_a_vendor_wants_its_key(kind: str, wire: str, headers: dict[str, str]) -> None:
    endpoint = target(kind, "m").endpoint
    assert endpoint.headers_on(wire) == headers
    assert endpoint.credential is None, "a key is enough"


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
    ],
)
def test_a_host_follows_from_its_region(region: str, host: str) -> None:
    url = target("vertex", "gemini-3-pro", options={"region": region, "project": "p"}).endpoint.urls["gemini"]
    assert url == f"https://{host}/v1/projects/p/locations/{region}"


def test_china_s_bedrock_is_elsewhere() -> None:
    urls = target("bedrock", "m", options={"region": "cn-north-1"}).endpoint.urls
    assert urls["anthropic"] == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn/anthropic"


def test_the_name_of_a_region_is_its_region_and_its_address_follows() -> None:
    regions = {"us-east-1": "", "eu-west-1": "http://127.0.0.1:9/anthropic"}
    settings = ProviderSettings(kind="bedrock", options={"region": "ap-south-1"}, regions=regions, api_key=KEY)
    home, away = Routes({"a": settings}, {"*": RouteSettings(targets=("a/m",))}, {}).targets("m") or ()
    assert home.endpoint.urls["openai-chat"] == "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1"
    assert away.endpoint.urls["openai-chat"] == "http://127.0.0.1:9/openai/v1"
    assert home.endpoint.lists == "https://bedrock.us-east-1.amazonaws.com/foundation-models"
    assert away.endpoint.lists is None, "another address has its list beside it"


@pytest.mark.parametrize(
    ("kind", "base_url", "urls"),
    [
        ("moonshot", "http://h/x/v1", {"openai-chat": "http://h/x/v1", "anthropic": "http://h/x/anthropic"}),
        ("zai", "http://h/api/paas/v4", {"openai-chat": "http://h/api/paas/v4", "anthropic": "http://h/api/anthropic"}),
        ("vertex", "http://h", {"gemini": "http://h", "openai-chat": "http://h/endpoints/openapi"}),
    ],
)
def test_another_address_has_the_other_wires_beside_it(kind: str, base_url: str, urls: dict[str, str]) -> None:
    assert target(kind, "m", base_url=base_url).endpoint.urls.items() >= urls.items()


def test_a_model_is_asked_only_on_the_wires_that_take_it() -> None:
    claude = target("vertex", "claude-opus-4-6")
    assert [wire for wire in WIRES if claude.takes(wire)] == ["anthropic"]
    assert [wire for wire in WIRES if target("deepseek", "x").takes(wire)] == ["anthropic", "openai-chat"]


# Requests in a vendor's own way ------------------------------------------------------------------------------------


def test_vertex_has_the_model_in_the_path_and_the_version_in_the_body() -> None:
    asked = KINDS["vertex"].asked["anthropic"]
    name = "claude-sonnet-4-5@20250929"
    assert asked.at(name, stream=False) == f"/publishers/anthropic/models/{name}:rawPredict"
    assert asked.at(name, stream=True) == f"/publishers/anthropic/models/{name}:streamRawPredict"
    said = b'{"model":"claude-sonnet-4-5@20250929","max_tokens": 5 ,"messages":[{"role":"user","content":"\\u00e9"}]}'
    dressed = asked.dressed(said)
    whole = json.loads(said)
    del whole["model"]
    assert json.loads(dressed) == {"anthropic_version": "vertex-2023-10-16", **whole}
    assert b'"\\u00e9"' in dressed, "what is kept is kept as it was written"


def test_what_a_client_says_itself_stands() -> None:
    asked = Asked(path="/x", body={"anthropic_version": "ours"}, without=("model",))
    assert json.loads(asked.dressed(b'{"anthropic_version":"theirs","model":"m"}')) == {"anthropic_version": "theirs"}


def test_a_vendor_without_ways_of_its_own_gets_the_very_bytes() -> None:
    body = b'{ "model" : "m" }'
    assert Asked(path="/x").dressed(body) is body


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "./a"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a model"):
        Asked(path="/models/{model}:go").at(name, stream=False)


@given(st.text(min_size=1).filter(lambda name: {".", ".."}.isdisjoint(name.split("/"))))
def test_any_other_name_stays_within_its_step_of_the_path(name: str) -> None:
    try:
        path = Asked(path="/models/{model}:go").at(name, stream=True)
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text that JSON could have brought
    step = path.removeprefix("/models/").removesuffix(":go")
    assert not set(step) & set("/?#&{} \r\n")


def test_azure_s_older_api_has_its_version_in_the_address() -> None:
    endpoint = target("azure-deployments", "my-gpt").endpoint
    path = endpoint.asked["openai-chat"].at("my-gpt", stream=True)
    assert path == "/deployments/my-gpt/chat/completions?api-version=2024-10-21"


# Options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "resource"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}, "mine"),
        ({"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com"}, "mine"),
        ({"AZURE_OPENAI_ENDPOINT": "https://elsewhere.example", "AZURE_RESOURCE_NAME": "other"}, "other"),
        ({"AZURE_OPENAI_ENDPOINT": "http://mine.openai.azure.com"}, None),
        ({"AZURE_RESOURCE_NAME": "  "}, None),
        ({}, None),
    ],
)
def test_an_option_stands_where_the_vendor_s_own_tools_have_it(environ: dict[str, str], resource: str | None) -> None:
    assert KINDS["azure"].options["resource"].usual(environ) == resource


def test_a_part_of_a_variable() -> None:
    option = Option(about="x", env=("A=https://*.example.com",))
    assert option.usual({"A": "https://mine.example.com/path"}) == "mine"
    assert option.usual({"A": "http://mine.example.com"}) is None


def test_what_has_no_value_is_named() -> None:
    vertex = KINDS["vertex"]
    assert set(vertex.lacks(vertex.wires["gemini"], {})) == {"region", "project"}
    assert vertex.lacks(vertex.wires["gemini"], {"region": "us", "project": "p"}) == []


# Going on from a turn of the model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wire", "goes_on", "refuses"),
    [
        ("anthropic", "anthropic",
         ["claude-3-7-sonnet-20250219", "claude-opus-4-5", "claude-sonnet-4-20250514", "claude-haiku-4-5-20251001"],
         ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-4-8", "claude-sonnet-5", "claude-fable-5"]),
        ("gemini", "gemini", ["gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.1-flash"], ["gemini-3.5-pro"]),
        ("vllm", "openai-chat", ["any"], []),
        ("vllm", "anthropic", [], ["any"]),
        ("bedrock", "anthropic", ["us.anthropic.claude-sonnet-4-5-20250929-v1:0"], ["us.anthropic.claude-opus-4-6-v1"]),
        ("openrouter", "openai-chat", ["anthropic/claude-sonnet-4.5"], ["anthropic/claude-opus-4.6", "openai/gpt-5"]),
        ("vertex", "anthropic", ["claude-sonnet-4-5@20250929"], ["claude-opus-4-6"]),
    ],
)  # fmt: skip
def test_who_goes_on_from_a_turn_of_the_model(kind: str, wire: str, goes_on: list[str], refuses: list[str]) -> None:
    prefill = KINDS[kind].prefill
    assert prefill is not None
    assert [model for model in goes_on + refuses if prefill.goes_on(model, wire)] == goes_on


def test_what_a_vendor_wants_for_it() -> None:
    def wanted(kind: ProviderKind) -> tuple[Any, ...]:
        prefill = kind.prefill
        return () if prefill is None else (dict(prefill.message), dict(prefill.body), prefill.echoes)

    assert wanted(KINDS["mistral"]) == ({"prefix": True}, {}, True)
    assert wanted(KINDS["deepseek"]) == ({"prefix": True}, {}, False)
    assert wanted(KINDS["moonshot"]) == ({"partial": True}, {}, False)
    assert wanted(KINDS["vllm"])[1] == {"continue_final_message": True, "add_generation_prompt": False}
    assert wanted(KINDS["openai"]) == ()
