"""One of several processes on one store: `python -m benchmarks.compare.store_worker LIBRARY URL LEASE`.

It takes orders on standard input, a line each, and answers each with a line of JSON: `fail N` (calls that raise), `hold
N` (callers that are held upstream: how many got there), `call` (one good call: what came of it).
"""

import json
import logging
import os
import sys

from benchmarks.compare.calls import Calls, TaskCalls, ThreadCalls
from benchmarks.compare.library import Settings, UpstreamError, load

COOLDOWN = 1.0


def main() -> None:
    """Obey until standard input ends."""
    name, url, lease = sys.argv[1:]
    logging.disable()
    library = load(name)
    way = library.shared(Settings(cooldown=COOLDOWN, lease=float(lease)), url)
    calls = (TaskCalls if library.shared_is_async else ThreadCalls)(library, None, way)
    print(json.dumps("ready"), flush=True)
    for order in sys.stdin:
        verb, _, count = order.strip().partition(" ")
        print(json.dumps(_obeyed(calls, verb, int(count or 1))), flush=True)
    os._exit(0)


def _obeyed(calls: Calls, verb: str, count: int) -> int | str:
    if verb == "hold":
        return sum(call.reached for call in calls.begin(count))
    if verb == "fail":
        return sum(_reached(calls, UpstreamError()) != "refused" for _ in range(count))
    return _reached(calls, None)


def _reached(calls: Calls, error: Exception | None) -> str:
    """What comes of one call: `answered`, `refused`, or the name of an error that is nobody's but the store's."""
    call = calls.one()
    if call.reached:
        call.end(error)
    if call.raised is None:
        return "answered"
    if isinstance(call.raised, calls.library.refusal):
        return "refused"
    return "failed" if isinstance(call.raised, UpstreamError) else type(call.raised).__name__


if __name__ == "__main__":
    main()
