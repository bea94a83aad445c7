"""How the database is, and operations to try on it."""

from __future__ import annotations

from flask import request

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, parameters
from prodfix.blueprints.diagnostics.guard import spend_trial
from prodfix.blueprints.diagnostics.pages.shell import blueprint, show
from prodfix.models import Tested


@blueprint.get("/page/database")
def database() -> str:
    """Workers, collections, changes of the connection; and the test operations."""
    return _database(None)


@blueprint.post("/page/database")
def test() -> str:
    wanted = parameters.form_of(request, change_bodies.Test)
    spend_trial()
    return _database(current_prodfix.diagnostics.selftest.run(wanted.operation))


def _database(tested: Tested | None) -> str:
    events = current_prodfix.errors.lookup.connection_events(limit=20)
    return show(
        "database.html",
        report=current_prodfix.diagnostics.report.database(),
        events=events.events,
        tested=tested,
    )
