"""What the workers do now, and how much their loggers say."""

from __future__ import annotations

from flask import Response, request

from prodfix import current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, parameters, runtime
from prodfix.blueprints.diagnostics.guard import may_change, spend_trial
from prodfix.blueprints.diagnostics.pages.shell import back, blueprint, show


@blueprint.get("/page/workers")
def workers() -> str:
    """Levels of loggers; with ``stacks`` where greenlets and threads stand, which takes some seconds."""
    query = parameters.query_of(request, parameters.WorkersShown)
    found = None
    if query.stacks and may_change():
        spend_trial()
        found = current_prodfix.runtime.stacks()
    return show(
        "workers.html",
        workers=current_prodfix.runtime.workers.read(),
        levels=current_prodfix.runtime.log_levels.read().levels,
        stacks=found,
    )


@blueprint.post("/page/workers")
def level() -> Response:
    """Another level for a logger, for a while."""
    runtime.changed(parameters.form_of(request, change_bodies.LevelOfLoggerForm))
    return back(".workers")
