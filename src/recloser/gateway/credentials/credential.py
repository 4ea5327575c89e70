"""What every way to prove who asks has in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from typing import ClassVar

from recloser.core.classify import Row


class CredentialError(Exception):
    """There is nothing to prove who asks with. `row` is what that means: nobody takes us, or nobody could be asked."""

    def __init__(self, row: Row, message: str) -> None:
        super().__init__(message)
        self.row = row


class Credential(ABC):
    """Proves to one endpoint who asks. The packages it needs are loaded when it is used first, on another thread."""

    packages: ClassVar[tuple[str, ...]]
    """What it cannot do without."""
    extra: ClassVar[str]
    """The extra of recloser that brings them."""
    wants: ClassVar[tuple[str, ...]] = ()
    """The options that it cannot do without."""

    @abstractmethod
    def __init__(self, facts: Mapping[str, str], options: Mapping[str, str]) -> None:
        """`facts` are the vendor's, `options` the user's."""

    @abstractmethod
    def begin(self) -> None:
        """Get ready before anybody asks. Needs a running loop."""

    @abstractmethod
    async def headers(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """The headers, with lower-case names, that prove who sends this request; CredentialError if there are none."""

    @classmethod
    def missing(cls) -> str | None:
        """What must be installed first; None if nothing must."""
        package = next((name for name in cls.packages if not _is_there(name)), None)
        return package and f"needs the package {package}: pip install 'recloser[{cls.extra}]'"


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False
