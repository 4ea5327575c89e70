"""The requests that are sent: a small question, and a real turn of a coding agent (88 KB, 12 tools).

The text is drawn with a fixed seed: every run, and every machine, sends the same bytes.
"""

import json
import random
from typing import Any, Literal

from benchmarks.answers import Wire

Size = Literal["1 KB", "88 KB"]
BYTES: dict[Size, int] = {"1 KB": 1_000, "88 KB": 88_000}

_TOOLS = "Read Write Edit Glob Grep Bash WebFetch TodoWrite Task NotebookEdit KillShell AskUser"
_VOCABULARY = """
the a file function returns value test module when before path if error line change is not caller self
result open close state circuit request answer stream None True async await def class import from for in
"""
_WORDS = _VOCABULARY.split()


def body(wire: Wire, size: Size, *, stream: bool, pace_ms: int = 0) -> bytes:
    """The JSON body; `pace_ms` is written into the text, where it reaches the upstream through any proxy."""
    question = f"x-pace-ms={pace_ms} Why does the test fail?" if pace_ms else "Why does the test fail?"
    build = _anthropic if wire.name == "anthropic" else _openai
    request = build(random.Random(88), question, turn=size == "88 KB")
    head: dict[str, Any] = {"model": wire.model, "max_tokens": 4096}
    if stream:
        head["stream"] = True
    request = {**head, **request}
    missing = BYTES[size] - len(_encode(request))
    _last_text(request, (" ok" * missing)[:missing])
    return _encode(request)


def http(wire: Wire, port: int, content: bytes) -> bytes:
    """The whole HTTP request."""
    lines = [
        f"POST {wire.path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        "accept: */*",
        "user-agent: bench/1",
        *(f"{name}: {value}" for name, value in wire.headers.items()),
        f"content-length: {len(content)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _prose(rng: random.Random, size: int) -> str:
    words: list[str] = []
    length = 0
    while length < size:
        word = rng.choice(_WORDS) + ("\n    " if rng.random() < 0.1 else "")
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


def _schemas(rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, description and JSON schema of the twelve tools, about 2 KB each."""
    tools = []
    for name in _TOOLS.split():
        keys = [f"{rng.choice(_WORDS)}_{number}" for number in range(5)]
        properties: dict[str, Any] = {
            key: {"type": rng.choice(["string", "number", "boolean"]), "description": _prose(rng, 120)} for key in keys
        }
        properties["mode"] = {"type": "string", "enum": ["content", "files", "count"], "default": "files"}
        properties["edits"] = {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"old": {"type": "string"}, "new": {"type": "string"}},
                "required": ["old", "new"],
                "additionalProperties": False,
            },
        }
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": keys[:2],
            "additionalProperties": False,
        }
        tools.append((name, _prose(rng, 1_100), schema))
    return tools


def _history(rng: random.Random) -> list[tuple[str, str, str, dict[str, Any], str]]:
    """Nine rounds before the question: text, call id, tool, its input, its result; every call differs."""
    names = _TOOLS.split()
    return [
        (
            _prose(rng, 150),
            f"toolu_bench{number:04d}",
            names[number % len(names)],
            {"path": f"src/part_{number}.py", "offset": number * 40, "pattern": _prose(rng, 40)},
            _prose(rng, 4_250),
        )
        for number in range(9)
    ]


def _anthropic(rng: random.Random, question: str, *, turn: bool) -> dict[str, Any]:
    cached = {"cache_control": {"type": "ephemeral"}}
    if not turn:
        return {
            "system": "You are a careful engineer.",
            "messages": [{"role": "user", "content": [{"type": "text", "text": question}]}],
        }
    messages: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": _prose(rng, 900)}]}]
    for text, call, tool, arguments, result in _history(rng):
        use = {"type": "tool_use", "id": call, "name": tool, "input": arguments}
        messages += [
            {"role": "assistant", "content": [{"type": "text", "text": text}, use]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": result}]},
        ]
    messages[-1]["content"].append({"type": "text", "text": question, **cached})
    return {
        "system": [{"type": "text", "text": _prose(rng, 14_000), **cached}],
        "tools": [
            {"name": name, "description": description, "input_schema": schema}
            for name, description, schema in _schemas(rng)
        ],
        "metadata": {"user_id": "user_bench_account__session_0001"},
        "messages": messages,
    }


def _openai(rng: random.Random, question: str, *, turn: bool) -> dict[str, Any]:
    if not turn:
        system = {"role": "system", "content": "You are a careful engineer."}
        return {"messages": [system, {"role": "user", "content": question}]}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": _prose(rng, 14_000)},
        {"role": "user", "content": _prose(rng, 900)},
    ]
    for text, call, tool, arguments, result in _history(rng):
        function = {"name": tool, "arguments": json.dumps(arguments)}
        messages += [
            {
                "role": "assistant",
                "content": text,
                "tool_calls": [{"id": call, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": call, "content": result},
        ]
    messages.append({"role": "user", "content": question})
    return {
        "tools": [
            {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}
            for name, description, schema in _schemas(rng)
        ],
        "tool_choice": "auto",
        "messages": messages,
    }


def _last_text(request: dict[str, Any], padding: str) -> None:
    last = request["messages"][-1]
    if isinstance(last["content"], str):
        last["content"] += padding
    else:
        last["content"][-1]["text"] += padding
