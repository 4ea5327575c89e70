"""What the exceptions of real libraries mean.

Those that are installed raise them here themselves, against a server on loopback that answers with given bytes. Of
the others (requests, urllib3, google-genai, mcp), classes of the same names and bases are made.
"""

import asyncio
import contextlib
import http.client
import importlib
import json
import socket
import socketserver
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import pytest

from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.raised import classify_exception
from recloser.core.raised_table import CLASSES, HTTP_CLIENTS, MODEL_LIBRARIES

NOW = 1_790_000_000.0
COUNTS, OPENS, NOTHING = Effect
K = FailureKind


def classified(error: BaseException) -> Failure:
    return classify_exception(error, wall_now=NOW)


def meaning(error: BaseException) -> tuple[FailureKind, Effect]:
    failure = classified(error)
    return failure.kind, failure.effect


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    pytest.fail("nothing was raised")


# One server, many clients


@contextlib.contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """The URL of a server that reads a request, says this to everyone, and closes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while line := self.rfile.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            self.wfile.write(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def answer(status: int, body: Any = None, *, kind: str = "application/json", **headers: str) -> bytes:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} So", f"content-type: {kind}", f"content-length: {len(content)}", "connection: close"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@pytest.fixture
def nobody() -> str:
    """A URL on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def by_urllib(url: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        return response.read()


def by_httpx(url: str) -> Any:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url).raise_for_status()


def by_aiohttp(url: str) -> Any:
    async def get() -> Any:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()
            return await response.json()

    return asyncio.run(get())


def by_openai(url: str, *, stream: bool = False) -> Any:
    http_client = httpx2.Client(trust_env=False)
    with openai.OpenAI(base_url=url, api_key="k", max_retries=0, http_client=http_client) as client:
        made = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=stream)
        return list(made) if stream else made


def by_anthropic(url: str, *, stream: bool = False) -> Any:
    http_client = httpx2.Client(trust_env=False)
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0, http_client=http_client) as client:
        made = client.messages.create(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=stream
        )
        return list(made) if stream else made


GENERAL = [by_urllib, by_httpx, by_aiohttp]
MODELS = [by_openai, by_anthropic]


@pytest.mark.parametrize("ask", [*GENERAL, *MODELS])
def test_a_refused_connection(ask: Callable[[str], Any], nobody: str) -> None:
    assert meaning(raised(lambda: ask(nobody))) == (K.UNREACHABLE, COUNTS)


@pytest.mark.parametrize("ask", [*GENERAL, *MODELS])
def test_a_limit_with_a_time(ask: Callable[[str], Any]) -> None:
    with saying(answer(429, {"error": {"message": "slow down"}}, retry_after="30")) as url:
        error = raised(lambda: ask(url))
    failure = classified(error)
    close(error)
    assert (failure.kind, failure.effect, failure.status) == (K.RATE_LIMITED, OPENS, 429)
    assert (failure.retry_after, failure.authoritative) == (30.0, True)


@pytest.mark.parametrize("ask", [*GENERAL, *MODELS])
def test_a_key_that_is_refused_opens_for_the_circuits_own_cooldown(ask: Callable[[str], Any]) -> None:
    with saying(answer(401, {"error": {"message": "invalid key", "type": "authentication_error"}})) as url:
        error = raised(lambda: ask(url))
    failure = classified(error)
    close(error)
    assert (failure.kind, failure.scope, failure.effect) == (K.AUTH, Scope.ACCOUNT, OPENS)
    assert (failure.until_proven, failure.retry_after) == (False, None)


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("ask", GENERAL)
def test_what_an_http_client_does_not_find_is_nobodys_failure(ask: Callable[[str], Any], status: int) -> None:
    with saying(answer(status, {"error": {"type": "not_found_error"}})) as url:
        error = raised(lambda: ask(url))
    failure = classified(error)
    close(error)
    assert (failure.kind, failure.effect, failure.status) == (K.NOT_FOUND, NOTHING, status)
    assert failure.retry_after is None


@pytest.mark.parametrize("ask", MODELS)
def test_a_model_that_is_not_found_opens(ask: Callable[[str], Any]) -> None:
    with saying(answer(404, {"error": {"type": "not_found_error", "message": "model: m"}})) as url:
        failure = classified(raised(lambda: ask(url)))
    assert (failure.kind, failure.effect, failure.retry_after) == (K.NOT_FOUND, OPENS, 300.0)
    assert failure.message == "NotFoundError: model: m"
    assert failure.quoted


@pytest.mark.parametrize("ask", [*GENERAL, *MODELS])
def test_a_broken_server_counts(ask: Callable[[str], Any]) -> None:
    with saying(answer(502, b"<html>Bad gateway</html>", kind="text/html")) as url:
        error = raised(lambda: ask(url))
    assert meaning(error) == (K.SERVER_ERROR, COUNTS)
    close(error)


def test_the_body_tells_more_than_the_status() -> None:
    credit = {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}
    quota = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    length = {"error": {"message": "maximum context length is 8192 tokens", "code": "context_length_exceeded"}}
    for ask, status, body, kind in (
        (by_anthropic, 400, credit, K.BILLING),
        (by_httpx, 400, credit, K.BILLING),
        (by_openai, 429, quota, K.BILLING),
        (by_openai, 400, length, K.TOO_LARGE),
        (by_anthropic, 529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, K.OVERLOADED),
    ):
        with saying(answer(status, body)) as url:
            failure = classified(raised(lambda ask=ask, url=url: ask(url)))  # type: ignore[misc]
        assert failure.kind is kind
        assert failure.quoted
        assert not failure.until_proven


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (by_urllib, K.MALFORMED),
        (by_aiohttp, K.MALFORMED),
        (by_httpx, K.INTERRUPTED),  # it cannot tell an answer that is none from one that breaks off
        (by_openai, K.INTERRUPTED),
        (by_anthropic, K.INTERRUPTED),
    ],
)
def test_an_answer_that_is_no_http_is_never_the_callers_fault(ask: Callable[[str], Any], kind: FailureKind) -> None:
    with saying(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as url:
        failure = classified(raised(lambda: ask(url)))
    assert (failure.kind, failure.effect, failure.status) == (kind, COUNTS, None)


@pytest.mark.parametrize("ask", GENERAL)
def test_an_answer_that_breaks_off(ask: Callable[[str], Any]) -> None:
    with saying(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{") as url:
        assert meaning(raised(lambda: ask(url))) == (K.INTERRUPTED, COUNTS)


def test_html_instead_of_json() -> None:
    with saying(answer(200, b"<html>hello</html>", kind="text/html")) as url:
        assert meaning(raised(lambda: by_aiohttp(url))) == (K.MALFORMED, COUNTS)


def test_an_error_in_the_middle_of_a_stream() -> None:
    told = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    with saying(answer(200, told, kind="text/event-stream")) as url:
        failure = classified(raised(lambda: by_anthropic(url, stream=True)))
    assert (failure.kind, failure.message, failure.status) == (K.OVERLOADED, "APIStatusError: Overloaded", 200)
    told = b'event: error\ndata: {"type":"error","error":{"type":"x","message":"Your credit balance is too low"}}\n\n'
    with saying(answer(200, told, kind="text/event-stream")) as url:
        assert classified(raised(lambda: by_anthropic(url, stream=True))).kind is K.BILLING
    told = b'data: {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}\n\n'
    with saying(answer(200, told, kind="text/event-stream")) as url:
        failure = classified(raised(lambda: by_openai(url, stream=True)))
    assert (failure.kind, failure.message, failure.quoted) == (K.RATE_LIMITED, "APIError: Rate limit reached", True)


def close(error: BaseException) -> None:
    """urllib's error for a status is an open answer."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()


# Nothing is read and nobody is warned


def test_the_answer_of_urllib_is_left_unread() -> None:
    with saying(answer(500, b"for whoever catches it")) as url:
        error = raised(lambda: by_urllib(url))
    assert isinstance(error, urllib.error.HTTPError)
    assert classified(error).kind is K.SERVER_ERROR
    assert error.read() == b"for whoever catches it"
    error.close()


def test_a_streamed_answer_is_left_unread() -> None:
    with (
        saying(answer(503, b"for whoever catches it")) as url,
        httpx2.Client(trust_env=False) as client,
        client.stream("GET", url) as response,
    ):
        assert classified(raised(response.raise_for_status)).kind is K.SERVER_ERROR
        assert response.read() == b"for whoever catches it"


def test_aiohttps_deprecated_properties_are_not_asked() -> None:
    error = aiohttp.ClientResponseError(SimpleNamespace(real_url="http://x"), (), status=503)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert classified(error).kind is K.SERVER_ERROR
        error.status = 0
        assert classified(error).kind is K.MALFORMED
    assert not warned


# Wrappers

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1")


@pytest.mark.parametrize("library", [openai, anthropic])
def test_a_wrapper_asks_what_it_wraps(library: Any) -> None:
    causes = {
        httpx2.ConnectTimeout("no"): K.UNREACHABLE,
        httpx2.ReadTimeout("no"): K.TIMEOUT,
        httpx2.PoolTimeout("no"): K.RESOURCES,
        httpx2.RemoteProtocolError("cut"): K.INTERRUPTED,
        httpx2.LocalProtocolError("Illegal header value"): K.INVALID_REQUEST,
        OSError("strange"): K.UNREACHABLE,
        asyncio.CancelledError(): K.UNREACHABLE,
    }
    for cause, kind in causes.items():
        error = library.APIConnectionError(request=REQUEST)
        error.__cause__ = cause
        assert classified(error).kind is kind
    assert classified(library.APIConnectionError(request=REQUEST)).kind is K.UNREACHABLE
    timeout = library.APITimeoutError(request=REQUEST)
    assert classified(timeout).kind is K.TIMEOUT
    timeout.__cause__ = httpx2.ConnectTimeout("no")
    assert classified(timeout).kind is K.UNREACHABLE
    assert classified(timeout).message.endswith("(from ConnectTimeout: no)")


def test_a_wrapper_of_urllib_names_its_reason() -> None:
    assert classified(urllib.error.URLError(TimeoutError())).kind is K.TIMEOUT
    assert classified(urllib.error.URLError(FileNotFoundError())).kind is K.NOT_FOUND
    assert classified(urllib.error.URLError("no host given")).kind is K.UNREACHABLE


# The table and the libraries


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx2.ConnectError("x"), K.UNREACHABLE),
        (httpx2.ReadError("x"), K.UNREACHABLE),
        (httpx2.ProxyError("x"), K.UNREACHABLE),
        (httpx2.WriteTimeout("x"), K.TIMEOUT),
        (httpx2.DecodingError("x"), K.MALFORMED),
        (httpx2.TooManyRedirects("x"), K.MALFORMED),
        (httpx2.UnsupportedProtocol("x"), K.INVALID_REQUEST),
        (httpx2.InvalidURL("x"), K.INVALID_REQUEST),
        (httpx2.StreamConsumed(), K.EXECUTION_ERROR),
        (aiohttp.ServerDisconnectedError(), K.UNREACHABLE),
        (aiohttp.ClientOSError(104, "reset"), K.UNREACHABLE),
        (aiohttp.ClientOSError(24, "too many open files"), K.RESOURCES),
        (aiohttp.ConnectionTimeoutError(), K.UNREACHABLE),
        (aiohttp.SocketTimeoutError(), K.TIMEOUT),
        (aiohttp.InvalidURL("x"), K.INVALID_REQUEST),
        (aiohttp.NonHttpUrlRedirectClientError("x"), K.MALFORMED),
        (aiohttp.http_exceptions.BadHttpMessage("x"), K.MALFORMED),
        (openai.APIResponseValidationError(httpx2.Response(200, request=REQUEST), {"code": "not_found"}), K.MALFORMED),
        (openai.ContentFilterFinishReasonError(), K.POLICY_REFUSED),
        (openai.APIError("odd", REQUEST, body=None), K.EXECUTION_ERROR),
        (anthropic.CredentialsError("none"), K.AUTH),
    ],
    ids=repr,
)
def test_a_librarys_own(error: Exception, kind: FailureKind) -> None:
    assert classified(error).kind is kind


def test_every_name_of_an_installed_library_is_one_of_its_exceptions() -> None:
    homes = {
        "builtins": ["builtins"], "socket": ["socket"], "ssl": ["ssl"], "subprocess": ["subprocess"],
        "multiprocessing": ["multiprocessing"], "concurrent": ["concurrent.futures"], "asyncio": ["asyncio"],
        "anyio": ["anyio"], "json": ["json"], "http": ["http.client"], "urllib": ["urllib.error"],
        "httpx2": ["httpx2"], "httpcore2": ["httpcore2"], "aiohttp": ["aiohttp", "aiohttp.http_exceptions"],
        "openai": ["openai", "openai._exceptions"], "anthropic": ["anthropic", "anthropic.lib.credentials._workload"],
        "recloser": ["recloser"],
    }  # fmt: skip
    for packages, kinds in CLASSES.items():
        here = [importlib.import_module(home) for package in packages.split() for home in homes.get(package, ())]
        for name in " ".join(kinds.values()).replace("*", "").split() if here else ():
            if packages == "anyio trio" and name == "TooSlowError":
                continue  # trio's, which is not installed
            known = [getattr(module, name) for module in here if hasattr(module, name)]
            assert known, f"{packages}: {name}"
            assert all(issubclass(cls, Exception) for cls in known)


def test_the_libraries_that_are_told_apart_are_of_the_table() -> None:
    packages = {package for names in CLASSES for package in names.split()}
    assert packages >= HTTP_CLIENTS | MODEL_LIBRARIES


# Libraries that are not installed here


def of_library(module: str, name: str, *bases: type) -> Any:
    return type(name, bases or (Exception,), {"__module__": module})


def test_httpx_under_its_own_name() -> None:
    transport = of_library("httpx", "TransportError", of_library("httpx", "RequestError"))
    timeout = of_library("httpx", "TimeoutException", transport)
    assert classified(of_library("httpx", "ReadTimeout", timeout)()).kind is K.TIMEOUT
    assert classified(of_library("httpx", "ConnectTimeout", timeout)()).kind is K.UNREACHABLE
    gone = of_library("httpx", "HTTPStatusError", of_library("httpx", "HTTPError"))()
    gone.response = SimpleNamespace(status_code=404, headers={})
    assert meaning(gone) == (K.NOT_FOUND, NOTHING)


URLLIB3_ERROR = of_library("urllib3.exceptions", "HTTPError")
REQUESTS_ERROR = of_library("requests.exceptions", "RequestException", OSError)
REQUESTS_CONNECTION = of_library("requests.exceptions", "ConnectionError", REQUESTS_ERROR)
REQUESTS_TIMEOUT = of_library("requests.exceptions", "Timeout", REQUESTS_ERROR)


def urllib3s(name: str, *args: Any) -> Any:
    return of_library("urllib3.exceptions", name, URLLIB3_ERROR)(*args)


def test_urllib3() -> None:
    assert classified(urllib3s("ReadTimeoutError")).kind is K.EXECUTION_ERROR
    read_timeout = of_library("urllib3.exceptions", "ReadTimeoutError", type(urllib3s("TimeoutError")))
    assert classified(read_timeout()).kind is K.TIMEOUT
    assert classified(urllib3s("NewConnectionError")).kind is K.UNREACHABLE
    assert classified(urllib3s("ProtocolError", "Connection broken")).kind is K.INTERRUPTED
    aborted = urllib3s("ProtocolError", "Connection aborted.", http.client.RemoteDisconnected("closed"))
    assert classified(aborted).kind is K.UNREACHABLE
    retries = urllib3s("MaxRetryError", "exceeded")
    assert classified(retries).kind is K.UNREACHABLE
    retries.reason = urllib3s("ResponseError", "too many 503 error responses")
    assert classified(retries).kind is K.SERVER_ERROR


def test_requests() -> None:
    assert classified(REQUESTS_CONNECTION(urllib3s("ProtocolError"))).kind is K.INTERRUPTED
    assert classified(REQUESTS_CONNECTION("plain words")).kind is K.UNREACHABLE
    assert classified(REQUESTS_TIMEOUT()).kind is K.TIMEOUT
    both = of_library("requests.exceptions", "ConnectTimeout", REQUESTS_CONNECTION, REQUESTS_TIMEOUT)
    assert classified(both()).kind is K.UNREACHABLE
    read = of_library("requests.exceptions", "ReadTimeout", REQUESTS_TIMEOUT)
    assert classified(read()).kind is K.TIMEOUT
    no_json = of_library("requests.exceptions", "InvalidJSONError", REQUESTS_ERROR)
    assert classified(no_json()).kind is K.INVALID_REQUEST
    broken = of_library("requests.exceptions", "JSONDecodeError", no_json, json.JSONDecodeError)
    assert classified(broken("Expecting value", "<html>", 0)).kind is K.MALFORMED


def test_an_answer_of_requests_which_is_false_when_it_failed() -> None:
    class Response:
        def __init__(self) -> None:
            self.status_code = 429
            self.headers = {"Retry-After": "7"}
            self._content = b'{"error": "slow down"}'

        def __bool__(self) -> bool:
            return False

    error = of_library("requests.exceptions", "HTTPError", REQUESTS_ERROR)("429 Client Error for url: http://x/oom")
    error.response = Response()
    failure = classified(error)
    assert (failure.kind, failure.effect, failure.retry_after) == (K.RATE_LIMITED, OPENS, 7.0)
    assert failure.message == "HTTPError: slow down"


def test_the_url_in_an_http_clients_sentence_is_no_word_of_the_server() -> None:
    error = of_library("requests.exceptions", "HTTPError", REQUESTS_ERROR)("503 for url: http://x/out of memory")
    error.response = SimpleNamespace(status_code=503, headers={})
    failure = classified(error)
    assert (failure.kind, failure.quoted) == (K.SERVER_ERROR, False)


def test_google_genai() -> None:
    api_error = of_library("google.genai.errors", "APIError")
    quota: Any = of_library("google.genai.errors", "ClientError", api_error)("429 RESOURCE_EXHAUSTED. {...}")
    quota.code, quota.status, quota.response = 429, "RESOURCE_EXHAUSTED", None
    quota.details = {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        }
    }
    failure = classified(quota)
    assert (failure.kind, failure.effect, failure.retry_after) == (K.RATE_LIMITED, OPENS, 34.0)
    assert failure.message == "ClientError: You exceeded your current quota"
    missing: Any = of_library("google.genai.errors", "ClientError", api_error)()
    missing.code, missing.status = 404, "NOT_FOUND"
    assert meaning(missing) == (K.NOT_FOUND, OPENS)
    other: Any = of_library("google.api_core.exceptions", "NotFound")()
    other.code = 404
    assert meaning(other) == (K.NOT_FOUND, NOTHING)


@pytest.mark.parametrize("name", ["McpError", "MCPError"])
@pytest.mark.parametrize(
    ("code", "kind", "effect"),
    [
        (-32602, K.INVALID_REQUEST, NOTHING),
        (-32601, K.NOT_FOUND, NOTHING),
        (-32002, K.NOT_FOUND, NOTHING),
        (-32042, K.PERMISSION_DENIED, NOTHING),
        (-32603, K.SERVER_ERROR, COUNTS),
        (-32000, K.UNREACHABLE, COUNTS),
        (-32001, K.TIMEOUT, COUNTS),
        (408, K.TIMEOUT, COUNTS),
        (32600, K.EXECUTION_ERROR, COUNTS),
        (None, K.EXECUTION_ERROR, COUNTS),
    ],
)
def test_mcp(name: str, code: int | None, kind: FailureKind, effect: Effect) -> None:
    error = of_library("mcp.shared.exceptions", name)("the server's words")
    error.error = SimpleNamespace(code=code, message="the server's words")
    failure = classified(error)
    assert (failure.kind, failure.effect, failure.quoted) == (kind, effect, True)


def test_mcp_in_the_group_of_its_tasks() -> None:
    transport = ExceptionGroup("unhandled errors in a TaskGroup", [httpx2.ConnectError("refused")])
    assert classified(ExceptionGroup("unhandled errors in a TaskGroup", [transport])).kind is K.UNREACHABLE
