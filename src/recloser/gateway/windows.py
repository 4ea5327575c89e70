"""Whether a request fits into a model's context window, as far as that can be told before it is sent.

The estimate is a little high for most texts, and no tokeniser's; so a request is passed over only where it is too large
by its own length. Whoever is asked in vain says so itself, and the next target is asked then.
"""

from recloser.gateway.estimate import tokens
from recloser.gateway.guards.bounds import tokens_at_most
from recloser.gateway.request import Request
from recloser.gateway.wires.wire import BadRequestError

LARGEST_ANSWER = 4
"""At most a quarter of the window is kept for the answer, whatever `max_tokens` says: many clients name the largest
number there is, and get a shorter answer."""


def overflow(request: Request, window: int) -> int | None:
    """The tokens of a request and its answer, about, if they are too many for that window; None if they fit.

    What cannot be read fits: whoever is asked says what is wrong with it.
    """
    if tokens_at_most(request.body) + window // LARGEST_ANSWER <= window:
        return None
    try:
        said = request.read()
        needed = tokens(said)
    except BadRequestError:
        return None
    needed += min(said.max_tokens or 0, window // LARGEST_ANSWER)
    return needed if needed > window else None
