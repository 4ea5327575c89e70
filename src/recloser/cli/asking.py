"""Asking the gateway that runs beside a command."""

import http.client
import json
from typing import Any

from recloser.config import Config
from recloser.config.listening import address

_PATIENCE = 5.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on everywhere answers here too


class NotRunningError(Exception):
    """Nobody listens there."""


class StrangeAnswerError(Exception):
    """Somebody answered, but not with what was asked for."""


def ask(config: Config, path: str) -> Any:
    """What the gateway of this configuration answers to GET `path`."""
    host, port = address(config.gateway.listen)
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=_PATIENCE)
    shown = f"[{host}]" if ":" in host else host
    headers = {"host": f"{shown}:{port}"}  # what it listens on, it also answers to
    key = next((key.reveal() for key in config.gateway.keys if key.reveal()), None)
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except TimeoutError:
        raise StrangeAnswerError(f"whoever listens on {config.gateway.listen} does not answer") from None
    except http.client.HTTPException:
        raise StrangeAnswerError(f"whoever listens on {config.gateway.listen} is no gateway") from None
    except OSError as error:
        raise NotRunningError(error.strerror or str(error)) from None
    finally:
        connection.close()
    return _understood(answer.status, body, config, has_key=key is not None)


def _understood(status: int, body: bytes, config: Config, *, has_key: bool) -> Any:
    if status == 401:
        references = ", ".join(key.reference for key in config.gateway.keys)
        missing = f"; none of {references} can be had here" if references and not has_key else ""
        raise StrangeAnswerError(f"the gateway on {config.gateway.listen} wants another key than this one{missing}")
    try:
        return json.loads(body) if status == 200 else _refuse(f"answered with status {status}", config)
    except (ValueError, RecursionError):
        return _refuse("is no gateway", config)


def _refuse(what: str, config: Config) -> Any:
    raise StrangeAnswerError(f"whoever listens on {config.gateway.listen} {what}")
