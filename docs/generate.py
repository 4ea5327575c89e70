"""Writes into the documentation what the code knows best: tables, diagrams, help pages.

    python docs/generate.py            rewrites every block `<!-- generated: NAME -->` ... `<!-- end -->`
    python docs/generate.py --check    writes nothing; exits 1 and names every block that is stale, unknown or missing

To document something new, write a function that returns Markdown and give it a name in `blocks()`.
"""

import argparse
import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import itertools
import os
import pkgutil
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, get_args, get_type_hints

import recloser
from recloser import cli
from recloser.breaker import Breakers
from recloser.config.model import Config
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import TRANSITIONS
from recloser.core.classify import ROWS, Row
from recloser.core.events import CircuitOpened, Event
from recloser.core.failure import Effect, FailureKind, Scope
from recloser.core.units import Secret, Unit
from recloser.gateway import asks
from recloser.gateway.conditions import condition_kinds
from recloser.gateway.events import AttemptFailed, GuardTripped, RequestFinished
from recloser.gateway.guards import guard_kinds
from recloser.gateway.guards.spend import SpendLimit
from recloser.gateway.metering import Used
from recloser.gateway.providers import provider_kinds
from recloser.gateway.wires import WIRES
from recloser.observe.hub import Stamped
from recloser.observe.metrics import Metrics
from recloser.simulate import faults

DOCS = Path(__file__).resolve().parent
PROJECT = DOCS.parent
HELP_COLUMNS = "96"
LONGEST_SIGN = 120
"""Of a line of a keep-alive that is shown; Responses tells a whole response each time."""
STALE = "is stale"
_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z0-9_ ]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)


class Stale(NamedTuple):
    """A block that is not as it should be."""

    file: str
    block: str
    why: str


def main() -> int:
    """Regenerate, or check."""
    parser = argparse.ArgumentParser(description="Regenerate what the documentation takes from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something is stale")
    check = parser.parse_args().check
    stale = regenerate(write=not check)
    for file, block, why in stale:
        print(f"{file}: block '{block}' {why}")
    if check and stale:
        print("run: make docs")
    # what is stale has just been rewritten; what is unknown or missing needs a person
    return int(any(check or entry.why != STALE for entry in stale))


def regenerate(*, write: bool) -> list[Stale]:
    """Bring every block up to date; give what was not."""
    known = {name: make().strip() + "\n" for name, make in blocks().items()}
    seen: set[str] = set()
    stale: list[Stale] = []
    for page in pages():
        text = page.read_text("utf-8")
        name = str(page.relative_to(PROJECT))

        def renewed(match: re.Match[str], name: str = name) -> str:
            block = match["name"]
            seen.add(block)
            if block not in known:
                stale.append(Stale(name, block, "is not known to docs/generate.py"))
                return match[0]
            if match["body"] != known[block]:
                stale.append(Stale(name, block, STALE))
            return f"{match[1]}{known[block]}{match[4]}"

        fresh = _BLOCK.sub(renewed, text)
        if write and fresh != text:
            page.write_text(fresh, "utf-8")
    return stale + [Stale("docs", block, "is on no page") for block in known if block not in seen]


def pages() -> list[Path]:
    """Every page that may hold blocks."""
    return [*sorted(DOCS.glob("*.md")), PROJECT / "CONTRIBUTING.md"]


def blocks() -> Mapping[str, Callable[[], str]]:
    """Every block by name. Each has to be on some page: what is new in the code cannot stay undocumented."""
    return {
        "rooms": rooms,
        "rooms diagram": rooms_diagram,
        "asks": partial(conversation, asks.Ask, "Ask"),
        "answers": partial(conversation, asks.Reading, "Answer"),
        "wires": wires,
        "circuit states": partial(transitions, by_hand=False),
        "circuit states by hand": partial(transitions, by_hand=True),
        "failures": failures,
        "recognised": recognised,
        "events": events,
        "metrics": metrics,
        "modes": modes,
        "providers": providers,
        "conditions": conditions,
        "spend limit": partial(settings, SpendLimit),
        **{f"guard {name}": partial(settings, kind.Settings) for name, kind in guards().items()},
        **{f"settings {section}": partial(settings, cls) for section, cls in sections().items()},
        **{f"help {command}": partial(help_page, command) for command in commands()},
    }


# The house ---------------------------------------------------------------------------------------------------------


def layers() -> list[list[str]]:
    """The rooms from top to bottom; those of one layer know nothing of each other."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
    found = next(c["layers"] for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in found]


def rooms() -> str:
    names = [name for layer in layers() for name in layer]
    return table(("Room", "What it is for"), ((f"`{name}`", _summary_of_module(name)) for name in names))


def rooms_diagram() -> str:
    house = layers()
    lines = [f"    {' & '.join(above)} --> {' & '.join(below)}" for above, below in itertools.pairwise(house)]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def _summary_of_module(name: str) -> str:
    module = importlib.import_module(f"recloser.{name}")
    return summary(inspect.getdoc(module) or "")


def conversation(union: Any, title: str) -> str:
    rows = ((f"`{one.__name__}({', '.join(one._fields)})`", inspect.getdoc(one) or "") for one in get_args(union))
    return table((title, "What it means"), rows)


def wires() -> str:
    rows = []
    for wire in WIRES.values():
        keepalive = wire.hold("1", "m", 0).keepalive().decode().split("\n")
        shown = [line for line in keepalive if 0 < len(line) <= LONGEST_SIGN]
        rows.append((f"`{wire.name}`", f"`POST {wire.path}`", f"`{wire.upstream_path}`", _code(shown)))
    return table(("Wire", "Clients ask", "Asked of the provider, after its base URL", "Keep-alive"), rows)


# Circuits and failures ---------------------------------------------------------------------------------------------


def transitions(*, by_hand: bool) -> str:
    lines = []
    for (before, after), why in TRANSITIONS.items():
        causes = [cause for cause in why.split(", or ") if cause.endswith("by hand") is by_hand]
        if causes:
            lines.append(f"    {before} --> {after}: {', or '.join(causes)}")
    start = [] if by_hand else ["    [*] --> closed"]
    return "\n".join(["```mermaid", "stateDiagram-v2", *start, *lines, "```"])


def failures() -> str:
    order = list(FailureKind)
    rows = sorted(ROWS, key=lambda row: order.index(row.kind))
    return table(
        ("Seen", "Kind", "Charged to", "Then"),
        ((row.seen, f"`{row.kind}`", _charge(row), str(row.then)) for row in rows),
    )


def _charge(row: Row) -> str:
    if row.scope is Scope.NOBODY:
        return "nobody"
    if row.effect is not Effect.OPENS:
        return f"{row.scope}: {row.effect}"
    if row.until_proven:
        return f"{row.scope}: opens until proven"
    return f"{row.scope}: opens for {row.opens_for:g} s" if row.opens_for else f"{row.scope}: opens"


def recognised() -> str:
    rows = (
        (
            f"`{row.kind}`",
            _ranges(row.statuses),
            _code(sorted(row.types)),
            _ranges(row.words_need) if row.words else "",
            _code(sorted(row.general_types)),
        )
        for row in ROWS
        if row.statuses or row.types or row.general_types or row.words
    )
    return table(("Kind", "Statuses", "Distinctive types", "Words decide under", "General types"), rows)


def _ranges(numbers: Iterable[int]) -> str:
    """`400, 405-407`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


# What is told ------------------------------------------------------------------------------------------------------


def events() -> str:
    base = {field.name for field in dataclasses.fields(Event)}
    told = []
    for event in _event_classes():
        hints = get_type_hints(event)
        own = [field.name for field in dataclasses.fields(event) if field.name not in base]
        rows = [(f"`{name}`", _type(hints[name])) for name in own]
        told.append(f"### `{event.kind}`\n\n{inspect.getdoc(event)}\n")
        told.append(table(("Field", "Type"), rows) if rows else "It has no fields of its own.\n")
    return "\n".join(told)


def _event_classes() -> Iterator[type[Event]]:
    """Every event, in the order in which the files named `events.py` define them."""
    for module in sorted(module.name for module in pkgutil.walk_packages(recloser.__path__, "recloser.")):
        if module.endswith(".events") and not module.startswith("recloser.cli."):
            for one in vars(importlib.import_module(module)).values():
                if isinstance(one, type) and issubclass(one, Event) and one.__module__ == module and one is not Event:
                    yield one


def metrics() -> str:
    breakers = Breakers()
    assert breakers["model/anthropic/claude"].denial() is None
    counted = Metrics(breakers)
    for event in _one_of_each():
        counted(Stamped(0.0, event))
    rows = []
    for family in counted.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [label for label in family.samples[0].labels if label != "le"]
        rows.append((f"`{name}`", family.type, _code(labels), family.documentation))
    return table(("Metric", "Type", "Labels", "What it is"), sorted(rows))


def _one_of_each() -> Iterator[Event]:
    """Events that make every metric show its labels."""
    yield CircuitOpened(
        subject="", seq=1, failure="timeout", failures=5, rule="consecutive_failures", retry_after=5.0,
        authoritative=False, reason="",
    )  # fmt: skip
    yield AttemptFailed(
        subject="", seq=1, target="a/b", failure="timeout", status=None, circuit=None, message="", retry_after=None,
        duration=1.0,
    )  # fmt: skip
    yield RequestFinished(
        subject="", seq=2, wire="anthropic", model="", stream=True, target="a/b", status=200, outcome="ok", attempts=1,
        held=0.0, first_token=1.0, duration=1.0, breaks=1,
        used=(Used("a/b", "a", "b", 1, 1, 1, 1, cost_usd=1.0, estimated=False),),
    )  # fmt: skip
    yield GuardTripped(subject="", seq=1, guard="spend", action="warn", message="", client="", agent="")


# Configuration -----------------------------------------------------------------------------------------------------


def sections() -> Mapping[str, Any]:
    """The settings of every section of recloser.toml; profiles have those of routes."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(Config).items():
        cls = get_args(hint)[-1] if get_args(hint) else hint
        if dataclasses.is_dataclass(cls) and cls not in found.values():
            found[name] = cls
    return found


def guards() -> Mapping[str, Any]:
    """The guards of the house; spend limits have a page of their own."""
    kinds = guard_kinds().found
    return {name: kind for name, kind in kinds.items() if kind.__module__.startswith("recloser.") and name != "spend"}


def settings(cls: type[Any]) -> str:
    hints = get_type_hints(cls, include_extras=True)
    said = attribute_docs(cls)
    rows = (
        (f"`{field.name}`", _default(field, hints[field.name]), _unit(hints[field.name]), said.get(field.name, ""))
        for field in dataclasses.fields(cls)
    )
    return table(("Key", "Default", "Value", "What it does"), rows)


def attribute_docs(cls: type[Any]) -> Mapping[str, str]:
    """The string that stands below each field of a class."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    said = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            said[field.target.id] = inspect.cleandoc(str(below.value.value))
    return said


def _default(field: "dataclasses.Field[Any]", hint: Any) -> str:
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
        return "required"
    value = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    if isinstance(value, CircuitSettings):
        return "as `[circuit]`"
    if value is None:
        return "none"
    return f"`{_toml(value, hint)}`"


def _toml(value: Any, hint: Any) -> str:
    """A default as one would write it in the file."""
    if Unit.SECONDS in get_args(hint):
        size, unit = next(((s, u) for s, u in ((3600, "h"), (60, "m")) if value >= 2 * s and value % s == 0), (1, "s"))
        return f'"{value / size:g}{unit}"'
    if Unit.BYTES in get_args(hint):
        return f'"{value // 2**20}MiB"' if value % 2**20 == 0 else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{}"
    return f"[{', '.join(_toml(item, type(item)) for item in value)}]" if isinstance(value, tuple) else str(value)


def _unit(hint: Any) -> str:
    for unit, name in ((Unit.SECONDS, "duration"), (Unit.BYTES, "size")):
        if unit in get_args(hint):
            return name
    return _type(hint).removesuffix(", or none")  # the default says so


_TYPE_NAMES: Mapping[Any, str] = {
    str: "string", int: "number", float: "number", bool: "true or false", Secret: "secret", CircuitSettings: "table",
    Used: "table",
}  # fmt: skip


def _type(hint: Any) -> str:
    if hint in _TYPE_NAMES:
        return _TYPE_NAMES[hint]
    if dataclasses.is_dataclass(hint):
        return "table"
    args = [arg for arg in get_args(hint) if arg is not Ellipsis]
    origin = getattr(hint, "__origin__", None)
    if origin is tuple:
        kinds = get_args(args[0]) if isinstance(args[0], UnionType) else (args[0],)
        return f"list of {' or '.join(f'{_type(kind)}s' for kind in kinds)}"
    if origin is not None and _is_mapping(origin):
        return "table of strings" if str in (args[1], *get_args(args[1])) else "table"
    if args and all(isinstance(arg, str) for arg in args):
        return " or ".join(f'`"{arg}"`' for arg in args)
    if type(None) in args:
        return f"{_type(next(arg for arg in args if arg is not type(None)))}, or none"
    if isinstance(hint, UnionType):
        return " or ".join(_type(arg) for arg in args)
    raise TypeError(f"say in docs/generate.py how {hint} reads")


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def conditions() -> str:
    """Each by its module's first line: an example, a colon, and what it asks."""
    said = {name: inspect.getdoc(inspect.getmodule(kind)) or "" for name, kind in condition_kinds().found.items()}
    rows = (summary(text).partition(": ") for _, text in sorted(said.items()))
    return table(("In `when`", "Holds"), ((example, what) for example, _, what in rows))


def providers() -> str:
    rows = (
        (
            f"`{name}`",
            kind.title,
            f"`{kind.key_env}`" if kind.key_env else "",
            "<br>".join(f"`{wire}`: `{url}`" for wire, url in kind.wires.items()),
            _code(kind.models),
            _code(tuple(name for name, option in kind.options.items() if option.needed)),
        )
        for name, kind in provider_kinds().items()
    )
    return table(("Kind", "Who", "Usual key variable", "Wires and base URLs", "Own models", "Options it needs"), rows)


# Commands ----------------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every command: a file of cli/ that says what it takes."""
    names = [module.name for module in pkgutil.iter_modules(cli.__path__)]
    return [name for name in names if hasattr(importlib.import_module(f"recloser.cli.{name}"), "arguments")]


def help_page(command: str) -> str:
    os.environ |= {"COLUMNS": HELP_COLUMNS, "NO_COLOR": "1"}  # argparse lays its pages out by these
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        cli.main([command, "--help"])
    lines = (line.rstrip() for line in shown.getvalue().strip().splitlines())
    return "\n".join(["```text", *lines, "```"])


def modes() -> str:
    return table(("Mode", "What happens"), ((f"`{usage}`", said) for usage, said in faults.describe()))


# Markdown ----------------------------------------------------------------------------------------------------------


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def summary(docstring: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(docstring.partition("\n\n")[0].split())


if __name__ == "__main__":
    sys.exit(main())
