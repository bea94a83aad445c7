"""TCP ports of this machine: a free one, why one cannot be used, whether somebody listens."""

from __future__ import annotations

import contextlib
import errno
import random
import socket

LOOPBACK = "127.0.0.1"

# Outside the range from which systems take the ports of outgoing connections (Linux 32768 to 60999): clients that try
# again and again to reach a dead server on a port of that range end up connected to themselves, and then hold the port.
CANDIDATES = range(21_000, 29_000)


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    for port in random.sample(CANDIDATES, k=200):
        if refusal(LOOPBACK, port) is None:
            return port
    raise OSError(errno.EADDRINUSE, f"200 ports between {CANDIDATES.start} and {CANDIDATES.stop} are all taken")


def refusal(host: str, port: int) -> OSError | None:
    """The error that binding to this address gives, or nothing if it is free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: without it the connections of a server that has just stopped hold the port for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def listening(host: str, port: int) -> bool:
    """Whether somebody accepts connections at this address."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
