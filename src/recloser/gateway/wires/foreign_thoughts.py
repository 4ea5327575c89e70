"""Thoughts of another model in a request that is about to pass as it is.

A client keeps what a model thought and gives it back. If the model was reached on another wire, the thought is sealed
(`phrasing.sealed`): its own provider is told it again, and every other one would refuse the request for it. So it is
taken out, and with it nothing else: a request without any is not even decoded.

A thought of another vendor's model on the same wire is not known from outside. Who cannot read it says so, and is asked
again without any.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from recloser.gateway.wires.wire import UNREADABLE

_Object = dict[str, Any]
_SEAL = "recloser."
_SEAL_IN_BASE64 = "cmVjbG9zZXIu"
_DROPPED = ("messages.thinking",)

_decode = msgspec.json.Decoder(_Object).decode


def without_foreign_thoughts(body: bytes, wire: str) -> tuple[bytes, tuple[str, ...]]:
    """The body without them, and the names of what was left out."""
    mark, clean = _WIRES.get(wire, (b"", None))
    if clean is None or mark not in body:
        return body, ()
    try:
        request = _decode(body)
        if not clean(request):
            return body, ()
        if _cannot_think_on(request):
            _stop_thinking(request)
            return msgspec.json.encode(request), (*_DROPPED, "thinking")
        return msgspec.json.encode(request), _DROPPED
    except UNREADABLE:
        return body, ()  # whoever is asked will say what is wrong with it


_COMPLAINTS = ("signature", "encrypted_content", "encrypted content", "thinking block", "redacted_thinking")


def complains_of_thoughts(message: str) -> bool:
    """Whether a provider says that it cannot read a thought: a signature that is not its own, most of the time."""
    lowered = message.lower()
    return any(complaint in lowered for complaint in _COMPLAINTS)


def without_thoughts(body: bytes, wire: str) -> bytes | None:
    """The body without any thoughts of old; None if nothing in it has to do with them.

    A turn without a thought may be what was complained of: it came from a model of another wire, which shows none.
    """
    clean = _ALL.get(wire)
    try:
        request = _decode(body)
        found = clean is not None and clean(request)
        stops = wire == "anthropic" and _cannot_think_on(request)
    except UNREADABLE:
        return None
    if stops:
        _stop_thinking(request)
    return msgspec.json.encode(request) if found or stops else None


def _clean_anthropic(request: _Object) -> bool:
    return _clean_turns(request, "messages", "content", _is_sealed_block)


def _cannot_think_on(request: _Object) -> bool:
    """Whether an Anthropic model that thinks by a budget is in the middle of a turn that begins without a thought now.

    It would refuse to: a turn with calls of tools in it is begun with a thought or goes on without any.
    """
    thinking = request.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return False
    latest = _objects(request.get("messages"))[-2:]
    spoken = [_objects(message.get("content")) for message in latest if message.get("role") == "assistant"]
    if not spoken:
        return False
    begins = next((block.get("type") for block in spoken[-1]), "")
    answered = any(block.get("type") == "tool_result" for block in _objects(latest[-1].get("content")))
    return (answered or latest[-1].get("role") == "assistant") and begins not in ("thinking", "redacted_thinking")


def _stop_thinking(request: _Object) -> None:
    """Let it go on without thinking; and without what is of use to a model that thinks alone, which is refused else."""
    del request["thinking"]
    management = request.get("context_management")
    if isinstance(management, dict) and isinstance(management.get("edits"), list):
        kept = [edit for edit in management["edits"] if not _clears_thoughts(edit)]
        if kept:
            management["edits"] = kept
        else:
            del request["context_management"]


def _clears_thoughts(edit: Any) -> bool:
    return isinstance(edit, dict) and str(edit.get("type", "")).startswith("clear_thinking")


def _clean_gemini(request: _Object, seal: str = _SEAL_IN_BASE64) -> bool:
    """A call keeps its place without its signature; the provider takes a word for one (`NO_SIGNATURE`)."""
    found = False
    for content in _objects(request.get("contents")):
        for part in _objects(content.get("parts")):
            for name in ("thoughtSignature", "thought_signature"):
                if part.get(name, _NO_SIGNATURE) != _NO_SIGNATURE and str(part[name]).startswith(seal):
                    found = True
                    del part[name]
                    part["thoughtSignature" if part.get("functionCall") else "foreign"] = _NO_SIGNATURE
    return (
        _clean_turns(request, "contents", "parts", lambda part: part.pop("foreign", "") and _is_thought(part)) | found
    )


_NO_SIGNATURE = "skip_thought_signature_validator"


def _is_thought(part: _Object) -> bool:
    return bool(part.get("thought")) or not any(value for name, value in part.items() if name != "thought")


def _clean_responses(request: _Object, foreign: Callable[[_Object], bool] | None = None) -> bool:
    items = request.get("input")
    if not isinstance(items, list):
        return False
    is_foreign = foreign or (lambda item: _is_sealed(item.get("encrypted_content")))
    kept = [item for item in items if not (isinstance(item, dict) and is_foreign(item))]
    if len(kept) == len(items):
        return False
    request["input"] = kept
    return True


def _clean_turns(request: _Object, turns: str, parts: str, foreign: Callable[[_Object], Any]) -> bool:
    """Take foreign parts out of the turns, and turns that are empty without them."""
    found = False
    kept = []
    for turn in request[turns] if isinstance(request.get(turns), list) else ():
        given = turn.get(parts) if isinstance(turn, dict) else None
        if isinstance(given, list):
            own = [part for part in given if not (isinstance(part, dict) and foreign(part))]
            if len(own) < len(given):
                found = True
                turn[parts] = own
                if not own:
                    continue
        kept.append(turn)
    if found:
        request[turns] = kept
    return found


def _is_sealed_block(block: _Object) -> bool:
    match block.get("type"):
        case "thinking":
            return _is_sealed(block.get("signature"))
        case "redacted_thinking":
            return _is_sealed(block.get("data"))
    return False


def _is_sealed(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_SEAL)


def _objects(value: Any) -> list[_Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


_WIRES: dict[str, tuple[bytes, Callable[[_Object], bool] | None]] = {
    "anthropic": (f'"{_SEAL}'.encode(), _clean_anthropic),
    "openai-responses": (f'"{_SEAL}'.encode(), _clean_responses),
    "gemini": (f'"{_SEAL_IN_BASE64}'.encode(), _clean_gemini),
}
_ALL: dict[str, Callable[[_Object], bool]] = {
    "anthropic": lambda request: _clean_turns(
        request, "messages", "content", lambda block: block.get("type") in ("thinking", "redacted_thinking")
    ),
    "openai-responses": lambda request: _clean_responses(request, lambda item: item.get("type") == "reasoning"),
    "gemini": lambda request: _clean_gemini(request, seal=""),
}
