"""What a worker stores beside requests: what is lost meanwhile is the pinger's to tell, and anything else the loop's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr
from pymongo.errors import AutoReconnect

from prodfix.deferral.drainer import Drainer
from prodfix.engine.engine import Engine
from prodfix.errors import DatabaseUnavailable
from prodfix.writer import Writer


@pytest.fixture
def engine(adopt: Callable[..., Flask], database_uri: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    app = adopt(Flask("host"), mongodb_uri=SecretStr(database_uri))
    services = app.extensions["prodfix"]
    services.runtime.journal.open()
    engine: Engine = services._parts.engine
    engine.monitor.allow(5.0)
    engine.monitor.ping()
    assert engine.monitor.healthy
    monkeypatch.setattr(Drainer, "first", False)  # there is no backlog that would go before it
    return engine


@pytest.fixture
def adopted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    found: list[bool] = []
    monkeypatch.setattr(engine.storage, "adopt", lambda: found.append(True))
    return found


def failing(error: Exception) -> Callable[[], Any]:
    def store() -> Any:
        raise error

    return store


def test_a_database_that_is_lost_meanwhile_is_left_to_its_return(
    engine: Engine, adopted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "store", failing(DatabaseUnavailable()))
    writer = Writer(engine)
    writer.write()
    assert adopted == [True]
    stored: list[bool] = []
    monkeypatch.setattr(engine, "store", lambda: stored.append(True) or True)
    writer.write()
    assert (stored, adopted) == ([True], [True]), "the next look goes on with it"


def test_whatever_else_fails_is_the_loops_to_tell(
    engine: Engine, adopted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The control.
    monkeypatch.setattr(engine, "store", failing(AutoReconnect("lost")))
    with pytest.raises(AutoReconnect):
        Writer(engine).write()
    assert adopted == []
