"""Writes changed circuits to a store from a thread of its own, so that no caller ever waits for it or sees it fail."""

import contextlib
import threading
from collections.abc import Callable

from recloser.core.circuit import Circuit, revived
from recloser.core.events import StoreLost, StoreRegained
from recloser.ports import Clock, Emit, Store

_RETRY_AFTER = 1.0


class WriteBehind:
    """Keeps a store up to date with circuits that are decided in memory.

    Only the newest state of a circuit is written. While the store fails, states are kept and tried again; the loss and
    the return are told once each.
    """

    def __init__(self, store: Store, clock: Clock, emit: Emit) -> None:
        self._store = store
        self._clock = clock
        self._emit = emit
        self._pending: dict[str, Circuit] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._lost = False
        self._seq = int(clock.time() * 1000)  # goes on over restarts
        self._thread = threading.Thread(target=self._run, name="recloser-store", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether the store could not be written the last time it was tried."""
        return self._lost

    def load(self) -> dict[str, Circuit]:
        """Every stored circuit, taken over for this process and on this process's clock; none if the store fails."""
        try:
            now = self._store.now()
            stored = self._store.load()
        except Exception as error:  # noqa: BLE001 - as in `_write`
            self._failed(error)
            return {}
        ahead = self._clock.monotonic() - now
        return {name: revived(circuit, now).shifted(ahead) for name, circuit in stored.items()}

    def put(self, name: str, circuit: Circuit) -> None:
        """Have a circuit written soon. Never waits for the store."""
        with self._changed:
            self._pending[name] = circuit
            self._changed.notify()

    def close(self, timeout: float = 5.0) -> None:
        """Write what is pending, for at most `timeout` seconds, and close the store."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._store.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing)
                batch, self._pending = self._pending, {}
                closing = self._closing
            failed = self._write(batch)
            with self._changed:
                self._pending = {**failed, **self._pending}
                if closing and (failed or not self._pending):
                    return
                if failed:
                    self._changed.wait_for(lambda: self._closing, _RETRY_AFTER)

    def _write(self, batch: dict[str, Circuit]) -> dict[str, Circuit]:
        """Write a batch; what could not be written comes back."""
        waiting = dict(batch)
        try:
            ahead = self._store.now() - self._clock.monotonic()
            for name, circuit in batch.items():
                self._store.update(name, _newer(circuit.shifted(ahead)))
                del waiting[name]
        except Exception as error:  # noqa: BLE001 - a store is a stranger; its failure must never reach a caller
            self._failed(error)
        else:
            if batch and self._lost:
                self._lost = False
                self._told(StoreRegained(subject="store", seq=self._seq + 1))
        return waiting

    def _failed(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._told(StoreLost(subject="store", seq=self._seq + 1, reason=f"{type(error).__name__}: {error}"))

    def _told(self, event: StoreLost | StoreRegained) -> None:
        self._seq = event.seq
        with contextlib.suppress(Exception):  # whatever a listener raises, circuits go on being written
            self._emit(event)


def _newer(circuit: Circuit) -> Callable[[Circuit], Circuit]:
    """Never replaces a state by an older one of the same circuit."""
    order = (circuit.generation, circuit.seq)
    return lambda stored: stored if (stored.generation, stored.seq) > order else circuit
