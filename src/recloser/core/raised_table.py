"""What exceptions mean in ordinary code, as tables: raised.py reads them.

No library is imported to know its exceptions. They go by the package that defines them and their own names; the
package alone, not the module, because libraries move their exceptions about and rename their modules.
"""

import errno
from collections.abc import Mapping

from recloser.core.failure import Effect, FailureKind, Scope

_K = FailureKind
_ACCOUNT, _ENDPOINT, _MODEL, _NOBODY = Scope
_COUNTS, _OPENS, _NOTHING = Effect
MEANING: Mapping[FailureKind, tuple[Scope, Effect]] = {
    _K.UNREACHABLE: (_ENDPOINT, _COUNTS),
    _K.TIMEOUT: (_MODEL, _COUNTS),
    _K.SERVER_ERROR: (_ENDPOINT, _COUNTS),
    _K.OVERLOADED: (_MODEL, _COUNTS),
    _K.RATE_LIMITED: (_MODEL, _COUNTS),
    _K.QUOTA: (_ACCOUNT, _OPENS),
    _K.BILLING: (_ACCOUNT, _OPENS),
    _K.AUTH: (_ACCOUNT, _OPENS),
    _K.NOT_FOUND: (_NOBODY, _NOTHING),
    _K.RESOURCES: (_ENDPOINT, _COUNTS),
    _K.TOO_LARGE: (_NOBODY, _NOTHING),
    _K.INVALID_REQUEST: (_NOBODY, _NOTHING),
    _K.MALFORMED: (_MODEL, _COUNTS),
    _K.INTERRUPTED: (_MODEL, _COUNTS),
    _K.CANCELLED: (_NOBODY, _NOTHING),
    _K.EXECUTION_ERROR: (_MODEL, _COUNTS),
    _K.PERMISSION_DENIED: (_NOBODY, _NOTHING),
    _K.POLICY_REFUSED: (_NOBODY, _NOTHING),
    _K.SANDBOX: (_NOBODY, _NOTHING),
    _K.CIRCUIT_OPEN: (_NOBODY, _NOTHING),
}
"""What a kind means in ordinary code: `not_found` and `resources` are milder than in the table of answers."""

CLASSES: Mapping[str, Mapping[FailureKind, str]] = {
    "builtins": {
        _K.UNREACHABLE: "ConnectionError",
        _K.TIMEOUT: "TimeoutError",
        _K.RESOURCES: "MemoryError",
        _K.NOT_FOUND: "FileNotFoundError NotADirectoryError IsADirectoryError",
        _K.PERMISSION_DENIED: "PermissionError",
    },
    "socket ssl": {_K.UNREACHABLE: "gaierror herror SSLError"},
    "subprocess multiprocessing": {_K.TIMEOUT: "TimeoutExpired TimeoutError"},
    "concurrent": {_K.CANCELLED: "CancelledError"},
    "asyncio": {_K.INTERRUPTED: "IncompleteReadError", _K.MALFORMED: "LimitOverrunError"},
    "anyio trio": {
        _K.UNREACHABLE: "BrokenResourceError ClosedResourceError",
        _K.TIMEOUT: "TooSlowError",
        _K.INTERRUPTED: "EndOfStream",
    },
    "json": {_K.MALFORMED: "JSONDecodeError"},
    "http": {
        _K.INTERRUPTED: "IncompleteRead",
        _K.MALFORMED: "BadStatusLine LineTooLong UnknownProtocol UnknownTransferEncoding",
        _K.INVALID_REQUEST: "InvalidURL",
    },
    "urllib": {_K.UNREACHABLE: "URLError*", _K.INTERRUPTED: "ContentTooShortError"},
    "urllib3": {
        _K.UNREACHABLE: "MaxRetryError* ConnectTimeoutError NewConnectionError SSLError ProxyError ClosedPoolError",
        _K.TIMEOUT: "TimeoutError",
        _K.RESOURCES: "EmptyPoolError FullPoolError",
        _K.INTERRUPTED: "ProtocolError*",
        _K.MALFORMED: "DecodeError",
        _K.SERVER_ERROR: "ResponseError",
        _K.INVALID_REQUEST: "LocationValueError",
    },
    "requests": {
        _K.UNREACHABLE: "ConnectionError* ConnectTimeout SSLError ProxyError",
        _K.TIMEOUT: "Timeout",
        _K.INTERRUPTED: "ChunkedEncodingError",
        _K.MALFORMED: "ContentDecodingError JSONDecodeError TooManyRedirects",
        _K.SERVER_ERROR: "RetryError",
        _K.INVALID_REQUEST: "URLRequired MissingSchema InvalidSchema InvalidURL InvalidHeader InvalidJSONError",
    },
    "httpx httpx2 httpcore httpcore2": {
        _K.UNREACHABLE: "TransportError NetworkError ConnectTimeout ProxyError",
        _K.TIMEOUT: "TimeoutException",
        _K.RESOURCES: "PoolTimeout",
        _K.INTERRUPTED: "RemoteProtocolError",
        _K.MALFORMED: "DecodingError TooManyRedirects SSEError",
        _K.INVALID_REQUEST: "InvalidURL UnsupportedProtocol LocalProtocolError",
    },
    "aiohttp": {
        _K.UNREACHABLE: "ClientConnectionError ConnectionTimeoutError",
        _K.TIMEOUT: "ServerTimeoutError",
        _K.INTERRUPTED: "ClientPayloadError",
        _K.MALFORMED: (
            "ClientResponseError HttpProcessingError InvalidUrlRedirectClientError NonHttpUrlRedirectClientError"
        ),
        _K.INVALID_REQUEST: "InvalidURL NonHttpUrlClientError",
    },
    "openai anthropic": {
        _K.UNREACHABLE: "APIConnectionError*",
        _K.TIMEOUT: "APITimeoutError*",
        _K.AUTH: "CredentialsError WorkloadIdentityError SubjectTokenProviderError",
        _K.INTERRUPTED: "WebSocketConnectionClosedError",
        _K.MALFORMED: "APIResponseValidationError",
        _K.INVALID_REQUEST: "LengthFinishReasonError",
        _K.POLICY_REFUSED: "ContentFilterFinishReasonError",
    },
    "google.genai": {
        _K.MALFORMED: "UnknownApiResponseError",
        _K.INVALID_REQUEST: "UnknownFunctionCallArgumentError UnsupportedFunctionError",
    },
    "mcp fastmcp": {_K.NOT_FOUND: "ResourceNotFoundError NotFoundError"},
    "recloser": {_K.CIRCUIT_OPEN: "CircuitOpenError"},
}
"""What a class of exceptions means. A name that ends in `*` wraps another exception, which is asked first."""
NAMED = {
    f"{package}.{name.rstrip('*')}": (kind, name.endswith("*"))
    for packages, kinds in CLASSES.items()
    for kind, names in kinds.items()
    for package in packages.split()
    for name in names.split()
}
"""The same by `package.Name`: the kind, and whether it wraps another exception."""
ERRNOS = {
    errno.ENOSPC: _K.RESOURCES,
    errno.EDQUOT: _K.RESOURCES,
    errno.EMFILE: _K.RESOURCES,
    errno.ENFILE: _K.RESOURCES,
    errno.ENOMEM: _K.RESOURCES,
    errno.ENOBUFS: _K.RESOURCES,
    errno.ENETDOWN: _K.UNREACHABLE,
    errno.ENETUNREACH: _K.UNREACHABLE,
    errno.EHOSTDOWN: _K.UNREACHABLE,
    errno.EHOSTUNREACH: _K.UNREACHABLE,
    errno.EADDRNOTAVAIL: _K.UNREACHABLE,
}
MCP_ERRORS = frozenset({"mcp.McpError", "mcp.MCPError"})
MCP_CODES = {
    -32600: _K.INVALID_REQUEST,
    -32601: _K.NOT_FOUND,  # no such method
    -32602: _K.INVALID_REQUEST,
    -32603: _K.SERVER_ERROR,
    -32000: _K.UNREACHABLE,  # the connection closed before the answer came
    -32001: _K.TIMEOUT,
    408: _K.TIMEOUT,  # the Python SDK's before version 2
    -32002: _K.NOT_FOUND,  # no such resource
    -32042: _K.PERMISSION_DENIED,  # the user has to visit a page first
}
MODEL_LIBRARIES = frozenset({"openai", "anthropic", "google.genai"})
HTTP_CLIENTS = frozenset({"httpx", "httpx2", "aiohttp", "requests", "urllib3", "urllib"})
UNREADABLE_ANSWER = "aiohttp.HttpProcessingError"
"""aiohttp gives an answer that it cannot read the status 400, which nobody sent."""
