"""The application factory."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

from flask import Blueprint
from werkzeug.middleware.proxy_fix import ProxyFix

from prodfix.deferral.writes import declared_in
from prodfix.documents import unique_fields
from prodfix.extension import ProdFix
from prodfix.loaded import loaded
from prodfix.settings import Settings
from prodfix.web.application import Application

if TYPE_CHECKING:
    from prodfix.document import Document


def _models(module: str) -> list[type[Document]]:
    """The models that a plug-in's module defines, so that ``prodfix indexes`` knows them without being told."""
    found = vars(sys.modules[module]).values() if module in sys.modules else ()
    kinds = [
        value
        for value in found
        if isinstance(value, type) and issubclass(value, loaded("prodfix.document", "Document"))
    ]
    return [kind for kind in kinds if kind.__module__ == module]


def _wanted(blueprint: Blueprint, settings: Settings) -> bool:
    """A plug-in may say beside its ``blueprint``, with ``registered_when(settings)``, whether it has a place in here."""
    says = getattr(sys.modules.get(blueprint.import_name), "registered_when", None)
    return says is None or bool(says(settings))


def create_app(settings: Settings, blueprints: Iterable[Blueprint | ModuleType] = ()) -> Application:
    """The served application, with the plug-ins in ``blueprints``: Blueprints, or modules that expose ``blueprint``.

    Connects to nothing: clients and files are opened by the process that serves. Raises ``ValueError`` for a plug-in
    that is neither, ``ImportError`` where Flask-PyMongo is not installed.
    """
    if find_spec("flask_pymongo") is None:  # here: who only adopts the library does without
        raise ImportError("create_app needs Flask-PyMongo: pip install Flask-PyMongo, or prodfix with its extra served")
    from flask_pymongo import BSONObjectIdConverter

    app = Application("prodfix", static_folder=None, template_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    # Not flask-pymongo's own init_app: it replaces the JSON provider, and asks the DNS for a mongodb+srv URI.
    app.url_map.converters["ObjectId"] = BSONObjectIdConverter
    app.url_map.strict_slashes = False
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    prodfix = ProdFix(settings=settings, deadline=True, served=True)
    prodfix.init_app(app)
    services = prodfix.services
    for plug_in in blueprints:
        blueprint = getattr(plug_in, "blueprint", plug_in)
        if not isinstance(blueprint, Blueprint):
            raise ValueError(f"{plug_in!r} is not a Blueprint and exposes none as `blueprint`")
        if _wanted(blueprint, settings):
            app.register_blueprint(blueprint)
            models = _models(blueprint.import_name)
            services.documents.register(*models)
            for model in models:
                for field in unique_fields(model):
                    services.deferral.queue.unique(model.collection_name, field)
            services.deferral.queue.know(declared_in(blueprint.import_name))
    return app
