"""Which reporters an application has, and what it costs not to have any."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from flask import Flask

from prodfix import ErrorRecord, ErrorReporter, ProdFix, Settings
from prodfix.checked_record import SecretStr
from prodfix.reporters.reporter import ReporterFailed
from prodfix.reporters.reporting import ENTRY_POINTS, Reporting
from prodfix.settings import SettingsError

Make = Callable[..., Settings]


class Kept:
    """A reporter that keeps what it is told."""

    def __init__(self, name: str = "kept") -> None:
        self.name = name
        self.told: list[ErrorRecord] = []

    def report(self, record: ErrorRecord) -> None:
        self.told.append(record)


MADE: list[Kept] = []


def make(settings: Settings) -> ErrorReporter:
    """What an entry point names."""
    MADE.append(Kept(settings.release))
    return MADE[-1]


def test_without_a_setting_there_is_none(make_settings: Make) -> None:
    assert Reporting.made(make_settings()).queues == ()
    assert Reporting.made(make_settings(sentry_dsn=SecretStr(" "))).queues == ()


def test_each_setting_names_one(make_settings: Make) -> None:
    settings = make_settings(
        sentry_dsn=SecretStr("http://key@127.0.0.1/1"),
        rollbar_access_token=SecretStr("0" * 32),
        error_reporters="own, other",
    )
    queues = Reporting.made(settings, [Kept("given")]).queues
    assert [queue.name for queue in queues] == ["sentry", "rollbar", "other", "own", "given"]


@pytest.mark.parametrize(
    ("name", "distribution", "extra"),
    [("SENTRY_DSN", "sentry-sdk", "sentry"), ("ROLLBAR_ACCESS_TOKEN", "rollbar", "rollbar")],
)
def test_a_setting_without_its_package_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, distribution: str, extra: str
) -> None:
    monkeypatch.setenv(name, "a secret value")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert f"pip install {distribution}, or prodfix with its extra {extra}" in refused.value.problems[name]
    assert "a secret value" not in str(refused.value)


def test_one_of_an_entry_point_is_made_of_the_settings(
    make_settings: Make, make_record: Callable[..., ErrorRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, str]] = []

    def entry_points(**wanted: str) -> EntryPoints:
        asked.append(wanted)
        found = EntryPoints([EntryPoint("own", f"{__name__}:make", ENTRY_POINTS)])
        return found.select(**wanted)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    MADE.clear()
    reporting = Reporting.made(make_settings(error_reporters="own,missing", app_release="v9"))
    assert (asked, MADE) == ([], [])  # not before there is an error
    record = make_record()
    reporting.put(record)
    missing, own = reporting.queues
    own.work()
    assert [(one.name, one.told) for one in MADE] == [("v9", [record])]
    with pytest.raises(ReporterFailed, match="LookupError"):
        missing.work()
    assert asked == [{"group": ENTRY_POINTS, "name": "own"}, {"group": ENTRY_POINTS, "name": "missing"}]


def host(make_settings: Make, reporter: ErrorReporter, **values: Any) -> tuple[Flask, ProdFix]:
    app = Flask("host")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    prodfix = ProdFix(app, settings=make_settings(**values), reporters=[reporter])
    app.add_url_rule("/defect", view_func=lambda: 1 // 0, endpoint="defect")
    app.add_url_rule("/refused", view_func=lambda: ("x", 400), endpoint="refused")
    return app, prodfix


def ask(app: Flask, path: str, times: int = 1) -> None:
    for _ in range(times):
        app.test_client().get(path)


def test_one_that_is_given_is_told_beside_requests_of_what_is_admitted(make_settings: Make) -> None:
    kept = Kept()
    app, prodfix = host(make_settings, kept, error_burst=3, error_rate=0.001)
    try:
        ask(app, "/refused")
        ask(app, "/defect", times=5)
        (queue,) = prodfix.services._parts.engine.reporting.queues  # type: ignore[attr-defined]
        prodfix.services.runtime.background.stop()  # which tells of the rest
        assert [record.error_type for record in kept.told] == ["ZeroDivisionError"] * 3
        assert queue.status().sent == 3
        assert prodfix.services.errors.log.storms.held == 2  # what is not told is counted
    finally:
        prodfix.services.close()


def test_under_test_nothing_leaves_the_process(make_settings: Make) -> None:
    kept = Kept()
    app, prodfix = host(make_settings, kept)
    app.testing = True
    app.config["PROPAGATE_EXCEPTIONS"] = False
    ask(app, "/defect")
    prodfix.services.close()
    assert kept.told == []


def test_a_reporter_that_breaks_breaks_no_request(make_settings: Make) -> None:
    class Broken(Kept):
        def report(self, record: ErrorRecord) -> None:
            raise RuntimeError("the tracker is away")

    app, prodfix = host(make_settings, Broken())
    try:
        assert app.test_client().get("/defect").status_code == 500
        prodfix.services.runtime.background.stop()
        (status,) = prodfix.services._parts.engine.reporting.status()  # type: ignore[attr-defined]
        assert (status.failing, status.sent, status.waiting) == ("RuntimeError", 0, 1)
    finally:
        prodfix.services.close()


def test_no_sdk_is_imported_by_who_names_none(python: Callable[..., str]) -> None:
    script = """
        import logging, sys
        from flask import Flask
        from prodfix import ProdFix, Settings
        logging.disable()
        app = Flask("host")
        app.testing, app.config["PROPAGATE_EXCEPTIONS"] = True, False
        {prepare}
        ProdFix(app, settings=Settings())
        app.add_url_rule("/", view_func=lambda: 1 // 0, endpoint="defect")
        app.test_client().get("/")
        print(sorted({{"sentry_sdk", "rollbar", "mcp", "importlib.metadata"}} & set(sys.modules)))
    """
    found = python(script.format(prepare=""))
    assert not {"sentry_sdk", "rollbar", "mcp"} & set(eval(found))
    control = python(script.format(prepare="import sentry_sdk"))
    assert "sentry_sdk" in eval(control)
