"""A command that failed is told once: by the error in which its request ends, or by its own line where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError
from werkzeug.exceptions import NotFound

from prodfix import ProdFix, Settings
from prodfix.errors import Severity
from tests.support.scripted_server import ScriptedServer

CANARY = "canary7f3a"
NOTE = {"slug": CANARY, "stars": 3}
TAKEN = {
    "ok": 1.0,
    "n": 0,
    "writeErrors": [
        {
            "index": 0,
            "code": 11000,
            "keyPattern": {"slug": 1},
            "keyValue": {"slug": CANARY},
            "errmsg": f"E11000 {CANARY}",
        }
    ],
}


def answer(command: Mapping[str, Any]) -> Mapping[str, Any]:
    if "insert" in command:
        return TAKEN
    if "aggregate" in command:
        return {"ok": 0.0, "code": 2, "codeName": "BadValue", "errmsg": CANARY}
    return {"ok": 1.0, "cursor": {"id": 0, "ns": "scripted.notes", "firstBatch": []}}


Lines = list[Mapping[str, Any]]


class Site:
    """An application that handles what fails, or does not."""

    def __init__(self, uri: str, folder: Path, **settings: Any) -> None:
        given = {"app_env": "production", "jwt_secret_key": "k" * 40, "state_dir": folder, "log_dir": folder / "log"}
        prodfix = ProdFix(settings=Settings(**{**given, **settings}))
        self.client: MongoClient[Any] = MongoClient(uri, event_listeners=list(prodfix.listeners))
        self.app = Flask("site")
        self.notes = self.client.scripted.notes
        self._routes()
        prodfix.init_app(self.app)
        self.services = prodfix.services
        self.services.runtime.background.hold()
        self.services.runtime.journal.open()
        self.lines: Lines = []
        self.services.logs.emit = lambda severity, entry, *files: self.lines.append(entry)  # type: ignore[method-assign]

    def _routes(self) -> None:
        for view in (
            self.fails,
            self.refused,
            self.handles,
            self.goes_on,
            self.looks_and_fails,
            self.handles_two,
            self.handles_and_fails,
            self.handles_and_aborts,
            self.missing_after,
        ):
            self.app.add_url_rule("/" + view.__name__.replace("_", "-"), view_func=view)

    def fails(self) -> Any:
        self.notes.insert_one(dict(NOTE))

    def refused(self) -> Any:
        self.notes.aggregate([])

    def handles(self) -> str:
        with pytest.raises(DuplicateKeyError):
            self.notes.insert_one(dict(NOTE))
        self.seen = len(self.lines)
        return "ok"

    def goes_on(self) -> str:
        self.handles()
        self.notes.find_one({})
        self.seen = len(self.lines)
        return "ok"

    def looks_and_fails(self) -> Any:
        try:
            self.notes.insert_one(dict(NOTE))
        except DuplicateKeyError:
            self.notes.find_one({})
            raise

    def handles_two(self) -> str:
        return self.handles() + self.handles()

    def handles_and_fails(self) -> Any:
        self.handles()
        raise ValueError("another matter")

    def handles_and_aborts(self) -> Any:
        self.handles()
        abort(404)

    def missing_after(self) -> Any:
        try:
            self.notes.insert_one(dict(NOTE))
        except DuplicateKeyError as error:
            raise NotFound from error

    def told(self, path: str) -> list[str]:
        """The events of the lines that a request leaves, in their order."""
        self.lines.clear()
        self.app.test_client().get(path)
        return [line["event"] for line in self.lines]

    def close(self) -> None:
        del self.services.logs.emit  # which lives as long as the engine, and would hold this
        self.client.close()
        self.services.runtime.journal.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []
    with ScriptedServer(answer) as server:

        def made(**settings: Any) -> Site:
            sites.append(Site(server.uri, tmp_path, **settings))
            return sites[-1]

        yield made
        for site in sites:
            site.close()


@pytest.fixture
def site(make: Callable[..., Site]) -> Site:
    return make()


def test_the_error_tells_it_with_all_that_the_commands_own_line_has(site: Site) -> None:
    assert site.told("/fails") == ["error"]
    by_error = site.lines[0]
    assert site.told("/handles") == ["query"]  # the control: the same command
    by_itself = site.lines[0]
    shape = dict(by_error["database"]["query"])
    assert shape == by_itself["database"]["query"]
    assert shape["$db"] == by_itself["database"]["name"]
    assert {name: shape[name] for name in by_itself["database"]["options"]} == by_itself["database"]["options"]
    assert "11000" in by_error["message"]
    assert by_itself["code"] == 11000
    assert CANARY not in str([by_error, by_itself])


def test_a_request_that_handles_it_leaves_the_commands_line_with_its_own_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = time.time()
    assert site.told("/handles") == ["query"]
    assert site.seen == 0, "it has waited for the end of the request"
    assert site.lines[0]["outcome"] == "partly_failed"
    assert site.lines[0]["requestId"] == site.lines[0]["context"]["requestId"]
    monkeypatch.setattr(time, "time", lambda: begun - 1000.0)
    assert site.told("/handles") == ["query"]
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begun - 1000)) in site.lines[0]["timestamp"]


def test_a_request_that_goes_on_may_end_in_it_all_the_same(site: Site) -> None:
    assert site.told("/goes-on") == ["query"]
    assert site.seen == 0
    assert site.told("/looks-and-fails") == ["error"]


def test_none_of_several_is_lost(site: Site) -> None:
    assert site.told("/handles-two") == ["query", "query"]


def test_another_error_does_not_tell_it(site: Site) -> None:
    assert sorted(site.told("/handles-and-fails")) == ["error", "query"]


@pytest.mark.parametrize("path", ["/handles-and-aborts", "/missing-after"])
def test_an_error_that_is_only_counted_tells_nothing_so_the_commands_line_stays(site: Site, path: str) -> None:
    assert site.told(path) == ["query"]


def test_a_flood_of_one_kind_holds_both_lines_back(make: Callable[..., Site]) -> None:
    site = make(error_burst=2, error_rate=1e-9)
    assert [site.told("/fails") for _ in range(4)] == [["error"], ["error"], [], []]
    ((_, _, held),) = site.services.errors.log.storms.summary()
    assert held == 2
    assert site.told("/handles") == ["query"], "what no error tells is told"


@pytest.mark.parametrize("kind", [500, Exception])  # of the second Flask tells nobody
def test_what_a_host_answers_itself_with_a_failure_is_told_once(make: Callable[..., Site], kind: Any) -> None:
    site = make()
    site.app.register_error_handler(kind, lambda error: ("sorry", 500))
    assert site.told("/refused") == ["error"]


def test_what_a_host_takes_for_no_failure_leaves_the_commands_line(make: Callable[..., Site]) -> None:
    site = make()
    site.app.register_error_handler(Exception, lambda error: ("sorry", 404))
    assert site.told("/refused") == ["query"]


def test_where_errors_are_none_of_ours_the_line_stays(make: Callable[..., Site]) -> None:
    site = make(enable_error_handler=False)
    assert site.told("/fails") == ["query"]


@pytest.mark.parametrize(("handled", "told"), [(True, ["error", "query"]), (False, ["query"])])
def test_where_the_error_escapes_the_commands_line_stays(make: Callable[..., Site], handled: bool, told: Any) -> None:
    site = make(enable_error_handler=handled)
    site.app.config["PROPAGATE_EXCEPTIONS"] = True
    with pytest.raises(ValueError, match="another matter"):
        site.told("/handles-and-fails")
    assert sorted(line["event"] for line in site.lines) == told


def test_the_error_of_a_teardown_function_tells_it(site: Site) -> None:
    @site.app.teardown_request
    def fails_at_the_end(error: BaseException | None) -> None:
        site.fails()

    with pytest.raises(DuplicateKeyError):
        site.told("/missing")
    assert [line["event"] for line in site.lines] == ["error"]


@pytest.mark.parametrize("kind", [None, Exception])  # Flask's own answer, and the host's
@pytest.mark.parametrize("propagates", [True, False])
def test_an_error_of_a_view_is_told_beside_that_of_a_teardown_function(
    site: Site, kind: type[Exception] | None, propagates: bool
) -> None:
    site.app.config["PROPAGATE_EXCEPTIONS"] = propagates
    if kind is not None:
        site.app.register_error_handler(kind, lambda error: ("sorry", 500))

    @site.app.teardown_request
    def fails_at_the_end(error: BaseException | None) -> None:
        raise LookupError("at the end")

    with pytest.raises(LookupError):
        site.told("/refused")
    assert [(line["event"], line["errorType"]) for line in site.lines] == [
        ("error", "OperationFailure"),
        ("error", "LookupError"),
    ]


def test_where_nobody_records_what_fails_it_is_told_with_the_requests_end(site: Site) -> None:
    """As in a shell, or a test of the host's, which pushes the context of a request itself."""
    site.app.before_request(site.fails)
    with pytest.raises(DuplicateKeyError), site.app.test_request_context("/handles"):
        site.app.preprocess_request()
    assert [line["event"] for line in site.lines] == ["query"]


def test_outside_a_request_it_is_told_at_once(site: Site) -> None:
    with site.app.app_context(), pytest.raises(DuplicateKeyError):
        site.notes.insert_one(dict(NOTE))
    assert [line["event"] for line in site.lines] == ["query"]


def test_a_line_that_cannot_be_made_later_is_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(severity: Severity, *_: Any, **__: Any) -> None:
        raise ValueError

    monkeypatch.setattr(site.services.logs, "event", broken)
    before = site.services.logs.sinks.dropped
    assert site.app.test_client().get("/handles").status_code == 200
    assert site.services.logs.sinks.dropped == before + 1
