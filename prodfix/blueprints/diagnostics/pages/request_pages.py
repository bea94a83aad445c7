"""All that is known of one request."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import request
from flask.typing import ResponseReturnValue

from prodfix import NotKnownNow, current_prodfix
from prodfix.blueprints.diagnostics.pages.request_copies import as_curl, as_markdown
from prodfix.blueprints.diagnostics.pages.shell import back, blueprint, show
from prodfix.blueprints.diagnostics.source_lines import sources
from prodfix.blueprints.diagnostics.stacks import RaisedPart, parts_of
from prodfix.models import RequestReport, SentCommand

SHORTEST = 0.8  # hundredths, of a bar that can be seen
REQUEST_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


@blueprint.get("/page/requests")
def search() -> ResponseReturnValue:
    """The search box."""
    identity = request.args.get("id", "").strip()
    if REQUEST_ID.fullmatch(identity):
        return back(".one_request", request_id=identity)
    return show("request.html", request_id=identity[:64], found=None, told=True, sampled=0, copies={})


@blueprint.get("/page/requests/<request_id>")
def one_request(request_id: str) -> str:
    """All that is known of one request, or that nothing is, or that nobody can tell now."""
    requests = current_prodfix.diagnostics.requests
    try:
        found, told = requests.find(request_id), True
    except NotKnownNow:
        found, told = None, False
    if found is None:
        return show(
            "request.html", request_id=request_id[:64], found=None, told=told, sampled=requests.sampled(), copies={}
        )
    settings = current_prodfix.settings
    base = request.host_url.rstrip("/") + request.root_path
    address = base + request.path
    return show(
        "request.html",
        request_id=request_id[:64],
        found=found,
        told=True,
        sampled=0,
        timeline=timeline(found.commands),
        stacks=_stacks(found),
        with_source=settings.diagnostics_source_lines,
        elsewhere=found.release if settings.release and found.release != settings.release else None,
        copies={"curl": as_curl(found, base), "markdown": as_markdown(found, address)},
    )


def _stacks(found: RequestReport) -> list[list[RaisedPart]]:
    """Of each error, with the application's source."""
    shown = current_prodfix.settings.diagnostics_source_lines
    return [parts_of(str(one.get("stack") or ""), sources(), with_source=shown) for one in found.errors]


def timeline(commands: Sequence[SentCommand]) -> list[tuple[float, float] | None]:
    """Where the bar of each begins and how long it is, in hundredths of the time from the request's begin to the end of the last
    of them; None of what an earlier release has recorded."""
    ends = [one.offset_ms + (one.duration_ms or 0.0) for one in commands if one.offset_ms is not None]
    whole = max(ends, default=0.0) or 1.0
    return [
        None
        if one.offset_ms is None
        else (round(100 * one.offset_ms / whole, 2), max(SHORTEST, round(100 * (one.duration_ms or 0.0) / whole, 2)))
        for one in commands
    ]
