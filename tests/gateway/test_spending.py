"""What was spent: counted here at once, kept in a ledger a little later, seen by all who share it."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recloser.core.events import Event
from recloser.core.period import period
from recloser.gateway.events import RequestFinished, SpendLimitReached
from recloser.gateway.metering import Used, sums
from recloser.gateway.runtime.bookkeeper import Bookkeeper
from recloser.gateway.spending import _MOST_AGENTS, ALL, NANO, OTHERS, Spending, enter, nano_usd
from recloser.ports import Ledger, Sum
from recloser.stores.memory_ledger import MemoryLedger
from recloser.testing import ManualClock, RecordingSink

DAY = 86_400.0


def used(cost: float | None, provider: str = "a") -> Used:
    return Used(f"{provider}/m", provider, "m", 10, 5, 0, 0, cost, estimated=False)


def finished(*costs: Used, request: str = "req_1", client: str = "env:KEY", agent: str = "nightly") -> RequestFinished:
    return RequestFinished(
        subject=f"request/{request}", seq=1, wire="anthropic", model="m", stream=True, target="a/m", status=200,
        outcome="ok", attempts=1, held=0.0, first_token=None, duration=1.0, client=client, agent=agent, used=costs,
        **sums(costs)._asdict(),
    )  # fmt: skip


def reached(scope: str = ALL) -> SpendLimitReached:
    return SpendLimitReached(
        subject=f"spend/{scope}", seq=1, scope=scope, per="day", limit_usd=20.0, spent_usd=20.5, action="refuse",
        retry_after=60.0,
    )  # fmt: skip


def keep(spending: Spending, ledger: Ledger) -> list[Event]:
    """One round with the ledger, as the bookkeeper goes it."""
    return spending.settle(enter(ledger, spending.take()))


class LostLedger:
    """A ledger whose disk is gone, until it is there again."""

    def __init__(self) -> None:
        self.inner = MemoryLedger()
        self.gone = True

    def add(self, amounts: Mapping[Sum, int]) -> Mapping[Sum, int]:
        self._check()
        return self.inner.add(amounts)

    def sums(self, period: str) -> Mapping[str, int]:
        self._check()
        return self.inner.sums(period)

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.gone:
            raise OSError("no space left on device")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def spending(clock: ManualClock) -> Spending:
    return Spending(clock.time)


# Counting ------------------------------------------------------------------------------------------------------------


def test_a_request_counts_for_everybody_its_key_its_agent_and_whoever_was_paid(spending: Spending) -> None:
    spending.heard(finished(used(0.25), used(0.5, "b")))
    for per in ("day", "month"):
        assert spending.scopes(per) == {
            "agent/nightly": 0.75 * NANO, ALL: 0.75 * NANO, "key/env:KEY": 0.75 * NANO, "provider/a": 0.25 * NANO,
            "provider/b": 0.5 * NANO,
        }  # fmt: skip


def test_what_has_no_price_costs_nothing(spending: Spending) -> None:
    spending.heard(finished(used(None), used(0.0)))
    spending.heard(finished())
    assert spending.scopes("day") == {}


def test_small_prices_add_up(spending: Spending) -> None:
    for _ in range(1000):
        spending.heard(finished(used(0.000_000_05)))
    assert spending.spent(ALL, "day") == 50_000
    assert nano_usd(1e-12) == 1, "nothing that costs something costs nothing"


def test_a_new_day_begins_with_nothing_spent_and_the_month_goes_on(clock: ManualClock, spending: Spending) -> None:
    spending.heard(finished(used(1.0)))
    clock.advance(DAY)
    assert (spending.spent(ALL, "day"), spending.spent(ALL, "month")) == (0, NANO)
    clock.advance(40 * DAY)
    assert spending.spent(ALL, "month") == 0


def test_agents_that_clients_make_up_share_one_sum(spending: Spending) -> None:
    for number in range(_MOST_AGENTS + 50):
        spending.heard(finished(used(1.0), agent=f"made up {number}" + "x" * 200))
    agents = {scope: spent for scope, spent in spending.scopes("day").items() if scope.startswith("agent/")}
    assert len(agents) == _MOST_AGENTS + 1
    assert agents[OTHERS] == 50 * NANO
    assert max(map(len, agents)) < 120


# What is set aside ---------------------------------------------------------------------------------------------------


def test_what_is_set_aside_gives_way_to_the_true_cost(spending: Spending) -> None:
    spending.reserve("req_1", {ALL: 5 * NANO, "provider/a": 5 * NANO})
    spending.reserve("req_2", {ALL: NANO})
    assert (spending.reserved(ALL), spending.reserved("provider/a"), spending.spent(ALL, "day")) == (
        6 * NANO, 5 * NANO, 0,
    )  # fmt: skip
    spending.heard(finished(used(0.5)))
    assert (spending.reserved(ALL), spending.reserved("provider/a"), spending.spent(ALL, "day")) == (
        NANO, 0, NANO // 2,
    )  # fmt: skip
    spending.heard(finished(used(0.5)))  # told twice, it is still no more than was set aside
    assert spending.reserved(ALL) == NANO


@given(st.lists(st.tuples(st.sampled_from("rfx"), st.integers(0, 4), st.integers(0, 3 * NANO)), max_size=40))
def test_nothing_is_ever_less_than_nothing(steps: list[tuple[str, int, int]]) -> None:
    clock, ledger = ManualClock(), MemoryLedger()
    spending, others = Spending(clock.time), Spending(clock.time)
    total = 0
    for what, request, amount in steps:
        match what:
            case "r":
                spending.reserve(str(request), {ALL: amount, f"provider/{request % 2}": amount})
            case "f":
                spending.heard(finished(used(amount / NANO), request=str(request)))
                total += amount
            case _:
                keep(spending, ledger)
                keep(others, ledger)
                assert others.spent(ALL, "day") == spending.spent(ALL, "day")
        assert min(spending.reserved(ALL), spending.reserved("provider/0"), spending.reserved("provider/1")) >= 0
        assert total <= spending.spent(ALL, "month") <= total + len(steps), "upwards by a billionth at most"
    for request in range(5):
        spending.heard(finished(request=str(request)))
    assert spending.reserved(ALL) == spending.reserved("provider/0") == 0


# Beyond the process --------------------------------------------------------------------------------------------------


def test_two_gateways_on_one_state_see_what_the_other_spent(clock: ManualClock) -> None:
    ledger = MemoryLedger()
    one, other = Spending(clock.time), Spending(clock.time)
    one.heard(finished(used(1.0)))
    other.heard(finished(used(2.0)))
    keep(one, ledger)
    keep(other, ledger)
    keep(one, ledger)
    assert one.scopes("day") == other.scopes("day")
    assert one.spent(ALL, "month") == 3 * NANO


def test_a_new_process_knows_what_was_spent(clock: ManualClock, spending: Spending) -> None:
    ledger = MemoryLedger()
    spending.heard(finished(used(1.0)))
    keep(spending, ledger)
    again = Spending(clock.time)
    keep(again, ledger)
    assert again.spent("provider/a", "day") == NANO


def test_what_is_on_its_way_to_the_ledger_counts_once(clock: ManualClock, spending: Spending) -> None:
    ledger = MemoryLedger()
    spending.heard(finished(used(1.0)))
    entries = spending.take()
    spending.heard(finished(used(2.0)))
    assert spending.spent(ALL, "day") == 3 * NANO
    spending.settle(enter(ledger, entries))
    assert spending.spent(ALL, "day") == 3 * NANO
    keep(spending, ledger)
    assert spending.spent(ALL, "day") == 3 * NANO
    assert ledger.sums(entries.periods[0])[ALL] == 3 * NANO


def test_a_lost_ledger_loses_nothing_that_this_process_spent(clock: ManualClock, spending: Spending) -> None:
    ledger = LostLedger()
    for _ in range(3):
        spending.heard(finished(used(1.0)))
        with pytest.raises(OSError, match="no space"):
            enter(ledger, spending.take())
        spending.heard(finished(used(1.0)))
        spending.lost()
    assert spending.spent(ALL, "day") == 6 * NANO
    ledger.gone = False
    keep(spending, ledger)
    assert spending.spent(ALL, "day") == ledger.inner.sums(period("day", clock.time()))[ALL] == 6 * NANO


def test_a_ledger_that_added_and_cannot_be_read_is_not_added_to_again(spending: Spending) -> None:
    class Unreadable(MemoryLedger):
        def sums(self, period: str) -> Mapping[str, int]:
            raise OSError(period)

    ledger = Unreadable()
    spending.heard(finished(used(1.0)))
    keep(spending, ledger)
    spending.heard(finished(used(1.0)))
    keep(spending, ledger)
    assert spending.spent(ALL, "day") == 2 * NANO


# Told once -----------------------------------------------------------------------------------------------------------


def test_a_limit_is_told_by_one_of_all_processes_and_once(clock: ManualClock) -> None:
    ledger = MemoryLedger()
    one, other = Spending(clock.time), Spending(clock.time)
    for spending in (one, other):
        spending.tell_once(("20 USD all", "2026-09-21"), reached())
        spending.tell_once(("20 USD all", "2026-09-21"), reached())
    assert [len(keep(spending, ledger)) for spending in (one, other, one, other)] == [1, 0, 0, 0]
    again = Spending(clock.time)
    again.tell_once(("20 USD all", "2026-09-21"), reached())
    assert keep(again, ledger) == []
    again.tell_once(("20 USD all", "2026-09-22"), reached())
    assert len(keep(again, ledger)) == 1
    assert one.scopes("day") == {}, "what was told is no spending"


def test_a_limit_is_told_although_the_ledger_is_lost(clock: ManualClock, spending: Spending) -> None:
    today = "2026-09-21"
    spending.tell_once(("20 USD all", today), reached())
    entries = spending.take()
    assert entries.periods[0] == today
    assert len(spending.lost()) == 1
    spending.tell_once(("20 USD all", today), reached())
    spending.take()
    assert spending.lost() == []
    assert keep(spending, MemoryLedger()) == []


# The bookkeeper ------------------------------------------------------------------------------------------------------


def run(scene: Any) -> Any:
    return asyncio.run(scene)


def test_the_bookkeeper_reads_before_the_first_request_and_writes_after_the_last(clock: ManualClock) -> None:
    ledger = MemoryLedger()
    before = Spending(clock.time)
    before.heard(finished(used(1.0)))
    keep(before, ledger)
    spending = Spending(clock.time)

    async def scene() -> int:
        async with Bookkeeper(spending, ledger, RecordingSink(), every=3600.0):
            known = spending.spent(ALL, "day")
            spending.heard(finished(used(2.0)))
        return known

    assert run(scene()) == NANO
    assert ledger.sums(spending.take().periods[0])[ALL] == 3 * NANO


def test_the_bookkeeper_goes_on_through_a_lost_ledger_and_says_that_it_is(clock: ManualClock) -> None:
    ledger, spending, sink = LostLedger(), Spending(clock.time), RecordingSink()

    async def scene() -> tuple[bool, bool]:
        async with Bookkeeper(spending, ledger, sink, every=3600.0) as bookkeeper:
            lost = bookkeeper.lost
            spending.heard(finished(used(1.0)))
            spending.tell_once(("20 USD all", period("day", clock.time())), reached())
            ledger.gone = False
        return lost, bookkeeper.lost

    assert run(scene()) == (True, False)
    assert sink.kinds() == ["spend_limit_reached"]
    assert spending.spent(ALL, "day") == NANO
