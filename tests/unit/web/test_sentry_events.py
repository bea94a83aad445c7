"""What a host's own Sentry is given when an event cannot be scrubbed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from prodfix import sentry_before_send
from prodfix.web import sentry_events


def test_what_cannot_be_scrubbed_is_sent_without_what_it_holds(
    adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(event: object) -> dict[str, object]:
        raise RuntimeError

    app = adopt()
    services = app.extensions["prodfix"]
    event = {
        "event_id": "0" * 32,
        "level": "error",
        "message": "password=hunter2hunter2",
        "extra": {"a": "hunter2hunter2"},
    }
    with app.app_context():
        assert sentry_before_send(event, {})["message"] == "password=***"
        monkeypatch.setattr(sentry_events, "scrubbed", broken)
        found = sentry_before_send(event, {})
    assert found == {"event_id": "0" * 32, "level": "error", "message": "an event that cannot be scrubbed"}
    assert services.errors.log.failures == 1


def test_without_an_application_it_is_scrubbed_too() -> None:
    assert sentry_before_send({"message": "password=hunter2hunter2"}, {"exc_info": None}) == {"message": "password=***"}


@pytest.mark.parametrize("tags", [{"shop": "4"}, [["shop", "4"]], None])
def test_the_tags_of_the_host_stay(adopt: Callable[..., Flask], tags: object) -> None:
    error = ValueError("no price")
    with adopt().app_context():
        found = sentry_before_send({"tags": tags}, {"exc_info": (ValueError, error, None)})
    assert found["tags"]["prodfix.code"] == "INTERNAL_ERROR"
    assert found["tags"].get("shop") == ("4" if tags else None)
