"""`python -m recloser.demo.leash COMMAND ...`: a recloser command that ends when its parent does.

The parent holds the other end of our standard input. When that closes, whatever became of the parent (even kill -9),
so do we. This works wherever pipes do.
"""

import os
import runpy
import signal
import threading
import time

_PATIENCE = 3.0


def _follow_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_follow_parent, name="leash", daemon=True).start()
    runpy.run_module("recloser", run_name="__main__", alter_sys=True)
