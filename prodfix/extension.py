"""The extension: ``ProdFix().init_app(app)`` gives an existing Flask application all that prodfix has."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from flask import Flask

from prodfix.classification.classifications import Row
from prodfix.cli import group as cli
from prodfix.composition import Composition
from prodfix.driver import EventListener
from prodfix.links import links_of
from prodfix.observers import Observers
from prodfix.services import EXTENSION, Services
from prodfix.settings import Settings
from prodfix.web import authentication, handlers, hooks, wsgi
from prodfix.web.answer_policy import AnswerPolicy


class ProdFix:
    """prodfix for one Flask application.

    ``settings``: default :meth:`Settings.from_env`, when they are first needed: for ``listeners``, or by ``init_app``. ``uri``:
    where our own records go; default ``MONGODB_URI``; without one, statistics and records are this instance's only.
    ``classifications``: rows for the application's own errors, each a :class:`Classification` or a callable
    ``(error) -> Classification``.
    ``deadline``: one deadline for each request; off for adopters until they ask for it. ``logging``: prodfix takes over the
    process's logging: JSON lines with the request's ID for everybody's loggers. ``served``: that too, and all else that the
    application of :func:`prodfix.create_app` has.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        settings: Settings | None = None,
        uri: str | None = None,
        classifications: Mapping[type[BaseException], Row] | None = None,
        deadline: bool = False,
        logging: bool = False,
        served: bool = False,
    ) -> None:
        self._settings, self._uri, self._classifications = settings, uri, classifications
        self._deadline, self._served, self._logging = deadline, served, logging or served
        self._composition: Composition | None = None
        if app is not None:
            self.init_app(app)

    @property
    def listeners(self) -> tuple[EventListener, ...]:
        """Command and pool listeners for the host's ``MongoClient(event_listeners=[*prodfix.listeners])``."""
        return (self._observers.interceptor, self._observers.monitor.pool)

    @cached_property
    def _observers(self) -> Observers:
        """One for all applications that this is given one after the other: a host makes its client once."""
        return Observers.made(self._own_settings, lambda: self._composition)

    @cached_property
    def _own_settings(self) -> Settings:
        """Read once, when they are first needed: a listener must not be of other settings than the rest."""
        return self._settings or Settings.from_env()

    @property
    def services(self) -> Services:
        """What :func:`init_app` made. Raises ``RuntimeError`` before it was called."""
        if self._composition is None:
            raise RuntimeError("ProdFix.init_app has not been called")
        return self._composition.services

    def init_app(self, app: Flask) -> None:
        """Attach everything. Opens nothing and connects to nothing: that happens in the process that serves."""
        settings = self._own_settings
        composition = Composition(
            settings,
            uri=self._uri or (settings.mongodb_uri.get_secret_value() if settings.mongodb_uri else None),
            classifications=self._classifications,
            observers=self._observers,
            links=links_of(app.extensions),
            served=self._served,
            owning=self._logging,
        )
        services = app.extensions[EXTENSION] = composition.services
        self._composition = composition
        if self._logging:
            services.logs.take_over(settings.log_level)
            services.runtime.uncaught.take_over()
        hooks.attach(app, services, deadline=self._deadline)
        wsgi.attach(app, services, answers=self._served and settings.enable_error_handler)
        if settings.enable_error_handler:
            handlers.attach(app, services, AnswerPolicy.made(settings, served=self._served))
            if self._logging:
                _log_each_error_once(app)
        else:
            handlers.stand_back(app, services)
        authentication.attach(app, services)
        cli.attach(app)


def _log_each_error_once(app: Flask) -> None:
    """Leave Flask's own line of an exception out: each is recorded, also where the host's own handler answers."""
    app.log_exception = lambda exc_info: None  # type: ignore[method-assign]
