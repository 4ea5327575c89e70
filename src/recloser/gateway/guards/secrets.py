"""Keys and tokens on their way out."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from recloser.gateway.guards.guard import Action, Guard, Stage, Verdict, verdict
from recloser.gateway.request import Request


class Look(NamedTuple):
    """How a kind of secret looks: the bytes that a search is for, and what must stand there."""

    title: str
    sign: bytes
    """Where it may begin."""
    whole: re.Pattern[bytes]
    """Linear: what is repeated without a bound is never given back, and holds no sign of its own unless it is found."""


_BEGINS = rb"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf])|(?<=\\u[0-9a-fA-F]{4}))"
"""No letter before it, but for one of JSON's own escapes."""
_LETTERS = r"[A-Za-z0-9]"
_ENDS = r"(?![\w-])"
"""Else it is a piece of something longer, such as a file in base64."""


def _look(title: str, sign: str, rest: str) -> Look:
    """A secret that begins with its sign."""
    return Look(title, sign.encode(), re.compile(_BEGINS + re.escape(sign).encode() + rest.encode()))


LOOKS = (
    _look("an API key (sk-)", "sk-", rf"(?:(?:ant|proj|svcacct|admin|or)-[\w-]{{24,}}+|{_LETTERS}{{32,}}+{_ENDS})"),
    _look("a key of Google", "AIza", rf"[\w-]{{35}}{_ENDS}"),
    _look("a key of xAI", "xai-", rf"{_LETTERS}{{60,}}+{_ENDS}"),
    _look("a key of Groq", "gsk_", rf"{_LETTERS}{{40,}}+{_ENDS}"),
    _look("a token of Hugging Face", "hf_", rf"{_LETTERS}{{34}}{_ENDS}"),
    _look("a key of AWS", "AKIA", rf"[A-Z2-7]{{16}}{_ENDS}"),
    _look("a key of AWS", "ASIA", rf"[A-Z2-7]{{16}}{_ENDS}"),
    *(_look("a token of GitHub", f"gh{kind}_", rf"{_LETTERS}{{36}}{_ENDS}") for kind in "pousr"),
    _look("a token of GitHub", "github_pat_", r"\w{40,}+"),
    _look("a token of GitLab", "glpat-", r"[\w-]{20,}+"),
    _look("a token of Slack", "xox", r"[abeprs]-[A-Za-z0-9-]{20,}+"),
    _look("a key of Stripe", "sk_live_", rf"{_LETTERS}{{16,}}+{_ENDS}"),
    _look("a key of Stripe", "rk_live_", rf"{_LETTERS}{{16,}}+{_ENDS}"),
    _look("a token of npm", "npm_", rf"{_LETTERS}{{36}}{_ENDS}"),
    _look("a token of PyPI", "pypi-AgE", r"[\w-]{50,}+"),
    _look("a key of SendGrid", "SG.", rf"[\w-]{{22}}\.[\w-]{{43}}{_ENDS}"),
    _look("a token of DigitalOcean", "dop_v1_", rf"[a-f0-9]{{64}}{_ENDS}"),
    Look(
        "a private key",
        b"PRIVATE KEY",
        # with something of the key itself: the line alone stands in many a program
        re.compile(rb"PRIVATE KEY(?: BLOCK)?-----(?:\\{1,4}[rn]|\s){1,4}[A-Za-z0-9+/]{40}"),
    ),
)
MOST = 100
"""Secrets of one request that are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsSettings:
    """[guards.secrets]: what is done about secrets in a request."""

    action: Literal["warn", "refuse"] = "warn"
    """`warn`: an event and a header. `refuse`: 400 `secret_found`, as long as the secret is in the conversation."""


class Secrets(Guard):
    """Finds API keys, tokens and private keys by how they begin, wherever they stand in a request.

    The bytes are looked at as they are: nothing is decoded, whatever the wire. What is told is the kind and the number.
    """

    Settings = SecretsSettings
    stage = Stage.SENT

    def __init__(self, settings: SecretsSettings) -> None:
        self._settings = settings

    def look(self, request: Request, now: float) -> Verdict | None:  # noqa: ARG002 - a secret has no clock
        """Secrets in a request."""
        found = Counter(found_in(request.body))
        if not found:
            return None
        kinds = ", ".join(title if times == 1 else f"{title} ({times} times)" for title, times in found.items())
        return verdict(request, Action(self._settings.action), f"in the request stands {kinds}", kind="secret_found")


def found_in(body: bytes) -> Iterator[str]:
    """The title of each secret. Every byte is looked at a bounded number of times, whatever the body is."""
    count = 0
    for look in LOOKS:
        place = body.find(look.sign)
        while place >= 0 and count < MOST:
            found = look.whole.match(body, place)
            if found is not None:
                count += 1
                yield look.title
            place = body.find(look.sign, place + len(look.sign) if found is None else found.end())


offer = Secrets
