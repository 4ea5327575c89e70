"""`recloser serve`: the gateway, in the foreground."""

import argparse
import asyncio
import dataclasses
import sqlite3
import sys
from pathlib import Path

import uvloop

from recloser.cli import exit_codes
from recloser.cli.screen import Screen, own_name
from recloser.compose import RunningGateway, serve
from recloser.config import BadConfigError, Config, Problem
from recloser.config.discover import Discovery, Found, discover
from recloser.config.listening import wrong_listen
from recloser.config.load import find, load

_MOST_ROUTES = 12


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = "Run the gateway in the foreground. Without a recloser.toml it serves what it finds."
    parser.epilog = "example: recloser serve --config recloser.toml --listen 127.0.0.1:8686"
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: found, see the docs)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="listen here instead of where the configuration says")


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    try:
        path = find(given.config)
        discovery = None if path else discover()
        config = discovery.config if discovery else load(path) if path else Config()
        if given.listen:
            config = dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, listen=given.listen))
            if wrong := wrong_listen(config.gateway):
                raise BadConfigError(None, [Problem(("--listen",), wrong)])
    except BadConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, lambda running: _greet(running, config, discovery, elsewhere=bool(given.listen))))
    except (OSError, sqlite3.Error) as error:
        print(_why_not(error, config), file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.OK


def _why_not(error: OSError | sqlite3.Error, config: Config) -> str:
    """Why the gateway cannot start, or could not go on."""
    if isinstance(error, sqlite3.Error):
        return f"the store {config.state.url!r} cannot be used: {error}"
    if error.errno is None:  # a sentence of our own: PortInUseError
        return str(error)
    place = error.filename or config.gateway.listen
    return f"recloser cannot start: {error.strerror or error} ({place})"


# What it says once it listens ----------------------------------------------------------------------------------------


def _greet(running: RunningGateway, config: Config, discovery: Discovery | None, *, elsewhere: bool) -> None:
    """Say where it listens, first and in the words that scripts wait for; then what is served and what to do next.

    `elsewhere`: not where the configuration says.
    """
    screen = Screen()
    screen.print(f"recloser listens on {screen.paint(running.url, 'bold')}")
    screen.print()
    for warning in running.warnings:
        print(f"recloser: {warning}", file=sys.stderr)
    if config.simulated:
        _warn(screen, discovery)
    elif discovery is not None:
        _tell_chain(screen, discovery)
    elif not config.routes and not config.profiles:
        screen.print(screen.paint(f"{config.path} has no route: every request will be answered with 404", "yellow"))
        screen.print()
    _tell_next(screen, running.url, config, elsewhere=elsewhere)
    if discovery is not None and not config.simulated:
        screen.print(f"`{own_name()} init` writes what was found into a recloser.toml, to change it.")


def _tell_next(screen: Screen, url: str, config: Config, *, elsewhere: bool) -> None:
    """What to type where."""
    here = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    screen.print("Point your client here:")
    screen.print("  Claude Code, Anthropic SDK:  " + screen.paint(f"export ANTHROPIC_BASE_URL={here}", "bold"))
    screen.print("  OpenAI SDK, most others:     " + screen.paint(f"export OPENAI_BASE_URL={here}/v1", "bold"))
    key = "one of [gateway] keys" if config.gateway.keys else "whatever it has; this gateway asks for none"
    screen.print(f"  API key:                     {key}")
    where = f" --listen {url.partition('//')[2]}" if elsewhere else ""
    me = own_name()
    screen.print(f"In another terminal: `{me} status{where}` and `{me} events --follow`")


def _warn(screen: Screen, discovery: Discovery | None) -> None:
    """The simulated provider must not be taken for a real one."""
    bar = screen.paint("!" * 78, "bold", "yellow")
    found = "".join(f"  ({server.title} is running, but lists no model.)\n" for server in _empty(discovery))
    screen.print(bar)
    screen.print(
        screen.paint("  SIMULATED: no model answers here. Every answer is made up by recloser itself.", "bold")
    )
    screen.print(
        f"{found}  There is no recloser.toml, no API key in the environment, no local model.\n"
        "  For real answers, stop this and start it again with one of these:\n\n"
        "    export ANTHROPIC_API_KEY=...      (or OPENAI_API_KEY, OPENROUTER_API_KEY,\n"
        "                                       GEMINI_API_KEY)\n"
        "    ollama serve                      (or LM Studio, llama.cpp, vLLM)\n"
        "    recloser init                     (writes a recloser.toml to fill in)"
    )
    screen.print(f"{bar}\n")


def _empty(discovery: Discovery | None) -> list[Found]:
    return [found for found in discovery.found if found.url and not found.models] if discovery else []


def _tell_chain(screen: Screen, discovery: Discovery) -> None:
    """What was found, and who serves what."""
    screen.print("There is no recloser.toml, so it serves what it found:")
    width = max(len(found.title) for found in discovery.found)
    for found in discovery.found:
        local = f"{found.told_by} is set" if found.told_by else f"{found.url}, {len(found.models)} models"
        where = f"the key in {found.key_env}" if found.key_env else local
        screen.print(f"  {found.title:<{width}}  {where}")
    screen.print("\nA request's model name decides who answers; if one cannot, the next is asked:")
    routes = discovery.config.routes
    *most, last = routes.items()  # the last one may be for every other name
    shown = [*most[:_MOST_ROUTES], last]
    width = min(max(len(glob) for glob, _ in shown), 40)
    for glob, route in shown:
        screen.print(f"  {glob:<{width}}  {', then '.join(route.names)}")
    if len(routes) > len(shown):
        screen.print(f"  … and {len(routes) - len(shown)} more, each to the server that lists it")
    screen.print()
