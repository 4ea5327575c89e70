"""Says once what a stranger's code did wrong: a listener, a classifier, a clock."""

import weakref

_reported: dict[int, object] = {}
"""By the culprit's id, with what sees to it that nobody else comes to have that id meanwhile."""
_MOST = 1000


def report_once(culprit: object, role: str, error: Exception) -> None:
    """Log what the culprit raised, the first time. Nothing changes by it."""
    mine = _remembered(culprit)
    if len(_reported) > _MOST or _reported.setdefault(id(culprit), mine) is not mine:
        return
    import logging  # noqa: PLC0415 - a third of the library's import time, and hardly ever needed

    message = "the %s %r raised; it is passed over, and this is reported once"
    logging.getLogger("recloser").error(message, role, culprit, exc_info=error)


def _remembered(culprit: object) -> object:
    """The culprit, forgotten with its end where that can be known; else kept."""
    key = id(culprit)
    try:
        return weakref.ref(culprit, lambda _: _reported.pop(key, None))
    except TypeError:
        return (culprit,)
