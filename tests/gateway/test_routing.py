"""Which route takes a request, and in which order its targets are asked."""

import json
from itertools import pairwise
from typing import Any

import pytest

from recloser.core.ordering import PERSISTS
from recloser.gateway.request import Request
from recloser.gateway.routing import Routing, may_cost
from recloser.gateway.settings import (
    CLIENTS_OWN,
    GatewaySettings,
    ModelSettings,
    PriceSettings,
    ProviderSettings,
    RouteSettings,
    TargetSettings,
)
from recloser.gateway.targets import Routes, Target
from recloser.gateway.traffic import ENOUGH, REMEMBERED_FOR, TRIED_EVERY, Place, Traffic
from recloser.gateway.wires import WIRES
from recloser.gateway.wires.wire import BadRequestError
from recloser.testing import ManualClock

ABC = ("a/{model}", "b/{model}", "c/{model}")


def price(of_input: float, of_output: float) -> dict[str, Any]:
    return {"models": {"*": ModelSettings(price=PriceSettings(input=of_input, output=of_output))}}


class House:
    """A gateway's routing, with facts and a clock that a story sets."""

    def __init__(
        self,
        routes: dict[str, RouteSettings] | None = None,
        profiles: dict[str, RouteSettings] | None = None,
        *,
        providers: dict[str, dict[str, Any]] | None = None,
        draws: list[float] | None = None,
        **gateway: Any,
    ) -> None:
        settings = {
            name: ProviderSettings(
                kind="compatible", wire="openai-chat", **{"base_url": "http://h/v1", **(providers or {}).get(name, {})}
            )
            for name in "abc"
        }
        self.clock = ManualClock(start=1000.0)
        self.traffic = Traffic()
        made = Routes(settings, routes or {}, profiles or {})
        now, draw = self.clock.monotonic, (draws or []).pop
        self.routing = Routing(made, GatewaySettings(**gateway), self.traffic, now=now, draw=lambda: draw(0))

    def asked(self, *, profile: str | None = None, may_cost: bool = True, **fields: Any) -> Request | None:
        """A request after it was led; None if no route takes it."""
        said = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
        request = ask(json.dumps(said).encode())
        return request if self.routing.lead(request, profile, may_cost=may_cost) else None

    def order(self, **fields: Any) -> str:
        """The providers in the order in which they are asked."""
        request = self.asked(**fields)
        return "nobody" if request is None else "".join(target.endpoint.provider for target in request.targets)

    def target(self, provider: str) -> Target:
        """A provider's target for the model m."""
        request = self.asked()
        assert request is not None
        return next(target for target in request.targets if target.endpoint.provider == provider)

    def measure(self, **seconds: float) -> None:
        """First tokens, enough of them to be known by."""
        for provider, one in seconds.items():
            for _ in range(ENOUGH):
                self.traffic.first_token(self.target(provider), one, self.clock.monotonic())


def ask(body: bytes) -> Request:
    return Request(
        id="r", wire=WIRES["openai-chat"], envelope=WIRES["openai-chat"].read(body), body=body, targets=()
    )  # fmt: skip


def ordered(order: Any, *targets: str | TargetSettings, **more: Any) -> House:
    return House({"*": RouteSettings(targets=targets or ABC, order=order)}, **more)


# Routes with conditions ---------------------------------------------------------------------------------------------

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://h/x.png"}}]}]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def conditional() -> House:
    return House(
        {
            "pictures with tools": RouteSettings(
                model="m*", when={"has_image": True, "has_tools": True}, targets=("c/{model}", "a/{model}")
            ),
            "pictures": RouteSettings(model="m*", when={"has_image": True}, targets=("c/{model}",)),
            "long": RouteSettings(model="*", when={"tokens_over": 1000}, targets=("b/{model}",)),
            "m*": RouteSettings(targets=("a/{model}",)),
            "x": RouteSettings(when={"has_image": True}, targets=("b/{model}",)),
        },
    )


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ({}, "a"),
        ({"messages": IMAGE}, "c"),
        ({"messages": IMAGE, "tools": TOOLS}, "ca"),
        ({"tools": TOOLS}, "a"),
        ({"messages": [{"role": "user", "content": "word " * 1000}]}, "b"),
        ({"model": "x", "messages": IMAGE}, "b"),
        ({"model": "x"}, "nobody"),
        ({"model": "y"}, "nobody"),
    ],
)
def test_the_first_route_whose_conditions_all_hold(fields: dict[str, Any], order: str) -> None:
    assert conditional().order(**fields) == order


def test_of_a_request_that_cannot_be_read_no_condition_holds() -> None:
    assert conditional().order(messages=["what", "x" * 9000, *IMAGE]) == "a"


def test_requests_are_read_only_where_somebody_asks_what_they_say() -> None:
    plain = House({"m": RouteSettings(targets=ABC), "*": RouteSettings(targets=ABC, when={"has_image": True})}).asked()
    assert plain is not None
    assert plain._read is None
    looked_at = conditional().asked()
    assert looked_at is not None
    assert looked_at._read is not None


def test_profiles_go_before_conditions() -> None:
    routes = {"*": RouteSettings(targets=("a/m",), when={"has_image": True})}
    house = House(routes, {"cheap": RouteSettings(targets=("b/m",))})
    assert house.order(messages=IMAGE, model="cheap") == "b"
    assert house.order(messages=IMAGE, profile="cheap") == "b"
    assert house.order(messages=IMAGE) == "a"


# Orders -------------------------------------------------------------------------------------------------------------


def test_as_listed() -> None:
    assert ordered("listed").order() == "abc"


def test_by_weight_at_random() -> None:
    targets = ("a/m", TargetSettings(target="b/m", weight=3), TargetSettings(target="c/m", weight=0))
    assert ordered("weighted", *targets, draws=[0.5, 0.5, 0.5]).order() == "bac"
    assert ordered("weighted", *targets, draws=[0.9, 0.1, 0.5]).order() == "abc"


def test_regions_share_the_weight_of_their_provider() -> None:
    regions = {"a": {"base_url": None, "regions": {"x": "http://x/v1", "y": "http://y/v1"}}}
    house = ordered("weighted", TargetSettings(target="a/m", weight=2), "b/m", providers=regions, draws=[0.5] * 3)
    request = house.asked()
    assert request is not None
    ((way,),) = [house.routing._routes.ways("m")]
    assert way.weights == (1.0, 1.0, 1.0)


def test_the_least_loaded_first() -> None:
    house = ordered("least_loaded", "a/m", "b/m", TargetSettings(target="c/m", weight=2))
    assert house.order() == "cab"
    with Place(house.traffic).call(house.target("a")), Place(house.traffic).call(house.target("c")):
        assert house.order() == "bca"
    assert house.order() == "cab"


def test_the_cheapest_first() -> None:
    house = ordered("cheapest", providers={"a": price(3, 15), "b": price(1, 5)})
    assert house.order() == "bac"  # of c nobody knows
    free = ordered("cheapest", providers={"a": price(0.1, 0.1), "c": {"paid": False}})
    assert free.order() == "cab"


def test_the_fastest_first_when_it_has_been_so_for_a_while() -> None:
    house = ordered("fastest")
    house.measure(a=2.0, b=1.9, c=0.5)
    assert house.order() == "abc"
    house.clock.advance(PERSISTS)
    assert house.order() == "cab"
    house.measure(c=0.6, a=0.5)
    house.clock.advance(PERSISTS)
    assert house.order() == "cab"


def test_one_slow_answer_changes_nothing() -> None:
    house = ordered("fastest")
    house.measure(a=1.0, b=1.1, c=1.2)
    house.traffic.first_token(house.target("a"), 60.0, house.clock.monotonic())
    assert house.order() == "abc"
    house.clock.advance(PERSISTS)
    assert house.order() == "abc"


def test_who_is_unknown_gets_a_request_now_and_then_until_it_is_known() -> None:
    house = ordered("fastest")
    firsts = []
    for _ in range(5 * 60):
        order = house.order(stream=True)
        assert sorted(order) == ["a", "b", "c"]
        firsts.append(order[0])
        target = house.target(order[0])
        house.traffic.first_token(target, 1.0, house.clock.monotonic())
        house.clock.advance(1.0)
    assert firsts[:4] == ["a", "b", "c", "a"]
    assert (firsts.count("b"), firsts.count("c")) == (ENOUGH, ENOUGH)
    tries = [at for at, first in enumerate(firsts) if first == "b"]
    assert min(later - earlier for earlier, later in pairwise(tries)) >= TRIED_EVERY


def test_a_plain_request_tries_nobody_since_it_tells_no_first_token() -> None:
    house = ordered("fastest")
    assert [house.order() for _ in range(3)] == ["abc"] * 3


def test_what_is_long_past_is_not_known_any_more() -> None:
    house = ordered("fastest")
    house.measure(a=2.0, c=0.5)
    house.order()
    house.clock.advance(REMEMBERED_FOR + 1)
    assert house.order() == "abc"
    assert house.traffic.seconds(house.target("c"), house.clock.monotonic()) is None


def test_names_from_outside_are_not_remembered_without_bound() -> None:
    house = ordered("fastest")
    for number in range(3000):
        house.order(model=f"m{number}", stream=True)
        request = house.asked(model=f"m{number}")
        assert request is not None
        house.traffic.first_token(request.targets[0], 1.0, 0.0)
    kept = (house.traffic._first_tokens, house.traffic._standings, house.traffic._tried)
    assert [len(each) for each in kept] == [1024] * 3


# Money --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway", "route", "header", "allowed"),
    [
        (True, None, True, True),
        (True, False, True, False),
        (False, None, True, False),
        (False, True, True, True),
        (True, None, False, False),
        (False, True, False, False),
        (False, None, False, False),
    ],
)
def test_what_may_cost_money(gateway: bool, route: bool | None, header: bool, allowed: bool) -> None:
    house = House({"*": RouteSettings(targets=ABC, allow_paid=route)}, allow_paid=gateway)
    request = house.asked(may_cost=header)
    assert request is not None
    assert (request.unpaid == "") is allowed
    if not allowed:
        assert ("x-recloser-paid" in request.unpaid) is (gateway if route is None else route)


@pytest.mark.parametrize(
    ("header", "answer"), [("", True), ("no", False), ("No ", False), ("0", False), ("off", False), ("yes", True)]
)
def test_the_header_about_money(header: str, answer: bool) -> None:
    assert may_cost(header) is answer


def test_a_header_about_money_that_means_nothing_is_no_permission() -> None:
    with pytest.raises(BadRequestError, match="x-recloser-paid"):
        may_cost("never")


# The client's own credential ----------------------------------------------------------------------------------------


def test_each_client_s_own_credential_is_an_account_of_its_own() -> None:
    house = House({"*": RouteSettings(targets=("a/m", "b/m"))}, providers={"a": {"api_key": CLIENTS_OWN}})

    def accounts(**credentials: str) -> list[str]:
        request = ask(b'{"model":"m","messages":[]}')
        request.credentials = credentials
        assert house.routing.lead(request)
        return [target.path.account for target in request.targets]

    one, other = accounts(authorization="Bearer one"), accounts(authorization="Bearer other")
    assert one[0].startswith("account/a/")
    assert other[0].startswith("account/a/")
    assert one[0] != other[0]
    assert one == accounts(authorization="Bearer one")
    assert one[1] == other[1] == "account/b"
    assert accounts() == ["account/a", "account/b"]
