"""References to secrets, and what is behind them: `env:NAME`, `file:PATH`, `cmd:ARGV`."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from recloser.core.units import Secret
from recloser.observe.redact import never_show

_TIMEOUT = 10.0
_HOW = "must be a reference to a secret: 'env:NAME', 'file:PATH' or 'cmd:ARGV', never the secret itself"


def resolve(reference: object, base: Path, environ: Mapping[str, str]) -> Secret:
    """The secret behind a reference; ValueError, which never tells what may be the secret itself, if there is none."""
    kind, _, rest = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    rest = rest.strip()
    if kind not in ("env", "file", "cmd") or not rest:
        raise ValueError(_HOW)
    if kind == "env":
        value = _from_environment(rest, environ)
    elif kind == "file":
        value = _from_file(rest, base)
    else:
        value = _from_command(rest, base)
    value = value.strip()
    if not value:
        raise ValueError(f"there is nothing in {kind}:{_named(kind, rest)}")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"what is in {kind}:{_named(kind, rest)} cannot be sent: it is not one line of ASCII")
    never_show(value)
    return Secret(value, str(reference))


def _named(kind: str, rest: str) -> str:
    """A source for people; of a command, whose arguments may be secret too, the program alone."""
    return rest if kind != "cmd" else rest.split(maxsplit=1)[0]


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    if name not in environ:
        # whoever writes 'env:sk-ant-…' has put the secret where its variable's name belongs
        known = name.replace("_", "").isalnum() and len(name) <= 64
        raise ValueError(f"the environment variable {name} is not set" if known else "names no environment variable")
    return environ[name]


def _from_file(path: str, base: Path) -> str:
    try:
        return (base / Path(path).expanduser()).read_text("utf-8")
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, ValueError, RuntimeError):
        raise ValueError(f"the file {path} cannot be read: that is no path of a text file") from None


def _from_command(command: str, base: Path) -> str:
    program = _named("cmd", command)
    try:
        done = subprocess.run(  # noqa: S603 - an argv from the user's own file, and no shell
            shlex.split(command), capture_output=True, timeout=_TIMEOUT, check=True, stdin=subprocess.DEVNULL, cwd=base
        )
    except subprocess.CalledProcessError as error:
        raise ValueError(f"the command {program!r} ended with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"the command {program!r} took longer than {_TIMEOUT:g} s") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"the command {program!r} cannot be run: {why}") from None
    return done.stdout.decode("utf-8", "replace")
