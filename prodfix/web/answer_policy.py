"""Which errors that a host leaves open are answered by us (``PRODFIX_ANSWERS``), and which handlers of Flask's are ours.

A page for people is the host's: a browser asks for ``text/html``, an API's client for JSON or for whatever there is. What is
not answered here is what Flask makes of it without us, and recorded all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, has_request_context, request
from flask.wrappers import Request

from prodfix.links import Links
from prodfix.settings import Answers, Settings
from prodfix.slotted import frozen

Handler = Callable[[Any], Any]

_MARK = "__prodfix_handler__"
_CHOOSING = "prodfix.choosing"  # in the environ: the error that is handled, and the handlers that were tried
_WRAPPERS = 100  # around one handler, which may have been wrapped into itself
_PAGES = frozenset({"text/html", "application/xhtml+xml"})


@frozen
class AnswerPolicy:
    """``answers`` as :class:`prodfix.settings.Settings` describes them; ``paths`` are an API's, whatever a client accepts.
    ``diagnostics`` tells below which path they are, if there are any: their pages are ours, those of their errors, too."""

    answers: Answers
    paths: tuple[str, ...] = ()
    diagnostics: Callable[[], str | None] = lambda: None

    @classmethod
    def made(cls, settings: Settings, links: Links, *, served: bool) -> AnswerPolicy:
        """That of an application: what is ``served`` is an API, a host may have pages for people."""
        paths = tuple(settings.api_paths.replace(",", " ").split())
        # Asked for each error: the diagnostics may be registered later than prodfix is.
        return cls(settings.answers or ("all" if served else "api"), paths, lambda: links.diagnostics)

    def answers_for(self, current: Request, *, unhandled: bool) -> bool:
        """Whether the answer to ``current`` is ours. ``unhandled``: without us it would be Flask's 500."""
        if self.answers in ("all", "none"):
            return self.answers == "all"
        prefix = self.diagnostics()
        if prefix is not None and _below(current.path, prefix):
            return True
        return (unhandled or self.answers == "api") and not self._page(current)

    def _page(self, current: Request) -> bool:
        """Whether somebody looks at it: a page is named among what is accepted, and JSON is not."""
        accepted = current.environ.get("HTTP_ACCEPT", "").lower()
        if "html" not in accepted or any(_below(current.path, path) for path in self.paths):
            return False
        named = {value.partition(";")[0].strip().lower() for value, quality in current.accept_mimetypes if quality > 0}
        return not _PAGES.isdisjoint(named) and not any(_is_json(one) for one in named)


def _below(path: str, prefix: str) -> bool:
    prefix = prefix.rstrip("/")
    return path == prefix or path.startswith(prefix + "/")


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def marked(handler: Handler) -> Handler:
    """``handler``, which :func:`is_ours` knows again, also where an extension has wrapped all of Flask's handlers."""
    setattr(handler, _MARK, True)
    return handler


def is_ours(handler: Any) -> bool:
    """Whether it is a handler of ours, or wraps one, as :func:`functools.wraps` tells."""
    for _ in range(_WRAPPERS):
        if getattr(handler, _MARK, False) is True:
            return True
        handler = getattr(handler, "__wrapped__", None)
        if handler is None:
            return False
    return False


def unless_the_host(app: Flask, handler: Handler) -> Handler:
    """``handler`` for what the host has none for: one for a parent of the error's class is what Flask would have taken.

    What was found may lead back here, wrapped so that nobody sees it: then it is passed over, and no error goes round.
    """
    registered: Mapping[Any, Handler] = app.error_handler_spec[None][None]

    def choose(error: Any) -> Any:
        environ: dict[str, Any] = request.environ if has_request_context() else {}
        chosen, tried = environ.get(_CHOOSING, (None, ()))
        for kind in type(error).__mro__:  # no generators: this is asked for every error
            hosts = registered.get(kind)
            if hosts is not None and (chosen is not error or hosts not in tried) and not is_ours(hosts):
                break
        else:
            return handler(error)
        before = environ.get(_CHOOSING)
        environ[_CHOOSING] = error, (*(tried if chosen is error else ()), hosts)
        try:
            return app.ensure_sync(hosts)(error)
        finally:
            environ.pop(_CHOOSING)
            if before is not None:
                environ[_CHOOSING] = before

    return marked(choose)
