"""One cell of the table, in a process of its own: `python -m benchmarks.compare.cell LIBRARY ROW` writes it as JSON."""

import json
import logging
import os
import sys

from benchmarks.compare import clock

clock.install()  # before any library is imported

from benchmarks.compare.library import load  # noqa: E402 -- after the clocks
from benchmarks.compare.rows import ROWS  # noqa: E402


def main() -> None:
    """Ask one question of one library."""
    name, row = sys.argv[1:]
    logging.disable()  # a library may report the errors that a scene is made of
    told = ROWS[row].ask(load(name))
    print(json.dumps({way: (cell.text, cell.good) for way, cell in told.items()}), flush=True)
    os._exit(0)  # calls may still be held, some of them for ever


if __name__ == "__main__":
    main()
