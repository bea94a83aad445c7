#!/usr/bin/env bash
# gevent 26.9.0: whoever waits for a future of gevent.threadpool.ThreadPoolExecutor within `gevent.Timeout(seconds)` is not given
# that timeout. `result()`, which itself has no limit, raises the built-in TimeoutError (an Exception, and an OSError) in its
# place, so that the block `with gevent.Timeout(seconds, False)`, which is to end silently, raises, and an `except Exception`
# within takes the deadline of somebody further out for its own. Waiting for the same work by `get()` of the result of
# gevent's ThreadPool.spawn lets the timeout through.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from importlib.metadata import version

import gevent
from gevent.threadpool import ThreadPool, ThreadPoolExecutor

print("gevent", version("gevent"))
end = threading.Event()  # of the work, in a native thread


def ended_by(wait, mine):
    """What comes out of waiting with ``mine`` running."""
    try:
        with mine:
            wait()
            return None
        return "nothing: the block has ended"
    except BaseException as error:
        return "the timeout itself" if error is mine else type(error)


executor, pool = ThreadPoolExecutor(1), ThreadPool(1)
future, task = executor.submit(end.wait), pool.spawn(end.wait)
seen = {
    (name, silent): ended_by(wait, gevent.Timeout(0.2, False) if silent else gevent.Timeout(0.2))
    for silent in (False, True)
    for name, wait in (("ThreadPool", task.get), ("ThreadPoolExecutor", future.result))
}
end.set()
for (name, silent), what in seen.items():
    print(f"{name}, gevent.Timeout(0.2{', False' if silent else ''}): {what}")
expected = {
    ("ThreadPool", False): "the timeout itself",
    ("ThreadPoolExecutor", False): TimeoutError,
    ("ThreadPool", True): "nothing: the block has ended",
    ("ThreadPoolExecutor", True): TimeoutError,
}
if seen != expected:
    sys.exit("this has changed")
PYTHON
