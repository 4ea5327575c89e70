"""After the cooldown: who may try, and what a trial proves."""

from benchmarks.compare import clock
from benchmarks.compare.calls import Calls
from benchmarks.compare.library import Excluded, Settings, UpstreamError
from benchmarks.compare.row import Make, On, Told, judged, scene

DAY = 86400.0


def half_open(calls: Calls) -> Calls:
    """A circuit whose cooldown of 60 s has just passed; nobody has asked since."""
    calls.fail(3)
    clock.advance(61)
    return calls


@scene("50 callers when the cooldown ends: how many reach the upstream (1 is asked for)")
def how_many_try(make: Make) -> Told:
    callers = half_open(make()).begin(50)
    reached = sum(call.reached for call in callers)
    waiting = sum(call.waits for call in callers)
    return Told(f"{reached}, the others wait" if waiting else str(reached), reached == 1 and not waiting)


@scene("A trial that never returns does not shut the circuit for ever (a day later)")
def silent_trial(make: Make) -> Told:
    calls = half_open(make())
    calls.held()
    clock.advance(DAY)
    return judged(calls.one().reached)


@scene("A cancelled trial gives its place back at once", On.ASYNC)
def cancelled_trial_is_over(make: Make) -> Told:
    calls = half_open(make())
    calls.held().cancel()
    return judged(calls.one().reached)


@scene("A cancelled trial does not close the circuit", On.ASYNC)
def cancelled_trial_proves_nothing(make: Make) -> Told:
    calls = half_open(make())
    calls.held().cancel()
    return judged(not calls.is_closed())


@scene("A trial that ends in an excluded error does not close the circuit")
def excluded_trial_proves_nothing(make: Make) -> Told:
    calls = half_open(make(Settings(exclude=True)))
    calls.held().end(Excluded())
    return judged(not calls.is_closed())


@scene("An older call that succeeds while a trial runs does not close the circuit")
def late_success_beside_a_trial(make: Make) -> Told:
    calls = make()
    older = calls.held()
    calls.fail(3)
    clock.advance(61)
    calls.held()
    older.end()
    return judged(not calls.is_closed())


@scene("An older call that fails while a trial runs does not take the trial's success away")
def late_failure_beside_a_trial(make: Make) -> Told:
    calls = make()
    older = calls.held()
    calls.fail(3)
    clock.advance(61)
    trial = calls.held()
    older.end(UpstreamError())
    trial.end()
    return judged(calls.is_closed())
