"""`recloser init`: a commented recloser.toml."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from recloser.cli import exit_codes
from recloser.config import BadConfigError
from recloser.config.discover import Discovery, discover
from recloser.config.load import FILE_NAME
from recloser.gateway.providers import ProviderKind, provider_kinds
from recloser.gateway.settings import RouteSettings

_HEAD = """\
# recloser.toml: see docs/configuration.md, and `recloser check` after every change.
# A line that is commented out shows the default. Durations: 90, "90s", "10m", "5h".
# Secrets are references, never values: "env:NAME", "file:PATH", "cmd:ARGV".

[gateway]
# listen = "127.0.0.1:8686"
# keys = ["env:RECLOSER_KEY"]       # what clients must present; needed to listen on more than loopback
# max_hold = "60s"                  # longest time a request may wait while every target is closed to it; "0s" = never
# retry_after_max = "60s"           # longest `retry-after` told to clients
# max_body = "64MiB"
# drain = "30s"                     # how long open requests may go on after the order to stop

[state]
# url = "sqlite:.recloser/state.db" # or "memory:"; what keeps circuits over a restart
# dir = ".recloser"                 # the event log

[circuit]                           # for every circuit; `circuit = { ... }` under a provider overrides it there
# failure_threshold = 5             # consecutive failures that open it; 0 turns the rule off
# cooldown = "5s"                   # how long the first opening lasts; each further one ...
# cooldown_factor = 2.0             # ... so much longer than the one before ...
# cooldown_max = "5m"               # ... up to this
# half_open_permits = 1             # how many calls may try at once afterwards, and how many must succeed

# Providers: who answers. The name after the dot is yours; routes and circuits use it.
# Each may have more than is shown here:
#   connect_timeout = "2s"   first_token_timeout = "60s"   idle_timeout = "30s"   stream_timeout = "60m"
#   total_timeout = "10m"    headers = { x-team = "a" }    account = "shared"     regions = { us = "https://..." }
"""
_ROUTES = """
# Routes: the request's model name, a glob; the first one that matches counts. Its targets are asked in order:
# the next one whenever the one before cannot answer. {model} is the name that was asked for.
"""
_EXAMPLE = {"claude-*": RouteSettings(targets=("anthropic/{model}", "ollama/qwen3-coder"))}
_PROFILES = """
# Profiles: chosen by the header x-recloser-profile, or by their name as the model name.
# [profiles.cheap]
# targets = ["ollama/qwen3-coder", "anthropic/claude-haiku-4-5"]
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = (
        f"Write a commented {FILE_NAME} into the working directory, with the providers whose keys or servers are there."
    )
    parser.epilog = "example: recloser init && recloser check"


def run(_: argparse.Namespace) -> int:
    """Run the command."""
    path = Path(FILE_NAME)
    if path.exists() or path.is_symlink():
        print(f"{path} is there already and stays as it is", file=sys.stderr)
        return exit_codes.FAILED
    try:
        discovery = discover()
    except BadConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write("".join(_document(discovery, provider_kinds())))
    except OSError as error:
        print(f"{path} cannot be written: {error.strerror}", file=sys.stderr)
        return exit_codes.FAILED
    _tell(path, discovery)
    return exit_codes.OK


def _tell(path: Path, discovery: Discovery) -> None:
    names = ", ".join(found.title for found in discovery.found)
    print(f"wrote {path}" + (f" with what is here: {names}" if names else ""))
    if not discovery.config.routes:
        print("No API key and no local model was found: uncomment a provider and a route in it.")
    print("Next: `recloser check`, then `recloser serve`")


def _document(discovery: Discovery, kinds: Mapping[str, ProviderKind]) -> Iterator[str]:
    """The file, part by part."""
    there = {found.name for found in discovery.found}
    yield _HEAD
    for name in sorted(kinds, key=lambda name: name not in there):
        kind = kinds[name]
        if kind.key_env or kind.local_port or kind.use_env:
            yield _block(_provider(name, kind, os.environ), commented=name not in there)
    yield _ROUTES
    routes = discovery.config.routes
    for glob, route in (routes or _EXAMPLE).items():
        targets = ", ".join(json.dumps(target, ensure_ascii=False) for target in route.names)
        yield _block(
            [f"[routes.{json.dumps(glob, ensure_ascii=False)}]", f"targets = [{targets}]"], commented=not routes
        )
    yield _PROFILES


def _provider(name: str, kind: ProviderKind, environ: Mapping[str, str]) -> list[str]:
    lines = [f"[providers.{name}]", f'kind = "{name}"']
    if kind.options:
        usual = kind.usual_options(environ)
        needed = (name for name, option in kind.options.items() if option.needed)
        options = ", ".join(f'{name} = "{usual.get(name, name.upper())}"' for name in needed)
        lines.append(f"options = {{ {options} }}")
    if kind.key_env:
        missing = "" if environ.get(kind.key_env) else "  # is not set"
        lines.append(f'api_key = "env:{kind.key_env}"{missing}')
    elif kind.local_port:
        url = next(iter(kind.wires.values()))
        lines.append(f'# base_url = "{url}"')
    return lines


def _block(lines: list[str], *, commented: bool) -> str:
    return "\n" + "".join(f"# {line}\n" if commented and not line.startswith("#") else f"{line}\n" for line in lines)
