"""`recloser serve`: the gateway, in the foreground."""

import argparse
import asyncio
import dataclasses
import sys
from pathlib import Path

import uvloop

from recloser.cli import exit_codes
from recloser.compose import serve
from recloser.config import BadConfigError, Config, Problem
from recloser.config.load import find, load, wrong_listen
from recloser.gateway.runtime.listen import PortInUseError


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
        config = load(path) if path else Config()
        if given.listen:
            config = dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, listen=given.listen))
            if wrong := wrong_listen(config.gateway):
                raise BadConfigError(None, [Problem(("--listen",), wrong)])
    except BadConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(config, lambda running: print(f"recloser listens on {running.url}", flush=True)))
    except PortInUseError as error:
        print(error, file=sys.stderr)
        return exit_codes.FAILED
    return exit_codes.OK
