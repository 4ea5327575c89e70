"""The command `recloser`: one file a command."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from recloser._version import __version__

_COMMANDS = {
    "serve": "run the gateway in the foreground",
    "demo": "watch it heal an outage: no keys, no config, under a minute",
    "init": "write a commented recloser.toml",
    "check": "say everything that is wrong with the configuration",
    "status": "show how the circuits and targets stand",
    "events": "show the event log",
    "chaos": "run a provider that misbehaves on purpose",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; give its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="recloser",
        description="Keeps LLM agents running through the failures of everything they depend on.",
        epilog="example: recloser demo",
    )
    parser.add_argument("--version", action="version", version=f"recloser {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    # Only the command that is asked for is imported: --help must answer at once.
    asked = next((word for word in argv if word in _COMMANDS), None)
    for name, summary in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == asked:
            import_module(f"recloser.cli.{name}").arguments(command)
    arguments = parser.parse_args(argv)
    try:
        return int(import_module(f"recloser.cli.{arguments.command}").run(arguments))
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130
