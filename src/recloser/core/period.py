"""Days and months in UTC, which limits are set for."""

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Per = Literal["day", "month"]
EVERY: tuple[Per, ...] = get_args(Per)


def period(per: Per, wall: float) -> str:
    """The day or month of a Unix time: `2026-11-20`, `2026-11`."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d" if per == "day" else "%Y-%m")


def ends(per: Per, wall: float) -> float:
    """When the day or month of a Unix time is over, as Unix time."""
    day = datetime.fromtimestamp(wall, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if per == "day":
        return (day + timedelta(days=1)).timestamp()
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1).timestamp()
