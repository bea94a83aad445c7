from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix import ErrorCategory
from prodfix.logs.files import FILES, category_files
from prodfix.logs.sinks import Console, Sinks
from prodfix.records.error_log import ErrorLog
from prodfix.request.context import new_context
from tests.properties.site import Site
from tests.properties.strategies import client_errors, driver_errors, errors, own_errors, python_errors

logged = errors(driver_errors, client_errors, own_errors, python_errors)


class Outlets:
    """A console and log files, each of which can be broken, for the error log of a site."""

    def __init__(self, site: Site, folder: Path, console: int, full: int) -> None:
        self.site, self.folder, self.console, self.full = site, folder, console, full
        (folder / "broken").write_text("a file, where a folder is wanted")

    def log(self, error: Exception, broken: frozenset[str]) -> tuple[str, Sinks]:
        """Log ``error`` once; the ID of its request, and the sinks that took it."""
        folder = self.folder / ("broken" if "files" in broken else "log")
        console = self.full if "console" in broken else self.console
        sinks = Sinks([Console(console), *category_files(folder, max_bytes=10**9, keep=1, daily=False)])
        error_log: ErrorLog = self.site.services.errors.log
        context = new_context(endpoint="/x", method="GET", ip="", headers={})
        record = error_log.record(error, context)
        self.site.services.logs.sinks = sinks
        error_log.append(record)
        assert sinks.flush(30)
        return record.request_id, sinks

    def on_console(self, identity: str) -> bool:
        return identity.encode() in self._read(self.folder / "console")

    def in_files(self, identity: str) -> bool:
        return any(identity.encode() in self._read(path) for path in self.folder.glob("log/*.log"))

    @staticmethod
    def _read(path: Path) -> bytes:
        return path.read_bytes() if path.exists() else b""


@pytest.fixture
def outlets(site: Site, tmp_path: Path) -> Iterator[Outlets]:
    # Open for as long as something may be logged: another file would get the number, and then the lines.
    with (tmp_path / "console").open("wb") as console, open("/dev/full", "wb") as full:
        yield Outlets(site, tmp_path, console.fileno(), full.fileno())
        assert site.services.logs.sinks.flush(30)


@given(error=logged)
def test_both_get_it(outlets: Outlets, error: Exception) -> None:
    """For any error, it should be logged to both console output and persistent log files.

    Not what is the client's alone (404, 405, a body that is no JSON): it is counted, and would let anybody fill the disk.

    Feature: production-deployment-fix, Property 9
    """
    identity, sinks = outlets.log(error, frozenset())
    counted = outlets.site.services.classifier.classify(error).category is ErrorCategory.CLIENT
    assert outlets.on_console(identity) == outlets.in_files(identity) == (not counted)
    assert sinks.dropped == 0
    assert all(sink["failing"] is None for sink in sinks.status().to_json()["sinks"])


@given(
    error=errors(driver_errors, own_errors),
    broken=st.sets(st.sampled_from(["console", "files"]), min_size=1).map(frozenset),
)
def test_one_that_fails_keeps_nothing_from_the_other(
    outlets: Outlets, error: Exception, broken: frozenset[str]
) -> None:
    """A sink that cannot take the line (a full disk, a path that is none) is counted and visible, and the other has it.

    Feature: production-deployment-fix, Property 9
    """
    identity, sinks = outlets.log(error, broken)
    failing = {sink["name"] for sink in sinks.status().to_json()["sinks"] if sink["failing"] and sink["lost"]}
    assert outlets.on_console(identity) == ("console" not in broken) == ("console" not in failing)
    assert outlets.in_files(identity) == ("files" not in broken) == (not failing - {"console"})


@given(error=errors(), broken=st.sets(st.sampled_from(["console", "files"])).map(frozenset))
def test_the_request_is_answered_all_the_same(outlets: Outlets, error: Exception, broken: frozenset[str]) -> None:
    """Whatever fails, and whatever kind of error it is.

    Feature: production-deployment-fix, Property 9
    """
    outlets.log(error, broken)
    assert outlets.site.fail(error).status_code >= 400


class Memory:
    """A sink that keeps its entries, or one that is broken."""

    def __init__(self, name: str, *, broken: bool = False) -> None:
        self.name, self.broken = name, broken
        self.entries: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        if self.broken:
            raise OSError(errno.ENOSPC, "x")
        self.entries += map(json.loads, data.splitlines())

    @property
    def requests(self) -> list[str]:
        return [entry["requestId"] for entry in self.entries if entry.get("event") != "sink"]


NAMES = ("console", *(f"{name}.log" for name in FILES))


@given(many=st.lists(logged, min_size=1, max_size=8), broken=st.sampled_from(NAMES))
def test_with_one_sink_failing_every_other_one_has_every_line(site: Site, many: list[Exception], broken: str) -> None:
    """What it did not get is counted exactly and shown, and told once on the others; the same lines in all other places.

    Feature: production-deployment-fix, Property 9
    """
    log: ErrorLog = site.services.errors.log
    records = [replace(log.record(error, None), request_id=f"request-{number}") for number, error in enumerate(many)]
    kept: dict[bool, dict[str, Memory]] = {}
    for fails in (False, True):
        kept[fails] = {name: Memory(name, broken=fails and name == broken) for name in NAMES}
        site.services.logs.sinks = sinks = Sinks(kept[fails].values())
        for record in records:
            log.append(record)
        assert sinks.flush(30)
        assert sinks.flush(30)  # what the first one's writes had to tell
    for name in NAMES:
        assert kept[True][name].requests == ([] if name == broken else kept[False][name].requests)
    missing = len(kept[False][broken].requests)
    assert sinks.failed_lines == ({broken: missing} if missing else {})
    assert sinks.failures == ({broken: os.strerror(errno.ENOSPC)} if missing else {})
    told = [entry["message"] for name in NAMES for entry in kept[True][name].entries if entry.get("event") == "sink"]
    places = {"console", "error.log"} - {broken}
    assert told == [f"{broken} fails: {os.strerror(errno.ENOSPC)}"] * (len(places) if missing else 0)


def test_the_search_misses_what_is_not_there(outlets: Outlets) -> None:
    """The control: an ID that was not logged is in neither place."""
    outlets.log(ValueError("x"), frozenset())
    looks: list[Callable[[str], bool]] = [outlets.on_console, outlets.in_files]
    assert [look("0" * 32) for look in looks] == [False, False]
