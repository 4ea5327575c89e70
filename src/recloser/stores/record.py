"""A circuit as one line of JSON, and back: what every store that leaves the process writes."""

import json
import math
from dataclasses import asdict
from typing import Any

from recloser.core.circuit import Circuit, CircuitState, Lease
from recloser.core.failure import FailureKind

_FORMAT = 1


def dump(circuit: Circuit) -> str:
    """The circuit as JSON. Infinity, which JSON lacks, is written as a word."""
    fields = {**asdict(circuit), "leases": [tuple(lease) for lease in circuit.leases]}
    if circuit.open_until is not None and math.isinf(circuit.open_until):
        fields["open_until"] = "never"
    return json.dumps({"format": _FORMAT, **fields}, separators=(",", ":"))


def load(text: str) -> Circuit:
    """The circuit in a record; ValueError if it is none of ours."""
    try:
        fields: dict[str, Any] = json.loads(text)
        if fields.pop("format") != _FORMAT:
            raise ValueError("written by another version")
        fields["state"] = CircuitState(fields["state"])
        fields["last_kind"] = None if fields["last_kind"] is None else FailureKind(fields["last_kind"])
        fields["leases"] = tuple(Lease(*lease) for lease in fields["leases"])
        if fields["open_until"] == "never":
            fields["open_until"] = math.inf
        return Circuit(**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a circuit: {error}") from error
