"""gunicorn's gevent worker in this process, without its arbiter: requests over a socket, access lines included.

What a request costs a worker can be counted so, instruction by instruction, and the profile of it can be seen. Its own client
is the least that there is, and the same for whatever is measured.
"""

from __future__ import annotations

import os
import runpy
import socket
from typing import Any

from benchmarks.team import ROOT
from benchmarks.works import AGENT, Work

REQUEST = (
    "GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    f"User-Agent: {AGENT}\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
).encode()
LONGEST = 65_536  # bytes of an answer
END = b"}\n"  # of the answer, whose head and body gunicorn sends one after the other
_CONFIGURATION = ROOT / "config" / "gunicorn.conf.py"


def wire(app: Any, *, ours: bool) -> Work:
    """A request over a connection that stays open. ``ours``: with the configuration and the access log of the repository."""
    connected: list[Any] = []

    def work(times: int) -> None:
        import gevent

        if not connected:  # gunicorn is loaded by who needs it
            connected.extend(_connect(app, ours=ours))
        link, ready = connected
        for _ in range(times):
            link.send(REQUEST)
            answer = b""
            while not answer.endswith(END):
                gevent.get_hub().wait(ready)
                answer += link.recv(LONGEST)
            if not answer.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"the answer was {answer[:100]!r}")

    return work


def _connect(app: Any, *, ours: bool) -> tuple[Any, Any]:
    """A connection to a worker that serves ``app``, and what tells that something has come over it."""
    import gevent
    from gevent.monkey import get_original

    worker, here = _worker(app, ours=ours), get_original("socket", "socket")
    listener = socket.create_server(("127.0.0.1", 0))
    link = here()
    link.connect(listener.getsockname())
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    accepted, address = listener.accept()
    gevent.spawn(worker.handle, listener, accepted, address)
    return link, gevent.get_hub().loop.io(link.fileno(), 1)


def _worker(app: Any, *, ours: bool) -> Any:
    from gunicorn.config import Config
    from gunicorn.workers.ggevent import GeventWorker

    options = runpy.run_path(str(_CONFIGURATION)) if ours else {"accesslog": "-"}
    config = Config()
    for name, value in options.items():
        if name in config.settings:
            config.set(name, value)
    config.set("keepalive", 3600)  # for both: the connection waits for its turn
    worker = GeventWorker(1, os.getppid(), [], None, 60, config, config.logger_class(config))
    worker.wsgi = app
    if ours:
        options["post_worker_init"](worker)
    return worker
