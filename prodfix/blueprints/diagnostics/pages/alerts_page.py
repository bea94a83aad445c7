"""What is wrong now, who was told of what, and the rules: which are on, muted or quiet, and who hears of them."""

from __future__ import annotations

from flask import Response, request

from prodfix import NotFound, current_prodfix
from prodfix.blueprints.diagnostics import change_bodies, parameters
from prodfix.blueprints.diagnostics.guard import admin
from prodfix.blueprints.diagnostics.pages.shell import back, blueprint, show
from prodfix.models import AlertsReport

SPANS = (("1h", "for 1 hour"), ("morning", "until morning"), ("ever", "until unmuted"))


@blueprint.get("/page/alerts")
def alerts() -> str:
    """Alerts and their rules."""
    query = parameters.query_of(request, parameters.AlertsShown)
    report = current_prodfix.alerts.read()
    return show(
        "alerts.html",
        report=report,
        everything=next((one for one in report.mutes if one.rule == "all"), None),
        muted_alone={one.rule for one in report.mutes},
        spans=SPANS,
        here_alone={one.rule for one in report.mutes if not one.everywhere},
        elsewhere=current_prodfix.alerts.elsewhere(),
        done=_told(query.done, report),
    )


def _told(change: str | None, report: AlertsReport) -> str | None:
    """What was ordered a moment ago, and who knows of it."""
    others = f"in this instance; others hear of it {current_prodfix.alerts.elsewhere()}."
    if change == "mute":
        where = "in all instances." if all(one.everywhere for one in report.mutes) else others
        return f"Muted {where} Alerts go on to be shown here and logged."
    return f"Not muted any more {others}" if change == "unmute" else None


@blueprint.post("/page/alerts/<change>")
def change_alerts(change: str) -> Response:
    """``mute`` or ``unmute`` of a rule, or of all."""
    if change == "mute":
        wanted = parameters.form_of(request, change_bodies.MutingFor)
        current_prodfix.alerts.mute(wanted.rule, admin(), span=wanted.span)
    elif change == "unmute":
        current_prodfix.alerts.unmute(parameters.form_of(request, change_bodies.Unmuting).rule, admin())
    else:
        raise NotFound("no such change")
    return back(".alerts", done=change)
