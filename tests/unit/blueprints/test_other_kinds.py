"""Errors of kinds that are not told apart: said wherever kinds are listed, and a kind nowhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask import Flask

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.checked_record import SecretStr
from prodfix.models import Coverage
from prodfix.statistics import counters

FAILURES = (KeyError, ValueError, TypeError, OSError)
TOLD = "3 errors of 3 further kinds, which are counted and not told apart."

Make = Callable[[], Flask]


@pytest.fixture
def make(adopt: Callable[..., Flask], database_uri: str) -> Make:
    """An application in which four kinds of errors have happened."""

    def made() -> Flask:
        app = adopt(mongodb_uri=SecretStr(database_uri), diagnostics_auth_required=False)
        app.register_blueprint(diagnostics.blueprint)
        app.config["PROPAGATE_EXCEPTIONS"] = False

        @app.get("/fails/<int:number>")
        def fails(number: int) -> str:
            raise FAILURES[number]

        for number in range(len(FAILURES)):
            app.test_client().get(f"/fails/{number}")
        services = app.extensions["prodfix"]
        services.requests.counters.flush()
        services.errors.storage.tick()
        return app

    return made


@pytest.mark.parametrize("most", [1, 300])
def test_they_are_told_beside_the_kinds(make: Make, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """With room for all of them nothing is said: the control."""
    monkeypatch.setattr(counters, "KEYS", most)
    app = make()
    client, beyond = app.test_client(), most == 1
    groups = client.get(f"{PREFIX}/errors/groups").get_json()
    assert len(groups["groups"]) == groups["total"] == (1 if beyond else 4)
    for answer in (groups, client.get(f"{PREFIX}/errors").get_json()):
        assert (answer["otherErrors"], answer["otherKinds"]) == ((3, 3) if beyond else (0, 0))
    assert client.get(f"{PREFIX}/errors").get_json()["totalErrors"] == 4
    assert client.get(f"{PREFIX}/errors/groups/__other__").status_code == 404
    told = [client.get(f"{PREFIX}{path}", headers={"Accept": "text/html"}).text for path in ("", "/page/groups")]
    told.append(app.test_cli_runner().invoke(args=["prodfix", "errors", "top"]).output)
    assert [TOLD in " ".join(text.split()) for text in told] == [beyond] * 3


@pytest.mark.parametrize(
    ("errors", "kinds", "told"),
    [
        (0, 0, ""),
        (1, 1, "1 error of 1 further kind"),
        (1_200, 23, "1,200 errors of 23 further kinds"),
        (1_200, 24, "1,200 errors of about 24 further kinds"),
        (7, None, "7 errors of further kinds"),
    ],
)
def test_they_are_told_as_far_as_they_are_known(errors: int, kinds: int | None, told: str) -> None:
    at = datetime.now(UTC)
    coverage = Coverage("all", at, at, 1, 0, False, at, errors, kinds)
    assert coverage.others == (f"{told}, which are counted and not told apart." if told else "")
