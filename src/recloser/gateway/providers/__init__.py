"""Facts about vendors, one TOML file each: where they are, how to authenticate, what they do in a way of their own.

    title = "Anthropic"              how people call it
    key_env = "ANTHROPIC_API_KEY"    the usual environment variable of its key
    auth = "x-api-key" | "api-key" | "x-goog-api-key" | "bearer"     which header carries the key
    wire_auth = { openai-chat = "bearer" }               the same for a wire that differs
    credential = { way = "sigv4", service = "bedrock" }  without a key: a file of gateway/credentials/, its facts
    use_env = ["CLAUDE_CODE_USE_BEDROCK"]                what says that it is to be used, where a key does not
    models = ["claude-*"]            model names that are its own, as globs
    local_port = 11434               where it usually listens, if it runs on this machine
    lists = "https://..."            where its models are listed, if not beside its first wire
    free = true                      it costs nothing; without saying, that holds for what has a local_port
    [wires]                          base URL by wire, as the wire's SDK takes it; the first is spoken to strangers
    [windows]                        context windows of its models in tokens, by glob; the first that matches holds
    [models_on]                      on a wire that does not take all of its models: which, as globs
    [asked.WIRE]                     a vendor that takes a wire's requests at another path, or with other fields
    path = "/models/{model}:rawPredict"
    stream = "/models/{model}:streamRawPredict"          for streams; absent: the same
    body = { anthropic_version = "vertex-2023-10-16" }   fields that it wants besides
    without = ["model"]              fields that it does not take
    [options.region]                 what `{region}` stands for in these addresses: the user's `options`
    about = "the AWS region"
    env = ["AWS_REGION"]             where it usually stands; "NAME=https://*.example.com": a part of what stands there
    needed = true                    the default; false for what no address needs
    file = false                     the default; true for the path of a file
    [derived.host.region]            what `{host}` stands for, by globs of an option's value; the first that matches
    "*" = "{region}.example.com"
    words_in_results = true          a user may not speak right after a tool: words go into the result
    [prefill]                        what it needs to go on from a turn of the model at the end; absent: it cannot
    models = ["claude-3-*"]          which models do, as globs
    wires = ["openai-chat"]          on which wires; absent: on all
    message = { prefix = true }      fields that it wants on that turn
    body = { echo = false }          fields that it wants on the request

To add a vendor is to add a file; an installed package adds one by an entry point of the group `recloser.providers` that
is a `ProviderKind`. The first "if" that a vendor needs belongs in a wire, not here.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

import msgspec

from recloser.plugins import Offered, offered

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Prefill(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a vendor goes on from a turn of the model that stands at the end of the conversation."""

    models: tuple[str, ...]
    """Which models do, as globs."""
    wires: tuple[str, ...] = ()
    """The wires on which they do; none named: all."""
    message: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Fields that the vendor wants on that turn."""
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Fields that the vendor wants on the request."""
    echoes: bool = False
    """Whether the answer begins with that turn once more."""

    def goes_on(self, model: str, wire: str) -> bool:
        """Whether this model does, asked on this wire."""
        return (not self.wires or wire in self.wires) and any(fnmatchcase(model, glob) for glob in self.models)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a vendor takes a wire's requests, where it does so in a way of its own."""

    path: str
    """After the base URL; `{model}` is the model's name."""
    stream: str = ""
    """The same for streams; empty: as `path`."""
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Fields that a request needs besides its own."""
    without: tuple[str, ...] = ()
    """Fields that a request must not have."""

    def at(self, model: str, *, stream: bool) -> str:
        """Where this model is asked; ValueError if its name leads elsewhere: names come from clients."""
        if not {".", ".."}.isdisjoint(model.split("/")):
            raise ValueError(f"model: {model[:100]!r} is no name for a model")
        return ((stream and self.stream) or self.path).replace("{model}", quote(model, safe="@"))

    def dressed(self, body: bytes) -> bytes:
        """A request with the fields that the vendor wants, and without those that it does not take."""
        if not self.body and not self.without:
            return body
        fields = _decode_fields(body)
        kept: dict[str, Any] = {name: value for name, value in fields.items() if name not in self.without}
        return msgspec.json.encode({**self.body, **kept})


class Option(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that only the user can say."""

    about: str
    env: tuple[str, ...] = ()
    """Where it usually stands in the environment."""
    needed: bool = True
    file: bool = False
    """Whether it is the path of a file."""

    def usual(self, environ: Mapping[str, str]) -> str | None:
        """What the environment says, if it says it."""
        return next(filter(None, (_in_environment(place, environ) for place in self.env)), None)


def _in_environment(place: str, environ: Mapping[str, str]) -> str | None:
    name, _, shape = place.partition("=")
    value = environ.get(name, "").strip()
    before, _, after = shape.partition("*")
    inner, found, _ = value.removeprefix(before).partition(after) if after else (value, "", "")
    return inner if value.startswith(before) and found == after else None


class ProviderKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One vendor's facts."""

    title: str
    auth: str
    wires: Mapping[str, str]
    models: tuple[str, ...] = ()
    key_env: str | None = None
    wire_auth: Mapping[str, str] = msgspec.field(default_factory=dict)
    credential: Mapping[str, str] = msgspec.field(default_factory=dict)
    use_env: tuple[str, ...] = ()
    local_port: int | None = None
    free: bool = False
    windows: Mapping[str, int] = msgspec.field(default_factory=dict)
    lists: str | None = None
    models_on: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    asked: Mapping[str, Asked] = msgspec.field(default_factory=dict)
    options: Mapping[str, Option] = msgspec.field(default_factory=dict)
    derived: Mapping[str, Mapping[str, Mapping[str, str]]] = msgspec.field(default_factory=dict)
    words_in_results: bool = False
    """Whether a user's words beside a tool's result must be a part of it: no user may speak right after a tool."""
    prefill: Prefill | None = None
    """None: a turn of the model at the end is refused, or answered with a new one."""

    @property
    def costs_nothing(self) -> bool:
        """Whether nobody has to pay for its answers: it runs on one's own machine."""
        return self.free or self.local_port is not None

    def window(self, model: str) -> int | None:
        """The context window of a model, in tokens, if the vendor has told it."""
        return next((window for glob, window in self.windows.items() if fnmatchcase(model, glob)), None)

    def auth_headers(self, key: str, wire: str) -> dict[str, str]:
        """The headers that carry a key to this vendor on this wire."""
        auth = self.wire_auth.get(wire, self.auth)
        return {"authorization": f"Bearer {key}"} if auth == "bearer" else {auth: key}

    def usual_options(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The options that stand in the environment."""
        found = {name: option.usual(environ) for name, option in self.options.items()}
        return {name: value for name, value in found.items() if value is not None}

    def takes(self, model: str, wire: str) -> bool:
        """Whether a model is among those that the vendor takes on this wire."""
        globs = self.models_on.get(wire)
        return globs is None or any(fnmatchcase(model, glob) for glob in globs)

    def filled(self, template: str, options: Mapping[str, str]) -> str:
        """An address of this vendor with the user's options in their places. What has no value stays as it is."""
        values = {**options, **{name: self._derived(name, options) for name in self.derived}}
        return _with_values(template, values)

    def asked_with(self, options: Mapping[str, str]) -> Mapping[str, Asked]:
        """How it takes requests in a way of its own, by wire, with the user's options in their places."""
        return {
            wire: msgspec.structs.replace(
                asked, path=self.filled(asked.path, options), stream=self.filled(asked.stream, options)
            )
            for wire, asked in self.asked.items()
        }

    def lacks(self, template: str, options: Mapping[str, str]) -> Sequence[str]:
        """The names of the options that an address needs and that nobody gave."""
        return [name for name in dict.fromkeys(_PLACEHOLDER.findall(self.filled(template, options))) if name != "model"]

    def _derived(self, name: str, options: Mapping[str, str]) -> str:
        (source, values), *_ = self.derived[name].items()
        given = options.get(source)
        if given is None:
            return f"{{{source}}}"
        return _with_values(next((value for glob, value in values.items() if fnmatchcase(given, glob)), ""), options)


def _with_values(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda place: values.get(place[1], place[0]), template)


@cache
def plugged_in() -> Offered[ProviderKind]:
    """The vendors that installed packages add, by entry points of the group `recloser.providers`."""
    return offered(__name__, lambda plugin: isinstance(plugin, ProviderKind))


@cache
def provider_kinds() -> Mapping[str, ProviderKind]:
    """Every vendor: those we have a file of, by the file's name, and those that installed packages add."""
    files = sorted(
        (f for f in resources.files(__package__).iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    ours = {f.name.removesuffix(".toml"): tomllib.loads(f.read_text("utf-8")) for f in files}
    return {**plugged_in().found, **{name: msgspec.convert(facts, ProviderKind) for name, facts in ours.items()}}
