"""The extension: ``ProdFix().init_app(app)`` gives an existing Flask application all that prodfix has."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence

from flask import Flask

from prodfix import observers
from prodfix.classification.classifications import Row
from prodfix.cli import group as cli
from prodfix.composition import Composition
from prodfix.driver.listening import EventListener
from prodfix.links import links_of
from prodfix.reporters.reporter import ErrorReporter
from prodfix.services import EXTENSION, Services
from prodfix.settings import Settings
from prodfix.shipped import ShippedBlueprints
from prodfix.web import authentication, handlers, hooks, wsgi
from prodfix.web.answer_policy import AnswerPolicy


class ProdFix:
    """prodfix for any number of Flask applications, of which each has services of its own.

    ``settings``: default :meth:`Settings.of_host`, of the configuration of each application. ``uri``: where our own records go;
    default ``PRODFIX_MONGODB_URI``, or the application's ``MONGO_URI``; without one, statistics and records are this instance's
    only. ``classifications``: rows for the application's own errors, each a :class:`Classification` or a callable
    ``(error) -> Classification``.
    ``deadline``: one deadline for each request; off for adopters until they ask for it. ``logging``: prodfix takes over the
    process's logging: JSON lines with the request's ID for everybody's loggers. ``served``: that too, and all else that the
    application of :func:`prodfix.create_app` has. ``reporters``: each an :class:`prodfix.ErrorReporter`, which is told of the
    errors that are recorded, beside requests.
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
        reporters: Sequence[ErrorReporter] = (),
    ) -> None:
        self._settings, self._uri, self._classifications = settings, uri, classifications
        self._deadline, self._served, self._logging = deadline, served, logging or served
        self._reporters = tuple(reporters)
        self._made: tuple[weakref.ref[Services], ...] = ()
        if app is not None:
            self.init_app(app)

    @property
    def blueprints(self) -> ShippedBlueprints:
        """``health``, ``operations``, ``problems``, ``metrics`` and ``diagnostics``, for ``app.register_blueprint``."""
        return ShippedBlueprints()

    @property
    def listeners(self) -> tuple[EventListener, ...]:
        """Command and pool listeners for a client of the host's: ``MongoClient(event_listeners=[*prodfix.listeners])``.

        They are the process's: a command is the application's whose request it was sent in, or the only one's.
        """
        return observers.LISTENERS

    @staticmethod
    def observe() -> None:
        """Let the listeners hear every client that is made in this process from here on, whoever makes it. Again it changes
        nothing. Clients that are there already are not heard: the driver asks once, when one is made."""
        observers.observe()

    @property
    def services(self) -> Services:
        """What :func:`init_app` made. Raises ``RuntimeError`` before it was called, and where more than one application has it:
        there it is ``app.extensions["prodfix"]``, or ``current_prodfix``."""
        living = [services for one in self._made if (services := one()) is not None]
        if not living:
            raise RuntimeError("ProdFix.init_app has not been called")
        if len(living) > 1:
            raise RuntimeError(
                'several applications have this ProdFix: use app.extensions["prodfix"], or current_prodfix'
            )
        return living[0]

    def init_app(self, app: Flask) -> None:
        """Attach everything. Opens nothing and connects to nothing: that happens in the process that serves.

        Raises :class:`SettingsError` for values that are meant for prodfix and are wrong, and ``RuntimeError`` for an application
        that has prodfix already.
        """
        if EXTENSION in app.extensions:
            raise RuntimeError(
                "this application has prodfix already: give it to ProdFix(app) or to init_app(app), once"
            )
        settings = self._settings or Settings.of_host(app.config)
        services = Composition(
            settings,
            uri=self._uri or (settings.mongodb_uri.get_secret_value() if settings.mongodb_uri else None),
            classifications=self._classifications,
            settings_key=self._key(settings),
            links=links_of(app.extensions),
            testing=_testing(app),
            served=self._served,
            owning=self._logging,
            reporters=self._reporters,
        ).services
        app.extensions[EXTENSION] = services
        self._made = (*(one for one in self._made if one() is not None), weakref.ref(services))
        if self._logging:
            services.logs.take_over(settings.log_level)
            services.runtime.uncaught.take_over()
        hooks.attach(app, services, deadline=self._deadline)
        attach_layer = wsgi.attach
        if settings.collects_metrics:
            from prodfix.web import measured_layer

            attach_layer = measured_layer.attach
        attach_layer(app, services, answers=self._served and settings.enable_error_handler)
        if settings.enable_error_handler:
            handlers.attach(app, services, AnswerPolicy.made(settings, services.links, served=self._served))
            if self._logging:
                _log_each_error_once(app)
        else:
            handlers.stand_back(app, services)
        authentication.attach(app, services)
        cli.attach(app)

    def _key(self, settings: Settings) -> Hashable | None:
        """Who reads the same settings may have the rest in common, too; who was given some has it with those of the same ones."""
        if self._served:
            return None
        return settings if self._settings is None else id(settings)


def _testing(app: Flask) -> Callable[[], bool]:
    found = weakref.ref(app)
    return lambda: (living := found()) is not None and living.testing


def _log_each_error_once(app: Flask) -> None:
    """Leave Flask's own line of an exception out: each is recorded, also where the host's own handler answers."""
    app.log_exception = lambda exc_info: None  # type: ignore[method-assign]
