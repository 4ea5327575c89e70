"""`recloser check`."""

import json
from typing import Any

GOOD = """\
[providers.ollama]
kind = "ollama"
[routes."*"]
targets = ["ollama/{model}"]
[profiles.cheap]
targets = ["ollama/small"]
"""
BAD = """\
[gateway]
listn = "127.0.0.1:1"
[routes."*"]
targets = ["olama/x"]
"""


def test_a_good_file_is_said_to_be_fine_in_one_sentence(shell: Any) -> None:
    shell.write(GOOD)
    done = shell("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "recloser.toml is fine: 1 provider (ollama), 1 route, 1 profile\n"


def test_every_problem_is_told_with_key_and_line(shell: Any) -> None:
    path = shell.write(BAD)
    done = shell("check", "--config", str(path))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines() == [
        f"{path} has 2 problems:",
        "  line 2: gateway.listn: is no setting; did you mean 'listen'?",
        "  line 4: routes.\"*\".targets: 'olama/x' names the provider 'olama', which is not configured; none is known",
    ]


def test_as_json(shell: Any) -> None:
    path = shell.write(BAD)
    done = shell("check", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"], told["file"]) == (78, False, str(path))
    assert told["problems"][0] == {
        "key": "gateway.listn", "line": 2, "message": "is no setting; did you mean 'listen'?",
    }  # fmt: skip
    shell.write(GOOD)
    done = shell("check", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"file": str(path), "ok": True, "problems": []})


def test_no_file_at_all(shell: Any) -> None:
    done = shell("check")
    assert (done.returncode, done.stdout) == (78, "")
    assert "`recloser init` writes one" in done.stderr
    assert json.loads(shell("check", "--json").stdout) == {"file": None, "ok": False, "problems": []}


def test_a_file_that_is_named_but_not_there(shell: Any) -> None:
    assert shell("check", "--config", "nope.toml").returncode == 78
    done = shell("check", RECLOSER_CONFIG="nope.toml")
    assert done.returncode == 78
    assert "RECLOSER_CONFIG" in done.stderr


def test_a_file_with_nothing_to_serve_is_no_mistake_but_told(shell: Any) -> None:
    shell.write("[gateway]\n")
    done = shell("check")
    assert done.returncode == 0
    assert "every request is answered with 404" in done.stdout
