"""A tool whose results keep failing."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import Denied
from recloser.core.duration import format_duration
from recloser.core.errors import CircuitOpenError, ConfigError
from recloser.core.events import CircuitClosed, CircuitForced, CircuitForgotten, CircuitOpened, Event
from recloser.core.failure import Effect, Failure, FailureKind, Scope
from recloser.core.units import Duration
from recloser.gateway import canonical
from recloser.gateway.canonical import Text, ToolResult
from recloser.gateway.guards.calls import Given, fresh, named
from recloser.gateway.guards.guard import HINT, Action, Guard, Verdict
from recloser.gateway.request import Request
from recloser.gateway.wires.editor import Editor

MOST_STEPS = 10_000
"""Steps that are remembered, so that one which is sent again is not counted again."""
_LONGEST_NAME = 128
"""Of a tool that may have a circuit; real ones have at most 128 characters."""
_KIND = "tool/"
_SAID = 120
_WORDS = ("error", "an error occurred", "tool call error", "traceback (most recent call last)", '{"error"')
"""What a failed result begins with where the wire has no word for failing (both of OpenAI's)."""
_FAILED = Failure(
    kind=FailureKind.EXECUTION_ERROR, scope=Scope.MODEL, effect=Effect.COUNTS, message="its results were errors"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingSettings:
    """[guards.failing_tool]: when a tool has failed too often, and for how long it is left alone."""

    failures: int = 5
    """Steps on end in which all of a tool's results were errors, that open its circuit."""
    cooldown: Duration = 60.0
    """How long the circuit stays open the first time; longer each time that the tool fails again at once."""
    never: tuple[str, ...] = ()
    """Tools that are never withheld, by glob: the model only gets the hint."""
    action: Literal["warn", "hint", "withhold"] = "withhold"
    """While the circuit is open: `warn`: an event and a header. `hint`: the model is told that the tool is broken.
    `withhold`: it is told, and the tool is none that it could call."""

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ConfigError(f"failures must be at least 1, not {self.failures}")


class FailingTool(Guard):
    """Keeps a circuit for every tool of every caller, `tool/NAME@CALLER`, and a model away from what is broken.

    A caller is an agent of a client: one whose tool is broken does not take it from the others. The results of one step
    are one verdict, whether that step is sent once or ten times.
    """

    Settings = FailingSettings

    def __init__(self, settings: FailingSettings) -> None:
        self._settings = settings
        self._circuit = CircuitSettings(
            failure_threshold=settings.failures,
            failure_rate=0.0,
            slow_rate=0.0,
            cooldown=settings.cooldown,
            cooldown_max=max(3600.0, settings.cooldown),
            jitter=0.0,
        )
        self._breakers = Breakers(self._circuit, listeners=(self.heard,))
        self._steps: OrderedDict[int, None] = OrderedDict()
        self._troubled: set[str] = set()
        """Circuits that have opened and not closed since."""

    def circuit_settings(self, circuit: str) -> CircuitSettings | None:
        """What the circuit of a tool is judged by."""
        return self._circuit if circuit.startswith(_KIND) else None

    def join(self, breakers: Breakers) -> None:
        """Keep the circuits of tools among those of the gateway."""
        self._breakers = breakers
        self._troubled.update(name for name in breakers.snapshot().open if name.startswith(_KIND))

    def heard(self, event: Event) -> None:
        """Note which circuits are worth a look."""
        if not event.subject.startswith(_KIND):
            return
        if isinstance(event, CircuitOpened) or (isinstance(event, CircuitForced) and event.state == "forced_open"):
            self._troubled.add(event.subject)
        elif isinstance(event, CircuitClosed | CircuitForgotten):
            self._troubled.discard(event.subject)

    def look(self, request: Request, now: float) -> Verdict | None:  # noqa: ARG002 - circuits have a clock of their own
        """The tools of this request that are broken at present."""
        caller = _caller(request)
        if request.envelope.after_tool_result:
            self._learn(request.read(), caller)
        if not any(name.endswith(caller) for name in self._troubled):
            return None
        broken = self._broken(request.read(), caller)
        if not broken:
            return None
        withheld = self._withheld(request.read(), broken) if self._settings.action == "withhold" else []
        return self._verdict(request, broken, withheld)

    def _verdict(self, request: Request, broken: Mapping[str, Denied], withheld: list[str]) -> Verdict:
        waits = [denied.retry_after for denied in broken.values() if denied.retry_after is not None]
        again = f", tried again in {format_duration(min(waits))}" if waits else ""
        why = f"the results of {named(list(broken))} keep failing{again}"
        if self._settings.action == "warn":
            return Verdict(action=Action.WARN, why=why)
        action = Action.TRIM if withheld else Action.HINT
        if withheld:
            why = f"{why}; {named(withheld)} withheld"

        def change(editor: Editor) -> None:
            editor.say("user", HINT + _hint(broken, withheld))
            for tool in withheld:
                editor.without_tool(tool)

        return Verdict(action=action, why=why, instead=request.edited(change))

    def _learn(self, asked: canonical.Request, caller: str) -> None:
        """Tell the circuits what came of the last step, unless they know it."""
        given = fresh(asked)
        step = hash((caller, len(asked.turns), tuple(given), asked.turns[:1]))
        if not given or step in self._steps:
            return
        self._steps[step] = None
        if len(self._steps) > MOST_STEPS:
            self._steps.popitem(last=False)
        for tool, failed in _outcomes(given).items():
            name = f"{_KIND}{tool}{caller}"
            if failed or name in self._breakers:  # of a tool that never failed nothing need be known
                self._settle(name, failed=failed)

    def _settle(self, name: str, *, failed: bool) -> None:
        try:
            permit = self._breakers[name].acquire()
        except CircuitOpenError:
            return  # it was called before it was withheld: the circuit has heard enough
        if failed:
            permit.fail(_FAILED)
        else:
            permit.succeed(took=0.0)

    def _broken(self, asked: canonical.Request, caller: str) -> dict[str, Denied]:
        """The tools that the model could call, and should not."""
        names = {tool.name: f"{_KIND}{tool.name}{caller}" for tool in asked.tools}
        denials = {tool: self._breakers.denial(name) for tool, name in names.items() if name in self._troubled}
        return {tool: denied for tool, denied in denials.items() if denied is not None}

    def _withheld(self, asked: canonical.Request, broken: Iterable[str]) -> list[str]:
        """Those that are taken away.

        Not the one that the client itself wants called; and not the last: with calls in a conversation, providers
        refuse a request without tools.
        """
        tools = [tool for tool in broken if tool != asked.tool_name and not self._never(tool)]
        return tools if len(tools) < len(asked.tools) else []

    def _never(self, tool: str) -> bool:
        return any(fnmatchcase(tool, glob) for glob in self._settings.never)


def _caller(request: Request) -> str:
    """Whose tools these are, as circuits' names have it at their end."""
    who = "/".join(filter(None, (request.client, request.agent)))
    return f"@{who}" if who else ""


def _outcomes(given: Iterable[Given]) -> dict[str, bool]:
    """Whether each tool of a step failed: with all its results, for one of several is a mistake in a call."""
    outcomes: dict[str, bool] = {}
    for tool, result in given:
        if 0 < len(tool) <= _LONGEST_NAME:
            outcomes[tool] = outcomes.get(tool, True) and has_failed(result)
    return outcomes


def has_failed(result: ToolResult) -> bool:
    """Whether a result is an error: by the wire's own flag, or by how it begins."""
    if result.is_error:
        return True
    first = result.parts[0] if result.parts else None
    return isinstance(first, Text) and first.text[:_SAID].lstrip().lower().startswith(_WORDS)


def _hint(broken: Iterable[str], withheld: list[str]) -> str:
    tools = named(list(broken))
    gone = f" For now {named(withheld)} cannot be called." if withheld else ""
    return f"The last results of {tools} were all errors.{gone} Go on without, or say what you need."


offer = FailingTool
