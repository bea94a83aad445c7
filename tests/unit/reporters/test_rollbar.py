"""Rollbar's own SDK, in a process of its own: what it posts, and what is made of its silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.support.error_trackers import Tracker
from tests.unit.neighbours.comparing import neighbour

# Its arguments: the endpoint, and who has begun the SDK.
SCRIPT = """
    import json, logging, sys
    from pydantic import SecretStr
    lines = []
    class Kept(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())
    logging.getLogger().addHandler(Kept())
    if sys.argv[2] == "host":
        import rollbar
        rollbar.init("1" * 32, handler="blocking", allow_logging_basic_config=False)
    from prodfix import Settings
    from prodfix.classification.classifications import INTERNAL_ERROR
    from prodfix.operations.frames import frames_of
    from prodfix.records.records import ErrorRecord, summary
    from prodfix.reporters.reporting import Reporting
    from prodfix.reporters.reporter import ReporterFailed

    def fails():
        try:
            {}["price"]
        except KeyError as error:
            raise ValueError("password=hunter2hunter2") from error
    try:
        fails()
    except ValueError as error:
        frames = frames_of(error, whole=True)
        record = ErrorRecord(meaning=INTERNAL_ERROR, summary=summary(error), error_type=frames.error_type, stack=frames.stack,
                             context=None, operation=None, request_id="request-0001", release="v7", places=frames.places)
    settings = Settings(rollbar_access_token=SecretStr("0" * 32), rollbar_endpoint=sys.argv[1])
    reporting = Reporting.made(settings)
    reporting.put(record)
    failed = None
    try:
        reporting.queues[0].work()
    except ReporterFailed as error:
        failed = str(error)
    print(json.dumps({"status": reporting.status()[0].to_json(), "failed": failed, "lines": lines}))
"""


@pytest.fixture
def run(python: Callable[..., str], tracker: Tracker) -> Callable[..., Any]:
    neighbour("rollbar")
    return lambda begun="", endpoint=tracker.endpoint: orjson.loads(python(SCRIPT, endpoint, begun))


def test_a_record_is_an_item_with_its_chain_and_no_secret(run: Callable[..., Any], tracker: Tracker) -> None:
    found = run()
    assert (found["status"]["sent"], found["failed"], found["lines"]) == (1, None, [])
    (item,) = tracker.items
    error, cause = item["body"]["trace_chain"]
    assert error["exception"] == {"class": "ValueError", "message": "password=***"}
    assert cause["exception"]["class"] == "KeyError"
    assert (item["custom"]["request_id"], item["code_version"], item["level"]) == ("request-0001", "v7", "error")
    assert "argv" not in item["server"]
    assert b"hunter2hunter2" not in tracker.raw


def test_what_it_only_logs_is_a_failure_and_no_line(run: Callable[..., Any], tracker: Tracker) -> None:
    tracker.status = 429
    found = run()
    assert (found["failed"], found["status"]["failing"], found["lines"]) == ("refused", "refused", [])
    found = run(endpoint="http://127.0.0.1:9/api/1/")
    assert (found["failed"], found["lines"]) == ("ConnectionError", [])


def test_an_application_that_has_begun_it_keeps_it(run: Callable[..., Any], tracker: Tracker) -> None:
    found = run("host")
    assert (found["status"]["sent"], found["failed"]) == (0, None)
    assert "rollbar.init itself" in found["status"]["note"]
    assert tracker.asked == 0
