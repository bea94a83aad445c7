from __future__ import annotations

import errno
import socket
from pathlib import Path

from config import ports


def test_a_free_port_can_be_bound_and_lies_below_the_ports_of_outgoing_connections() -> None:
    port = ports.free_port()
    with socket.create_server((ports.LOOPBACK, port)):
        lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        assert port < lowest


def test_a_port_in_use_is_refused_and_a_foreign_address_too() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        taken = ports.refusal(ports.LOOPBACK, server.getsockname()[1])
    foreign = ports.refusal("203.0.113.1", 8000)
    assert taken is not None
    assert taken.errno == errno.EADDRINUSE
    assert foreign is not None
    assert foreign.errno == errno.EADDRNOTAVAIL


def test_an_unknown_host_is_refused() -> None:
    assert isinstance(ports.refusal("fe80::1%no-such-interface", 8000), socket.gaierror)


def test_the_port_of_a_server_that_has_just_closed_its_connections_is_free() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((ports.LOOPBACK, port)) as client:
            served, _ = server.accept()
            served.close()  # the side that closes first keeps the port for a minute, in TIME_WAIT
            assert client.recv(1) == b""
    assert ports.refusal(ports.LOOPBACK, port) is None


def test_listening_tells_whether_somebody_accepts() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert ports.listening(ports.LOOPBACK, port)
    assert not ports.listening(ports.LOOPBACK, port)
