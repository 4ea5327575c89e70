"""The rows: a file a group. A new row is one decorated function in one of them."""

from benchmarks.compare.row import ALL, Row
from benchmarks.compare.rows import (
    half_open,
    several_processes,
    the_package,
    threads,
    ways_to_call,
    what_counts,
    while_open,
)

GROUPS = (what_counts, while_open, half_open, ways_to_call, threads, several_processes, the_package)
"""From top to bottom; in a file the rows stand as they are written."""

ROWS: dict[str, Row] = {row.key: row for group in GROUPS for row in ALL if row.module == group.__name__}
