"""What older drivers call otherwise, and what they do otherwise: `make ranges` runs with one; here is how they are told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from prodfix.doctor import resources
from prodfix.driver import hooked_pool, missing_names
from prodfix.driver.hooked_client import _name_of
from prodfix.driver.private_names import takes


def end(command_name: str) -> Callable[..., str]:
    """As the driver's own, which sends the end of a transaction."""

    def work(session: Any, connection: Any, retryable: bool) -> str:
        return command_name

    return work


@pytest.mark.parametrize(
    ("operation", "work", "name"),
    [
        ("abortTransaction", end("commitTransaction"), "commitTransaction"),  # until 4.14
        ("abortTransaction", end("abortTransaction"), "abortTransaction"),
        ("commitTransaction", end("commitTransaction"), "commitTransaction"),
        ("abortTransaction", lambda *given: None, "abortTransaction"),
        ("abortTransaction", len, "abortTransaction"),
        ("find", end("commitTransaction"), "find"),
    ],
)
def test_the_end_of_a_transaction_is_known_by_its_command(operation: str, work: Any, name: str) -> None:
    assert _name_of(operation, work) == name


@pytest.mark.parametrize(
    ("pool", "of_monitor"),
    [
        ({"is_sdam": True}, True),
        ({"is_sdam": False}, False),
        ({"handshake": False}, True),  # until 4.12
        ({"handshake": True}, False),
        ({}, False),
    ],
)
def test_a_pool_of_a_monitor_is_none_of_the_clients(pool: dict[str, bool], of_monitor: bool) -> None:
    assert hooked_pool.of_monitor(SimpleNamespace(**pool)) is of_monitor


def test_a_method_that_a_decorator_passes_on_to_is_there() -> None:
    class Owner:
        def passed(*arguments: Any, **options: Any) -> None: ...  # noqa: N805, RUF100

        def other(self, spec: Any) -> None: ...

    assert takes(Owner, "passed", "dbname", "spec")
    assert takes(Owner, "other", "spec")
    assert not takes(Owner, "other", "dbname")
    assert not takes(Owner, "none")


def test_the_doctor_tells_of_what_the_driver_does_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_names.missing() == (), "the pinned driver has all of it"
    older = tuple(dataclasses.replace(one, there=False) for one in missing_names.BEHAVIOURS)
    monkeypatch.setattr(missing_names, "BEHAVIOURS", older)
    assert missing_names.missing() == older
    (finding,) = resources._private_names(missing_names.missing())
    assert all(one.lost in str(finding) for one in older)
