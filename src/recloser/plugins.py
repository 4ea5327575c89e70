"""Finds what a folder of the house offers, and what installed packages offer beside it.

A folder (`guards/`, `repairs/`, ...) offers one thing a file, under the file's name: the module's `offer`. An installed
package offers another by an entry point of the group `recloser.FOLDER`, in its pyproject.toml:

    [project.entry-points."recloser.guards"]
    my_guard = "my_package:MyGuard"

What cannot be loaded, or is not what the folder holds, is told and skipped: a plug-in must not keep a gateway from
starting.
"""

import pkgutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offered(Generic[T]):
    """What there is, by name, and what could not be had, with the reason."""

    found: Mapping[str, T]
    broken: Mapping[str, str]


def offered(folder: str, wanted: Callable[[object], bool]) -> Offered[T]:
    """Everything of one sort: of the modules in the package `folder`, and of the entry points of the same name.

    `wanted` tells whether an object is of that sort. A plug-in cannot take the place of what is in the house.
    """
    found: dict[str, T] = {}
    package = import_module(folder)
    for module in pkgutil.iter_modules(package.__path__):
        offer = getattr(import_module(f"{folder}.{module.name}"), "offer", None)
        if offer is not None:
            found[module.name] = offer
    others: Offered[T] = installed(folder.rpartition(".")[2], wanted, taken=found)
    return Offered({**found, **others.found}, others.broken)


def installed(sort: str, wanted: Callable[[object], bool], *, taken: Collection[str]) -> Offered[T]:
    """What installed packages offer of one sort, by the entry points of the group `recloser.SORT`."""
    found: dict[str, T] = {}
    broken: dict[str, str] = {}
    for entry in entry_points(group=f"recloser.{sort}"):
        try:
            plugin = entry.load()
            if entry.name in taken or entry.name in found:
                broken[entry.name] = f"{entry.value}: the name is taken"
            elif wanted(plugin):
                found[entry.name] = plugin
            else:
                broken[entry.name] = f"{entry.value}: is no {sort.rstrip('s')}"
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything when it is loaded
            broken[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"
    return Offered(found, broken)
