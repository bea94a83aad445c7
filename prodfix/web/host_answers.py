"""What the application answers itself with a 5xx: a handler of its own, a view, or an extension that has its own way with errors.

Each is recorded, so that who has the request's ID finds it: with its exception where one came by, else thinly. The exception
says what it means, and the answer which status the client has got.
"""

from __future__ import annotations

from typing import Any

from prodfix.records.records import Answered
from prodfix.request.context import RequestContext
from prodfix.request.identities import new_request_id
from prodfix.services import Services
from prodfix.web.answers import REQUEST_ID

RAISED = "prodfix.raised"
"""In the environ: what a step of Flask's has raised, until we have answered it. Whoever else does may mean well by it."""
UNRECORDED = "prodfix.unrecorded"
"""In the environ: an error that must be recorded, whatever is answered to it: Flask has told of it, or we have declined it."""

OURS = "prodfix.ours"
"""In the environ, once we have answered an error: it is recorded as its kind is."""


def record_answer(services: Services, environ: dict[str, Any], context: RequestContext | None, status: int) -> None:
    """Record the answer of a request that is over, unless it is ours or no failure. Never raises."""
    raised, told = environ.pop(RAISED, None), environ.pop(UNRECORDED, None)
    error = told if told is not None or status < 500 else raised
    if (error is None and status < 500) or not services.settings.enable_error_handler:
        return
    log = services.errors.log
    try:
        if error is not None and not log.has(error, context):
            log.log_error(error, context, Answered("host", status))
        elif status >= 500 and OURS not in environ and not _is_known(context):
            log.log_answer(status, context, environ.get(REQUEST_ID) or new_request_id())
    except Exception:  # noqa: BLE001 - it is answered; somebody's exception with properties that raise
        log.failed()


def _is_known(context: RequestContext | None) -> bool:
    """Whether there is a record under its ID, or it is a check of our own, which says 503 of others."""
    return context is not None and (context.notes.stored or context.notes.uncounted)
