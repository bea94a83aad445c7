"""Where a server is known no command selects it anew: only where the driver could have chosen no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pymongo
import pytest
from pymongo import ReadPreference, _csot
from pymongo.server_selectors import any_server_selector, writable_server_selector

from prodfix.connection.clients import GatedClient, _only
from prodfix.driver import session_transactions
from tests.support.processes import in_child

TRIES = 5  # the driver may describe the deployment anew between two commands


@pytest.fixture
def client(database_uri: str) -> Iterator[GatedClient]:
    with GatedClient(database_uri, gate=lambda: None) as made:
        made.get_default_database().notes.find_one()
        yield made


def asked(client: GatedClient, work: Callable[[], object]) -> int:
    """How often ``work`` has the driver select a server while the deployment is described in one way."""
    topology: Any = client._topology
    for _ in range(TRIES):
        work()
        counted: list[object] = []
        select, description = topology.select_server, topology.description

        def count(*arguments: Any, select: Any = select, counted: Any = counted, **options: Any) -> Any:
            counted.append(arguments)
            return select(*arguments, **options)

        topology.select_server = count
        try:
            work()
        finally:
            del topology.select_server
        if topology.description is description:
            return len(counted)
    raise AssertionError("the deployment is described anew all the time")


def test_reads_and_writes_select_no_server_that_is_known(client: GatedClient) -> None:
    notes = client.get_default_database().notes
    assert asked(client, notes.find_one) == 0
    assert asked(client, lambda: notes.insert_one({})) == 0
    assert asked(client, lambda: list(notes.aggregate([]))) == 0


def test_the_control_a_session_of_the_hosts_is_the_drivers_to_look_at(client: GatedClient) -> None:
    notes = client.get_default_database().notes
    with client.start_session() as session:
        assert asked(client, lambda: notes.find_one(session=session)) == 1
        with session.start_transaction():
            notes.insert_one({}, session=session)
        notes.find_one(session=session)
        # The driver ends the state of a transaction as it selects the next server.
        assert session._transaction.state == session_transactions._TxnState.NONE


def test_a_selector_of_the_hosts_is_asked_each_time(database_uri: str) -> None:
    with GatedClient(database_uri, gate=lambda: None, server_selector=lambda servers: servers) as client:
        assert asked(client, client.get_default_database().notes.find_one) == 1


def test_within_a_deadline_the_round_trip_is_taken_off_as_the_driver_does_it(
    client: GatedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: Any = SimpleNamespace(description=SimpleNamespace(min_round_trip_time=0.25))
    with pymongo.timeout(5):
        monkeypatch.setattr(client, "prodfix_known", lambda description, selector: server)
        assert client._select_server(writable_server_selector, None, "find") is server
        assert _csot.get_rtt() == 0.25
        monkeypatch.undo()
        client._topology.select_server(any_server_selector, "find")
        assert _csot.get_rtt() < 0.25, "the control, which is the driver's own"
    monkeypatch.setattr(client, "prodfix_known", lambda description, selector: server)
    client._select_server(writable_server_selector, None, "find")
    assert _csot.get_rtt() == 0, "outside of a deadline it is nobody's"


def test_another_description_and_a_forked_process_know_nothing(client: GatedClient) -> None:
    def known() -> bool:
        return client.prodfix_known(client.topology_description, writable_server_selector) is not None

    for _ in range(TRIES):
        client.get_default_database().notes.insert_one({})
        if known():
            break
    assert known(), "the control"
    assert in_child(known) is False
    assert client.prodfix_known(client.topology_description.reset(), writable_server_selector) is None
    client.close()
    assert not known()


@pytest.mark.parametrize(
    ("kind", "selector", "only"),
    [
        ("Single", ReadPreference.NEAREST, True),
        ("ReplicaSetWithPrimary", writable_server_selector, True),
        ("ReplicaSetWithPrimary", ReadPreference.PRIMARY, True),
        ("ReplicaSetWithPrimary", ReadPreference.PRIMARY_PREFERRED, False),
        ("ReplicaSetWithPrimary", ReadPreference.NEAREST, False),
        ("ReplicaSetWithPrimary", any_server_selector, False),
        ("ReplicaSetNoPrimary", ReadPreference.PRIMARY_PREFERRED, False),
        ("Sharded", writable_server_selector, False),
        ("LoadBalanced", writable_server_selector, False),
    ],
)
def test_a_server_is_the_only_one_where_the_driver_has_no_choice(kind: str, selector: Any, only: bool) -> None:
    assert _only(SimpleNamespace(topology_type_name=kind), selector) is only  # type: ignore[arg-type]
