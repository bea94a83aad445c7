"""Lines as log records of the real SDK, bounded as any sink, and only where somebody has asked for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.util._once import Once

from prodfix.errors import Severity
from prodfix.logs import otel_logs
from prodfix.logs.logs import Logs
from prodfix.logs.otel_logs import OtelLogs, record_of
from prodfix.logs.sinks import Sinks
from tests.support.log_kinds import every_line

CANARY = "canary7f3a@example.org"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> InMemoryLogRecordExporter:
    """What the SDK is given, whose provider is the process's for as long as the test."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", None)
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER_SET_ONCE", Once())
    _logs.set_logger_provider(provider)
    return exporter


@pytest.fixture
def sinks(kept: InMemoryLogRecordExporter) -> Iterator[Sinks]:
    made = Sinks([], exporter=OtelLogs())
    yield made
    made.close()


def records(exporter: InMemoryLogRecordExporter) -> list[ReadableLogRecord]:
    return list(exporter.get_finished_logs())


def test_every_kind_of_line_becomes_a_record(
    serve: Callable[..., Any], database_uri: str, tmp_path: Path, kept: InMemoryLogRecordExporter
) -> None:
    lines = every_line(serve, database_uri, tmp_path, opentelemetry="logs")
    # Not those of gunicorn's arbiter, which knows no SDK: of a worker's only errors have its process.
    told = [line for line in lines if "pid" not in line or line.get("event") == "error"]
    found = records(kept)
    assert len(found) == len(told)
    names = {line["event"] for line in told if "event" in line}
    assert {one.log_record.event_name for one in found} - {None} == {f"prodfix.{name}" for name in names}
    assert len(names) > 25
    assert {one.instrumentation_scope.name for one in found if one.instrumentation_scope} == {"prodfix"}


def test_a_record_has_the_lines_moment_level_trace_and_names() -> None:
    found = record_of(
        {
            "timestamp": "2026-11-29T18:00:00.123Z",
            "level": "warn",
            "event": "retry",
            "message": "trying again",
            "requestId": "request-0001",
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": "b7ad6b7169203331",
            "attempt": 1,
            "error": "AutoReconnect",
        }
    )
    assert (found.timestamp, found.severity_number) == (1_795_975_200_123_000_000, SeverityNumber.WARN)
    assert (found.severity_text, found.body, found.event_name) == ("WARN", "trying again", "prodfix.retry")
    assert (found.trace_id, found.span_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    assert found.attributes == {
        "prodfix.request_id": "request-0001",
        "prodfix.attempt": 1,
        "error.type": "AutoReconnect",
    }


def test_what_the_sdk_would_refuse_of_a_list_is_json() -> None:
    line = {"timestamp": "2026-11-29T18:00:00.123Z", "event": "advice", "stages": ["a", "b"], "none": [], "few": [1, 2]}
    nested = {"index": [["n", 1]], "facts": {"a": [1, "x"], "b": {"c": [{"d": 1}]}}}
    assert record_of(line | nested).attributes == {
        "prodfix.stages": ["a", "b"],
        "prodfix.none": [],
        "prodfix.few": [1, 2],
        "prodfix.index": '[["n",1]]',
        "prodfix.facts": {"a": '[1,"x"]', "b": {"c": '[{"d":1}]'}},
    }


def test_what_the_log_hides_is_hidden_there_too(kept: InMemoryLogRecordExporter, sinks: Sinks) -> None:
    logs = Logs(sinks, served=False)
    logs.event(Severity.WARN, "retry", "x", facts={"who": CANARY, "password": "hunter2"})
    assert sinks.flush(10)
    text = str([(one.log_record.body, one.log_record.attributes) for one in records(kept)])
    assert len(records(kept)) == 1
    assert CANARY not in text
    assert "hunter2" not in text


def test_what_the_sdk_says_itself_is_not_sent_by_it(kept: InMemoryLogRecordExporter, sinks: Sinks) -> None:
    for name in ("opentelemetry.sdk._shared_internal", "opentelemetry", "opentelemetry_like", "shop"):
        sinks.export(json.dumps({"timestamp": "2026-11-29T18:00:00.123Z", "logger": name}).encode() + b"\n")
    assert sinks.flush(10)
    told = [(one.log_record.attributes or {})["log.logger"] for one in records(kept)]
    assert told == ["opentelemetry_like", "shop"]


def test_a_processor_that_fails_is_a_sink_that_fails(
    kept: InMemoryLogRecordExporter, sinks: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"timestamp":"2026-11-29T18:00:00.123Z","message":"x"}\n'

    def fail(record: Any) -> None:
        raise RuntimeError("a processor of somebody's")

    with monkeypatch.context() as patched:
        patched.setattr(otel_logs, "record_of", fail)
        sinks.export(line)
        assert sinks.flush(10)
        (status,) = sinks.status().sinks
        assert (status.name, status.failing, status.lost) == ("opentelemetry", "RuntimeError", 1)
    sinks.export(line)
    assert sinks.flush(10)
    assert sinks.status().sinks[0].failing is None
    assert len(records(kept)) >= 1


def test_a_sink_that_stalls_makes_nobody_wait_and_what_it_has_no_room_for_is_counted(
    sinks: Sinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prodfix.logs import outlets
    from prodfix.process.native import allocate_lock

    held = allocate_lock()
    held.acquire()

    def stall(record: Any) -> Any:
        with held:
            return record_of({"timestamp": "2026-11-29T18:00:00.123Z"})

    monkeypatch.setattr(outlets, "LONGEST_QUEUE", 10)
    monkeypatch.setattr(otel_logs, "record_of", stall)
    for _ in range(500):
        sinks.export(b"{}\n")
    assert sinks.dropped >= 200
    held.release()
    assert sinks.flush(10)


def test_a_host_that_keeps_its_logging_sends_our_lines_too(
    kept: InMemoryLogRecordExporter, sinks: Sinks, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "prodfix"):
        Logs(sinks, served=False).event(Severity.INFO, "background", "works again")
    assert sinks.flush(10)
    assert (len(records(kept)), len(caplog.records)) == (1, 1)


LOADED = """
    import sys
    from pathlib import Path
    from flask import Flask
    from prodfix import ProdFix, Settings
    app = Flask("host")
    settings = Settings(app_env="development", state_dir=Path(sys.argv[1]), log_dir=Path(sys.argv[1]) / "log",
                        opentelemetry=sys.argv[2], log_level="error")
    app.add_url_rule("/", "index", lambda: "x")
    prodfix = ProdFix(app, settings=settings)
    assert app.test_client().get("/").data == b"x"
    print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry")[:1])
    prodfix.services.close()
"""


@pytest.mark.parametrize(("signals", "loaded"), [("off", "[]"), ("traces", "[]"), ("logs", "['opentelemetry']")])
def test_nothing_of_it_is_imported_before_somebody_asks(
    python: Callable[..., str], tmp_path: Path, signals: str, loaded: str
) -> None:
    assert python(LOADED, tmp_path, signals).strip() == loaded
