"""The real commands in processes of their own, and the official SDKs in front of them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

import anthropic
import openai
import pytest

PATIENCE = 30.0
"""Seconds after which something that must happen counts as not happening: generous, the machine may be busy."""
QUESTION = "What holds the line up?"

Wire = Literal["anthropic", "openai"]


# Processes -----------------------------------------------------------------------------------------------------------


class Command:
    """A recloser command that runs; its output is kept."""

    running: Sequence[Command] = ()

    def __init__(self, *arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.arguments = arguments
        self.folder = folder
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._silent = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "recloser", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {arguments[0]}")
        self._reader.start()
        Command.running = (*Command.running, self)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._silent = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        with self._changed:
            return "".join(self._lines)

    def says(self, pattern: str) -> re.Match[str]:
        """Wait for a line."""
        wanted = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            return wanted.search("".join(self._lines))

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._silent, PATIENCE)
            match = found()
        assert match is not None, f"{self.arguments} never said {pattern!r}:\n{self.output}"
        return match

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ends(self, patience: float = PATIENCE) -> int:
        """Wait for its end; its exit code."""
        code = self.process.wait(patience)
        self._reader.join(patience)
        return code

    def stop(self) -> int:
        """SIGTERM, if it still runs, and its exit code."""
        if self.process.poll() is None:
            self.tell(signal.SIGTERM)
        try:
            return self.ends()
        finally:
            self._end()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ends()
        Command.running = tuple(command for command in Command.running if command is not self)


@dataclass(frozen=True)
class Fetched:
    """An HTTP answer as it came; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


class Server(Command):
    """A recloser command that serves HTTP."""

    def __init__(self, *arguments: str, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(*arguments, folder=folder, environ=environ)
        try:
            self.url = self.says(r"^recloser (?:chaos )?listens on (http://\S+)$")[1]
        except BaseException:
            self.kill()
            raise
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        self.address = (parts.hostname, parts.port)

    def fetch(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> Fetched:
        """One request on a connection of its own. A broken answer raises what `http.client` raises."""
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=PATIENCE)) as connection:
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers or {}))
            with connection.getresponse() as response:
                seen = {name.lower(): value for name, value in response.getheaders()}
                return Fetched(response.status, seen, response.read())

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(self.address, timeout=PATIENCE)


class Provider(Server):
    """`recloser chaos`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__("chaos", "--listen", "127.0.0.1:0", *arguments, folder=folder)

    @property
    def base_url(self) -> str:
        """As providers of the kind `simulated` take it."""
        return f"{self.url}/v1"

    def misbehave(self, model: str, mode: str, count: int | None = None) -> None:
        """Get requests for a model wrong: all of them, or so many. Orders for other models stay."""
        self._order(model, [{"mode": mode, "model": model, "count": count}])

    def behave(self, model: str) -> None:
        """Answer requests for a model again."""
        self._order(model, [])

    def _order(self, model: str, orders: list[dict[str, Any]]) -> None:
        standing = [order for order in self.report["modes"] if order["model"] != model]
        answer = self.fetch("/chaos", json.dumps({"modes": standing + orders}).encode())
        assert answer.status == 200, answer.body

    @property
    def report(self) -> Any:
        """What it counted."""
        return self.fetch("/chaos").json

    def asked(self, model: str) -> int:
        """How often it was asked for a model."""
        return int(self.report["by_model"].get(model, 0))

    @property
    def last_body(self) -> bytes:
        """The last request for an answer, byte for byte."""
        return self.fetch("/chaos/last-body").body


class Gateway(Server):
    """`recloser serve`."""

    def __init__(self, folder: Path, config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> None:
        file = folder / "recloser.toml"
        file.write_text(toml({**config, "gateway": {"listen": "127.0.0.1:0", **config.get("gateway", {})}}), "utf-8")
        super().__init__("serve", "--config", str(file), folder=folder, environ=environ)

    def status(self, headers: Mapping[str, str] | None = None) -> Any:
        """`/api/status`."""
        answer = self.fetch("/api/status", headers=headers)
        assert answer.status == 200, answer.body
        return answer.json

    def circuit(self, name: str) -> dict[str, Any]:
        """How a circuit stands; one that nothing has happened to yet is closed."""
        untouched = {"name": name, "state": "closed", "failures": 0, "kind": None, "retry_at": None}
        circuits = [circuit for circuit in self.status()["circuits"] if circuit["name"] == name]
        return circuits[0] if circuits else untouched

    def charged(self, provider: str) -> list[str]:
        """The circuits of a provider that anything is held against."""
        return [
            circuit["name"]
            for circuit in self.status()["circuits"]
            if provider in circuit["name"].split("/") and (circuit["failures"] or circuit["state"] != "closed")
        ]

    def order(self, circuit: str, verb: str, **body: Any) -> Fetched:
        """Set a circuit by hand."""
        return self.fetch(f"/api/circuits/{quote(circuit, safe='')}/{verb}", json.dumps(body).encode())

    @property
    def events(self) -> list[dict[str, Any]]:
        """The event log so far."""
        file = self.folder / ".recloser" / "events" / "events.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def toml(config: Mapping[str, Any]) -> str:
    """A configuration as TOML: tables of two levels with inline values."""
    lines = []
    for section, table in config.items():
        nested = {name: value for name, value in table.items() if section in {"providers", "routes", "profiles"}}
        if not nested:
            lines += [f"[{section}]", *(f"{_inline(name)} = {_inline(value)}" for name, value in table.items())]
        for name, inner in nested.items():
            lines += [f"[{section}.{_inline(name)}]"]
            lines += [f"{_inline(key)} = {_inline(value)}" for key, value in inner.items()]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_inline(key)} = {_inline(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


# Clients -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A whole answer, as an SDK understood it."""

    text: str
    model: str
    ending: str | None
    headers: Mapping[str, str]


class Client:
    """An official SDK that does not retry, asking for plain answers or for streams."""

    def __init__(
        self, wire: Wire, sdks: tuple[anthropic.Anthropic, openai.OpenAI], *, stream: bool, key: str = "unused"
    ) -> None:
        self.wire = wire
        self.stream = stream
        self.key = key
        self._anthropic, self._openai = sdks

    @property
    def name(self) -> str:
        """For ids."""
        return f"{self.wire}-{'stream' if self.stream else 'plain'}"

    @property
    def path(self) -> str:
        """Where it asks."""
        return "/v1/messages" if self.wire == "anthropic" else "/v1/chat/completions"

    @property
    def ordinary_ending(self) -> str:
        """How its wire says that an answer is whole."""
        return "end_turn" if self.wire == "anthropic" else "stop"

    @property
    def terminator(self) -> bytes:
        """The last event of a whole stream."""
        return b'data: {"type":"message_stop"}\n\n' if self.wire == "anthropic" else b"data: [DONE]\n\n"

    def ask(self, root: str, model: str, text: str = QUESTION, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask, and wait for the whole answer."""
        return (self._ask_anthropic if self.wire == "anthropic" else self._ask_openai)(root, model, text, headers or {})

    def is_refused(
        self, root: str, model: str, text: str = QUESTION, headers: Mapping[str, str] | None = None
    ) -> Fetched:
        """Ask, and be told an error status."""
        with pytest.raises((anthropic.APIStatusError, openai.APIStatusError)) as caught:
            self.ask(root, model, text, headers)
        error = caught.value
        assert isinstance(error, anthropic.APIStatusError | openai.APIStatusError)
        response = error.response
        return Fetched(response.status_code, dict(response.headers), response.content)

    def body(self, model: str, **fields: Any) -> bytes:
        """A request for use without the SDK."""
        asked = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "stream": self.stream}
        return json.dumps({**asked, **({"max_tokens": 100} if self.wire == "anthropic" else {}), **fields}).encode()

    def fetch(self, server: Server, model: str, headers: Mapping[str, str] | None = None, **fields: Any) -> Fetched:
        """Ask without the SDK: the bytes as they come."""
        own = {"content-type": "application/json", **(headers or {})}
        return server.fetch(self.path, self.body(model, **fields), own)

    def kind_of_error(self, body: Any) -> str:
        """The error's type, if the body has the shape of this wire's errors."""
        if self.wire == "anthropic":
            assert body["type"] == "error", body
            assert set(body) == {"type", "error", "request_id"}, body
            assert set(body["error"]) >= {"type", "message"}, body
        else:
            assert set(body) == {"error"}, body
            assert set(body["error"]) >= {"type", "message", "code", "param"}, body
        assert isinstance(body["error"]["message"], str)
        return str(body["error"]["type"])

    def events(self, stream: bytes) -> list[Any]:
        """The data of a stream's events, decoded; `[DONE]` as text."""
        datas = [line[6:] for line in stream.splitlines() if line.startswith(b"data: ")]
        return ["[DONE]" if data == b"[DONE]" else json.loads(data) for data in datas]

    def pieces(self, stream: bytes) -> list[str]:
        """The content that a stream brought, delta by delta."""
        said: list[str] = []
        for event in self.events(stream):
            if self.wire == "anthropic":
                said += [event["delta"]["text"]] if event["type"] == "content_block_delta" else []
            elif event != "[DONE]":
                said += [
                    choice["delta"]["content"] for choice in event.get("choices", ()) if choice["delta"].get("content")
                ]
        return said

    def breaks_off(self, stream: bytes) -> str:
        """The type of the error that ends a stream, which must not look finished."""
        assert self.terminator not in stream
        assert b"message_stop" not in stream
        last = self.events(stream)[-1]
        if self.wire == "anthropic":
            assert stream.rstrip().rpartition(b"\n\n")[2].startswith(b"event: error\n"), stream[-500:]
        return self.kind_of_error(last)

    def _ask_anthropic(self, root: str, model: str, text: str, headers: Mapping[str, str]) -> Answer:
        sdk = self._anthropic.with_options(base_url=root, api_key=self.key)
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": text}]
        if self.stream:
            with sdk.messages.stream(model=model, max_tokens=100, messages=messages, extra_headers=headers) as stream:
                whole: anthropic.types.Message = stream.get_final_message()
                seen = stream.response.headers
        else:
            raw = sdk.messages.with_raw_response.create(
                model=model, max_tokens=100, messages=messages, extra_headers=headers
            )
            whole, seen = raw.parse(), raw.headers
        said = "".join(block.text for block in whole.content if block.type == "text")
        return Answer(said, whole.model, whole.stop_reason, dict(seen))

    def _ask_openai(self, root: str, model: str, text: str, headers: Mapping[str, str]) -> Answer:
        sdk = self._openai.with_options(base_url=f"{root}/v1", api_key=self.key)
        messages: list[Any] = [{"role": "user", "content": text}]
        completions = sdk.chat.completions.with_raw_response
        if not self.stream:
            raw = completions.create(model=model, messages=messages, extra_headers=headers)
            whole = raw.parse()
            choice = whole.choices[0]
            return Answer(choice.message.content or "", whole.model, choice.finish_reason, dict(raw.headers))
        streamed = completions.create(model=model, messages=messages, extra_headers=headers, stream=True)
        said, ending, served = "", None, ""
        with streamed.parse() as stream:
            for chunk in stream:
                assert ending is None, "a chunk after the finish reason"
                served = chunk.model
                said += chunk.choices[0].delta.content or ""
                ending = chunk.choices[0].finish_reason
        return Answer(said, served, ending, dict(streamed.headers))


# A provider by hand --------------------------------------------------------------------------------------------------


@dataclass
class Canned:
    """A server that answers every connection's one request with the same bytes, piece by piece.

    It keeps the connection open after the last piece if `lingers`, until the other side leaves or the test is over.
    """

    pieces: Sequence[bytes] = ()
    lingers: bool = False
    hasty: bool = False
    """Whether it answers as soon as it has read a request's head, and hangs up."""
    requests: list[bytes] = field(default_factory=list)
    url: str = ""
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(PATIENCE)

    def says(self, status: str, content_type: str, body: bytes, *more: str) -> None:
        """Answer plainly."""
        fields = (f"content-type: {content_type}", f"content-length: {len(body)}", "connection: close", *more)
        self.pieces = ["\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode() + body]

    def streams(self, *pieces: bytes) -> None:
        """Answer with a stream that ends with the connection."""
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        self.pieces = [head, *pieces]

    def _begin(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="canned provider")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._begin(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = b""
            while not (_whole(request) or (self.hasty and b"\r\n\r\n" in request)):
                piece = connection.recv(65536)
                if not piece:
                    return
                request += piece
            self.requests.append(request)
            for piece in self.pieces:
                connection.sendall(piece)
                self._over.wait(0.01)  # so that the pieces travel apart
            connection.settimeout(0.1)
            while self.lingers and not self._over.is_set():
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65536):
                        return


def _whole(request: bytes) -> bool:
    head, blank, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    return bool(blank) and len(body) >= (int(length[1]) if length else 0)


# Fixtures ------------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the commands printed."""
    report = yield
    if report.failed:
        report.sections += [
            (" ".join(("recloser", *command.arguments)), command.output[-5000:]) for command in Command.running
        ]
    return report


Until = Callable[[Callable[[], Any], str], Any]


@pytest.fixture(scope="session")
def until() -> Until:
    """Wait until something is so (and say what, if it never is); gives what the probe gave."""

    def wait(probe: Callable[[], Any], what: str) -> Any:
        pause = threading.Event()
        deadline = time.monotonic() + PATIENCE
        while not (seen := probe()):
            assert time.monotonic() < deadline, f"never happened: {what}"
            pause.wait(0.02)
        return seen

    return wait


@pytest.fixture(scope="session")
def sdks() -> Iterator[tuple[anthropic.Anthropic, openai.OpenAI]]:
    """One client of each SDK, shared: to make one takes longer than to ask."""
    with (
        anthropic.Anthropic(base_url="http://127.0.0.1:9", api_key="unused", max_retries=0, timeout=PATIENCE) as one,
        openai.OpenAI(base_url="http://127.0.0.1:9", api_key="unused", max_retries=0, timeout=PATIENCE) as other,
    ):
        yield one, other


_STYLES: list[tuple[Wire, bool]] = [("anthropic", False), ("anthropic", True), ("openai", False), ("openai", True)]


@pytest.fixture(
    scope="session", params=_STYLES, ids=[f"{wire}-{'stream' if stream else 'plain'}" for wire, stream in _STYLES]
)
def client(request: pytest.FixtureRequest, sdks: tuple[anthropic.Anthropic, openai.OpenAI]) -> Client:
    """Each official SDK, asking plainly and for streams."""
    wire, stream = request.param
    return Client(wire, sdks, stream=stream)


@pytest.fixture(scope="session", params=["anthropic", "openai"])
def streaming(request: pytest.FixtureRequest, sdks: tuple[anthropic.Anthropic, openai.OpenAI]) -> Client:
    """Each official SDK, asking for streams."""
    return Client(request.param, sdks, stream=True)


@pytest.fixture(scope="session", params=["anthropic", "openai"])
def plain(request: pytest.FixtureRequest, sdks: tuple[anthropic.Anthropic, openai.OpenAI]) -> Client:
    """Each official SDK, asking for plain answers."""
    return Client(request.param, sdks, stream=False)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The provider that is asked first, and fails."""
    with _stopped(Provider(tmp_path_factory.mktemp("first"), "--name", "first")) as provider:
        yield provider


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The provider that is asked next, and does not."""
    with _stopped(Provider(tmp_path_factory.mktemp("second"), "--name", "second")) as provider:
        yield provider


@contextlib.contextmanager
def _stopped(command: Command) -> Iterator[Any]:
    try:
        yield command
    finally:
        command.stop()
        assert "Traceback" not in command.output, command.output


Starts = Callable[..., Gateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starts]:
    """Start gateways for this test alone: `start(config, folder="…", environ={…})`; ends them."""
    with contextlib.ExitStack() as stack:

        def starts(
            config: Mapping[str, Any], *, folder: str = "gateway", environ: Mapping[str, str] | None = None
        ) -> Gateway:
            place = tmp_path / folder
            place.mkdir(exist_ok=True)
            gateway: Gateway = stack.enter_context(_stopped(Gateway(place, config, environ)))
            return gateway

        yield starts


@pytest.fixture(scope="module")
def start_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starts]:
    """Start a gateway for the tests of a module."""
    with contextlib.ExitStack() as stack:

        def starts(config: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Gateway:
            gateway: Gateway = stack.enter_context(
                _stopped(Gateway(tmp_path_factory.mktemp("gateway"), config, environ))
            )
            return gateway

        yield starts


@pytest.fixture(scope="module")
def canned_provider() -> type[Canned]:
    """A provider whose every byte the test says: `with canned_provider() as provider`."""
    return Canned


@pytest.fixture(scope="session")
def refusing_port() -> Iterator[int]:
    """A port at which every connection is refused: taken, but nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def deaf_port() -> Iterator[int]:
    """A port at which no connection is ever made: its queue is full and nobody takes from it."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
