"""`recloser status`: how the targets and circuits stand, on one screen."""

import argparse
import dataclasses
import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from recloser.cli import exit_codes
from recloser.cli.asking import NotRunningError, StrangeAnswerError, ask
from recloser.cli.screen import Screen
from recloser.config import BadConfigError, Config, Problem
from recloser.config.listening import address
from recloser.config.load import find, load_nearby
from recloser.core.duration import format_duration
from recloser.observe.redact import redacted
from recloser.observe.status import circuit_facts
from recloser.observe.words import printable
from recloser.stores import check_url, open_store

Facts = Mapping[str, Any]
_STATES = {
    "closed": "failing",
    "open": "open",
    "half_open": "on trial",
    "forced_open": "open by hand",
    "disabled": "disabled by hand",
    "observe_only": "only observed",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = "Show how targets and circuits stand: of the running gateway, else as they were stored."
    parser.epilog = "example: recloser status --json | jq '.targets[] | select(.admissible | not)'"
    parser.add_argument("--json", action="store_true", help="write what /api/status says, and whether it runs")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration (default: found, see the docs)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the gateway was told to listen, if by --listen")


def run(given: argparse.Namespace) -> int:
    """Run the command."""
    try:
        config = _config(given)
        facts = _facts(config)
    except BadConfigError as error:
        print(error, file=sys.stderr)
        return exit_codes.CONFIG
    except StrangeAnswerError as error:
        print(error, file=sys.stderr)
        return exit_codes.FAILED
    if given.json:
        print(json.dumps(facts, indent=2))
    else:
        _Picture(Screen(), time.time()).draw(facts)
    return exit_codes.OK


def _config(given: argparse.Namespace) -> Config:
    path = find(given.config)
    config = load_nearby(path) if path else Config()
    listen = given.listen or config.gateway.listen
    try:
        address(listen)
    except ValueError as error:
        key = ("--listen",) if given.listen else ("gateway", "listen")
        raise BadConfigError(path, [Problem(key, str(error))]) from None
    return dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, listen=listen))


def _facts(config: Config) -> dict[str, Any]:
    """How everything stands: asked of the gateway, or found in the store it left."""
    gateway = {"running": True, "listen": config.gateway.listen}
    try:
        return {"gateway": gateway, **_asked(config)}
    except NotRunningError:
        return {"gateway": {**gateway, "running": False}, **_stored(config)}


def _asked(config: Config) -> dict[str, Any]:
    facts = ask(config, "/api/status")
    if not isinstance(facts, dict) or "circuits" not in facts:
        raise StrangeAnswerError(f"whoever listens on {config.gateway.listen} is no gateway")
    return facts


def _stored(config: Config) -> dict[str, Any]:
    """What the last gateway left in the store."""
    nothing = {"circuits": [], "targets": [], "routes": [], "agents": [], "hold": {"requests": 0}}
    kind, _, place = config.state.url.partition(":")
    store = {"url": config.state.url, "lost": False}
    if kind != "sqlite" or not (config.base / place).is_file():
        return {**nothing, "store": {**store, "empty": True}}
    try:
        check_url(config.state.url)
        kept = open_store(config.state.url, config.base)
        try:
            ahead = time.time() - kept.now()
            circuits = sorted(kept.load().items())
        finally:
            kept.close()
    except sqlite3.Error as error:
        return {**nothing, "store": {**store, "lost": True, "reason": str(error)}}
    told = [circuit_facts(name, circuit, lambda t: t + ahead, time.time()) for name, circuit in circuits]
    return {**nothing, "circuits": redacted(told), "store": store}


class _Picture:
    """The screen of one moment."""

    def __init__(self, screen: Screen, now: float) -> None:
        self._screen = screen
        self._now = now
        self._well = screen.sign("●", "*")
        self._shut = screen.sign("○", "o")

    def draw(self, facts: Facts) -> None:
        """All of it."""
        running = facts["gateway"]["running"]
        self._head(facts, running=running)
        if running:
            self._targets(facts["targets"], {circuit["name"]: circuit["kind"] for circuit in facts["circuits"]})
        self._circuits(
            [circuit for circuit in facts["circuits"] if circuit["state"] != "closed" or circuit["failures"]]
        )
        self._foot(facts, running=running)

    def _head(self, facts: Facts, *, running: bool) -> None:
        screen, listen = self._screen, facts["gateway"]["listen"]
        if running:
            screen.print(f"{screen.paint('recloser', 'bold')} runs on http://{listen}")
            return
        screen.print(f"{screen.paint('recloser is not running', 'bold', 'yellow')} on http://{listen}")
        screen.print("Start it with `recloser serve`. This is how the last one left its circuits:")

    def _targets(self, targets: list[Facts], kinds: Mapping[Any, str | None]) -> None:
        screen = self._screen
        screen.print()
        screen.print(screen.paint("TARGETS", "bold"))
        if not targets:
            screen.print("  none: no route leads anywhere")
        width = min(max((len(target["name"]) for target in targets), default=0), 40)
        for target in targets:
            name = screen.cut(f"{printable(target['name']):<{width}}", 30)
            if target["admissible"]:
                screen.print(f"  {screen.paint(self._well, 'green')} {name}  ready")
                continue
            why = f"{kinds.get(target.get('circuit')) or 'shut'}, {self._until(target)}"
            by = screen.cut(f" [{printable(str(target.get('circuit')))}]", 6 + len(name) + len(why))
            screen.print(f"  {screen.paint(self._shut, 'red')} {name}  {why}{screen.paint(by, 'dim')}")

    def _circuits(self, circuits: list[Facts]) -> None:
        screen = self._screen
        screen.print()
        screen.print(screen.paint("CIRCUITS THAT ARE NOT CLEAN", "bold"))
        if not circuits:
            screen.print("  none")
        width = min(max((len(circuit["name"]) for circuit in circuits), default=0), 44)
        for circuit in circuits:
            name = f"{printable(circuit['name']):<{width}}"
            word, colour = self._word(circuit)
            name = screen.cut(name, 34)
            screen.print(f"  {name}  {screen.paint(screen.cut(word, 4 + len(name)), colour)}")
            if circuit["reason"]:
                screen.print(f"    {screen.paint(screen.cut(printable(circuit['reason']), 4), 'dim')}")

    def _word(self, circuit: Facts) -> tuple[str, str]:
        """How a circuit stands, and in which colour."""
        word = _STATES.get(circuit["state"], str(circuit["state"]))
        if circuit["state"] == "closed":
            kind = f", {circuit['kind']}" if circuit["kind"] else ""
            return f"{circuit['failures']} failure{'s' * (circuit['failures'] > 1)} in a row{kind}", "yellow"
        if circuit["state"] in ("open", "forced_open"):
            return f"{word}, {self._until(circuit, clock=True)}", "red"
        return word, "yellow"

    def _until(self, facts: Facts, *, clock: bool = False) -> str:
        """When something reopens."""
        if facts["retry_at"] is None:
            return "until proven well" if facts.get("until_proven", True) else "tried by the next request"
        moment = datetime.fromisoformat(facts["retry_at"])
        wait = max(moment.timestamp() - self._now, 0.0)
        style = "%H:%M:%S" if wait < 600 else "%H:%M" if wait < 64800 else "%a %d %b %H:%M"
        shown = f" ({moment.astimezone().strftime(style)})" if clock else ""
        return f"reopens in {format_duration(wait)}{shown}"

    def _foot(self, facts: Facts, *, running: bool) -> None:
        screen, store = self._screen, facts["store"]
        screen.print()
        if running:
            held = facts["hold"]["requests"]
            screen.print(f"Held requests  {screen.paint(str(held), 'yellow') if held else 'none'}")
            if "spend" in facts:  # not where a gateway of another version runs
                today, month = (facts["spend"][per]["usd"] for per in ("day", "month"))
                screen.print(f"Spent          {today:.2f} USD today, {month:.2f} this month (UTC)")
        said = store["url"]
        if store.get("lost"):
            said += " " + screen.paint(f"cannot be used {store.get('reason', '')}".rstrip(), "red")
        elif store.get("empty"):
            said += " (nothing is stored there)"
        screen.print(f"Store          {said}")
