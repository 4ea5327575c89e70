"""What a recloser.toml says of routes beyond a list of targets: read, or refused with its key and line."""

from pathlib import Path
from typing import Any

import pytest

from recloser.config import BadConfigError, Config
from recloser.config.load import load
from recloser.config.problems import dotted
from recloser.core.units import Secret
from recloser.gateway.settings import CLIENTS_OWN, ModelSettings, PriceSettings, TargetSettings
from recloser.gateway.targets import Routes

OLLAMA = "[providers.ollama]\nkind = 'ollama'\n"


def loaded(text: str, tmp_path: Path) -> Config:
    path = tmp_path / "recloser.toml"
    path.write_text(text, "utf-8")
    return load(path, {"KEY": "k"})


def problems(text: str, tmp_path: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(BadConfigError) as caught:
        loaded(text, tmp_path)
    return [(dotted(p.key), p.line, p.message) for p in caught.value.problems]


def test_what_is_known_of_models(tmp_path: Path) -> None:
    text = """
[providers.a]
kind = "openai"
api_key = "env:KEY"
models."gpt-5*" = { price = { input = 1.25, output = 10 }, context_window = 400000 }

[providers.a.models."*"]
price = { input = 3.0, output = 15.0, cache_read = 0.3, cache_write = 3.75 }
"""
    provider = loaded(text, tmp_path).providers["a"]
    price = PriceSettings(input=1.25, output=10.0)
    assert provider.of_model("gpt-5-mini") == ModelSettings(price=price, context_window=400_000)
    assert price.blended == (3 * 1.25 + 10) / 4
    other = provider.of_model("o3")
    assert other.price == PriceSettings(input=3.0, output=15.0, cache_read=0.3, cache_write=3.75)
    assert other.context_window is None


def test_everything_that_is_wrong_with_models_at_once(tmp_path: Path) -> None:
    text = OLLAMA + (
        "[providers.ollama.models.'a*']\n"  # line 3
        "context_window = 0\n"
        "price = { input = -1, output = 1, outputs = 2 }\n"
        "[providers.ollama.models.b]\n"
        "price = 3\n"
        "[providers.ollama.models]\n"
        "c = 'x'\n"
        "d = { context_window = 'much', prize = {} }\n"
    )
    assert problems(text, tmp_path) == [
        ('providers.ollama.models."a*".context_window', 4, "must be a number of tokens above 0, not 0"),
        ('providers.ollama.models."a*".price.outputs', 5, "is no setting; did you mean 'output'?"),
        ('providers.ollama.models."a*".price.input', 5, "must be a price of at least 0, not -1.0"),
        ("providers.ollama.models.b.price", 7, "must be a table, not a number"),
        ("providers.ollama.models.c", 9, "must be a table, not a string"),
        ("providers.ollama.models.d.context_window", 10, "must be a whole number, not a string"),
        ("providers.ollama.models.d.prize", 10, "is no setting; did you mean 'price'?"),
    ]


def test_a_price_is_of_both_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    text = OLLAMA + "[providers.ollama.models.'*']\nprice = { input = 3 }\n"
    assert ('providers.ollama.models."*".price.output', 4, "is missing") in problems(text, tmp_path)


def test_targets_with_weights(tmp_path: Path) -> None:
    text = OLLAMA + "[routes.'*']\norder = 'weighted'\ntargets = ['ollama/a', { target = 'ollama/b', weight = 3 }]\n"
    route = loaded(text, tmp_path).routes["*"]
    assert route.targets == ("ollama/a", TargetSettings(target="ollama/b", weight=3.0))
    assert (route.names, route.weights) == (("ollama/a", "ollama/b"), (1.0, 3.0))


@pytest.mark.parametrize(
    ("route", "key", "said"),
    [
        ("targets = [{ target = 'ollama/b', wieght = 3 }]", "targets.wieght", "is no setting; did you mean 'weight'?"),
        ("targets = [{ target = 'ollama/b', weight = -1 }]", "targets.weight", "must be at least 0, not -1.0"),
        ("targets = [{ target = 'ollama/b', weight = inf }]", "targets.weight", "must be at least 0, not inf"),
        ("targets = ['ollama/a', { weight = 1 }]", "targets.target", "is missing"),
        ("targets = ['ollama/a', 3]", "targets", "must be an array of strings and tables"),
        (
            "order = 'weighted'\ntargets = [{ target = 'ollama/b', weight = 0 }]",
            "targets",
            "must have a weight above 0 at one target at least",
        ),
        ("targets = ['ollama/a']\norder = 'fast'", "order", "must be 'listed' or 'weighted' or 'least_loaded' or "),
        ("targets = ['ollama/a']\nwhen = { has_images = true }", "when.has_images", "did you mean 'has_image'?"),
        ("targets = ['ollama/a']\nwhen = { has_image = 1 }", "when.has_image", "must be true or false, not 1"),
        ("targets = ['ollama/a']\nwhen = { tokens_over = '6k' }", "when.tokens_over", "must be a number of tokens"),
        ("targets = ['ollama/a']\nwhen = { model_matches = '(' }", "when.model_matches", "has a '(' without its ')'"),
        ("targets = ['ollama/a']\nwhen = { model_matches = 3 }", "when.model_matches", "must be a regular expression"),
        ("targets = ['ollama/a']\nallow_paid = 'no'", "allow_paid", "must be true or false, not a string"),
    ],
)
def test_a_wrong_route(route: str, key: str, said: str, tmp_path: Path) -> None:
    (problem,) = problems(OLLAMA + f"[routes.x]\n{route}\n", tmp_path)
    assert problem[0] == f"routes.x.{key}"
    setting = key.partition(".")[0]
    assert problem[1] == next(n for n, line in enumerate(route.splitlines(), 4) if line.startswith(setting))
    assert said in problem[2]


def test_a_profile_has_no_conditions(tmp_path: Path) -> None:
    text = OLLAMA + "[profiles.x]\ntargets = ['ollama/a']\nwhen = { has_image = true }\nmodel = 'y'\n"
    said = "is of use in [routes] only: a profile is chosen by its name"
    assert problems(text, tmp_path) == [("profiles.x.when", 5, said), ("profiles.x.model", 6, said)]


def routes(*tables: str) -> str:
    return OLLAMA + "".join(f"[routes.r{n}]\ntargets = ['ollama/a']\n{table}\n" for n, table in enumerate(tables))


def test_routes_for_one_glob_with_different_conditions_are_all_asked(tmp_path: Path) -> None:
    glob = "model = 'claude-*'"
    when = [f"{glob}\nwhen = {{ {one} }}" for one in ("has_image = true", "tokens_over = 9", "has_image = false")]
    assert list(loaded(routes(*when, glob), tmp_path).routes) == ["r0", "r1", "r2", "r3"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("model = 'claude-*'", "model = 'claude-*'\nwhen = { has_image = true }"),
        (
            "model = '*'\nwhen = { has_image = true }",
            "model = 'claude-*'\nwhen = { has_image = true, tokens_over = 9 }",
        ),
    ],
)
def test_a_route_behind_one_that_asks_no_more_is_never_asked(first: str, second: str, tmp_path: Path) -> None:
    ((key, _, said),) = problems(routes(first, second), tmp_path)
    assert key == "routes.r1"
    assert "routes.r0 stands before it" in said


def test_the_clients_own_key(tmp_path: Path) -> None:
    config = loaded("[providers.a]\nkind = 'anthropic'\napi_key = 'client'\n", tmp_path)
    assert config.providers["a"].clients_own
    assert config.providers["a"].api_key == CLIENTS_OWN == Secret("", "client")
    ((key, line, said),) = problems("[gateway]\nkeys = ['client']\n", tmp_path)
    assert (key, line) == ("gateway.keys", 2)
    assert "must be a reference to a secret" in said


@pytest.mark.parametrize(("kind", "paid"), [("ollama", False), ("simulated", False), ("anthropic", True)])
def test_who_costs_money(kind: str, paid: bool, tmp_path: Path) -> None:
    def costs(more: str) -> Any:
        text = f"[providers.a]\nkind = '{kind}'\napi_key = 'env:KEY'\n{more}\n"
        ((endpoint,),) = Routes(loaded(text, tmp_path).providers, {}, {}).endpoints.values()
        return endpoint.paid

    assert costs("") is paid
    assert costs("paid = true") is True
    assert costs("paid = false") is False


def test_a_limit_of_requests_is_no_negative_number(tmp_path: Path) -> None:
    assert problems(OLLAMA + "max_concurrency = -1\n", tmp_path) == [
        ("providers.ollama.max_concurrency", 3, "must be at least 0, not -1")
    ]
