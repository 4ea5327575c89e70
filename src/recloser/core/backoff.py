"""How long until the next try: exponential growth, capped, with jitter from a number that is passed in."""


def backoff(base: float, factor: float, cap: float, step: int, *, jitter: float = 0.0, rand: float = 0.5) -> float:
    """Seconds to wait at `step` (0 is the first): base x factor^step, at most `cap`, spread by +-`jitter`.

    `rand` is uniform in [0, 1); 0.5 means no spread. Finite for every step: growth is never computed past the cap.
    """
    wait = base
    for _ in range(step):
        if wait >= cap or factor <= 1.0:
            break
        wait *= factor
    return min(wait, cap) * (1.0 + jitter * (2.0 * rand - 1.0))
