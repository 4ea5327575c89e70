"""Google Cloud: an access token of about an hour, by google-auth, which finds whoever can give one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from recloser.core.classify import AUTH, UNREACHABLE
from recloser.gateway.credentials.credential import Credential, CredentialError
from recloser.gateway.credentials.renewed import Fetched, Renewed

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TIMEOUT = 8.0
_RENEWED_BEFORE = 225.0
"""Seconds before its end. Earlier a metadata server gives the same token again."""
_UNTOLD = 1800.0
"""Seconds that a token is taken to live which does not say how long."""


class Google(Credential):
    """Application default credentials, or those of a service account's file."""

    packages = ("google.auth", "requests")
    extra = "vertex"

    def __init__(self, facts: Mapping[str, str], options: Mapping[str, str]) -> None:  # noqa: ARG002 - no facts
        self._file = options.get("service_account")
        self._found: Any = None
        self._token: Renewed[Mapping[str, str]] = Renewed(self._fetch)

    def begin(self) -> None:
        """Get the first token."""
        self._token.begin()

    async def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - for any request
        """The token, and the project that pays if the credentials name one."""
        return await self._token.get()

    def _fetch(self) -> Fetched[Mapping[str, str]]:
        from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415 - an extra

        try:
            return self._renewed()
        except TransportError as error:
            raise CredentialError(UNREACHABLE, f"no Google token: {type(error).__name__}") from error
        except GoogleAuthError as error:
            row = UNREACHABLE if error.retryable else AUTH
            raise CredentialError(row, f"no Google token: {type(error).__name__}") from error
        except Exception as error:  # files and programs of others, each with its errors
            raise CredentialError(AUTH, f"no Google token: {type(error).__name__}") from error

    def _renewed(self) -> Fetched[Mapping[str, str]]:
        request = _request()
        if self._found is None:
            self._found = _found(self._file, request)
        self._found.refresh(request)
        headers = {"authorization": f"Bearer {self._found.token}"}
        if payer := getattr(self._found, "quota_project_id", None):
            headers["x-goog-user-project"] = payer
        left = _seconds_left(self._found.expiry)
        return Fetched(headers, max(left - _RENEWED_BEFORE, left / 2), left)


def _request() -> Any:
    """What google-auth asks the network with, made to wait less long than it would."""
    from google.auth.transport.requests import Request  # noqa: PLC0415

    class Impatient(Request):
        def __call__(
            self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **more: Any
        ) -> Any:
            ask: Any = super().__call__
            return ask(url, method, body, headers, min(timeout or _TIMEOUT, _TIMEOUT), **more)

    return Impatient()


def _found(file: str | None, request: Any) -> Any:
    import google.auth  # noqa: PLC0415
    from google.oauth2 import service_account  # noqa: PLC0415

    load: Any = service_account.Credentials.from_service_account_file
    return load(file, scopes=[_SCOPE]) if file else google.auth.default(scopes=[_SCOPE], request=request)[0]


def _seconds_left(expiry: datetime | None) -> float:
    if expiry is None:
        return _UNTOLD
    return max((expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds(), 1.0)


offer = Google
