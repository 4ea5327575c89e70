"""Whose process has ended: what another process of the host, and what nobody can know."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recloser.breaker import owner
from recloser.breaker.owner import gone, new_owner, retire

ANOTHER = """
import sys
from recloser.breaker.owner import new_owner

class Somebody: pass
somebody = Somebody()
print(new_owner(somebody), flush=True)
sys.stdin.read()
"""


class Somebody:
    """Who holds permits."""


@pytest.fixture
def me() -> Somebody:
    return Somebody()


def with_part(name: str, part: int, value: str) -> str:
    """The owner's name with another part: -1 number, -2 start, -3 process, before that the host."""
    parts = name.split("/")
    parts[part] = value
    return "/".join(parts)


def test_whoever_is_there_is_not_gone_and_has_a_name_alone(me: Somebody) -> None:
    other = Somebody()
    mine, others = new_owner(me), new_owner(other)
    assert mine != others
    assert not gone(mine)
    assert not gone(others)


def test_who_has_retired_or_was_forgotten_is_gone_although_the_process_is_there(me: Somebody) -> None:
    mine = new_owner(me)
    retire(mine)
    retire(mine)  # once more does no harm
    assert gone(mine)
    forgotten = new_owner(Somebody())
    assert gone(forgotten)


def test_another_process_is_gone_once_it_has_ended() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    theirs = process.stdout.readline().strip()
    assert not gone(theirs)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
    if Path("/proc/self/stat").exists():
        assert gone(theirs), "a zombie holds nothing"
    process.communicate()
    assert gone(theirs)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="tells when a process began")
def test_another_process_that_has_got_the_number_is_not_the_owner(me: Somebody) -> None:
    parent = with_part(with_part(new_owner(me), -3, str(os.getppid())), -2, owner._started(os.getppid()))
    assert not gone(parent)
    assert gone(with_part(parent, -2, "1"))
    assert gone(with_part(new_owner(me), -2, "1"))  # this very process has had a predecessor of the same number


def test_a_process_of_which_nobody_tells_when_it_began_is_there_while_its_number_is(me: Somebody) -> None:
    parent = with_part(with_part(new_owner(me), -3, str(os.getppid())), -2, "")
    assert not gone(parent)


def test_a_process_of_another_user_is_there(me: Somebody, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    parent = with_part(with_part(new_owner(me), -3, str(os.getppid())), -2, owner._started(os.getppid()))
    assert not gone(parent)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_of_an_owner_on_another_host_or_boot_or_in_another_container_nothing_is_known(me: Somebody, part: int) -> None:
    """The number of its process says nothing here."""
    ended = with_part(new_owner(me), -3, "999999999")
    assert gone(ended)
    if len(ended.split("/")) > part + 3:  # where the system tells of boots and containers
        assert not gone(with_part(ended, part, "elsewhere"))


@pytest.mark.parametrize("name", ["", "x", "a/b", "a/b/c/d/e/f/g", "////", "/1/2/3", "\ud800"])
def test_what_is_no_owners_name_is_nobody_known(name: str) -> None:
    assert not gone(name)


@pytest.mark.parametrize("process", ["", "-1", "one", "9" * 5000, "1.5", "²"])
def test_what_is_no_processs_number_is_nobody_known(me: Somebody, process: str) -> None:
    assert not gone(with_part(new_owner(me), -3, process))


def test_a_host_whose_name_has_a_slash_is_a_host_all_the_same(me: Somebody, monkeypatch: pytest.MonkeyPatch) -> None:
    owner._host.cache_clear()
    monkeypatch.setattr(platform, "node", lambda: "a/b")
    mine = new_owner(me)
    owner._host.cache_clear()
    assert mine.startswith("a_b/")
