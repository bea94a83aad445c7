#!/usr/bin/env bash
# gevent 26.9.0: a `gevent.Timeout` that ends while `threading.Condition.wait` (patched) takes its lock again leaves the
# `with condition:` around it without that lock, and its exit releases the one that another greenlet holds by then. The one that
# did nothing wrong fails: `RuntimeError: Semaphore released too many times`, and its block was not alone. PyMongo's pools
# and the standard library's queues and futures wait on such conditions.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gevent==26.9.0 greenlet==3.5.6

"$folder/venv/bin/python" - <<'PYTHON'
from gevent import monkey

monkey.patch_all()

import sys
import threading
from importlib.metadata import version

import gevent

print("gevent", version("gevent"))
condition, waiting = threading.Condition(threading.Lock()), threading.Event()
alone = []


def waits():
    try:
        with gevent.Timeout(0.2), condition:
            waiting.set()
            condition.wait()
    except gevent.Timeout:
        return "timeout"
    return "notified"


def notifies():
    try:
        with condition:
            condition.notify()
            gevent.sleep(0.4)  # the waiter's timeout ends meanwhile
            alone.append(condition._lock.locked())
    except RuntimeError as error:
        return str(error)
    return "nothing"


waiter = gevent.spawn(waits)
waiting.wait()
notifier = gevent.spawn(notifies)
gevent.joinall([waiter, notifier], timeout=10)
seen = (waiter.value, alone, notifier.value)
print("the waiter's end: %s\nthe notifier still had its lock: %s\nand failed with: %s" % seen)
if seen != ("timeout", [False], "Semaphore released too many times"):
    sys.exit("this has changed")
PYTHON
