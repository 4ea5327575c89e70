"""AWS: each request is signed with the account's keys, by botocore, which also finds and renews them."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from recloser.core.classify import AUTH, UNREACHABLE
from recloser.gateway.credentials.credential import Credential, CredentialError
from recloser.gateway.credentials.renewed import Fetched, Renewed

_LARGE_BODY = 2**20
"""Bytes from which a body is hashed on another thread: a millisecond of the loop's time."""
_LOOKED_AT_EVERY = 240.0
"""Seconds. Keys of a role are renewed by botocore a quarter of an hour before they end; those in files may change."""
_GOOD_FOR = 600.0
_TIMES = {"connect_timeout": 3, "read_timeout": 8, "retries": {"total_max_attempts": 1}}


class SigV4(Credential):
    """Signature Version 4, with the keys that every AWS tool on this machine would use."""

    packages = ("botocore",)
    extra = "bedrock"
    wants = ("region",)

    def __init__(self, facts: Mapping[str, str], options: Mapping[str, str]) -> None:
        self._service = facts["service"]
        self._region = options["region"]
        self._profile = options.get("profile")
        self._found: Any = None
        self._keys: Renewed[Any] = Renewed(self._fetch)

    def begin(self) -> None:
        """Look for the keys."""
        self._keys.begin()

    async def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The signature and what belongs to it. Of the request's own headers only the host is signed."""
        keys = await self._keys.get()
        if len(body) > _LARGE_BODY:
            return await asyncio.to_thread(self._signed, keys, method, url, body)
        return self._signed(keys, method, url, body)

    def _signed(self, keys: Any, method: str, url: str, body: bytes) -> Mapping[str, str]:
        from botocore.auth import SigV4Auth  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped] # noqa: PLC0415

        digest = hashlib.sha256(body).hexdigest()
        request = AWSRequest(method=method, url=url, data=body, headers={"x-amz-content-sha256": digest})
        SigV4Auth(keys, self._service, self._region).add_auth(request)
        return {name.lower(): value for name, value in request.headers.items()}

    def _fetch(self) -> Fetched[Any]:
        import botocore.auth  # type: ignore[import-untyped] # noqa: PLC0415 - loaded on a thread, for `_signed` too
        import botocore.exceptions  # type: ignore[import-untyped] # noqa: PLC0415

        try:
            keys = self._frozen_keys()
        except botocore.exceptions.HTTPClientError as error:
            raise CredentialError(UNREACHABLE, f"no AWS credentials: {type(error).__name__}") from error
        except Exception as error:  # botocore asks metadata services, files and programs, each with its errors
            raise CredentialError(AUTH, f"no AWS credentials: {type(error).__name__}") from error
        if keys is None:
            raise CredentialError(AUTH, "no AWS credentials are to be found")
        return Fetched(keys, _LOOKED_AT_EVERY, _GOOD_FOR)

    def _frozen_keys(self) -> Any:
        """The keys of this moment. Those that do not renew themselves are looked for anew each time."""
        from botocore.config import Config  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.credentials import RefreshableCredentials  # type: ignore[import-untyped] # noqa: PLC0415
        from botocore.session import Session  # type: ignore[import-untyped] # noqa: PLC0415

        if not isinstance(self._found, RefreshableCredentials):
            session = Session(profile=self._profile)
            session.set_default_client_config(Config(**_TIMES))
            self._found = session.get_credentials()
        return None if self._found is None else self._found.get_frozen_credentials()


offer = SigV4
