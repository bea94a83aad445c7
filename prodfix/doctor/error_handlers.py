"""The application's own error handlers: what they take, Flask tells nobody of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from prodfix.doctor.findings import Finding, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject


@check("exception-handlers", "application")
def everything(subject: Subject) -> Iterator[Finding]:
    """No error handler takes every exception."""
    for scope, kind, handler in _handlers(subject.app):
        if kind in (Exception, BaseException):
            yield warning(
                f"{scope} has an error handler for {kind.__name__} ({_named(handler)}): Flask then tells nobody of an error, "
                "not Sentry either, and prodfix knows only of those that it answers with 5xx",
                "Register it for InternalServerError, and read `error.original_exception`",
                scope=scope,
                handler=_named(handler),
            )


@check("own-500", "application")
def own_500(subject: Subject) -> Iterator[Finding]:
    """What is not handled is answered in one shape."""
    for scope, kind, handler in _handlers(subject.app):
        if getattr(kind, "code", None) == 500:
            yield note(
                f"{scope} answers 500 itself ({_named(handler)}): errors are recorded, and have no requestId in the body",
                "Nothing, if that is meant; else take the handler out",
                scope=scope,
                handler=_named(handler),
            )


def _handlers(app: Flask) -> Iterator[tuple[str, type[Exception], Callable[..., Any]]]:
    """Where it is registered, for what, and the handler."""
    for scope, by_code in app.error_handler_spec.items():
        for kinds in by_code.values():
            for kind, handler in kinds.items():
                yield "the application" if scope is None else f"the blueprint {scope}", kind, handler


def _named(handler: Callable[..., Any]) -> str:
    return f"{getattr(handler, '__module__', '?')}.{getattr(handler, '__qualname__', '?')}"
