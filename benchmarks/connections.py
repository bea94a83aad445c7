"""``python -m benchmarks.connections PORT CONNECTIONS REQUESTS``: asks ``/ping`` over so many connections that stay open.

:func:`served` starts an application under gunicorn, one worker, and tells what a request costs it in CPU, access log included.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.team import ROOT
from config import ports, tether

REQUEST = b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: okhttp/4.12\r\nAccept: application/json\r\n\r\n"
START_LIMIT = 60.0  # seconds


def main() -> None:
    from gevent import monkey

    monkey.patch_all()
    port, connections, requests = map(int, sys.argv[1:])
    print(json.dumps(_ask(port, connections, requests)))


def _ask(port: int, connections: int, requests: int) -> dict[str, float]:
    """Milliseconds of the median and the 99th percentile, and how many answers were no 200."""
    import socket
    import statistics

    import gevent

    took: list[float] = []
    bad = 0

    def client(times: int) -> None:
        nonlocal bad
        with socket.create_connection(("127.0.0.1", port), timeout=60) as link, link.makefile("rb") as stream:
            for _ in range(times):
                begun = time.perf_counter()
                link.sendall(REQUEST)
                bad += b" 200 " not in stream.readline()
                length = 0
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.partition(b":")[2])
                stream.read(length)
                took.append((time.perf_counter() - begun) * 1000)

    clients = [gevent.spawn(client, max(1, requests // connections)) for _ in range(connections)]
    gevent.joinall(clients, raise_error=True)
    hundredths = statistics.quantiles(took, n=100, method="inclusive")
    return {"requests": len(took), "p50": hundredths[49], "p99": hundredths[98], "bad": bad}


class Host:
    """An application under gunicorn with one gevent worker: ``bare`` with gunicorn's own access log, or ``served``."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port, self._process = port, process

    def cost(self, connections: int, requests: int) -> dict[str, float]:
        """Microseconds of CPU for a request, and what the clients saw."""
        before, begun = self._cpu(), time.monotonic()
        line = [sys.executable, "-m", "benchmarks.connections", str(self.port), str(connections), str(requests)]
        seen: dict[str, float] = json.loads(subprocess.run(line, cwd=ROOT, capture_output=True, check=True).stdout)
        seconds = time.monotonic() - begun
        return {**seen, "cpu": (self._cpu() - before) / seen["requests"] * 1e6, "rate": seen["requests"] / seconds}

    def _cpu(self) -> float:
        """Seconds that all workers have used."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in children]
        return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(kind: str, uri: str) -> Iterator[Host]:
    """``kind``: ``bare`` or ``served``."""
    port = ports.free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment: dict[str, Any] = {
            **os.environ,
            "BENCH_HOST": kind,
            "MONGODB_URI": uri,
            "STATE_DIR": folder,
            "LOG_DIR": f"{folder}/log",
            "JWT_SECRET_KEY": "k" * 40,
            "WEB_CONCURRENCY": "1",
            "PYTHONPATH": str(ROOT),
        }
        environment.pop("GUNICORN_CMD_ARGS", None)
        line = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}"]
        line += ["--access-logfile", "-", "--worker-connections", "2000", "--backlog", "2048", "--no-control-socket"]
        line += ["-c", str(ROOT / "config" / "gunicorn.conf.py")] if kind == "served" else []
        # A pipe that somebody reads is what platforms and containers give a service for its lines.
        reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert reader.stdin is not None
        out = reader.stdin
        process = subprocess.Popen(
            tether.command([*line, "benchmarks.hosts:app"]), cwd=folder, env=environment, stdout=out, stderr=out
        )
        out.close()
        try:
            _wait(port, process)
            yield Host(port, process)
        finally:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_LIMIT
    while not ports.listening("127.0.0.1", port):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("gunicorn did not begin to serve")
        time.sleep(0.1)
    _ask_once(port)


def _ask_once(port: int) -> None:
    """The first request makes what a process makes once."""
    import http.client

    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as link:
        for _ in range(200):
            link.request("GET", "/ping")
            link.getresponse().read()


if __name__ == "__main__":
    main()
