"""While the circuit is closed: which outcomes open it, and which leave it alone."""

from benchmarks.compare import clock
from benchmarks.compare.library import Excluded, Settings, UpstreamError
from benchmarks.compare.row import Make, On, Told, judged, scene


@scene("The call that opens the circuit still gets its own error")
def own_error(make: Make) -> Told:
    calls = make()
    calls.fail(2)
    third = calls.held()
    third.end(UpstreamError())
    return judged(type(third.raised) is UpstreamError)


@scene("A cancelled call is no failure", On.ASYNC)
def cancelled_is_no_failure(make: Make) -> Told:
    calls = make(Settings(failures=1))
    calls.held().cancel()
    return judged(not calls.refuses())


@scene("A cancelled call is no success: the failures counted so far stay", On.ASYNC)
def cancelled_is_no_success(make: Make) -> Told:
    calls = make()
    calls.fail(2)
    calls.held().cancel()
    third = calls.one()
    if third.reached:  # else the cancelled one was taken for a failure
        third.end(UpstreamError())
    return judged(calls.refuses())


@scene("An excluded error is no success: the failures counted so far stay")
def excluded_is_no_success(make: Make) -> Told:
    calls = make(Settings(exclude=True))
    calls.fail(2)
    calls.held().end(Excluded())
    calls.fail(1)
    return judged(calls.refuses())


@scene("Ctrl-C is no failure, and comes out as KeyboardInterrupt")
def keyboard_interrupt(make: Make) -> Told:
    calls = make(Settings(failures=1))
    call = calls.held()
    call.end(KeyboardInterrupt())
    counted = calls.refuses()
    replaced = not isinstance(call.raised, KeyboardInterrupt)
    wrong = ["counted"] * counted + ["replaced"] * replaced
    return judged(not wrong, ", ".join(wrong))


@scene("Opens when every second call fails (failure rate)")
def failure_rate(make: Make) -> Told:
    calls = make(Settings(failures=5, rate=0.5))
    for _ in range(50):
        call = calls.one()
        if call.refused:
            return judged(True)
        call.end(UpstreamError())
        if calls.refuses():
            return judged(True)
    return judged(False)


@scene("Opens when calls succeed, but all of them slowly")
def slow_calls(make: Make) -> Told:
    calls = make(Settings(failures=5, slow=1.0))
    for _ in range(20):
        call = calls.one()
        if call.refused:
            return judged(True)
        clock.advance(5)
        call.end()
    return judged(False)
