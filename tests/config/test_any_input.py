"""Whatever stands in a configuration, it is either a configuration or a BadConfigError."""

import contextlib
import tempfile
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from recloser.config import BadConfigError, Config
from recloser.config.checks import _covers
from recloser.config.load import load, load_nearby, read
from recloser.gateway.routing import Routing
from recloser.gateway.targets import Routes
from recloser.gateway.traffic import Traffic

WORDS = st.sampled_from(
    ["gateway", "state", "circuit", "providers", "routes", "profiles", "listen", "keys", "max_hold", "hosts", "kind",
     "max_body", "api_key", "base_url", "regions", "headers", "wire", "account", "targets", "cooldown", "jitter", "url",
     "cooldown_max", "failure_threshold", "anthropic", "ollama", "compatible", "claude-*", "*", "models", "price",
     "input", "context_window", "when", "has_image", "tokens_over", "model_matches", "target", "weight", "order"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["ollama/{model}", "anthropic/x", "anthropic", "openai-chat", "env:HOME", "env:", "file:/dev/null", "file:\0",
     "file:~nobody/x", "http://[x", "http://x/v1", "memory:", "sqlite:", "127.0.0.1:1", "[::1]:1", ":1", "5m", "1e999",
     "64MiB"]
) | st.text(max_size=20).filter(lambda text: not text.startswith("cmd:"))  # fmt: skip
SCALARS = (
    TEXTS | st.integers() | st.floats() | st.booleans() | st.dates() | st.just(datetime(2026, 1, 1, tzinfo=UTC))
    | st.just(date(2026, 1, 1)) | st.just(10**400) | st.just(-(2**63))
)  # fmt: skip
KEYS = WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
PROVIDERS = st.dictionaries(
    st.sampled_from(["ollama", "anthropic", "a/b", ""]),
    st.fixed_dictionaries({"kind": st.sampled_from(["ollama", "anthropic", "compatible", "x"])}, optional={
        "wire": TEXTS, "base_url": TEXTS, "api_key": TEXTS, "regions": st.dictionaries(KEYS, TEXTS, max_size=2),
        "headers": st.dictionaries(KEYS, TEXTS, max_size=2), "connect_timeout": SCALARS, "circuit": VALUES,
        "models": VALUES, "paid": SCALARS, "max_concurrency": SCALARS,
    }) | VALUES,
    max_size=2,
)  # fmt: skip
CONDITIONS = st.dictionaries(
    st.sampled_from(["has_image", "has_tools", "tokens_over", "model_matches", "x"]), SCALARS, max_size=2
)
TARGETS = TEXTS | st.fixed_dictionaries({"target": TEXTS}, optional={"weight": SCALARS}) | VALUES
ROUTES = st.dictionaries(
    KEYS,
    st.fixed_dictionaries({"targets": st.lists(TARGETS, max_size=2)}, optional={
        "when": CONDITIONS, "order": st.sampled_from(["weighted", "fastest", ""]), "model": TEXTS,
        "allow_paid": SCALARS,
    }) | VALUES,
    max_size=3,
)  # fmt: skip
CONFIGS = st.fixed_dictionaries(
    {}, optional={"providers": PROVIDERS, "routes": ROUTES, "profiles": ROUTES, "gateway": VALUES, "circuit": VALUES}
)


@given(CONFIGS | st.dictionaries(KEYS, VALUES, max_size=4))
@example({"providers": {"p": {"kind": "ollama", "base_url": "http://x:\N{SUPERSCRIPT TWO}"}}})
@example({"gateway": {"max_body": 10**5000}})
def test_any_tables_are_a_configuration_or_a_bad_one(tables: dict[str, Any]) -> None:
    with contextlib.suppress(BadConfigError):
        config = read(tables, environ={"HOME": "x"})
        assert isinstance(config, Config)
        routes = Routes(config.providers, config.routes, config.profiles)  # and what is one can be served
        Routing(routes, config.gateway, Traffic(), now=lambda: 0.0)
        for name in (*config.routes, *config.profiles):
            routes.targets(name)


@given(st.text() | st.binary())
@example("a" * 3 + "[" * 2000)
def test_any_file_is_a_configuration_or_a_bad_one(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recloser.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        for reader in (load, load_nearby):
            with contextlib.suppress(BadConfigError):
                reader(path, {})


GLOBS = st.text("ab-*?[]!", max_size=6)


@given(GLOBS, GLOBS, st.text("ab-!", max_size=6))
@example("?*", "*", "")
@example("[!a]*", "*b", "ab")
@example("claude-?", "claude-*", "claude-")
def test_a_route_is_only_called_covered_if_every_name_of_it_is_taken(earlier: str, later: str, name: str) -> None:
    if _covers(earlier, later) and fnmatchcase(name, later):
        assert fnmatchcase(name, earlier)
