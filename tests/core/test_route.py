from collections.abc import Mapping

import pytest

from recloser.core.circuit_state import CircuitState, Denied
from recloser.core.failure import FailureKind, Scope
from recloser.core.route import Choice, CircuitPath, Passed, choose, circuit_path

PATHS = {
    "sonnet": circuit_path("anthropic", "us", "sonnet", "work"),
    "bedrock": circuit_path("bedrock", None, "sonnet", "aws"),
    "local": circuit_path("ollama", None, "qwen3", "ollama"),
}


def closed_for(seconds: float | None, reason: str = "timeout") -> Denied:
    return Denied(CircuitState.OPEN, seconds, reason, FailureKind.TIMEOUT)


def chosen(refusing: Mapping[str, Denied], unfit: Mapping[str, str] | None = None) -> Choice[str]:
    return choose(PATHS, PATHS.__getitem__, refusing.get, (unfit or {}).get)


def test_a_path_names_the_circuits_from_the_widest_to_the_narrowest() -> None:
    assert PATHS["sonnet"] == ("account/work", "endpoint/anthropic/us", "model/anthropic/us/sonnet")
    assert PATHS["local"] == ("account/ollama", "endpoint/ollama", "model/ollama/qwen3")


@pytest.mark.parametrize(
    ("scope", "charged"),
    [(Scope.ACCOUNT, "a"), (Scope.ENDPOINT, "e"), (Scope.MODEL, "m"), (Scope.NOBODY, None)],
)
def test_a_failure_is_charged_to_the_circuit_of_its_scope(scope: Scope, charged: str | None) -> None:
    assert CircuitPath("a", "e", "m").charged(scope) == charged


def test_when_all_is_well_it_is_the_first() -> None:
    assert chosen({}) == Choice("sonnet", ())


@pytest.mark.parametrize("circuit", PATHS["sonnet"])
def test_one_closed_circuit_on_the_path_is_enough_to_go_on(circuit: str) -> None:
    refusal = closed_for(5.0)
    assert chosen({circuit: refusal}) == Choice("bedrock", (Passed("sonnet", "timeout", circuit, refusal),))


def test_a_target_that_does_not_fit_is_passed_over_though_it_admits() -> None:
    choice = chosen({}, {"sonnet": "already tried"})
    assert choice == Choice("bedrock", (Passed("sonnet", "already tried"),))
    assert (choice.passed[0].retry_after, choice.earliest) == (None, None)


def test_a_target_waits_for_the_longest_of_its_circuits() -> None:
    account, endpoint, model = PATHS["sonnet"]
    refusing = {account: closed_for(5.0), endpoint: closed_for(60.0, "refused"), model: closed_for(30.0)}
    (passed,) = chosen(refusing).passed
    assert (passed.circuit, passed.why, passed.retry_after) == (endpoint, "refused", 60.0)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_circuit_that_no_time_reopens_is_the_longest(where: int) -> None:
    refusing = {name: closed_for(1e6) for name in PATHS["sonnet"]}
    refusing[PATHS["sonnet"][where]] = closed_for(None, "auth")
    (passed,) = chosen(refusing).passed
    assert (passed.circuit, passed.why, passed.retry_after) == (PATHS["sonnet"][where], "auth", None)


def test_of_two_that_refuse_alike_the_wider_is_named() -> None:
    refusing = {name: closed_for(5.0) for name in PATHS["sonnet"]}
    assert chosen(refusing).passed[0].circuit == "account/work"


def test_when_nobody_admits_it_is_known_when_the_first_does() -> None:
    refusing = {"account/work": closed_for(None), "account/aws": closed_for(90.0), "endpoint/ollama": closed_for(20.0)}
    choice = chosen(refusing)
    assert choice.target is None
    assert [passed.target for passed in choice.passed] == list(PATHS)
    assert choice.earliest == 20.0


def test_when_no_time_helps_there_is_no_earliest() -> None:
    refusing = {"account/work": closed_for(None), "account/aws": closed_for(None)}
    assert chosen(refusing, {"local": "too small"}) == Choice(
        None,
        (
            Passed("sonnet", "timeout", "account/work", closed_for(None)),
            Passed("bedrock", "timeout", "account/aws", closed_for(None)),
            Passed("local", "too small"),
        ),
    )
    assert chosen(refusing, {"local": "too small"}).earliest is None


def test_targets_after_the_chosen_one_are_not_even_asked() -> None:
    asked: list[str] = []

    def denial(circuit: str) -> Denied | None:
        asked.append(circuit)
        return None

    choose(PATHS, PATHS.__getitem__, denial, lambda _: None)
    assert asked == list(PATHS["sonnet"])


def test_of_nothing_nothing_is_chosen() -> None:
    assert choose([], PATHS.__getitem__, lambda _: None, lambda _: None) == Choice(None, ())
