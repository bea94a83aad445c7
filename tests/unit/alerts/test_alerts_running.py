"""Alerts as an application has them: its loops, its state, its log, and a real program, in plain threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from prodfix import Services
from prodfix.blueprints import diagnostics
from prodfix.journal.journal import Journal
from prodfix.records.keeper import ERROR_SAMPLING
from prodfix.statistics.groups import ERROR_GROUPS, KINDS_STATE
from prodfix.statistics.rates import RECENT
from prodfix.statistics.windows import Point
from prodfix.workers.worker_state import AlertsState
from tests.support.receivers import WebHook

DEAD = (
    "INSERT INTO dead (id, operation, key, entry, attempts, created, reason, facts, at)"
    " VALUES ('d', '', '', x'00', 1, 0, '', '', 0)"
)


@pytest.fixture
def services(serve: Callable[..., Any], hook: WebHook, make_settings: Any) -> Services:
    found: Services = serve(alert_urls=SecretStr(hook.url), render_instance_id="web-1").extensions["prodfix"]
    return found


def error_lines(tmp_path: Path) -> list[dict[str, Any]]:
    path = tmp_path / "log" / "error.log"
    return [orjson.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_dead_letter_is_told_and_that_there_is_none_any_more(
    services: Services, hook: WebHook, until: Callable[..., Any], tmp_path: Path
) -> None:
    services.start()
    services.runtime.journal.write([(DEAD, ())])
    until(lambda: hook.told, 30.0)
    assert [alarm["key"] for alarm in services.alerts.read().to_json()["alarms"]] == ["dead_letters@web-1"]
    until(lambda: services.alerts.read().to_json()["sent"] == 1)
    services.runtime.journal.write([("DELETE FROM dead", ())])
    until(lambda: len(hook.told) == 2, 30.0)
    assert [told.title for told in hook.told] == [
        "[error] Deferred writes became dead letters (web-1)",
        "[over] No dead letter is left (web-1)",
    ]
    until(lambda: services.alerts.read().to_json()["sent"] == 2)
    answer = services.alerts.read().to_json()
    assert answer["alarms"] == []
    assert answer["sender"] == {"worker": services.runtime.journal.boot, "pid": services.state().pid}
    assert services.logs.sinks.flush(30)
    (line,) = [line for line in error_lines(tmp_path) if line["event"] == "alarm"]
    assert (line["severity"], line["alarm"], line["dead"]) == ("error", "dead_letters@web-1", 1)


def test_a_worker_says_how_it_is(services: Services) -> None:
    before = services.state()
    assert (before.uptime_seconds, before.incidents, before.losses) == (0.0, (), 0)
    memory = before.environment.memory
    assert memory.peak_mb >= memory.resident_mb > memory.shared_mb > 0
    assert before.alerts == AlertsState(sender=False)
    services.start()
    services.errors.incidents.begin("error_rate")
    after = services.state()
    assert after.uptime_seconds >= 0.0
    assert after.incidents == ("error_rate",)


def test_a_worker_that_ends_leaves_the_lock(services: Services, until: Callable[..., Any]) -> None:
    services.start()
    until(lambda: services.alerts.state().sender)
    assert services.alerts._leader.lock.held
    services.close()
    assert not services.alerts._leader.lock.held
    assert services.alerts.state() == AlertsState(sender=False)


def test_a_regression_is_logged_and_left_for_the_sender(services: Services, tmp_path: Path) -> None:
    services.runtime.journal.open()
    services.errors.groups.on_regression(
        {"fingerprint": "f", "message": "INTERNAL_ERROR (ValueError)", "releases": ["v2"]}
    )
    other = Journal(services.runtime.journal.folder)
    assert other.read("SELECT fingerprint FROM regressions") == [("f",)]
    services.runtime.journal.close()
    assert services.logs.sinks.flush(30)
    assert [line["event"] for line in error_lines(tmp_path)] == ["regression"]


def test_what_fails_too_often_is_told_with_its_numbers(services: Services) -> None:
    services.runtime.journal.open()
    for failed in [True] * 12 + [False] * 3:
        services.requests.counters.request("/", "mobile", 1000, failed=failed)
    services.requests.counters.flush()
    services.errors.incidents.begin("error_rate")
    found = services.alerts.observer.situation(time.time()).rates
    assert found == {"failed": "12 of 15 requests in 2 minutes", "before": "0 of 0 requests in 10 minutes"}
    services.runtime.journal.close()


class Traffic:
    """Twelve minutes of requests, of which those of the last ones fail as ``share`` says."""

    def __init__(self, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
        self.share = 0.0
        self._services = services
        monkeypatch.setattr(
            type(services.requests.windows), "recent", lambda windows, minutes: self._points(windows.now(), minutes)
        )

    def _points(self, now: int, minutes: int) -> dict[int, Point]:
        failed = {at: int(100 * self.share) if at > now - RECENT else 0 for at in range(now - minutes + 1, now + 1)}
        return {at: Point(100, number) for at, number in failed.items()}

    def look(self, share: float) -> list[str]:
        """The incidents after a look at it."""
        self.share = share
        self._services.runtime.background._watch_rate()  # type: ignore[attr-defined]
        return sorted(self._services.errors.incidents.open)


def test_that_more_requests_fail_is_not_over_because_the_database_is_lost_too(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, incidents = Traffic(services, monkeypatch), services.errors.incidents
    assert traffic.look(0.5) == ["error_rate"]
    incidents.begin("database_lost")
    for share in (0.9, 0.0, 1.0):
        assert traffic.look(share) == ["database_lost", "error_rate"]
    incidents.end("database_lost")
    assert traffic.look(0.5) == ["error_rate"], "it goes on"
    assert traffic.look(0.0) == [], "the control: now it is over"


def test_what_fails_because_the_database_is_lost_is_that_incident_alone(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic, incidents = Traffic(services, monkeypatch), services.errors.incidents
    assert traffic.look(0.0) == []
    incidents.begin("database_lost")
    assert traffic.look(1.0) == ["database_lost"]
    incidents.end("database_lost")
    assert traffic.look(1.0) == [], "those of the last minutes are of the time before"
    monkeypatch.setattr(incidents, "_monotonic", lambda: time.monotonic() + (RECENT + 1) * 60 + 1)
    assert traffic.look(1.0) == ["error_rate"], "the control"


def test_no_worker_imports_apprise(python: Callable[..., str], tmp_path: Path) -> None:
    code = """
        import sys
        from pydantic import SecretStr
        from prodfix import Settings, create_app
        from prodfix.logs.sinks import Console

        folder, key = sys.argv[1], SecretStr("k" * 32)
        app = create_app(Settings(alert_urls=SecretStr("json://a"), state_dir=folder, log_dir=folder, jwt_secret_key=key))
        services = app.extensions["prodfix"]
        services.logs.sinks.replace(Console(2))
        services.runtime.journal.open()
        services.alerts.look()
        services.alerts.deliver()
        services.close()
        services.alerts.close()
        services.runtime.journal.close()
        print("apprise" in sys.modules, services.alerts.read().to_json()["channels"])
        """
    assert python(code, tmp_path) == "False ['json #1']\n"


def test_the_settings_reach_the_alerts(serve: Callable[..., Any]) -> None:
    parts: Services = serve(
        [diagnostics],
        alert_urls=SecretStr("json://a slack://b"),
        alert_cooldown_minutes=7,
        alert_max_per_hour=3,
        memory_limit_mb=100,
        public_url="https://example.org",
        app_release="v7",
        deferred_max_entries=5,
    ).extensions["prodfix"]
    alerts = parts.alerts
    assert alerts.read().to_json()["channels"] == ["json #1", "slack #2"]
    assert (alerts.origin.link(), alerts.origin.release) == ("https://example.org/api/v1/diagnostics", "v7")
    assert (alerts._policy._cool_down, alerts._policy._most) == (420.0, 3)
    assert alerts.observer.situation(time.time()).memory_limit == 100.0
    assert alerts.observer._share(5, 0.0) == 1.0
    bare: Services = serve().extensions["prodfix"]
    assert (bare.alerts.read().to_json()["channels"], bare.alerts.origin.link()) == ([], "")


def test_the_hour_in_which_every_kind_is_new_begins_with_the_first_start_and_not_with_the_first_error(
    serve: Callable[..., Any], database_uri: str, database: Any, until: Callable[..., Any]
) -> None:
    services: Services = serve(mongodb_uri=SecretStr(database_uri)).extensions["prodfix"]
    services.start()
    until(lambda: database[ERROR_SAMPLING].find_one({"_id": KINDS_STATE}), 30.0)
    assert database[ERROR_GROUPS].count_documents({}) == 0
