from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure
from pymongo.monitoring import ServerHeartbeatFailedEvent

from tests.properties.site import Site
from tests.properties.strategies import lost, passwords

TIMEOUTS = (
    "connectTimeoutMS",
    "socketTimeoutMS",
    "serverSelectionTimeoutMS",
    "waitQueueTimeoutMS",
    "heartbeatFrequencyMS",
)
NETWORK = {"topology", "roundTripMs", "lastHeartbeatError", "attempts"}

failures = lost | st.sampled_from(
    [OperationFailure("Authentication failed.", 18), ConfigurationError("no DNS"), OSError(113, "no route")]
)


def _without_text(error: Exception, text: str) -> Exception:
    error.args = (text, *error.args[1:])
    return error


@given(
    error=failures, password=passwords, user=passwords, host=passwords.map(str.lower), timeout=st.integers(1, 60_000)
)
def test_a_loss_is_told_with_its_circumstances(
    new_site: Callable[..., Site], error: Exception, password: str, user: str, host: str, timeout: int
) -> None:
    """For any database connection failure, the logged error information should include sanitized connection string, timeout
    values, and network conditions.

    One line for each loss, not for each failed request: two failed pings make it. Network conditions are the kinds of
    servers known (without names), the round trip, the last heartbeat's error and the failed heartbeats in a row.

    Feature: production-deployment-fix, Property 1
    """
    place = f"{host}.example:27017"
    uri = f"mongodb://{user}:{quote(password)}@{place}/shop?authSource=admin&tlsCertificateKeyFilePassword={password}"
    site = new_site(uri, db_connect_timeout_ms=timeout, db_server_selection_timeout_ms=timeout + 1)
    monitor = site.services.database.monitor
    told = _without_text(error, f"{place}: [Errno 111] {uri}")

    def command(name: str) -> None:
        raise told

    monitor._client = lambda: SimpleNamespace(admin=SimpleNamespace(command=command))
    for watcher in monitor.watchers:
        with contextlib.suppress(AttributeError):
            watcher.failed(ServerHeartbeatFailedEvent(0.1, told, (place, 27017), False))
    monitor.ping()
    monitor.ping()
    [entry] = [line for line in site.told() if line["event"] == "connection"]
    assert entry in site.filed("database")
    assert entry["connectionString"] == "mongodb://***@***/shop?authSource=admin&tlsCertificateKeyFilePassword=***"
    assert entry["timeouts"].keys() >= set(TIMEOUTS)
    assert entry["timeouts"]["connectTimeoutMS"] == timeout
    assert entry["timeouts"]["serverSelectionTimeoutMS"] == timeout + 1
    assert set(entry["network"]) == NETWORK
    assert entry["network"]["attempts"] == 1
    assert entry["network"]["lastHeartbeatError"] == type(error).__name__
    assert entry["severity"] == "critical"
    assert entry["state"] in ("disconnected", "error")
    assert entry["reconnectAttempts"] == 2
    assert entry["error"].startswith(type(error).__name__)
    for secret in (user, password, host):
        assert secret in uri  # the control: the same search finds it where it is
        assert secret.encode() not in site.written()
    site.close()


def test_so_is_one_that_the_driver_reports(new_site: Callable[..., Site]) -> None:
    """The same with the driver itself, at a port where nobody listens: its own exceptions and its own heartbeats.

    Feature: production-deployment-fix, Property 1
    """
    password = "pw-of-the-test"
    site = new_site(f"mongodb://admin:{password}@127.0.0.1:1/shop")
    monitor = site.services.database.monitor
    client: MongoClient[Any]
    with MongoClient(
        site.services.database.clients.uri, serverSelectionTimeoutMS=10, event_listeners=[*monitor.watchers]
    ) as client:
        monitor._client = lambda: client
        monitor.ping()
        monitor.ping()
    [entry] = [line for line in site.told() if line["event"] == "connection"]
    assert entry["connectionString"] == "mongodb://***@***/shop"
    assert entry["error"] == "ServerSelectionTimeoutError"
    assert entry["network"]["lastHeartbeatError"] == "AutoReconnect"
    assert entry["network"]["attempts"] >= 1
    assert password.encode() not in site.written()
