"""`recloser demo`: watch it heal an outage."""

import argparse
import asyncio
import os
import sys

from recloser.cli import exit_codes
from recloser.demo.processes import DemoError
from recloser.demo.run import NAMES, demo
from recloser.demo.telling import Teller


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = (
        "Watch the gateway heal a scripted outage, told live, in about half a minute.\n\n"
        "Simulated providers and the gateway run as real processes on loopback, and clients\n"
        "check every answer. No keys, no configuration, nothing is left behind.\n"
        "Exit code 0 only if no request was lost."
    )
    parser.epilog = "example: recloser demo"
    parser.add_argument(
        "--providers",
        type=int,
        choices=range(1, len(NAMES) + 1),
        default=2,
        help="how many simulated providers; with 1 there is nobody to fail over to (default: %(default)s)",
    )


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    teller = Teller(sys.stdout, colour=live and not os.environ.get("NO_COLOR"), live=live)
    try:
        return exit_codes.OK if asyncio.run(demo(teller, given.providers)) else exit_codes.FAILED
    except DemoError as error:
        print(error, file=sys.stderr)
        return exit_codes.FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        teller.line()
        teller.say("Stopped; every process is ended.")
        return 130
