"""Beside Datadog's tracer, which wraps Flask's registries and its WSGI application."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson

from tests.unit.neighbours.comparing import neighbour

# Its arguments: a folder. Nothing is sent: the tracer's writer is given a list.
SCRIPT = """
    import json, logging, os, sys, warnings
    warnings.simplefilter("ignore")
    os.environ |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false",
                   "DD_TRACE_STARTUP_LOGS": "false", "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
                   "DD_TRACE_STATS_COMPUTATION_ENABLED": "false"}
    for name in ("ddtrace", "prodfix"):
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = [logging.NullHandler()], False
    import ddtrace
    ddtrace.patch(flask=True)
    from ddtrace.trace import TraceFilter, tracer
    spans = []
    class Kept(TraceFilter):
        def process_trace(self, trace):
            spans.extend((span.resource, span.get_tag("http.status_code")) for span in trace if span.name == "flask.request")
    tracer.configure(trace_processors=[Kept()])
    from pathlib import Path
    from flask import Flask, Response, abort
    from prodfix import ProdFix, Settings
    from prodfix.signals import error_recorded
    folder, records, seen = Path(sys.argv[1]), [], {}
    error_recorded.connect(lambda sender, record: records.append(record.status), weak=False)
    for kind in ("plain", "before", "after"):
        app = Flask("host")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.logger.disabled = True
        extension = ProdFix(settings=Settings(app_env="production", state_dir=folder / kind, answers="none"))
        if kind == "before":
            extension.init_app(app)
        app.add_url_rule("/fine", "fine", lambda: "fine")
        app.add_url_rule("/stream", "stream", lambda: Response((part for part in (b"a", b"b")), 503))
        app.add_url_rule("/abort/<int:code>", "abort", abort)
        app.add_url_rule("/defect", "defect", lambda: 1 // 0)
        app.register_error_handler(410, lambda error: ("mine", 410))
        if kind == "after":
            extension.init_app(app)
        del spans[:], records[:]
        answers = []
        for path in ("/fine", "/stream", "/abort/503", "/abort/410", "/defect", "/nowhere"):
            answer = app.test_client().get(path)
            answers.append([answer.status_code, answer.text])
        seen[kind] = [answers, sorted(map(str, spans)), [status for status in records if status >= 500]]
        if kind != "plain":
            extension.services.close()
    print(json.dumps(seen))
    sys.stdout.flush()
    os._exit(0)
"""


def test_answers_and_spans_are_those_without_us(python: Callable[..., str], tmp_path: Path) -> None:
    neighbour("ddtrace")
    found = orjson.loads(python(SCRIPT, tmp_path))
    answers, spans, recorded = found["plain"]
    assert ([status for status, _ in answers], recorded) == ([200, 503, 503, 410, 500, 404], [])
    assert len(spans) == 6
    for kind in ("before", "after"):
        assert found[kind] == [answers, spans, [503, 503, 500]]
