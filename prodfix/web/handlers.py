"""The one way out for every error: Flask's error handlers, the standard answer.

Registered for ``HTTPException``, and for types that are always answered with 4xx. Never for ``Exception``: that would silence
``got_request_exception``, on which Sentry and OpenTelemetry live. Nor for a status code: Flask asks handlers of codes before
all handlers of classes, a blueprint's too, and ours would take from the host what it handles by class.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, cast

from flask import Flask, Response, current_app, g, got_request_exception, has_app_context, has_request_context, request
from flask.wrappers import Request
from pymongo.errors import DuplicateKeyError
from werkzeug.datastructures import Headers
from werkzeug.exceptions import BadRequest, HTTPException, InternalServerError, default_exceptions

from prodfix.classification.classifications import Classification
from prodfix.errors import ClientError, ErrorCategory, Forbidden, Severity
from prodfix.records.records import Answered, ErrorRecord
from prodfix.request.context import current_context
from prodfix.request.identities import new_request_id
from prodfix.services import EXTENSION, Services
from prodfix.web.answer_policy import AnswerPolicy, marked, unless_the_host
from prodfix.web.answers import JSON, PROBLEM, REQUEST_ID, answer_to, last_resort
from prodfix.web.host_answers import OURS, RAISED, UNRECORDED
from prodfix.web.incoming import UNREAD
from prodfix.web.own_words import own_words

REALM = 'Bearer realm="api"'


def attach(app: Flask, services: Services, policy: AnswerPolicy) -> None:
    """Register the handlers. What the host has registered for the same error, before or after, wins; of the rest we answer
    what ``policy`` says, and leave what it does not to Flask."""
    registered = app.error_handler_spec[None][None]

    def answer(error: BaseException) -> Response:
        if not policy.answers_for(_current(), unhandled=True):
            raise error  # to Flask's own 500
        return respond(services, error)

    def refuse(error: ClientError) -> Any:
        if not policy.answers_for(_current(), unhandled=True):
            return _refused(app, services, error)
        return respond(services, error)

    for kind, handler in (
        (HTTPException, unless_the_host(app, lambda error: _http(app, services, policy, error))),
        (ClientError, marked(refuse)),
        (DuplicateKeyError, unless_the_host(app, answer)),
        *((kind, unless_the_host(app, answer)) for kind in _always_4xx(services)),
    ):
        if kind not in registered:
            app.register_error_handler(kind, handler)


def _remember(sender: Any, exception: BaseException, **_: Any) -> None:
    services = getattr(sender, "extensions", {}).get(EXTENSION)
    if services is not None and services.settings.enable_error_handler and has_request_context():
        request.environ[UNRECORDED] = exception  # until it is recorded; a host's own handler does not


# One receiver for all applications: of one for each, something would stay behind when its application is gone. And with a
# sender that the garbage collector may take, whoever disconnects a receiver of this signal at that moment fails: blinker
# goes through all senders then ("dictionary changed size during iteration").
got_request_exception.connect(_remember, weak=False)


def _always_4xx(services: Services) -> Iterator[type[BaseException]]:
    """The application's own exceptions that are the client's fault whatever is in them: no defects, of which Flask should
    tell Sentry and its log."""
    for kind in services.classifier.own:
        row = services.classifier.rows[kind]
        narrow = issubclass(kind, Exception) and kind is not Exception and not issubclass(kind, HTTPException)
        if narrow and isinstance(row, Classification) and row.status < 500:
            yield kind


def _http(app: Flask, services: Services, policy: AnswerPolicy, error: HTTPException) -> Any:
    inner = error.original_exception if isinstance(error, InternalServerError) else None
    if inner is None and app.trap_http_exception(error):
        raise error
    # An answer that the application made itself (`abort(response)`), and a redirect, are no errors of ours.
    if inner is None and (error.response is not None or error.code is None or error.code < 400):
        return error
    if not policy.answers_for(_current(), unhandled=inner is not None):
        _current().environ.setdefault(UNRECORDED, error)
        return error  # as Flask makes its own page of it
    if isinstance(inner, HTTPException):
        # Trapped: by the application's own wish a defect, whatever its status.
        error.__cause__ = inner
        return respond(services, error)
    return respond(services, error if inner is None else inner)


def stand_back(app: Flask, services: Services) -> None:
    """With ``ENABLE_ERROR_HANDLER=false``: no answer is ours. A refusal of our blueprints is what ``abort`` of its status is
    in this application, so that a door that is shut stays shut."""
    if ClientError not in app.error_handler_spec[None][None]:
        app.register_error_handler(ClientError, marked(lambda error: _refused(app, services, error)))


def _refused(app: Flask, services: Services, error: ClientError) -> Any:
    _current().environ.setdefault(UNRECORDED, error)
    status = services.classifier.classify(error).status
    return app.handle_http_exception(default_exceptions.get(status, BadRequest)())


def _current() -> Request:
    found: Request = cast(Any, request)._get_current_object()
    return found


def _environ() -> dict[str, Any]:
    """The request's, once: what is asked of its proxy takes longer. One of nobody's where there is no request."""
    return _current().environ if has_request_context() else {}


def respond(services: Services, error: BaseException) -> Response:
    """Record ``error`` and make its answer. Never raises: what fails here becomes the shortest honest 500."""
    environ = _environ()
    environ.pop(UNRECORDED, None)
    environ.pop(RAISED, None)
    try:
        return _answer(services, error, environ)
    except Exception as failure:  # noqa: BLE001 - an error in here would be answered by itself, without end
        services.errors.log.failed()
        return _last_resort(services, failure, environ)


def _answer(services: Services, error: BaseException, environ: dict[str, Any]) -> Response:
    context = current_context()
    if context is not None and context.notes.user_id is None:
        context.notes.user_id = verified_user()
    record = services.errors.log.log_error(error, context, Answered("prodfix"))
    environ[REQUEST_ID], environ[OURS] = record.request_id, True
    return answer_to(
        record,
        detailed=not services.settings.production,
        words=_words(services, error),
        media_type=_media_type(environ),
        headers=_headers(error, record, environ),
        kind=_type(services, record.meaning.code, environ),
    ).to_flask()


def _type(services: Services, code: str, environ: dict[str, Any]) -> str | None:
    """The page of ``code``, if the application shows one: RFC 9457 wants ``type`` to be what a person can look up."""
    path = services.links.problem(code)
    if path is None:
        return None
    return f"{services.settings.address or environ.get('SCRIPT_NAME', '').rstrip('/')}{path}"


def _headers(error: BaseException, record: ErrorRecord, environ: dict[str, Any]) -> Headers:
    """What the exception itself says, and what follows from the state of the connection and of the token."""
    headers = Headers()
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                headers[name] = value
        if "Retry-After" in headers:
            headers["Retry-After"] = _spread(headers["Retry-After"])
    status = record.meaning.status
    if status == 401 or isinstance(error, Forbidden):
        headers.setdefault("WWW-Authenticate", _challenge(error))
    broken = record.meaning.category is ErrorCategory.NETWORK and status in (400, 408)
    if broken or UNREAD in environ:
        headers["Connection"] = "close"  # the rest of the body is still on its way, or is none
    return headers


def _words(services: Services, error: BaseException) -> str | None:
    """The application's own words of an HTTP error, unless it gave the class a row, with words of its own."""
    if not isinstance(error, HTTPException) or not services.classifier.own.isdisjoint(type(error).__mro__):
        return None
    return own_words(error, debug=current_app.debug if has_request_context() else False)


def _challenge(error: BaseException) -> str:
    """RFC 6750 section 3: at least one parameter; why a token is not enough, and no reason to who has sent none. What the
    application refuses by itself (``abort``) says nothing of a token."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or isinstance(error, HTTPException):
        return REALM
    return f'{REALM}, error="{"insufficient_scope" if isinstance(error, Forbidden) else "invalid_token"}"'


def _spread(seconds: str) -> str:
    """The application's own ``Retry-After``, never sooner, and not the same second for everybody; a date stays."""
    return str(int(seconds) + random.randint(0, 2 + int(seconds) // 5)) if seconds.isdecimal() else seconds


def _last_resort(services: Services, failure: Exception, environ: dict[str, Any]) -> Response:
    """An answer that needs nothing but the clock: neither the record, nor the context, nor the host's JSON."""
    context = current_context()
    request_id = context.request_id if context is not None else new_request_id()
    try:
        facts = {"error": type(failure).__name__, "requestId": request_id}
        services.logs.event(Severity.CRITICAL, "error-handler", "error handler failed", facts=facts)
    except Exception:  # noqa: BLE001 - it is counted already, and the client still waits
        services.errors.log.failed()
    environ[REQUEST_ID], environ[OURS] = request_id, True
    return last_resort(request_id).to_flask()


def verified_user() -> str | None:
    """The verified user, in the length that a record has room for."""
    subject = verified_subject()
    return subject[:128] if subject is not None else None


def verified_subject() -> str | None:
    """The user whose token a view has verified already (flask-jwt-extended keeps it in ``g``). Decodes nothing."""
    token = cast(Any, g)._get_current_object().get("_jwt_extended_jwt") if has_app_context() else None
    subject = token.get("sub") if isinstance(token, dict) else None
    return str(subject) if subject is not None else None


def request_user() -> str | None:
    """The user of the request that is served now, as far as a view or :func:`prodfix.require_role` has verified one."""
    context = current_context()
    return (context.notes.user_id if context is not None else None) or verified_user()


def _media_type(environ: dict[str, Any]) -> str:
    """problem+json for those who name it, and do not like plain JSON better; ``*/*`` names nothing."""
    if PROBLEM not in environ.get("HTTP_ACCEPT", "").lower():
        return JSON
    wanted = {value.partition(";")[0].strip().lower(): quality for value, quality in request.accept_mimetypes}
    quality = wanted.get(PROBLEM, 0)
    return PROBLEM if quality > 0 and quality >= wanted.get(JSON, 0) else JSON
