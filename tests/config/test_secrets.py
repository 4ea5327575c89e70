"""What is behind a reference to a secret, and that no message tells it."""

import sys
from pathlib import Path

import pytest

from recloser.config.secrets import resolve
from recloser.observe.redact import redacted

PYTHON = f"cmd:{sys.executable} -c"


def test_from_the_environment() -> None:
    secret = resolve("env:KEY", Path(), {"KEY": " sk-1234567 \n"})
    assert (secret.reveal(), secret.reference) == ("sk-1234567", "env:KEY")


def test_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n", "utf-8")
    assert resolve("file:key", tmp_path, {}).reveal() == "from-a-file"
    assert resolve(f"file:{tmp_path / 'key'}", Path("/elsewhere"), {}).reveal() == "from-a-file"


def test_from_a_command_run_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-command", "utf-8")
    assert resolve(f"{PYTHON} \"print(open('key').read())\"", tmp_path, {}).reveal() == "from-a-command"


def test_a_resolved_secret_is_shown_nowhere() -> None:
    resolve("env:KEY", Path(), {"KEY": "completely-unlike-a-key"})
    assert redacted({"message": "your key completely-unlike-a-key is wrong"}) == {
        "message": "your key [redacted] is wrong"
    }


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("sk-ant-api03-abcdef", "must be a reference to a secret"),
        ("env:", "must be a reference to a secret"),
        (3, "must be a reference to a secret"),
        (None, "must be a reference to a secret"),
        ("env:NOPE", "the environment variable NOPE is not set"),
        ("env:sk-ant-api03-abcdef", "names no environment variable"),
        ("env:EMPTY", "there is nothing in env:EMPTY"),
        ("env:LINES", "what is in env:LINES cannot be sent: it is not one line of ASCII"),
        ("file:nope", "the file nope cannot be read: No such file or directory"),
        ("file:a\0b", "cannot be read: that is no path of a text file"),
        ("file:~nobodyatall/x", "the file ~nobodyatall/x cannot be read"),
        (
            "cmd:nonesuch-command --token abcdef",
            "the command 'nonesuch-command' cannot be run: No such file or directory",
        ),
        ("cmd:echo 'abcdef", "the command 'echo' cannot be run: No closing quotation"),
        (f"{PYTHON} 'raise SystemExit(3)'", "ended with exit code 3"),
        (f"{PYTHON} pass", "there is nothing in cmd:"),
    ],
)
def test_what_is_behind_no_reference(reference: object, said: str, tmp_path: Path) -> None:
    environ = {"EMPTY": " ", "LINES": "a\nabcdef"}
    with pytest.raises(ValueError, match=r"^.") as caught:
        resolve(reference, tmp_path, environ)
    assert said in str(caught.value)
    assert "abcdef" not in str(caught.value)
