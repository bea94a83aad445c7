"""An error of the pages for who reads HTML: what it is, and ways back. What is told is what the JSON answer tells, and no more.

The answer itself is made where all of them are; here it gets another body. Who is not signed in sees nothing of the service.
"""

from __future__ import annotations

from typing import Any

from flask import Response, request

from prodfix.blueprints.diagnostics.pages.shell import at, show
from prodfix.blueprints.diagnostics.security import secured

WAYS = {
    400: "The address or the form is not whole. Go back, and try again from the page.",
    401: "Sign in to go on.",
    403: "Nothing was changed. Go back, load the page again, and send the form from there.",
    404: "It is not there, or not any more: records and kinds are kept for a limited time.",
    405: "This address takes a form of the page, and shows nothing by itself.",
    422: "A value in the address or the form is not one that this page understands.",
    429: "This was asked too often. Wait for the time below, and go on.",
    503: "MongoDB or the disk cannot be asked now, and this cannot do without. The overview works all the same.",
}
OTHER = "It is recorded: look its request up."


def as_page(response: Response, *, admitted: bool, way_in: str | None = None) -> Response:
    """``response`` with a page for its body, if it is one of ours. ``admitted``: who asks may see the service."""
    problem: Any = response.get_json(silent=True) if response.is_json else None
    if not isinstance(problem, dict) or "code" not in problem or "requestId" not in problem:
        return response
    status = response.status_code
    response.set_data(
        show(
            "error.html",
            problem=problem,
            advice=WAYS.get(status, OTHER),
            wait=response.headers.get("Retry-After"),
            its_request=at("one_request", request_id=problem["requestId"]) if admitted and status >= 500 else None,
            admitted=admitted,
            way_in=way_in,
            unfiltered=request.root_path + request.path
            if admitted and request.args and status == 422 and request.method == "GET"
            else None,
        )
    )
    response.mimetype = "text/html"
    response.headers.add("Vary", "Accept")
    return secured(response)
