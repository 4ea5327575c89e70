"""Spend limits, from the look at a request to what its client is told."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.conversation import ANSWER, DONE, HELLO, JSON, PLAIN, ROLE, STOP, STREAMING, Conversation
from tests.gateway.test_spending import finished, keep, used

from recloser.core.errors import ConfigError
from recloser.gateway.events import GuardTripped, RequestFinished, SpendLimitReached
from recloser.gateway.guards import Guards, guard_kinds
from recloser.gateway.guards.guard import Action, Verdict
from recloser.gateway.guards.spend import USUAL_ANSWER, SpendGuard, SpendLimit, SpendSettings
from recloser.gateway.metering import Used
from recloser.gateway.request import Request
from recloser.gateway.settings import ModelSettings, PriceSettings, ProviderSettings, RouteSettings
from recloser.gateway.spending import ALL, NANO, Spending
from recloser.gateway.targets import Routes
from recloser.gateway.wires import WIRES
from recloser.stores.memory_ledger import MemoryLedger
from recloser.testing import ManualClock

DAY = 86_400.0
PRICE = PriceSettings(input=2.0, output=10.0)
PRICED: dict[str, Any] = {"models": {"*": ModelSettings(price=PRICE)}}
FREE: dict[str, Any] = {"models": {"*": ModelSettings(price=PriceSettings(input=0.0, output=0.0))}}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n'


class House:
    """A guard, its clock, and requests that it looks at."""

    def __init__(self, *limits: SpendLimit, providers: dict[str, Any] | None = None) -> None:
        first, *more = limits or (SpendLimit(limit_usd=1.0),)
        self.clock = ManualClock()
        self.guard = SpendGuard(SpendSettings(
            limit_usd=first.limit_usd, per=first.per, by=first.by, action=first.action, also=tuple(more),
        ))  # fmt: skip
        self.spending = Spending(self.clock.time)
        self.guard.share(self.spending)
        given = providers or {"a": PRICED, "b": PRICED}
        settings = {
            name: ProviderSettings(kind="compatible", wire="openai-chat", base_url="http://127.0.0.1:1/v1", **more)
            for name, more in given.items()
        }
        self.routes = Routes(settings, {"*": RouteSettings(targets=tuple(f"{name}/m" for name in given))}, {})
        self._number = 0

    def request(self, *, client: str = "", agent: str = "", **fields: Any) -> Request:
        """A request like any other."""
        self._number += 1
        body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields})
        wire = WIRES["openai-chat"]
        return Request(
            id=f"req_{self._number}", wire=wire, envelope=wire.read(body), body=body, client=client, agent=agent,
            targets=self.routes.targets("m") or (),
        )  # fmt: skip

    def look(self, request: Request | None = None, **fields: Any) -> Verdict | None:
        return self.guard.look(request or self.request(**fields), self.clock.time())

    def ends(self, request: Request, *costs: Used) -> None:
        """A request ends, and everybody hears of it."""
        event = finished(*costs, request=request.id, client=request.client, agent=request.agent)
        self.spending.heard(event)
        self.guard.heard(event)

    def spends(self, usd: float, provider: str = "a", **who: Any) -> None:
        self.ends(self.request(**who), used(usd, provider))


def refused(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.refusal is not None


# Below and above -----------------------------------------------------------------------------------------------------


def test_below_the_limit_nobody_hears_of_it() -> None:
    house = House()
    house.spends(0.5)
    assert house.look() is None


def test_at_the_limit_requests_are_refused_until_the_day_is_over() -> None:
    house = House()
    house.spends(1.0)
    verdict = house.look()
    assert verdict is not None
    assert verdict.refusal is not None
    assert (verdict.action, verdict.refusal.status, verdict.refusal.kind) == (Action.REFUSE, 402, "spend_limit_reached")
    assert verdict.refusal.message.startswith("the spend limit of 1 USD a day is reached: 1.00 USD; the next day")
    assert verdict.headers == {"x-should-retry": "false"}
    assert verdict.retry_after is not None
    house.clock.advance(verdict.retry_after - 1)
    assert refused(house.look())
    house.clock.advance(1)
    assert house.look() is None


def test_a_limit_of_a_month_outlives_the_days() -> None:
    house = House(SpendLimit(limit_usd=100.0), SpendLimit(limit_usd=1.0, per="month"))
    house.spends(1.0)
    house.clock.advance(DAY)
    assert refused(house.look())
    house.clock.advance(35 * DAY)
    assert house.look() is None


@pytest.mark.parametrize(("by", "who"), [("key", "client"), ("agent", "agent")])
def test_each_key_and_each_agent_has_a_limit_of_its_own(by: Any, who: str) -> None:
    house = House(SpendLimit(limit_usd=1.0, by=by))
    greedy: dict[str, Any] = {who: "greedy"}
    modest: dict[str, Any] = {who: "modest"}
    house.spends(1.0, **greedy)
    assert refused(house.look(**greedy))
    assert house.look(**modest) is None
    assert house.look() is None, "nor those who do not say who they are"


def test_a_warning_refuses_nobody() -> None:
    house = House(SpendLimit(limit_usd=1.0, action="warn"))
    house.spends(1.0)
    verdict = house.look()
    assert verdict is not None
    assert (verdict.action, verdict.refusal, verdict.instead) == (Action.WARN, None, None)


def test_what_costs_nothing_or_nobody_knows_what_is_let_through() -> None:
    for free in (FREE, {}):
        house = House(providers={"local": free})
        house.spends(5.0)
        assert house.look() is None
        assert house.spending.reserved(ALL) == 0


def test_a_provider_over_its_limit_is_passed_over() -> None:
    house = House(SpendLimit(limit_usd=1.0, by="provider"))
    house.spends(1.0, "a")
    verdict = house.look()
    assert verdict is not None
    assert verdict.instead is not None
    assert [target.label for target in verdict.instead.targets] == ["b/m"]
    assert verdict.why == "the spend limit of 1 USD a day for provider/a is reached: 1.00 USD"
    assert house.spending.reserved("provider/a") == 0, "nothing is set aside where nothing is asked"
    house.spends(1.0, "b")
    assert refused(house.look())


def test_a_free_provider_is_left_when_the_dear_one_is_over_its_limit() -> None:
    house = House(SpendLimit(limit_usd=1.0, by="provider"), providers={"a": PRICED, "local": {}})
    house.spends(1.0, "a")
    verdict = house.look()
    assert verdict is not None
    assert verdict.instead is not None
    assert [target.label for target in verdict.instead.targets] == ["local/m"]


# At the edge ---------------------------------------------------------------------------------------------------------


def test_what_a_request_may_cost_is_set_aside_while_it_is_under_way() -> None:
    house = House(SpendLimit(limit_usd=100.0))
    request = house.request(max_tokens=1000)
    assert house.look(request) is None
    about = 10_000 * NANO // 1_000_000
    assert about <= house.spending.reserved(ALL) == house.spending.reserved("provider/b") <= 1.1 * about
    house.ends(request, used(0.001))
    assert house.spending.reserved(ALL) == 0
    house.look(house.request())
    assert house.spending.reserved(ALL) > USUAL_ANSWER * 10 * NANO // 1_000_000


@pytest.mark.parametrize(
    "said", [{"max_tokens": 500}, {"max_completion_tokens": 500}, {"max_output_tokens": 500},
             {"generationConfig": {"maxOutputTokens": 500}}],
)  # fmt: skip
def test_the_longest_answer_is_found_on_every_wire(said: dict[str, Any]) -> None:
    house = House(SpendLimit(limit_usd=1000.0))
    house.look(house.request(**said))
    assert house.spending.reserved(ALL) < 600 * 10 * NANO // 1_000_000


def test_strange_answers_to_how_long_are_none() -> None:
    strange: Any
    for strange in ("lots", -1, 0, True, None, [], 1e300, 10**30):
        house = House(SpendLimit(limit_usd=1e6))
        assert house.look(house.request(max_tokens=strange, generationConfig=strange)) is None
        assert 0 < house.spending.reserved(ALL) <= 20 * NANO


def test_a_picture_is_not_taken_for_its_letters_near_the_limit() -> None:
    house = House(SpendLimit(limit_usd=1.0))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}
    house.look(house.request(max_tokens=1, messages=[{"role": "user", "content": [picture]}]))
    assert house.spending.reserved(ALL) < 0.01 * NANO


def test_a_request_that_no_codec_reads_is_looked_at_all_the_same() -> None:
    house = House()
    strange: dict[str, Any] = {
        "messages": [{"role": "user", "content": [{"type": "text"}]}, {"role": 7}],
        "max_tokens": 90_000,
    }
    request = house.request(**strange)
    assert house.look(request) is None
    assert house.spending.reserved(ALL) >= 0.9 * NANO
    _, seen = Guards({"spend": house.guard}, house.clock.time).look(house.request(**strange, padding="x" * 99))
    assert seen == []
    house.spends(1.0)
    _, seen = Guards({"spend": house.guard}, house.clock.time).look(house.request(**strange))
    assert [one.verdict.action for one in seen] == [Action.REFUSE]


def test_where_all_that_is_left_is_set_aside_clients_are_to_ask_again_soon() -> None:
    house = House(SpendLimit(limit_usd=0.05))
    first = house.request(max_tokens=10_000)
    assert house.look(first) is None
    verdict = house.look()
    assert verdict is not None
    assert verdict.refusal is not None
    assert "is set aside for requests under way; ask again" in verdict.refusal.message
    assert (verdict.headers, verdict.retry_after) == ({"x-should-retry": "true"}, 2.0)
    house.ends(first, used(0.001))
    assert house.look() is None


def test_a_limit_that_is_reached_is_told_before_one_that_is_set_aside() -> None:
    house = House(SpendLimit(limit_usd=0.05), SpendLimit(limit_usd=0.01, by="key"))
    house.spends(0.02, client="greedy")
    assert house.look(house.request(max_tokens=10_000)) is None
    verdict = house.look(client="greedy")
    assert verdict is not None
    assert verdict.headers == {"x-should-retry": "false"}
    assert "for key/greedy is reached" in verdict.why


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20_000), st.floats(0.0, 1.0)), max_size=60))
def test_requests_at_once_never_pass_a_limit_by_more_than_one_of_them(steps: list[tuple[bool, int, float]]) -> None:
    house = House(SpendLimit(limit_usd=0.3))
    under_way: list[tuple[Request, int]] = []
    dearest = 0
    for begins, tokens, share in steps:
        if begins:
            request, before = house.request(max_tokens=tokens), house.spending.reserved(ALL)
            if not refused(house.look(request)):
                under_way.append((request, house.spending.reserved(ALL) - before))
                dearest = max(dearest, under_way[-1][1])
        elif under_way:
            request, set_aside = under_way.pop(int(share * (len(under_way) - 1)))
            house.ends(request, used(set_aside * share / NANO))
        assert house.spending.reserved(ALL) >= 0
        assert house.spending.spent(ALL, "day") + house.spending.reserved(ALL) < 0.3 * NANO + dearest + len(steps)
    for request, set_aside in under_way:
        house.ends(request, used(set_aside / NANO))
    assert house.spending.spent(ALL, "day") < 0.3 * NANO + dearest + len(steps)


# What is told --------------------------------------------------------------------------------------------------------


def told(house: House) -> Sequence[Any]:
    """What is told of limits by now."""
    return keep(house.spending, MemoryLedger())


def test_a_limit_is_told_when_it_is_reached_and_once() -> None:
    house = House(SpendLimit(limit_usd=1.0), SpendLimit(limit_usd=1.0, by="agent", per="month"))
    house.spends(0.6, agent="nightly")
    assert told(house) == []
    house.spends(0.6, agent="nightly")
    house.look(agent="nightly")
    events = told(house)
    assert [(event.scope, event.per, event.spent_usd, event.action) for event in events] == [
        (ALL, "day", 1.2, "refuse"), ("agent/nightly", "month", 1.2, "refuse"),
    ]  # fmt: skip
    assert all(isinstance(event, SpendLimitReached) and event.subject == f"spend/{event.scope}" for event in events)
    house.look(agent="nightly")
    assert told(house) == []


def test_a_client_is_told_in_the_shape_of_its_wire_and_when_to_come_back() -> None:
    house = House(SpendLimit(limit_usd=1.0))
    house.spends(1.0)
    talk = Conversation(PLAIN, provider=PRICED, guards={"spend": house.guard})
    error = msgspec.json.decode(talk.reply.body)["error"]
    assert (talk.reply.status, error["code"]) == (402, "spend_limit_reached")
    assert talk.asked == []
    assert talk.reply.headers["retry-after"] == "60"
    assert talk.reply.headers["x-recloser-reset"].endswith("T00:00:00Z")
    assert talk.reply.headers["x-should-retry"] == "false"
    assert [event.guard for event in talk.sink.events if isinstance(event, GuardTripped)] == ["spend"]
    assert talk.account.outcome == "spend_limit_reached"
    assert isinstance(talk.account, RequestFinished)


# The usage of those who did not ask ----------------------------------------------------------------------------------


def guarded(body: bytes, **more: Any) -> Conversation:
    return Conversation(body, targets=["a/m"], guards={"spend": House(SpendLimit(limit_usd=9.0)).guard}, **more)


def test_the_usage_of_a_chat_stream_is_asked_for_and_kept_from_the_client() -> None:
    talk = guarded(STREAMING, provider=PRICED)
    body: Any = getattr(talk.ask, "body", None)
    assert body == b'{"stream_options":{"include_usage":true},' + STREAMING[1:]
    last = STOP.replace(b"}]}", b'}],"usage":null}')
    talk.answers().says(ROLE + HELLO).says(last + USAGE).says(DONE)
    assert talk.received == ROLE + HELLO + last + DONE
    assert (talk.account.input_tokens, talk.account.output_tokens, talk.account.estimated) == (7, 2, False)


@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_however_it_is_cut_the_client_gets_the_same_bytes(pieces: int) -> None:
    talk = guarded(STREAMING, provider=PRICED).answers()
    whole = ROLE + HELLO + HELLO.replace(b"hello", b'\\"choices\\":[] \\"usage\\"') + STOP + USAGE + DONE
    for place in range(0, len(whole), pieces):
        if not talk.over:
            talk.says(whole[place : place + pieces])
    assert talk.received == whole.replace(USAGE, b"")
    assert talk.account.output_tokens == 2


def test_a_chunk_without_choices_that_tells_no_usage_is_the_clients() -> None:
    filtered = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n'
    talk = guarded(STREAMING, provider=PRICED).answers().says(filtered + ROLE + HELLO + STOP + USAGE + DONE)
    assert talk.received == filtered + ROLE + HELLO + STOP + DONE


def test_a_client_that_asked_gets_it() -> None:
    asked = STREAMING[:-1] + b',"stream_options":{"include_usage":true}}'
    talk = guarded(asked, provider=PRICED)
    assert getattr(talk.ask, "body", None) == asked
    talk.answers().says(ROLE + HELLO + STOP + USAGE + DONE)
    assert USAGE in talk.received


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (b"null", b'{"include_usage":true}'),
        (b'{"include_obfuscation": false}', b'{"include_obfuscation":false,"include_usage":true}'),
        (b'{"include_usage":false}', b'{"include_usage":true}'),
        (b'"all"', b'"all"'),
    ],
)
def test_other_options_stay(options: bytes, sent: bytes) -> None:
    talk = guarded(STREAMING[:-1] + b',"stream_options":' + options + b"}", provider=PRICED)
    body = getattr(talk.ask, "body", b"{}")
    assert msgspec.json.decode(body)["stream_options"] == msgspec.json.decode(sent)


def test_where_no_limit_applies_or_nothing_has_a_price_nothing_is_added() -> None:
    for talk in (Conversation(STREAMING, provider=PRICED), guarded(STREAMING), guarded(PLAIN, provider=PRICED)):
        assert b"stream_options" not in getattr(talk.ask, "body", b"stream_options")
    talk = Conversation(STREAMING, provider=PRICED).answers().says(ROLE + HELLO + STOP + USAGE + DONE)
    assert USAGE in talk.received, "who tells it unasked tells the client"


def test_a_target_that_does_not_know_the_wish_is_asked_without_it() -> None:
    refusal = b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'
    talk = guarded(STREAMING, provider=PRICED).fails(422, refusal)
    assert getattr(talk.ask, "body", None) == STREAMING
    talk.answers().says(ROLE + HELLO + STOP + DONE)
    assert (talk.asked, talk.account.outcome, talk.account.estimated) == (["a/m", "a/m"], "ok", True)
    asked = STREAMING[:-1] + b',"stream_options":{"include_usage":true}}'
    talk = guarded(asked, provider=PRICED).fails(422, refusal)
    assert talk.reply.status == 422, "what the client wrote is its own affair"


def test_a_plain_answer_needs_no_wish() -> None:
    talk = guarded(PLAIN, provider=PRICED).answers(200, JSON).says(ANSWER)
    assert talk.reply.body == ANSWER


# Settings ------------------------------------------------------------------------------------------------------------


def test_it_is_a_guard_like_others() -> None:
    assert guard_kinds().found["spend"] is SpendGuard
    assert not SpendGuard.usual


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_a_limit_is_an_amount(limit: float) -> None:
    with pytest.raises(ConfigError, match="limit_usd"):
        SpendLimit(limit_usd=limit)


def test_a_limit_without_any_price_is_a_contradiction() -> None:
    without = ProviderSettings(kind="openai")
    settings = SpendSettings(limit_usd=1.0)
    assert "no model has a price" in (SpendGuard.contradiction(settings, {"a": without}) or "")
    assert SpendGuard.contradiction(settings, {"a": without, "b": ProviderSettings(kind="openai", **PRICED)}) is None


@pytest.mark.parametrize("amount", [0.0, -1.0, float("nan"), float("inf"), 1e308])
def test_a_limit_that_cannot_be_counted_with_is_no_limit(amount: float) -> None:
    with pytest.raises(ConfigError, match="limit_usd"):
        SpendLimit(limit_usd=amount)
