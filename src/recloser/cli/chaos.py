"""`recloser chaos`: a provider that misbehaves on purpose."""

import argparse
import asyncio
import sys

import uvloop

from recloser.cli import exit_codes
from recloser.config.listening import address
from recloser.simulate import faults, provider


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = "A real HTTP provider that answers deterministic text and fails on demand."
    modes = "\n".join(f"  {usage:<22} {summary}" for usage, summary in faults.describe())
    parser.epilog = (
        'Modes, by --mode, by the request header x-chaos, or by POST /chaos {"mode": …, "for": …, "rate": …};\n'
        f"several with commas:\n{modes}\n\n"
        "example: recloser chaos --listen 127.0.0.1:9001 --mode 529"
    )
    parser.add_argument("--listen", default="127.0.0.1:8687", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--mode", default="off", help="how to misbehave from the start (default: %(default)s)")
    parser.add_argument("--name", default="chaos", help="told in the header x-chaos-provider (default: %(default)s)")
    parser.add_argument("--models", nargs="*", metavar="NAME", help="the only models there are (default: any)")
    parser.add_argument("--key", help="the only API key taken (default: any)")
    parser.add_argument("--seed", type=int, default=0, help="for the draws of a rate (default: %(default)s)")


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    try:
        host, port = address(given.listen)
        mode = str(faults.parse_mode(given.mode))
    except ValueError as error:
        print(error, file=sys.stderr)
        return exit_codes.USAGE
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(
                provider.run(
                    host, port, name=given.name, announce=_announce, models=given.models, key=given.key,
                    seed=given.seed, mode=mode,
                )
            )  # fmt: skip
        except OSError as error:
            print(f"cannot listen on {given.listen}: {error.strerror or error}", file=sys.stderr)
            return exit_codes.FAILED
    return exit_codes.OK


def _announce(url: str) -> None:
    print(f"recloser chaos listens on {url}", flush=True)
