"""Gemini: the answers, streams and errors of `generateContent` and `streamGenerateContent`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from recloser.simulate.faults import written
from recloser.simulate.wire import (
    ERROR_MESSAGES,
    Address,
    Ask,
    BadAskError,
    End,
    Grounds,
    Kind,
    Part,
    Refusal,
    Reply,
    Seal,
    Tool,
    Turn,
    merged,
    objects,
    only,
    to_json,
)

_Object = dict[str, Any]

_MODELS = "/{version:v1|v1alpha|v1beta}/models"
_METHOD = re.compile(r"/v1(?:alpha|beta)?/models/(.+):(\w+)")
_FINISH_REASONS = {
    End.STOP: "STOP",
    End.TOOL: "STOP",
    End.LENGTH: "MAX_TOKENS",
    End.REFUSAL: "SAFETY",
}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_BILLING = "This API method requires billing to be enabled. Please enable billing on your project and retry."
_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "head to: https://ai.google.dev/gemini-api/docs/rate-limits."
)
_OVERLOADED = "The model is overloaded. Please try again later."
# Each reason with its status and its message.
_REFUSALS = {
    "400": (400, "Request contains an invalid argument."),
    "401": (401, "Request had invalid authentication credentials. Expected OAuth 2 access token or API key."),
    "402": (402, "Precondition check failed."),
    "403": (403, "The caller does not have permission"),
    "404": (404, "models/{model} is not found for API version v1beta, or is not supported for generateContent."),
    "413": (413, "Request payload size exceeds the limit: 20971520 bytes."),
    "429": (429, "Resource has been exhausted (e.g. check quota)."),
    "500": (500, "An internal error has occurred. Please retry or report in https://developers.generativeai.google"),
    "503": (503, "The service is currently unavailable."),
    "504": (504, "Deadline expired before operation could complete."),
    "529": (529, _OVERLOADED),
    "quota": (429, _QUOTA),
    "insufficient_quota": (429, _QUOTA),
    "credit": (403, _BILLING),
    "too_long": (
        400,
        "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
    ),
    "overloaded503": (503, _OVERLOADED),
    "oom": (500, "CUDA out of memory. Tried to allocate 2.00 GiB."),
    "loading": (503, "Loading model"),
    "unknown_path": (404, "Requested entity was not found."),
}
_ERROR_STATUSES = {
    "overloaded_error": (503, "UNAVAILABLE"),
    "rate_limit_error": (429, "RESOURCE_EXHAUSTED"),
    "authentication_error": (401, "UNAUTHENTICATED"),
    "invalid_request_error": (400, "INVALID_ARGUMENT"),
    "": (500, "INTERNAL"),
}
_TAKEN_UNSIGNED = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})


class Gemini:
    """The wire of Google's API."""

    name = "gemini"
    paths = (_MODELS + "/{model:.+}:generateContent", _MODELS + "/{model:.+}:streamGenerateContent")
    counting_paths = (_MODELS + "/{model:.+}:countTokens",)
    listing_paths = ("/v1beta/models",)

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Only its clients send their key so."""
        return "x-goog-api-key" in headers

    def headers(self, request_id: str) -> Mapping[str, str]:  # noqa: ARG002 (it has none)
        """What real answers carry."""
        return {"server": "scaffolding on HTTPServer2"}

    def read(self, address: Address, body: Mapping[str, Any], size: int) -> Ask:
        """Understand a request; the address says for which model, and how it is to be answered."""
        found = _METHOD.fullmatch(address.path)
        contents = body.get("contents")
        if found is None or not isinstance(contents, list) or not contents:
            raise BadAskError("* GenerateContentRequest.contents: contents is not specified", "contents")
        if not all(isinstance(content, dict) for content in contents):
            raise BadAskError("Invalid value at 'contents' (type.googleapis.com/Content)", "contents")
        streamed = found[2] == "streamGenerateContent"
        config = _field(_field(body, "toolConfig"), "functionCallingConfig")
        names = config.get("allowedFunctionNames")
        return Ask(
            model=found[1],
            stream=streamed,
            array=streamed and address.query.get("alt") != "sse",
            turns=merged(_turn(content) for content in contents),
            tools=() if config.get("mode") == "NONE" else only(_tools(body), names[0] if names else None),
            forced=config.get("mode") == "ANY",
            seals=tuple(_seals(contents)),
            input_tokens=max(1, size // 4),
        )

    def answer(self, ask: Ask, reply: Reply) -> Any:
        """A whole answer; what follows upon itself is one part of it."""
        parts = []
        if reply.thought is not None:
            parts.append({"text": reply.thought.text, "thought": True})
        if reply.pieces:
            parts.append({"text": reply.text} | ({} if reply.tool else _signature(reply)))
        return _chunk(ask, reply, parts + _call(reply), ended=True)

    def events(self, ask: Ask, reply: Reply) -> Iterator[Part]:
        """The answer chunk by chunk: a call in one, and at last why it ends."""
        thoughts = reply.thought.pieces if reply.thought is not None else ()
        pieces: list[_Object] = [{"text": piece, "thought": True} for piece in thoughts]
        # What was thought is signed on the call that came of it, or else after the words.
        last: list[_Object] = [{"text": ""} | ({} if reply.tool else _signature(reply))] if reply.output_tokens else []
        for part in (*pieces, *({"text": piece} for piece in reply.pieces), *_call(reply)):
            yield _data(Kind.CONTENT, _chunk(ask, reply, [part]))
        yield _data(Kind.FINISH, _chunk(ask, reply, last, ended=True))
        if ask.array:
            yield Part(Kind.TERMINATOR, b"]")

    def keepalive(self) -> bytes:
        """A chunk that says nothing."""
        return b'data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"index":0}]}\n\n'

    def malformed(self) -> bytes:
        """A chunk that breaks off within its candidates."""
        return b'data: {"candidates":[{"content":{"parts":[{"te\n\n'

    def error(self, kind: str, request_id: str) -> Any:  # noqa: ARG002 (it has none)
        """The error object, an internal error by default."""
        code, status = _ERROR_STATUSES.get(kind, (500, kind))
        return _error(code, ERROR_MESSAGES.get(kind or "api_error", f"The server failed: {kind}"), status)

    def error_event(self, kind: str, request_id: str) -> bytes:
        """The same as a chunk."""
        return _data(Kind.CLOSING, self.error(kind, request_id)).data

    def refuse(self, reason: str, grounds: Grounds) -> Refusal:
        """The API's own words where they are known; when to come back stands in the details."""
        code, message = _REFUSALS.get(reason) or (int(reason), f"HTTP {reason}")
        text = grounds.message or message.format(model=grounds.model)
        details: list[_Object] = []
        if grounds.wait is not None:
            text += f" Please retry in {written(grounds.wait)}."
            retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{grounds.wait:.9g}s"}
            details.append(retry)
        if reason == "credit":
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BILLING_DISABLED"})
        status = _STATUSES.get(code, "INVALID_ARGUMENT" if code < 500 else "INTERNAL")
        return Refusal(code, to_json(_error(code, text, status, details)))

    def count(self, ask: Ask) -> Any:
        """An estimate by size."""
        return {"totalTokens": ask.input_tokens}

    def models(self, names: Sequence[str], owner: str) -> Any:
        """The only page."""
        methods = ["generateContent", "countTokens", "streamGenerateContent"]
        return {
            "models": [
                {"name": f"models/{name}", "displayName": f"{name} ({owner})", "supportedGenerationMethods": methods}
                for name in names
            ]
        }


WIRE = Gemini()


def _field(value: Mapping[str, Any], name: str) -> _Object:
    """An object in camel case, as the API documents it, or in snake case, which it takes as well."""
    given = value.get(name, value.get(re.sub(r"(?=[A-Z])", "_", name).lower()))
    return given if isinstance(given, dict) else {}


def _tools(body: Mapping[str, Any]) -> list[Tool]:
    declared = (
        function
        for tool in objects(body.get("tools"))
        for function in objects(tool.get("functionDeclarations", tool.get("function_declarations")))
    )
    return [
        Tool(str(function["name"]), _field(function, "parametersJsonSchema") or _field(function, "parameters"))
        for function in declared
        if "name" in function
    ]


def _parts(content: Mapping[str, Any]) -> list[_Object]:
    return objects(content.get("parts"))


def _turn(content: Mapping[str, Any]) -> Turn:
    by_model = content.get("role") == "model"
    parts = _parts(content)
    texts = [str(part["text"]) for part in parts if "text" in part and not part.get("thought")]
    calls = any(_field(part, "functionCall") for part in parts)
    results = any(_field(part, "functionResponse") for part in parts)
    return Turn(by_model, ("" if by_model else " ").join(texts), calls, results)


def _seals(contents: Sequence[Mapping[str, Any]]) -> Iterator[Seal]:
    for content in contents:
        for part in _parts(content):
            signature = part.get("thoughtSignature", part.get("thought_signature"))
            if isinstance(signature, str) and signature not in _TAKEN_UNSIGNED:
                yield Seal(signature, "", "Unable to submit request because Thought signature is not valid.")


def _call(reply: Reply) -> list[_Object]:
    if reply.tool is None:
        return []
    call = {"name": reply.tool.name, "args": msgspec.Raw(reply.tool.arguments.encode())}
    return [{"functionCall": call, **_signature(reply)}]


def _signature(reply: Reply) -> _Object:
    return {"thoughtSignature": reply.thought.seal} if reply.thought is not None else {}


def _chunk(ask: Ask, reply: Reply, parts: list[_Object], *, ended: bool = False) -> _Object:
    candidate: _Object = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if ended and (reason := _FINISH_REASONS.get(reply.end)):
        candidate["finishReason"] = reason
    usage = {
        "promptTokenCount": ask.input_tokens,
        "candidatesTokenCount": reply.output_tokens - reply.thought_tokens,
        "totalTokenCount": ask.input_tokens + reply.output_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": ask.input_tokens}],
    }
    if reply.thought_tokens:
        usage["thoughtsTokenCount"] = reply.thought_tokens
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": ask.model, "responseId": reply.id}


def _data(kind: Kind, chunk: Any) -> Part:
    return Part(kind, b"data: " + to_json(chunk) + b"\r\n\r\n")


def _error(code: int, message: str, status: str, details: Sequence[_Object] = ()) -> _Object:
    error: _Object = {"code": code, "message": message, "status": status}
    return {"error": error | ({"details": details} if details else {})}
