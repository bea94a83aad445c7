"""A host with a Sentry of its own: what ``before_send=sentry_before_send`` adds and takes away, and what is there without it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.neighbours.comparing import neighbour

# Its arguments: whether the host asks us, whether prodfix is to report to Sentry too, and a folder.
SCRIPT = """
    import json, logging, sys, warnings
    logging.getLogger("prodfix").addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    import sentry_sdk
    from pathlib import Path
    from sentry_sdk.transport import Transport
    from flask import Flask, request
    asked, reporting, folder = sys.argv[1] == "asked", sys.argv[2] == "reporting", Path(sys.argv[3])

    events = []
    class Kept(Transport):
        def capture_envelope(self, envelope):
            events.extend(item.payload.json for item in envelope.items if item.headers.get("type") == "event")

    from prodfix import ProdFix, Settings, sentry_before_send
    from pydantic import SecretStr
    sentry_sdk.init(dsn="http://key@127.0.0.1/1", transport=Kept, send_default_pii=True,
                    before_send=sentry_before_send if asked else None)
    app = Flask("host")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.handlers, app.logger.propagate = [logging.NullHandler()], False
    dsn = SecretStr("http://key@127.0.0.1:9/1") if reporting else None
    prodfix = ProdFix(app, settings=Settings(state_dir=folder / "var", log_dir=folder / "log", sentry_dsn=dsn))

    @app.post("/pay/<secret>")
    def pay(secret):
        local = request.get_json()["card"]
        sentry_sdk.add_breadcrumb(message=f"password={local}", category="log")
        raise ValueError(f"refused: password={local}")

    @app.get("/rude")
    def rude():
        class Rude(Exception):
            def __str__(self):
                raise RuntimeError("no text")
        raise Rude

    @app.get("/fine")
    def fine():
        sentry_sdk.capture_message("fine, password=hunter2hunter2")
        return "fine"

    from prodfix.signals import error_recorded
    records = []
    error_recorded.connect(lambda sender, record: records.append(record), weak=False)
    client = app.test_client()
    client.set_cookie("session", "hunter2hunter2")
    client.post("/pay/hunter2hunter2?token=hunter2hunter2", json={"card": "hunter2hunter2"},
                headers={"X-Request-ID": "request-0001", "X-Customer": "hunter2hunter2"})
    client.get("/fine")
    status = client.get("/rude").status_code
    if reporting:
        prodfix.services.runtime.background.stop()
    told = [one.to_json() for one in prodfix.services.state().reporters]
    prodfix.services.close()
    print(json.dumps({"events": events, "fingerprints": [record.fingerprint for record in records],
                      "status": status, "reporters": told}))
"""
SECRET = "hunter2hunter2"


@pytest.fixture
def run(python: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    neighbour("sentry_sdk")
    return lambda asked, reporting="": orjson.loads(python(SCRIPT, asked, reporting, tmp_path))


def test_its_events_have_our_tags_and_no_secret(run: Callable[..., Any]) -> None:
    found = run("asked")
    failed, said, _ = found["events"]
    assert failed["tags"] == {
        "request_id": "request-0001",
        "prodfix.code": "INTERNAL_ERROR",
        "prodfix.category": "unknown",
    }
    assert failed["fingerprint"] == found["fingerprints"][:1]
    assert failed["exception"]["values"][0]["value"] == "refused: password=***"
    assert failed["request"]["url"] == "/pay/<secret>"
    assert [crumb["message"] for crumb in failed["breadcrumbs"]["values"]] == ["password=***"]
    assert said["message"] == "fine, password=***"
    assert set(said["tags"]) == {"request_id"}
    assert SECRET not in orjson.dumps(found["events"]).decode()


def test_the_control_without_us_the_secret_is_in_it_many_times(run: Callable[..., Any]) -> None:
    found = run("")
    assert len(found["events"]) == 3
    failed = orjson.dumps(found["events"][0]).decode()
    assert failed.count(SECRET) >= 5
    assert "tags" not in found["events"][0]


def test_an_exception_without_a_text_is_told_all_the_same(run: Callable[..., Any]) -> None:
    found = run("asked")
    assert found["status"] == 500
    (raised,) = found["events"][2]["exception"]["values"]
    assert (raised["type"], raised["value"]) == ("rude.<locals>.Rude", "(left out)")


@pytest.mark.parametrize("asked", ["asked", ""])
def test_where_the_host_has_a_sentry_of_its_own_there_is_no_second_event(run: Callable[..., Any], asked: str) -> None:
    found = run(asked, "reporting")
    assert len(found["events"]) == 3
    (told,) = found["reporters"]
    assert (told["sent"], told["failing"], told["waiting"]) == (0, None, 0)
    assert "sentry_sdk.init itself" in told["note"]
