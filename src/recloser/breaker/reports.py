"""Says once what a stranger's code did wrong: a listener, a classifier, a clock."""

_reported: set[int] = set()
_MOST = 1000


def report_once(culprit: object, role: str, error: Exception) -> None:
    """Log what the culprit raised, the first time. Nothing changes by it."""
    if id(culprit) in _reported or len(_reported) > _MOST:
        return
    _reported.add(id(culprit))
    import logging  # noqa: PLC0415 - a third of the library's import time, and hardly ever needed

    message = "the %s %r raised; it is passed over, and this is reported once"
    logging.getLogger("recloser").error(message, role, culprit, exc_info=error)
