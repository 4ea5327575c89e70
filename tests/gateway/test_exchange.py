"""The life of a request, told as conversations."""

import json
from typing import Any

import pytest
from tests.gateway.conversation import ANSWER, DONE, HELLO, JSON, PLAIN, ROLE, STOP, STREAMING, Conversation

from recloser.breaker import Breakers
from recloser.core.circuit_settings import CircuitSettings
from recloser.core.circuit_state import CircuitState
from recloser.core.classify import INTERRUPTED
from recloser.core.units import Secret
from recloser.gateway.asks import Begin, Finish, Hold, Read, Reply, Send
from recloser.gateway.settings import GatewaySettings
from recloser.testing import ManualClock

HOLDING = GatewaySettings(max_hold=60.0)


def error_of(reply: Reply) -> dict[str, Any]:
    error: dict[str, Any] = json.loads(reply.body)["error"]
    return error


class TestPlain:
    def test_a_healthy_answer_passes_untouched(self) -> None:
        talk = Conversation().answers(200, {**JSON, "x-request-id": "up_1"}).says(ANSWER)
        assert talk.over
        assert talk.reply.body == ANSWER
        assert talk.reply.headers == {
            **JSON,
            "x-request-id": "up_1",
            "x-recloser-request-id": "req_1",
            "x-recloser-attempts": "1",
            "x-recloser-target": "a/m",
        }
        assert talk.account.outcome == "ok"

    def test_a_failure_is_invisible_and_the_next_target_answers(self) -> None:
        talk = Conversation().fails(529).answers(200, JSON).says(ANSWER)
        assert talk.asked == ["a/m", "b/m"]
        assert talk.reply.headers["x-recloser-attempts"] == "2"
        assert talk.reply.headers["x-recloser-target"] == "b/m"
        assert talk.failures == [("overloaded", "model/a/m")]

    def test_an_answer_that_is_html_is_no_answer(self) -> None:
        talk = (
            Conversation().answers(200, {"content-type": "text/html"}).says(b"<html>").answers(200, JSON).says(ANSWER)
        )
        assert talk.failures == [("malformed", "model/a/m")]
        assert talk.reply.body == ANSWER

    def test_an_empty_answer_goes_to_the_next_target(self) -> None:
        empty = b'{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}'
        talk = Conversation().answers(200, JSON).says(empty).answers(200, JSON).says(ANSWER)
        assert talk.asked == ["a/m", "b/m"]

    def test_silence_after_a_tool_result_is_an_answer(self) -> None:
        body = b'{"model":"m","messages":[{"role":"tool","tool_call_id":"1","content":"ok"}]}'
        silent = b'{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"stop"}]}'
        talk = Conversation(body).answers(200, JSON).says(silent)
        assert talk.reply.body == silent

    def test_a_bad_request_goes_to_the_client_once_and_verbatim(self) -> None:
        said = b'{"error":{"message":"temperature must be at most 2","type":"invalid_request_error"}}'
        talk = Conversation().fails(400, said)
        assert talk.over
        assert talk.asked == ["a/m"]
        assert (talk.reply.status, talk.reply.body) == (400, said)
        assert talk.failures == [("invalid_request", "nobody")]

    def test_a_request_that_is_too_large_tries_every_target_and_then_is_told(self) -> None:
        said = b'{"error":{"message":"maximum context length is 8192 tokens","code":"context_length_exceeded"}}'
        talk = Conversation().fails(413).fails(400, said)
        assert talk.asked == ["a/m", "b/m"]
        assert (talk.reply.status, talk.reply.body) == (400, said)

    def test_where_one_is_too_small_and_another_is_down_the_client_may_try_again(self) -> None:
        assert Conversation().fails(413).fails(529).reply.status == 503

    def test_an_error_whose_words_break_off_is_an_answer_that_broke_off(self) -> None:
        talk = Conversation().answers(400, JSON).breaks().answers(200, JSON).says(ANSWER)
        assert talk.failures == [("interrupted", "model/a/m")]
        assert talk.reply.body == ANSWER

    def test_a_status_speaks_for_itself_when_the_words_break_off(self) -> None:
        talk = Conversation().answers(429, {**JSON, "retry-after": "30"}).breaks()
        assert talk.failures == [("rate_limited", "model/a/m")]
        assert talk.attempts[0].retry_after == 30.0

    def test_an_error_without_words_is_told_in_ours(self) -> None:
        talk = Conversation().fails(400, b"")
        assert talk.reply.status == 400
        assert error_of(talk.reply)["type"] == "invalid_request_error"

    def test_the_provider_s_refusal_of_our_key_is_not_the_client_s(self) -> None:
        said = b'{"error":{"message":"Incorrect API key provided: sk-abc","code":"invalid_api_key"}}'
        talk = Conversation(targets=["a/m"]).fails(401, said)
        assert talk.reply.status == 503
        assert b"sk-abc" not in talk.reply.body
        assert talk.failures == [("auth", "account/a")]

    def test_a_key_or_a_prompt_that_a_provider_repeats_is_not_written_down(self) -> None:
        keyed = {"api_key": Secret("k-123", "env:KEY")}
        talk = Conversation(targets=["a/m"], provider=keyed).fails(401, b'{"error":{"message":"bad key k-123"}}')
        assert [event.message for event in talk.attempts] == ["bad key [key]"]
        assert "k-123" not in talk.breakers["account/a"].snapshot().reason
        for status in (400, 500):
            talk = Conversation(circuit=CircuitSettings(failure_threshold=1))
            talk.fails(status, b'{"error":{"message":"cannot read: my secret plan"}}')
            assert [event.message for event in talk.attempts] == [""]
            assert "plan" not in talk.breakers["endpoint/a"].snapshot().reason

    def test_a_single_target_s_404_is_told(self) -> None:
        said = b'{"error":{"message":"The model m does not exist","code":"model_not_found"}}'
        assert Conversation(targets=["a/m"]).fails(404, said).reply.body == said
        assert Conversation().fails(404, said).fails(404, said).reply.status == 503

    def test_the_model_name_is_the_only_thing_that_changes(self) -> None:
        body = b'{ "messages" : [{"role":"user","content":"\\u0068i"}],  "model":"m" , "odd": 1.0e5 }'
        talk = Conversation(body, targets=["a/other"])
        assert isinstance(talk.ask, Send)
        assert talk.ask.body == body.replace(b'"model":"m"', b'"model":"other"')

    @pytest.mark.parametrize(("model", "told"), [("模型", "%E6%A8%A1%E5%9E%8B"), ("a\r\nb", "a%0D%0Ab")])
    def test_a_model_name_that_no_header_may_hold_is_percent_encoded(self, model: str, told: str) -> None:
        body = json.dumps({"model": model, "messages": []}).encode()
        talk = Conversation(body, targets=["a/{model}"]).answers(200, JSON).says(ANSWER)
        assert talk.reply.headers["x-recloser-target"] == f"a/{told}"

    def test_a_plain_answer_has_the_total_time_to_arrive(self) -> None:
        talk = Conversation(provider={"total_timeout": 100.0})
        assert talk.until == 1100.0
        talk.clock.advance(30.0)
        assert talk.answers(200, JSON).until == 1100.0


class TestStreamBeforeContent:
    def test_nothing_is_sent_before_the_first_content(self) -> None:
        talk = Conversation(STREAMING).answers().says(ROLE)
        assert talk.sent == []
        talk.says(HELLO)
        assert isinstance(talk.sent[0], Begin)
        assert talk.received == ROLE + HELLO

    @pytest.mark.parametrize(
        ("so_far", "kind"),
        [
            (b"", "malformed"),
            (ROLE, "interrupted"),
            (ROLE + b'data: {"error":{"message":"Overloaded","type":"overloaded_error"}}\n\n', "overloaded"),
            (ROLE + HELLO + b'data: {"error":{"message":"Overloaded","type":"overloaded_error"}}\n\n', "overloaded"),
            (ROLE + b'data: {"error":{"message":"what?","type":"who_knows"}}\n\n', "malformed"),
            (ROLE + b"data: {broken\n\n", "malformed"),
            (ROLE + STOP + DONE, "malformed"),
        ],
    )
    def test_every_failure_before_content_is_invisible(self, so_far: bytes, kind: str) -> None:
        talk = Conversation(STREAMING).answers()
        if so_far:
            talk.says(so_far)
        if talk.asked == ["a/m"]:
            talk.ends()
        assert talk.sent == []
        talk.answers().says(ROLE + HELLO + STOP + DONE)
        assert talk.received == ROLE + HELLO + STOP + DONE
        assert talk.failures == [(kind, "model/a/m")]

    def test_keepalives_of_the_provider_do_not_move_the_first_token_deadline(self) -> None:
        talk = Conversation(STREAMING, provider={"first_token_timeout": 60.0}).answers()
        for _ in range(5):
            talk.clock.advance(10.0)
            talk.says(b": keep-alive\n\n")
            assert isinstance(talk.ask, Read)
            assert talk.ask.until == 1060.0
        talk.lets_time_pass()
        assert talk.failures == [("timeout", "model/a/m")]
        assert talk.asked == ["a/m", "b/m"]

    def test_a_plain_answer_to_a_streaming_request_is_malformed(self) -> None:
        talk = Conversation(STREAMING).answers(200, JSON).says(ANSWER)
        assert talk.failures == [("malformed", "model/a/m")]

    def test_an_error_as_json_with_status_200_is_named_by_its_type(self) -> None:
        said = b'{"error":{"message":"slow down","type":"rate_limit_error"}}'
        talk = Conversation(STREAMING).answers(200, JSON).says(said)
        assert talk.failures == [("rate_limited", "model/a/m")]

    def test_an_empty_turn_that_was_cut_short_passes(self) -> None:
        cut = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
        talk = Conversation(STREAMING).answers().says(ROLE + cut + DONE)
        assert talk.received == ROLE + cut + DONE
        assert talk.account.outcome == "ok"


class TestStreamAfterContent:
    def begun(self, **more: Any) -> Conversation:
        return Conversation(STREAMING, **more).answers().says(ROLE + HELLO)

    def test_a_whole_stream_is_settled_at_its_end(self) -> None:
        talk = self.begun()
        assert talk.breakers["model/a/m"].snapshot().live == 1
        talk.says(STOP + DONE)
        assert isinstance(talk.sent[-1], Finish)
        assert talk.breakers["model/a/m"].snapshot().succeeded == 1

    def test_a_break_ends_in_the_wire_s_error_and_never_in_its_terminator(self) -> None:
        talk = self.begun().breaks(INTERRUPTED)
        assert talk.over
        assert talk.received.startswith(ROLE + HELLO + b'data: {"error":')
        assert b"[DONE]" not in talk.received
        assert talk.asked == ["a/m"]
        assert talk.failures == [("interrupted", "model/a/m")]

    def test_half_an_event_is_never_forwarded(self) -> None:
        talk = self.begun().says(HELLO + b'data: {"choices":[{"ind').breaks()
        assert talk.received.startswith(ROLE + HELLO + HELLO + b'data: {"error":')

    def test_a_clean_end_without_a_finish_is_a_break(self) -> None:
        talk = self.begun().ends()
        assert b'"error"' in talk.received
        assert talk.account.outcome == "interrupted"

    def test_a_finished_stream_without_its_terminator_is_given_one(self) -> None:
        talk = self.begun().says(STOP).ends()
        assert talk.received == ROLE + HELLO + STOP + DONE
        assert talk.account.outcome == "ok"

    def test_a_finished_stream_that_stalls_is_ended_after_a_grace(self) -> None:
        talk = self.begun().says(STOP)
        assert isinstance(talk.ask, Read)
        assert talk.ask.until == 1005.0
        talk.lets_time_pass()
        assert talk.received == ROLE + HELLO + STOP + DONE
        assert talk.account.outcome == "ok"

    def test_the_idle_time_runs_from_the_last_bytes(self) -> None:
        talk = self.begun(provider={"idle_timeout": 30.0})
        talk.clock.advance(20.0)
        talk.says(HELLO)
        assert isinstance(talk.ask, Read)
        assert talk.ask.until == 1050.0
        talk.lets_time_pass()
        assert talk.failures == [("timeout", "model/a/m")]

    def test_keepalives_without_content_keep_a_stream_for_five_minutes(self) -> None:
        talk = self.begun(provider={"idle_timeout": 30.0})
        while isinstance(talk.ask, Read) and talk.ask.until < 1300.0:
            talk.clock.advance(20.0)
            talk.says(b": still here\n\n")
        assert talk.clock.monotonic() == 1280.0
        talk.lets_time_pass()
        assert talk.clock.monotonic() == 1300.0
        assert talk.account.outcome == "timeout"

    def test_nothing_after_the_terminator_is_passed_on(self) -> None:
        talk = self.begun().says(STOP + DONE + b"data: more\n\n")
        assert talk.received == ROLE + HELLO + STOP + DONE


class TestCircuits:
    def open(self, *names: str, clock: ManualClock, **settings: Any) -> Breakers:
        breakers = Breakers(CircuitSettings(jitter=0.0, **settings), clock=clock)
        for name in names:
            breakers[name].force_open(10.0)
        return breakers

    def test_a_target_whose_circuit_is_open_is_not_touched(self) -> None:
        clock = ManualClock(start=1000.0)
        for name in ("account/a", "endpoint/a", "model/a/m"):
            talk = Conversation(clock=clock, breakers=self.open(name, clock=clock))
            assert talk.asked == ["b/m"]

    def test_enough_failures_open_the_circuit_for_the_requests_after(self) -> None:
        clock = ManualClock(start=1000.0)
        breakers = Breakers(CircuitSettings(failure_threshold=3, jitter=0.0), clock=clock)
        for _ in range(3):
            Conversation(clock=clock, breakers=breakers).refuses().answers(200, JSON).says(ANSWER)
        talk = Conversation(clock=clock, breakers=breakers)
        assert talk.asked == ["b/m"]
        assert breakers["endpoint/a"].state is CircuitState.OPEN

    def test_when_all_are_closed_to_us_the_client_is_told_when_to_come_back(self) -> None:
        clock = ManualClock(start=1000.0)
        talk = Conversation(clock=clock, breakers=self.open("model/a/m", "endpoint/b", clock=clock))
        assert talk.asked == []
        assert talk.reply.status == 503
        assert talk.reply.headers["retry-after"] == "10"
        assert talk.reply.headers["x-recloser-circuit"] == "model/a/m"
        assert talk.reply.headers["x-recloser-attempts"] == "0"

    def test_when_every_reason_is_a_limit_the_status_is_429(self) -> None:
        talk = Conversation().fails(429, headers={"retry-after": "30"}).fails(429, headers={"retry-after": "3600"})
        assert talk.reply.status == 429
        assert talk.reply.headers["retry-after"] == "30"
        assert error_of(talk.reply)["type"] == "rate_limit_error"
        assert talk.failures == [("rate_limited", "model/a/m"), ("quota", "account/b")]

    def test_a_long_wait_is_told_in_full_beside_a_short_retry_after(self) -> None:
        talk = Conversation(targets=["a/m"]).fails(429, headers={"retry-after": "7200"})
        assert talk.reply.headers["retry-after"] == "60"
        assert talk.reply.headers["x-recloser-reset"].endswith("Z")

    def test_a_client_that_leaves_is_no_verdict(self) -> None:
        for when in ("before", "during"):
            talk = Conversation(STREAMING)
            if when == "during":
                talk.answers().says(ROLE + HELLO)
            talk.client_leaves()
            snapshot = talk.breakers["model/a/m"].snapshot()
            assert (snapshot.cancelled, snapshot.failed, snapshot.succeeded, snapshot.live) == (1, 0, 0, 0)
            assert talk.account.outcome == "cancelled"

    def test_content_wins_the_trial_of_account_and_endpoint_and_its_end_that_of_the_model(self) -> None:
        """Else one long answer would keep everybody from a provider that is well again."""
        clock = ManualClock(start=1000.0)
        breakers = Breakers(CircuitSettings(jitter=0.0), clock=clock)
        for name in ("account/a", "endpoint/a", "model/a/m"):
            breakers[name].force_open(5.0)
        clock.advance(5.0)
        talk = Conversation(STREAMING, clock=clock, breakers=breakers, targets=["a/m"]).answers().says(ROLE + HELLO)
        assert breakers["account/a"].state is CircuitState.CLOSED
        assert breakers["endpoint/a"].state is CircuitState.CLOSED
        assert breakers["model/a/m"].state is CircuitState.HALF_OPEN
        talk.breaks(INTERRUPTED)
        after = breakers.snapshot().circuits
        assert after["model/a/m"].state is CircuitState.OPEN
        assert after["endpoint/a"].failures == 0


class TestHolding:
    def test_a_request_waits_for_the_first_target_that_reopens(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"]).fails(429, headers={"retry-after": "7"})
        assert talk.ask == Hold(1007.0)
        talk.wakes(after=7.0).answers(200, JSON).says(ANSWER)
        assert talk.asked == ["a/m", "a/m"]
        assert talk.reply.body == ANSWER
        assert talk.account.held == 7.0

    def test_a_server_that_says_in_a_moment_is_not_asked_without_pause(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"])
        pauses = []
        while talk.fails(429, headers={"retry-after": "0.01"}).ask:
            pauses.append(round(talk.until - talk.clock.monotonic(), 3))
            talk.wakes(after=pauses[-1])
        assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
        assert len(pauses) < 20

    def test_a_limit_of_no_time_at_all_is_waited_out_too(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"]).fails(429, headers={"retry-after": "0"})
        assert talk.ask == Hold(1000.1)
        talk.wakes(after=0.1).answers(200, JSON).says(ANSWER)
        assert talk.reply.body == ANSWER

    def test_a_target_that_is_too_small_is_not_asked_again_after_the_wait(self) -> None:
        talk = Conversation(gateway=HOLDING).fails(413).fails(429, headers={"retry-after": "7"})
        talk.wakes(after=7.0).answers(200, JSON).says(ANSWER)
        assert talk.asked == ["a/m", "b/m", "b/m"]

    def test_nobody_waits_for_longer_than_allowed(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"]).fails(429, headers={"retry-after": "61"})
        assert talk.reply.status == 429

    def test_an_attempt_is_held_no_longer_than_its_client_bears_and_asked_to_come_again(self) -> None:
        gateway = GatewaySettings(max_hold=21600.0, hold_attempt=580.0)
        talk = Conversation(gateway=gateway, targets=["a/m"]).fails(429, headers={"retry-after": "3600"})
        assert talk.ask == Hold(1580.0)
        talk.wakes(after=580.0)
        assert talk.reply.status == 503
        assert talk.reply.headers["retry-after"] == "60"
        assert error_of(talk.reply)["code"] == "overloaded"

    def test_a_failure_that_does_not_open_its_circuit_is_told_at_once(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"]).fails(500)
        assert talk.reply.status == 503

    def test_woken_early_it_looks_again_and_waits_on(self) -> None:
        talk = Conversation(gateway=HOLDING, targets=["a/m"]).fails(429, headers={"retry-after": "7"})
        talk.wakes(after=3.0)
        assert talk.ask == Hold(1007.0)

    def test_only_one_of_the_held_tries_a_circuit_that_is_half_open(self) -> None:
        clock = ManualClock(start=1000.0)
        breakers = Breakers(CircuitSettings(jitter=0.0, cooldown=5.0), clock=clock)
        more: dict[str, Any] = {"gateway": HOLDING, "targets": ["a/m"], "clock": clock, "breakers": breakers}
        first = Conversation(**more).fails(429, headers={"retry-after": "7"})
        second = Conversation(**more)
        first.wakes(after=7.0)
        second.wakes(after=0.0)
        assert first.asked == ["a/m", "a/m"]
        assert second.asked == []
        assert isinstance(second.ask, Hold)
        first.answers(200, JSON).says(ANSWER)
        second.wakes(after=0.1).answers(200, JSON).says(ANSWER)
        assert second.reply.body == ANSWER

    def test_once_keepalives_went_out_the_refusal_is_an_event_of_the_stream(self) -> None:
        talk = Conversation(STREAMING, gateway=HOLDING, targets=["a/m"]).fails(429, headers={"retry-after": "20"})
        talk.client.begun = True  # the driver sent a keep-alive meanwhile
        talk.wakes(after=20.0).fails(429, headers={"retry-after": "100"})
        assert talk.received.startswith(b'data: {"error":')
        assert isinstance(talk.sent[-1], Finish)


class TestStopping:
    def test_a_stream_is_told_that_the_gateway_stops(self) -> None:
        talk = Conversation(STREAMING).answers().says(ROLE + HELLO).gateway_stops()
        assert talk.over
        assert b"shutting down" in talk.received
        assert b"[DONE]" not in talk.received
        assert talk.account.outcome == "stopped"
        assert talk.breakers["model/a/m"].snapshot().cancelled == 1

    def test_a_request_without_an_answer_yet_gets_a_503(self) -> None:
        assert Conversation(PLAIN).gateway_stops().reply.status == 503
