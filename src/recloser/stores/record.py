"""A circuit as one line of JSON, and back: what every store that leaves the process writes."""

import json
import math
from dataclasses import asdict
from typing import Any

from recloser.core.circuit_state import Circuit, CircuitState, Lease
from recloser.core.failure import FailureKind

_FORMAT = 2
_COUNTS = ("generation", "seq", "failures", "openings", "successes", "permits")


def dump(circuit: Circuit) -> str:
    """The circuit as JSON, without its window: that is one process's own.

    Infinity, which JSON lacks, is written as a word.
    """
    fields = {**asdict(circuit), "leases": [tuple(lease) for lease in circuit.leases]}
    del fields["window"]
    if circuit.open_until is not None and math.isinf(circuit.open_until):
        fields["open_until"] = "never"
    return json.dumps({"format": _FORMAT, **fields}, separators=(",", ":"))


def load(text: str) -> Circuit:
    """The circuit in a record; ValueError if it is none of ours."""
    try:
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != _FORMAT:
            raise ValueError("written by another version")
        if "window" in fields:
            raise ValueError("a window is one process's own")
        fields["state"] = CircuitState(fields["state"])
        fields["last_kind"] = None if fields["last_kind"] is None else FailureKind(fields["last_kind"])
        fields["leases"] = tuple(Lease(*lease) for lease in fields["leases"])
        if fields["open_until"] == "never":
            fields["open_until"] = math.inf
        circuit = Circuit(**fields)
        sound = _sound(circuit)
    except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a circuit: {error}") from error
    if not sound:
        raise ValueError("not a circuit that could have come about")
    return circuit


def _sound(circuit: Circuit) -> bool:
    """Whether the machine can go on from here: a record may have been written by anybody."""
    counts = [getattr(circuit, name) for name in _COUNTS] + [lease.number for lease in circuit.leases]
    times = [circuit.cooldown, *(time for lease in circuit.leases for time in lease[1:3])]
    known = (circuit.opened_at, circuit.closed_at, circuit.outage_began, circuit.failed_at, circuit.recovery)
    times += [time for time in known if time is not None]
    times += [circuit.open_until] if circuit.open_until not in (None, math.inf) else []
    flag: object = circuit.authoritative
    words: list[object] = [circuit.reason, *(lease.owner for lease in circuit.leases)]
    refusing = circuit.state in (CircuitState.OPEN, CircuitState.FORCED_OPEN)
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and all(type(time) in (int, float) and math.isfinite(time) for time in times)
        and all(isinstance(word, str) for word in words)
        and isinstance(flag, bool)
        and refusing == (circuit.open_until is not None)
        and (circuit.opened_at is not None or not (refusing or circuit.state is CircuitState.HALF_OPEN))
    )
