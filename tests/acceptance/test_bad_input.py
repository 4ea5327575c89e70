"""Bad input from both sides, on real sockets: clients' bodies, and providers that answer what no provider should."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.acceptance.conftest import Fetched, Gateway, Provider, Starts, Until

MEBIBYTE = 2**20
HEADERS = {"content-type": "application/json"}

# What clients send ---------------------------------------------------------------------------------------------------

MESSAGES = [{"role": "user", "content": "What holds the line up?"}]
PARTS = [{"role": "user", "parts": [{"text": "What holds the line up?"}]}]


@dataclass(frozen=True)
class Wire:
    """A client's wire: where it asks, a good body, and what is wrong with bad ones by the field to be named."""

    name: str
    path: str
    good: Mapping[str, Any]
    misses: tuple[str, ...]
    wrong: Mapping[str, Any]
    """Fields that are wrong on any way."""
    wrong_abroad: Mapping[str, tuple[Any, str]]
    """Fields that are wrong where they must be translated: what stands there, and the field to be named."""

    def body(self, model: str, **fields: Any) -> dict[str, Any]:
        """A request for a model."""
        return {**({} if self.name == "gemini" else {"model": model}), **self.good, **fields}

    def with_wrong(self, model: str, name: str, value: Any) -> bytes:
        """A request for a model with something in the place of a field."""
        return json.dumps({**self.body(model), name: value}).encode()

    def at(self, model: str) -> str:
        """Where it is asked for a model."""
        return self.path.replace("{model}", model)

    def complaint(self, answer: Fetched) -> tuple[str, str | None]:
        """What an error in this wire's own shape says, and the field that it names, if it has a place for that."""
        assert answer.headers["content-type"] == "application/json"
        body = answer.json
        error = body["error"]
        match self.name:
            case "anthropic":
                assert set(body) == {"type", "error", "request_id"}, body
                assert body["type"] == "error"
                assert error["type"] in ("invalid_request_error", "request_too_large"), body
                named = None
            case "gemini":
                assert error["code"] == answer.status, body
                assert error["status"] == "INVALID_ARGUMENT", body
                named = next((d["fieldViolations"][0]["field"] for d in error.get("details", ())), None)
            case _:
                assert set(error) == {"message", "type", "code", "param"}, body
                assert error["type"] == "invalid_request_error"
                named = error["param"]
        return error["message"], named


WIRES = {
    wire.name: wire
    for wire in (
        Wire(
            "anthropic", "/v1/messages", {"max_tokens": 100, "messages": MESSAGES}, ("model", "messages"),
            {"model": 5, "messages": "hi", "stream": "yes"},
            {
                "max_tokens": ("many", "max_tokens"), "temperature": ([], "temperature"), "system": (5, "system"),
                "tools": ({}, "tools"), "tool_choice": ("auto", "tool_choice"), "thinking": (True, "thinking"),
                "stop_sequences": ("a", "stop_sequences"), "metadata": ("me", "metadata"),
                "messages": ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
            },
        ),
        Wire(
            "openai-chat", "/v1/chat/completions", {"messages": MESSAGES}, ("model", "messages"),
            {"model": None, "messages": {}, "stream": 1},
            {
                "max_tokens": ("many", "max_tokens"), "temperature": ("hot", "temperature"), "tools": (5, "tools"),
                "response_format": ("json", "response_format"), "stop": (5, "stop"),
                "messages": ([{"role": "user", "content": 5}], "messages[0]"),
            },
        ),
        Wire(
            "openai-responses", "/v1/responses", {"input": MESSAGES}, ("model", "input"),
            {"model": [], "input": 5, "stream": {}},
            {
                "max_output_tokens": ("many", "max_output_tokens"), "tools": ("all", "tools"),
                "reasoning": ("hard", "reasoning"), "text": ([], "text"), "instructions": (5, "instructions"),
                "input": ([{"type": "message", "role": "user", "content": 5}], "input[0]"),
            },
        ),
        Wire(
            "gemini", "/v1beta/models/{model}:generateContent", {"contents": PARTS}, ("contents",),
            {"contents": "hi"},
            {
                "generationConfig": ("hot", "generationConfig"), "tools": (5, "tools"),
                "systemInstruction": (5, "systemInstruction"), "contents": ([{"parts": 5}], "contents[0].parts"),
            },
        ),
    )
}  # fmt: skip

THE_PROVIDERS = {"no UTF-8"}
"""What the gateway does not see, because it reads nothing that it needs not know: the provider refuses it."""
NO_REQUESTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "white space": lambda _: b" \r\n\t",
    "half of it": lambda good: good[: len(good) // 2],
    "a list": lambda good: b"[" + good + b"]",
    "a text": lambda _: b'"hello"',
    "a number": lambda _: b"5",
    "null": lambda _: b"null",
    "form fields": lambda _: b"model=m&messages=hi",
    "HTML": lambda _: b"<html></html>",
    "no UTF-8": lambda good: good[:-1] + b',"x":"\xff\xfe"}',
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "a byte order mark": lambda good: b"\xef\xbb\xbf" + good,
    "NaN": lambda good: good[:-1] + b',"x":NaN}',
    "infinity": lambda good: good[:-1] + b',"x":-Infinity}',
    "half a sign": lambda good: good[:-1] + b',"x":"\\ud800"}',
    "a bare control character": lambda good: good[:-1] + b',"x":"\x00"}',
    "a comment": lambda good: good[:-1] + b"/* and more */}",
    "two of them": lambda good: good + good,
    "a comma too many": lambda good: good[:-1] + b",}",
    "lists in lists, 100,000 deep": lambda good: good[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects in objects, 100,000 deep": lambda good: good[:-1] + b',"x":' + b'{"a":' * 100_000,
    "zeros before a number": lambda good: good[:-1] + b',"x":007}',
}


@pytest.fixture(scope="module")
def gateway(first: Provider, start_shared: Starts) -> Gateway:
    """Each wire leads to a provider that speaks it, and to one that does not."""
    abroad = {"anthropic": "openai-chat", "openai-chat": "anthropic"}
    ways = [(name, f"{name}-home", name) for name in WIRES]
    ways += [(name, f"{name}-abroad", abroad.get(name, "anthropic")) for name in WIRES]
    return start_shared({
        "circuit": {"failure_threshold": 0, "failure_rate": 1.0, "minimum_calls": 100_000},
        "providers": {
            model: {
                "kind": "compatible",
                "wire": spoken,
                "base_url": first.base_url if spoken.startswith("openai") else first.url,
            }
            for _, model, spoken in ways
        },
        "routes": {model: {"targets": [f"{model}/served"]} for _, model, _ in ways},
    })  # fmt: skip


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    return WIRES[request.param]


@pytest.fixture(params=["home", "abroad"])
def way(request: pytest.FixtureRequest) -> str:
    """To a provider of the client's own wire, or of another."""
    return str(request.param)


def ask(gateway: Gateway, wire: Wire, model: str, body: bytes) -> Fetched:
    return gateway.fetch(wire.at(model), body, HEADERS)


def test_a_good_one_is_served(wire: Wire, way: str, gateway: Gateway) -> None:
    model = f"{wire.name}-{way}"
    assert ask(gateway, wire, model, json.dumps(wire.body(model)).encode()).status == 200


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_what_is_no_json_is_refused_in_the_wires_own_shape(
    name: str, wire: Wire, way: str, gateway: Gateway, first: Provider
) -> None:
    model = f"{wire.name}-{way}"
    asked = first.report["requests"]
    answer = ask(gateway, wire, model, NO_REQUESTS[name](json.dumps(wire.body(model)).encode()))
    assert answer.status == 400, answer.body
    message, _ = wire.complaint(answer)
    assert message
    if name not in THE_PROVIDERS or way == "abroad":
        assert first.report["requests"] == asked


def test_a_missing_field_is_named(wire: Wire, way: str, gateway: Gateway) -> None:
    model = f"{wire.name}-{way}"
    for name in wire.misses:
        body = wire.body(model)
        del body[name]
        answer = ask(gateway, wire, model, json.dumps(body).encode())
        assert answer.status == 400
        message, named = wire.complaint(answer)
        assert name in message
        assert named in (name, None)


def test_a_wrong_field_is_named(wire: Wire, way: str, gateway: Gateway) -> None:
    model = f"{wire.name}-{way}"
    for name, value in wire.wrong.items():
        answer = ask(gateway, wire, model, wire.with_wrong(model, name, value))
        assert answer.status == 400, (name, answer.body)
        message, named = wire.complaint(answer)
        assert name in message
        assert named in (name, None)


def test_what_cannot_be_translated_is_named(wire: Wire, gateway: Gateway, first: Provider) -> None:
    model = f"{wire.name}-abroad"
    asked = first.report["requests"]
    for name, (value, place) in wire.wrong_abroad.items():
        answer = ask(gateway, wire, model, wire.with_wrong(model, name, value))
        assert answer.status == 400, (name, answer.body)
        message, named = wire.complaint(answer)
        assert place in message, message
        assert named is None or named.startswith(place), named
    assert first.report["requests"] == asked


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 5000, b"1" + b"0" * 400, b"0." + b"1" * 5000])
def test_a_huge_number_is_borne_or_refused(number: bytes, wire: Wire, way: str, gateway: Gateway) -> None:
    model = f"{wire.name}-{way}"
    good = json.dumps(wire.body(model)).encode()
    for name in (b"temperature", b"max_tokens", b"nobody_knows"):
        answer = ask(gateway, wire, model, good[:-1] + b',"%s":%s}' % (name, number))
        assert answer.status in (200, 400), answer.body
        if way == "abroad":  # else it is the provider's answer
            assert b"[...]" not in answer.body  # the decoder's word for a field that it does not name


def test_of_a_field_that_comes_twice_the_last_is_meant(wire: Wire, way: str, gateway: Gateway, first: Provider) -> None:
    """By whoever looks: the gateway routes by the same one that the provider reads."""
    if wire.name == "gemini":
        return  # its address says it
    model = f"{wire.name}-{way}"
    rest = json.dumps(wire.good).encode()[1:]
    answer = ask(gateway, wire, model, b'{"model":"nowhere","model":"%s",' % model.encode() + rest)
    assert answer.status == 200
    assert json.loads(first.last_body)["model"] == "served"
    assert first.last_body.count(b'"model"') == 1
    twice = ask(gateway, wire, model, b'{"model":"%s","model":"nowhere",' % model.encode() + rest)
    assert twice.status == 404


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/messages/count_tokens", "/v1/responses/input_tokens"])
@pytest.mark.parametrize("name", NO_REQUESTS)
def test_so_it_is_at_the_side_doors(name: str, path: str, gateway: Gateway) -> None:
    good = {"model": "anthropic-home", "messages": MESSAGES, "input": "hi"}
    answer = gateway.fetch(path, NO_REQUESTS[name](json.dumps(good).encode()), HEADERS)
    assert answer.status == 400, answer.body
    assert answer.json["error"]["message"]


class TestTooLarge:
    SIZE = 64 * MEBIBYTE + 1

    def test_what_says_so_is_refused_at_once(self, wire: Wire, gateway: Gateway) -> None:
        with gateway.connect() as connection:
            connection.sendall(
                f"POST {wire.at('m')} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {self.SIZE}\r\n\r\n".encode()
            )
            said = b""
            while not said.endswith(b"}"):
                said += connection.recv(65536) or b"}"
        assert said.startswith(b"HTTP/1.1 413 ")
        error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
        assert str(64 * MEBIBYTE) in error["message"]

    def test_what_comes_in_pieces_is_refused_when_it_is_too_much(self, wire: Wire, gateway: Gateway) -> None:
        piece = b"x" * MEBIBYTE
        with gateway.connect() as connection:
            connection.sendall(
                f"POST {wire.at('m')} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n".encode()
            )
            with contextlib.suppress(ConnectionError):
                for _ in range(65):
                    connection.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")

    @pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "0x10", "", "5, 6", "٣"])
    def test_a_length_that_is_none_is_refused(self, length: str, gateway: Gateway) -> None:
        head = f"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(head.encode() + b"{}")
            assert connection.recv(65536).split(b" ")[1] in (b"400", b"413")


# What providers answer -----------------------------------------------------------------------------------------------


@dataclass
class Hostile:
    """A server that says the same to everybody, endlessly if need be, and then hangs up, or stays silent."""

    pieces: Callable[[], Iterable[bytes]]
    stays: bool = False
    said: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(30)

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="hostile provider", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            request = b""
            while not _whole(request):
                request += connection.recv(65536)
            for piece in self.pieces():
                if self._over.is_set():
                    return
                connection.sendall(piece)
                self.said += len(piece)
            while self.stays and not self._over.wait(0.05):
                pass


def _whole(request: bytes) -> bool:
    top, blank, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", top)
    return bool(blank) and (length is None or len(body) >= int(length[1]))


def head(content_type: str = "application/json", *more: str, status: str = "200 OK") -> bytes:
    fields = (f"content-type: {content_type}", "connection: close", *more)
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()


SSE_HEAD = head("text/event-stream")
ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}'
ANSWERS = {
    "openai-chat": ANSWER,
    "anthropic": b'{"type":"message","id":"m","role":"assistant","model":"m","stop_reason":"end_turn","usage":{},'
    b'"content":[{"type":"text","text":"hello"}]}',
    "openai-responses": b'{"id":"r","object":"response","status":"completed","output":[{"type":"message","id":"i",'
    b'"role":"assistant","status":"completed","content":[{"type":"output_text","text":"hello","annotations":[]}]}]}',
    "gemini": b'{"candidates":[{"content":{"role":"model","parts":[{"text":"hello"}]},"finishReason":"STOP"}]}',
}
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'


def head_of_json(*more: str) -> bytes:
    return head("application/json", *more)


def plainly(answer: bytes) -> bytes:
    return head_of_json(f"content-length: {len(answer)}") + answer


def once(*pieces: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: pieces


def endless(start: bytes, piece: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: itertools.chain([start], itertools.repeat(piece))


def growing_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    for number in itertools.count():
        yield b"".join(b"x-%d-%d: %s\r\n" % (number, at, b"v" * 900) for at in range(64))


@cache
def bomb(layers: int = 1) -> bytes:
    """A quarter of a gigabyte of white space, compressed."""
    deflate = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    data = b"".join(deflate.compress(b" " * MEBIBYTE) for _ in range(256)) + deflate.flush()
    for _ in range(1, layers):
        again = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
        data = again.compress(data) + again.flush()
    return data


# Anything at all -----------------------------------------------------------------------------------------------------

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
WORDS = st.sampled_from(
    [
        "type",
        "text",
        "role",
        "content",
        "parts",
        "input",
        "name",
        "id",
        "tool_use",
        "tool_result",
        "tool_calls",
        "function",
        "arguments",
        "image",
        "source",
        "data",
        "url",
        "user",
        "assistant",
        "system",
        "tool",
        "model",
        "message",
        "function_call",
        "function_call_output",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mimeType",
        "base64",
        "image_url",
        "input_text",
        "thinking",
        "signature",
        "parameters",
        "schema",
        "call_id",
        "tool_use_id",
    ]
)
JSON = st.recursive(
    LEAVES | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {
    "anthropic": "messages system tools tool_choice max_tokens temperature stop_sequences thinking metadata",
    "openai-chat": "messages tools tool_choice max_tokens stop response_format n reasoning_effort stream_options",
    "openai-responses": "input tools tool_choice instructions reasoning text max_output_tokens store",
    "gemini": "contents tools toolConfig systemInstruction generationConfig safetySettings cachedContent",
}
LISTED = {"anthropic": "messages", "openai-chat": "messages", "openai-responses": "input", "gemini": "contents"}


@st.composite
def requests(draw: st.DrawFn, wire: Wire) -> dict[str, Any]:
    """A good request with anything in the place of some of its fields, or among its turns."""
    body = wire.body("m")
    for name in draw(st.lists(st.sampled_from(FIELDS[wire.name].split()), max_size=3)):
        body[name] = draw(JSON)
    turns = body.get(LISTED[wire.name])
    if isinstance(turns, list) and draw(st.booleans()):
        turn = draw(st.dictionaries(st.sampled_from(["role", "content", "parts", "type"]), JSON, max_size=3))
        body[LISTED[wire.name]] = [*turns, turn]
    return body


@pytest.fixture(scope="module")
def undiscerning(start_shared: Starts) -> Iterator[Gateway]:
    """A gateway whose providers find everything good that they are asked."""
    with contextlib.ExitStack() as stack:
        urls = {
            name: f"http://127.0.0.1:{stack.enter_context(Hostile(once(plainly(answer)))).port}"
            for name, answer in ANSWERS.items()
        }
        yield start_shared({
            "circuit": {"failure_threshold": 0, "failure_rate": 1.0, "minimum_calls": 100_000},
            "providers": {name: {"kind": "compatible", "wire": name, "base_url": url} for name, url in urls.items()},
            "routes": {name: {"targets": [f"{name}/served"]} for name in urls},
        })  # fmt: skip


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("spoken", WIRES)
def test_anything_is_served_or_refused(name: str, spoken: str, undiscerning: Gateway) -> None:
    """And the gateway never at a loss: no 500, and no words of its own insides."""
    wire = WIRES[name]
    with contextlib.closing(http.client.HTTPConnection(*undiscerning.address, timeout=30)) as connection:

        @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(requests(wire))
        def serve(body: dict[str, Any]) -> None:
            asked = body if name == "gemini" else {**body, "model": spoken}
            connection.request("POST", wire.at(spoken), json.dumps(asked).encode(), HEADERS)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status in (200, 400), (answer.status, said)
            assert b"internal" not in said

        serve()


# Mischief ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mischief:
    """What a provider does, and how it is named: in one of two ways where packets decide."""

    name: str
    kind: str
    pieces: Callable[[], Iterable[bytes]]
    stays: bool = False
    stream: bool | None = None
    """Whether it is seen by streams alone, or by plain requests alone."""


GZIP = "content-encoding: gzip"
CHUNKED = head_of_json("transfer-encoding: chunked")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
LATE = "malformed or interrupted"
MISCHIEFS = [
    # No HTTP
    Mischief("random bytes", "malformed", once(bytes(range(256)) * 20)),
    Mischief("another protocol", "malformed", once(b"SSH-2.0-OpenSSH_9.6\r\n")),
    Mischief("TLS", "malformed", once(b"\x15\x03\x03\x00\x02\x02\x46")),
    Mischief("HTTP of tomorrow", "malformed", once(b"HTTP/7.0 200 OK\r\n\r\n")),
    Mischief("a status that is none", "malformed", once(b"HTTP/1.1 2000 OK\r\n\r\n")),
    Mischief("a line without end", "malformed", endless(b"HTTP/1.1 200 ", b"O" * 65536)),
    Mischief("a header without end", "malformed", endless(b"HTTP/1.1 200 OK\r\nx-a: ", b"a" * 65536)),
    Mischief("headers without end", "malformed", growing_headers),
    Mischief("100 Continue without end", "malformed", endless(b"", CONTINUE * 500)),
    Mischief("103 Early Hints without end", "malformed", endless(b"", HINT * 500)),
    Mischief("101 Switching Protocols", "malformed", once(head(status="101 Switching Protocols"), ANSWER)),
    # Lengths
    Mischief("fewer bytes than it says", "interrupted", once(head_of_json("content-length: 9999"), ANSWER)),
    Mischief("a negative length", "malformed", once(head_of_json("content-length: -5"), ANSWER)),
    Mischief("a length in words", "malformed", once(head_of_json("content-length: ten"), ANSWER)),
    Mischief("two lengths", "malformed", once(head_of_json("content-length: 5", "content-length: 99"), ANSWER)),
    Mischief("a length beyond all", "malformed", once(head_of_json(f"content-length: {'9' * 30}"), ANSWER)),
    Mischief("half an answer, whole by its length", "malformed", once(head_of_json("content-length: 40"), ANSWER)),
    # Chunks
    Mischief("chunks of no size", LATE, once(CHUNKED, b"ZZ\r\n" + ANSWER)),
    Mischief("a chunk beyond all", LATE, once(CHUNKED, b"F" * 40 + b"\r\n" + ANSWER)),
    Mischief("a negative chunk", LATE, once(CHUNKED, b"-5\r\n" + ANSWER)),
    Mischief("chunks that do not end", LATE, once(CHUNKED, b"5\r\nhelloXX5\r\nhello\r\n")),
    Mischief("no last chunk", "interrupted", once(CHUNKED, b"%x\r\n%s\r\n" % (len(ANSWER), ANSWER))),
    Mischief("a chunk's remarks without end", "timeout", endless(CHUNKED + b"5;", b"a=b;" * 16384)),
    Mischief("trailers without end", LATE, endless(CHUNKED + b"1\r\n{\r\n0\r\n", b"x-t: 1\r\n" * 8192)),
    # Encodings that were not asked for
    Mischief("a bomb", "malformed", lambda: (head_of_json(GZIP), bomb())),
    Mischief("a bomb in a bomb", "malformed", lambda: (head_of_json("content-encoding: gzip, gzip"), bomb(2))),
    Mischief("a bomb of a stream", "malformed", lambda: (head("text/event-stream", GZIP), bomb()), stream=True),
    Mischief("gzip that is none", "interrupted", once(head_of_json(GZIP), ANSWER)),
    Mischief("an encoding nobody knows", "malformed", once(head_of_json("content-encoding: zip9"), b"\x00\x01\x02")),
    # Bodies
    Mischief("a body without end", "malformed", endless(head(), b" " * 65536)),
    Mischief("an error without end", "server_error", endless(head(status="503 Busy"), b"x" * 65536)),
    Mischief("lists in lists, a million deep", "malformed", once(head(), b"[" * 1_000_000)),
    Mischief("a page instead of a stream", "malformed", once(head("text/html"), ROLE), stream=True),
    # Streams
    Mischief("an event without end", "malformed", endless(SSE_HEAD + b"data: ", b"x" * 65536), stream=True),
    Mischief("a line after line of one event", "malformed", endless(SSE_HEAD, b"data: x\n" * 8192), stream=True),
    Mischief("comments without end", "malformed", endless(SSE_HEAD, b": still here\n\n" * 4096), stream=True),
    Mischief("empty events without end", "malformed", endless(SSE_HEAD, b"\n\n" * 16384), stream=True),
    Mischief("line ends without end", "malformed", endless(SSE_HEAD, b"\r" * 65536), stream=True),
    Mischief("beginnings without end", "malformed", endless(SSE_HEAD, ROLE * 512), stream=True),
    Mischief("binary", "malformed", endless(SSE_HEAD, bytes(range(256)) * 256), stream=True),
    Mischief("deep events", "malformed", once(SSE_HEAD, b"data: " + b"[" * 1_000_000 + b"\n\n"), stream=True),
]  # fmt: skip
CASES = [(mischief, stream) for mischief in MISCHIEFS for stream in (False, True) if mischief.stream in (None, stream)]
SECONDS = 3.0
"""What a first token or a whole answer may take here."""
MOST_MEMORY = 200 * MEBIBYTE
"""What the gateway may need beside what it needs anyway: an answer of 64 MiB is read, joined and looked at."""


@pytest.fixture(scope="module")
def street(second: Provider, start_shared: Starts) -> Iterator[Gateway]:
    bomb(), bomb(2)  # it takes a while
    with contextlib.ExitStack() as stack:
        hostile = {
            f"{number}": stack.enter_context(Hostile(mischief.pieces, mischief.stays))
            for number, mischief in enumerate(MISCHIEFS)
        }
        yield start_shared({
            "gateway": {"max_hold": "0s"},
            "circuit": {"failure_threshold": 100},
            "providers": {
                "healthy": {"kind": "simulated", "base_url": second.base_url},
                **{
                    f"hostile-{name}": {
                        "kind": "compatible", "wire": "openai-chat", "base_url": f"http://127.0.0.1:{server.port}",
                        "first_token_timeout": f"{SECONDS}s", "total_timeout": f"{SECONDS}s", "idle_timeout": "2s",
                    }
                    for name, server in hostile.items()
                },
            },
            "routes": {name: {"targets": [f"hostile-{name}/m", "healthy/m"]} for name in hostile},
        })  # fmt: skip


def failures(gateway: Gateway, request_id: str) -> list[str]:
    """The kinds of what went wrong with a request."""
    told = [event for event in gateway.events if event["subject"] == f"request/{request_id}"]
    return [event["failure"] for event in told if event["kind"] == "attempt_failed"]


def peak_memory(gateway: Gateway) -> int:
    """The most memory that the gateway's process has had, in bytes; 0 where the system does not tell."""
    status = Path(f"/proc/{gateway.process.pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    ("mischief", "stream"), CASES, ids=[f"{m.name}, {'stream' if s else 'plain'}" for m, s in CASES]
)
def test_whatever_a_provider_answers_the_next_one_is_asked(
    mischief: Mischief, stream: bool, street: Gateway, until: Until
) -> None:
    """In bounded time and memory, and the failure has a name."""
    route = str(MISCHIEFS.index(mischief))
    body = json.dumps({"model": route, "messages": MESSAGES, "stream": stream}).encode()
    with contextlib.suppress(OSError):
        Path(f"/proc/{street.process.pid}/clear_refs").write_text("5", "ascii")  # the peak counts from here
    before = peak_memory(street)
    started = time.monotonic()
    answer = street.fetch("/v1/chat/completions", body, HEADERS)
    took = time.monotonic() - started
    grown = peak_memory(street) - before

    assert answer.status == 200
    assert answer.headers["x-recloser-target"] == "healthy/m"
    assert answer.headers["x-recloser-attempts"] == "2"
    assert (b"data: [DONE]" in answer.body) is stream
    request_id = answer.headers["x-recloser-request-id"]
    (kind,) = until(lambda: failures(street, request_id), "the failure")
    assert kind in mischief.kind.split(" or ")
    assert took < SECONDS + 2
    assert grown < MOST_MEMORY
