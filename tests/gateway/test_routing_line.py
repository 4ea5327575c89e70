"""`max_concurrency`: the next target, or a fair line."""

import random
from typing import Any

import pytest
from tests.gateway.conversation import ANSWER, JSON, Conversation

from recloser.core.circuit_settings import CircuitSettings
from recloser.gateway import traffic as facts
from recloser.gateway.asks import Hold
from recloser.gateway.settings import GatewaySettings
from recloser.gateway.traffic import LONGEST_QUEUE, Traffic
from recloser.testing import ManualClock

WAITS = GatewaySettings(max_hold=60.0, midstream="error")
ONE = {"max_concurrency": 1}


def begin(traffic: Traffic, **more: Any) -> Conversation:
    return Conversation(**{"traffic": traffic, "targets": ["a/m"], "provider": ONE, "gateway": WAITS, **more})


def served(talk: Conversation) -> None:
    talk.answers(200, JSON).says(ANSWER)
    assert talk.reply.status == 200


def awake(talk: Conversation) -> bool:
    """Whether it has been its turn; then it goes on, as the driver lets it."""
    assert isinstance(talk.ask, Hold)
    if talk.ask.place is None or talk.ask.place.granted is None:
        return False
    talk.wakes(after=0.0)
    return True


def test_a_busy_provider_is_passed_over_and_nobody_is_charged() -> None:
    traffic = Traffic()
    first, second = (begin(traffic, targets=["a/m", "b/m"], providers={"b": {"max_concurrency": 0}}) for _ in range(2))
    assert (first.asked, second.asked) == (["a/m"], ["b/m"])
    served(second)
    served(first)
    assert second.failures == []
    assert begin(traffic, targets=["a/m", "b/m"]).asked == ["a/m"]


def test_those_who_wait_are_served_in_the_order_in_which_they_came() -> None:
    traffic = Traffic()
    first, *others = (begin(traffic) for _ in range(4))
    assert first.asked == ["a/m"]
    assert [talk.asked for talk in others] == [[], [], []]
    assert traffic.waiting("a") == 3
    running = first
    for place, talk in enumerate(others):
        served(running)
        assert not any(awake(later) for later in others[place + 1 :])
        assert awake(talk)
        assert talk.asked == ["a/m"]
        assert traffic.under_way("a") == 1
        running = talk
    served(running)
    assert (traffic.under_way("a"), traffic.waiting("a")) == (0, 0)


def test_nobody_overtakes_those_who_wait() -> None:
    traffic = Traffic()
    first, second = begin(traffic), begin(traffic)
    served(first)  # the place is the second's, though it has not woken yet
    third = begin(traffic)
    assert third.asked == []
    assert awake(second)
    assert second.asked == ["a/m"]


def test_a_place_is_free_again_whatever_became_of_the_call() -> None:
    traffic = Traffic()
    broken = begin(traffic)
    broken.refuses()
    left = begin(traffic)
    left.client_leaves()
    stopped = begin(traffic)
    stopped.gateway_stops()
    assert traffic.under_way("a") == 0
    served(begin(traffic))


def test_who_leaves_the_line_does_not_hold_it_up() -> None:
    traffic = Traffic()
    first, second, third = (begin(traffic) for _ in range(3))
    second.client_leaves()
    served(first)
    assert awake(third)
    served(third)
    fourth, fifth, sixth = (begin(traffic) for _ in range(3))
    served(fourth)
    fifth.client_leaves()  # when its turn had come already
    assert awake(sixth)


def test_who_waits_for_several_takes_the_first_that_is_free_and_leaves_the_other_lines() -> None:
    traffic = Traffic()
    at_a, at_b = begin(traffic, targets=["a/m"]), begin(traffic, targets=["b/m"])
    both = begin(traffic, targets=["a/m", "b/m"])
    behind = begin(traffic, targets=["a/m"])
    served(at_b)
    assert awake(both)
    assert both.asked == ["b/m"]
    served(at_a)
    assert awake(behind)


def test_nobody_waits_for_longer_than_max_hold() -> None:
    clock = ManualClock(start=1000.0)
    traffic = Traffic()
    first = begin(traffic, clock=clock)
    talk = begin(traffic, clock=clock)
    assert talk.until == pytest.approx(clock.monotonic() + 60.0)
    talk.wakes(after=60.0)
    assert talk.over
    assert talk.reply.status == 503
    assert b"a/m: busy: max_concurrency requests are under way" in talk.reply.body
    assert talk.account.held == 60.0
    assert traffic.waiting("a") == 0
    served(first)


def test_with_no_hold_there_is_no_line() -> None:
    traffic = Traffic()
    first = begin(traffic)
    assert begin(traffic, gateway=GatewaySettings(max_hold=0.0)).reply.status == 503
    served(first)


def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LONGEST_QUEUE >= 100
    monkeypatch.setattr(facts, "LONGEST_QUEUE", 2)
    traffic = Traffic()
    talks = [begin(traffic) for _ in range(4)]
    assert talks[3].over
    assert talks[3].reply.status == 503
    assert traffic.waiting("a") == 2


def test_a_circuit_that_opens_while_one_waits_is_met_by_the_next_one_alone() -> None:
    traffic, clock = Traffic(), ManualClock(start=1000.0)
    settings = CircuitSettings(failure_threshold=1, jitter=0.0, cooldown=3600.0, cooldown_max=3600.0)
    first = begin(traffic, clock=clock, circuit=settings)
    waiting = [begin(traffic, clock=clock, breakers=first.breakers) for _ in range(2)]
    first.refuses()
    assert first.reply.status == 503
    assert awake(waiting[0])
    assert waiting[0].reply.status == 503  # an hour is too far away
    assert awake(waiting[1])
    assert waiting[1].reply.status == 503
    assert [talk.asked for talk in waiting] == [[], []]
    assert traffic.under_way("a") == 0


def test_whatever_happens_there_are_never_more_than_allowed_and_no_place_is_lost() -> None:
    rng = random.Random(5)
    traffic = Traffic()
    talks: list[Conversation] = []
    for _ in range(3000):
        if rng.random() < 0.4 or not talks:
            targets = rng.choice([["a/m"], ["b/m"], ["a/m", "b/m"], ["b/m", "a/m"]])
            talks.append(begin(traffic, targets=targets, provider={"max_concurrency": 3}))
        else:
            talk = rng.choice(talks)
            if isinstance(talk.ask, Hold):
                if rng.random() < 0.2:
                    talk.client_leaves()
                elif talk.ask.place is not None and talk.ask.place.granted is not None:
                    assert awake(talk)
            elif rng.random() < 0.2:
                talk.client_leaves()
            else:
                served(talk)
        talks = [talk for talk in talks if not talk.over]
        at_work = [talk.asked[-1][0] for talk in talks if not isinstance(talk.ask, Hold)]
        for provider in "ab":
            kept = sum(
                isinstance(talk.ask, Hold) and talk.ask.place is not None and talk.ask.place.granted == provider
                for talk in talks
            )
            assert at_work.count(provider) + kept == traffic.under_way(provider) <= 3
            assert not traffic.waiting(provider) or traffic.under_way(provider) == 3
    for talk in talks:
        talk.client_leaves()
    assert [traffic.under_way(p) for p in "ab"] == [traffic.waiting(p) for p in "ab"] == [0, 0]
