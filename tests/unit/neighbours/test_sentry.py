"""Beside Sentry: one event for each 5xx that has one without us, under its own name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.unit.neighbours.comparing import neighbour

# Its arguments: when Sentry begins, whose application it is, and a folder.
SCRIPT = """
    import json, logging, sys, warnings
    logging.getLogger("prodfix").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    import sentry_sdk
    from pathlib import Path
    from sentry_sdk.transport import Transport
    from flask import Flask, abort
    order, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])

    events = []
    class Kept(Transport):
        def capture_envelope(self, envelope):
            for item in envelope.items:
                if item.headers.get("type") == "event":
                    event = item.payload.json
                    raised = event.get("exception", {}).get("values")
                    events.append(raised[-1]["type"] if raised else event["logentry"]["message"])

    def begin():
        sentry_sdk.init(dsn="http://key@127.0.0.1/1", transport=Kept)

    from pydantic import SecretStr
    from prodfix import ProdFix, Settings, create_app, current_prodfix
    from prodfix.logs.sinks import Console
    if order == "before":
        begin()
    settings = Settings(app_env="production", state_dir=folder / "var", log_dir=folder / "log",
                        jwt_secret_key=SecretStr("0" * 32))
    if kind == "served":
        app = create_app(settings)
    else:
        app = Flask("host")
        app.config["PROPAGATE_EXCEPTIONS"] = False
        app.logger.handlers, app.logger.propagate = [logging.NullHandler()], False
        if kind == "adopted":
            ProdFix(app, settings=settings)
    services = app.extensions.get("prodfix")
    if services is not None:
        import os
        services.logs.sinks.replace(Console(os.open(os.devnull, os.O_WRONLY)))
    if order == "after":
        begin()

    class Own(Exception): ...
    app.add_url_rule("/defect", "defect", lambda: 1 // 0)
    app.add_url_rule("/other", "other", lambda: {}["missing"])
    app.add_url_rule("/abort/<int:code>", "abort", abort)
    app.add_url_rule("/return", "return", lambda: ("x", 503))
    def handled(): raise Own
    app.add_url_rule("/handled", "handled", handled)
    app.register_error_handler(Own, lambda error: ("mine", 500))
    def logged():
        app.logger.error("the host says %s", "so")
        return "fine"
    app.add_url_rule("/logged", "logged", logged)
    seen = {}
    for path in ("/defect", "/other", "/abort/503", "/abort/404", "/return", "/handled", "/logged", "/nowhere"):
        del events[:]
        status = app.test_client().get(path).status_code
        seen[path] = [status, *events]
    if services is not None:
        services.close()
    print(json.dumps(seen))
"""
WITHOUT_US = {
    "/defect": [500, "ZeroDivisionError"],
    "/other": [500, "KeyError"],
    "/abort/503": [503],
    "/abort/404": [404],
    "/return": [503],
    "/handled": [500],
    "/logged": [200, "the host says %s"],
    "/nowhere": [404],
}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("kind", ["plain", "adopted", "served"])
def test_it_has_the_events_that_it_has_without_us(
    python: Callable[..., str], tmp_path: Path, kind: str, order: str
) -> None:
    neighbour("sentry_sdk")
    found = orjson.loads(python(SCRIPT, order, kind, tmp_path))
    if (kind, order) == ("served", "after"):
        # There the standard library's lines go through loguru, which Sentry listens to as well.
        assert set(WITHOUT_US["/logged"]) < set(found.pop("/logged"))
        assert found == {path: told for path, told in WITHOUT_US.items() if path != "/logged"}
    else:
        assert found == WITHOUT_US


def test_the_control_our_lines_would_be_events_of_one_name(python: Callable[..., str], tmp_path: Path) -> None:
    neighbour("sentry_sdk")
    shouted = SCRIPT.replace("class Own", "services.logs._trackers._asked = True\n    class Own")
    found = orjson.loads(python(shouted, "after", "adopted", tmp_path))
    assert (found["/defect"], found["/abort/503"]) == ([500, "ZeroDivisionError", "%s"], [503, "%s"])
