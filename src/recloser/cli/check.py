"""`recloser check`: everything that is wrong with the configuration."""

import argparse
import json
import sys
from pathlib import Path

from recloser.cli import exit_codes
from recloser.config import BadConfigError, Config
from recloser.config.load import FILE_NAME, find, load
from recloser.config.problems import dotted

_NONE = f"""there is no {FILE_NAME}: neither here, nor in a directory above, nor in ~/.config/recloser
`recloser init` writes one; without one, `recloser serve` serves what it finds"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = "Say everything that is wrong with the configuration, each problem with its key and line."
    parser.epilog = "example: recloser check --config recloser.toml"
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: found, see the docs)")
    parser.add_argument("--json", action="store_true", help="write the problems as JSON to stdout")


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    try:
        path = find(given.config)
        config = load(path) if path else None
    except BadConfigError as error:
        return _refused(error, as_json=given.json)
    if config is None:
        print(_json(None, BadConfigError(None, [])) if given.json else _NONE, file=None if given.json else sys.stderr)
        return exit_codes.CONFIG
    print(_json(path, None) if given.json else f"{_near(path)} is fine: {_summary(config)}")
    return exit_codes.OK


def _near(path: Path | None) -> Path | None:
    """A path as short as it is seen from here."""
    here = Path.cwd()
    return path.relative_to(here) if path and path.is_relative_to(here) else path


def _refused(error: BadConfigError, *, as_json: bool) -> int:
    if as_json:
        print(_json(error.path, error))
    else:
        print(error, file=sys.stderr)
    return exit_codes.CONFIG


def _json(path: Path | None, error: BadConfigError | None) -> str:
    problems = error.problems if error else []
    told = [{"key": dotted(p.key) or None, "line": p.line or None, "message": p.message} for p in problems]
    return json.dumps({"file": str(path) if path else None, "ok": error is None, "problems": told})


def _summary(config: Config) -> str:
    """What a configuration holds, in a sentence."""
    names = f" ({', '.join(config.providers)})" if config.providers else ""
    parts = [f"{_count(len(config.providers), 'provider')}{names}", _count(len(config.routes), "route")]
    if config.profiles:
        parts.append(_count(len(config.profiles), "profile"))
    said = ", ".join(parts)
    if not config.routes and not config.profiles:
        said += "; without a route every request is answered with 404"
    return said


def _count(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"
