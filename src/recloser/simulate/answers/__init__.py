"""One file a wire: a new one is found by lying here and offering `WIRE`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module

from recloser.simulate.wire import Wire


@cache
def wires() -> tuple[Wire, ...]:
    """Every wire of this folder, by file name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}").WIRE for name in names)


def wire_for(headers: Mapping[str, str], among: Sequence[Wire] | None = None) -> Wire:
    """Whose client this is, where a path does not tell; OpenAI's shape is what most others speak."""
    candidates = wires() if among is None else among
    claimed = (wire for wire in candidates if wire.claims(headers))
    usual = (wire for wire in candidates if wire.name == "openai-chat")
    return next(claimed, None) or next(usual, candidates[0])
