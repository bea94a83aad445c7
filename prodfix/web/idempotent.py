"""``@idempotent`` for views: a repeated POST or PATCH with the same ``Idempotency-Key`` gets the answer of the first.

Source: draft-ietf-httpapi-idempotency-key-header-07 (datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header). The
draft's key is an RFC 9651 string in quotes; the plain form, which most clients send, is the same key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar, overload

from flask import Response, after_this_request, current_app, request

from prodfix.errors import ClientError, FieldError, MalformedRequest, Outcome
from prodfix.idempotency.claims import Claim, KeptAnswer
from prodfix.idempotency.keys import LARGEST, Idempotency
from prodfix.process.native import under_gevent
from prodfix.request import deadlines
from prodfix.request.context import current_context
from prodfix.services import current_prodfix
from prodfix.web.handlers import verified_subject

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
MARGIN = 5.0  # seconds that a claim outlives its request's deadline: what is kept on disk, and storing, come after it
LONGEST = 60.0  # seconds of a view that no deadline ends
DRAFT = "https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/"

# All that a client may need of the first answer; cookies are not sent again.
KEPT = (
    "Content-Type",
    "Content-Language",
    "Content-Encoding",
    "Content-Location",
    "Cache-Control",
    "ETag",
    "Last-Modified",
    "Link",
    "Location",
)
# Refusals that the same request would get again. Who may ask, and how often, is asked anew each time (401, 403, 408, 429 ...).
FINAL = frozenset({400, 409, 410, 412, 413, 415, 422})

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_PLAIN = re.compile(r"[!#-+\--:<-\[\]-~]{8,128}")  # printable ASCII without space, quote, comma, semicolon, backslash
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){8,256})"')

_ADDRESS = re.compile(
    r"(?:https?://|/)[!#-;=?-~]*"
)  # absolute, or of this service: RFC 8288 resolves it against the request's

View = TypeVar("View", bound=Callable[..., Any])
User = Callable[[], str | None]


@overload
def idempotent(view: View) -> View: ...


@overload
def idempotent(
    *, required: bool = False, user: User | None = None, longest: float = LONGEST, described_by: str = DRAFT
) -> Callable[[View], View]: ...


def idempotent(
    view: View | None = None,
    *,
    required: bool = False,
    user: User | None = None,
    longest: float = LONGEST,
    described_by: str = DRAFT,
) -> View | Callable[[View], View]:
    """Answer copies of a request with what the first one was answered. Stands below the route and what verifies the user.

    ``required``: without a key it is 400. ``user``: who asks, for hosts that do not verify with flask-jwt-extended; without
    it a user that nobody verified is known by the credentials sent. ``longest``: seconds that the view may take where
    no deadline ends it; after that a copy runs too. ``described_by``: the address of what says how keys are used, which each
    refusal links (sections 2.3 and 2.7 of the draft); ``ValueError`` for what is none.

    Raises :class:`prodfix.errors.MalformedRequest` (400), :class:`prodfix.errors.IdempotencyKeyReused` (422),
    :class:`prodfix.errors.RequestInProgress` and :class:`prodfix.errors.AnswerNotKept` (409), and what the database says
    if it is there and refuses the claim.
    """

    if _ADDRESS.fullmatch(described_by) is None:
        raise ValueError("described_by is no address of a document")
    link = f'<{described_by}>; rel="describedby"; type="text/html"'

    def decorate(view: View) -> View:
        @wraps(view)
        def run(*arguments: Any, **values: Any) -> Any:
            try:
                first = _first_answer(required, user, longest) if request.method not in _SAFE else None
            except ClientError:
                after_this_request(partial(_linked, link))
                raise
            return first if first is not None else current_app.ensure_sync(view)(*arguments, **values)

        return run  # type: ignore[return-value]

    return decorate if view is None else decorate(view)


def _linked(link: str, response: Response) -> Response:
    if response.status_code in (400, 409, 422):  # and not what the host's own function for the user has refused
        response.headers.add("Link", link)
    return response


def parse_key(text: str) -> str:
    """The key of a header's value, plain or quoted. Raises :class:`prodfix.errors.MalformedRequest`."""
    if _PLAIN.fullmatch(text):
        return text
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not 8 <= len(key) <= 128:
        raise _refusal("malformed", "must be 8 to 128 printable ASCII characters, plain or as a quoted string")
    return key


def _refusal(code: str, message: str) -> MalformedRequest:
    return MalformedRequest(f"{HEADER} {message}", problems=(FieldError(HEADER, code, message),))


def _first_answer(required: bool, user: User | None, longest: float) -> Response | None:
    """The first answer to this request if there is one. Else this is the first, and its answer will be stored."""
    sent = request.headers.get(HEADER)
    if sent is None:
        if required:
            raise _refusal("missing", "is required here: one new value for each new operation, the same for its copies")
        return None
    key, who = parse_key(sent.strip()), _who(user)
    keys, context = current_prodfix.requests.idempotency, current_context()
    route = request.url_rule.rule if request.url_rule is not None else request.path
    if context is not None:
        context.notes.keyed = True
        context.notes.operation_id = keys.operation_id(who, f"{request.method} {route}", key)
    found = keys.claim(who, key, _fingerprint(keys, route), seconds=_lease(longest))
    if isinstance(found, KeptAnswer):
        return _replay(found)
    if found is not None:
        after_this_request(partial(_settle, keys, found))
    return None


def _who(user: User | None) -> str:
    """Whose key it is. Two users never meet: who is not verified is somebody else with other credentials."""
    context = current_context()
    known = user() if user is not None else None
    known = known or verified_subject() or (context.notes.user_id if context is not None else None)
    if known is not None:
        return f"user {known}"
    credentials = [request.headers.get(name, "") for name in ("Authorization", "Cookie")]
    return f"credentials {credentials!r}" if any(credentials) else "anonymous"


def _fingerprint(keys: Idempotency, route: str) -> str:
    body = request.get_data(cache=True)
    if not body and request.form:  # somebody has parsed the form before, and its bytes are gone
        body = repr(list(request.form.items(multi=True))).encode()
    arguments = request.view_args or {}
    return keys.fingerprint(request.method, route, arguments, request.query_string, body, is_json=bool(request.is_json))


def _lease(longest: float) -> float:
    left = deadlines.remaining() if under_gevent() else None  # a thread cannot be ended
    return longest if left is None else left + MARGIN


def _replay(answer: KeptAnswer) -> Response:
    headers = {**answer.headers, REPLAYED: "true"}
    return current_app.response_class(answer.body, answer.status, headers)


def _settle(keys: Idempotency, claim: Claim, response: Response) -> Response:
    keys.settle(claim, partial(_answer, response))
    return response


def _answer(response: Response) -> KeptAnswer | None:
    """What is stored of a response; ``None`` if it is not the last word, so that a copy runs again."""
    status = response.status_code
    done = 200 <= status < 400
    if not done and not _final(response):
        return None
    if response.is_streamed or response.direct_passthrough or (response.content_length or 0) > LARGEST:
        return KeptAnswer(status, {}, None) if done else None
    body = response.get_data()
    if len(body) > LARGEST:
        return KeptAnswer(status, {}, None) if done else None
    return KeptAnswer(status, {name: response.headers[name] for name in KEPT if name in response.headers}, body)


def _final(response: Response) -> bool:
    """Whether a copy would get the same refusal again, or must not run.

    A view that has written something, and never asked for the operation's ID, would write it twice. With the ID it meets
    what is there already, and may answer better.
    """
    context = current_context()
    notes = context.notes if context is not None else None
    outcome = notes.ledger.outcome if notes is not None and notes.ledger is not None else None
    if notes is not None and outcome in (Outcome.APPLIED, Outcome.UNKNOWN) and not notes.identified:
        return True
    refused = response.status_code in FINAL and "Retry-After" not in response.headers
    return refused and outcome is not Outcome.UNKNOWN
