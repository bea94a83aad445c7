"""What the checks look at: one application, and what is around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flask import Flask

from prodfix.doctor.deployment import Deployment
from prodfix.doctor.findings import NotChecked
from prodfix.doctor.launch import Launched
from prodfix.doctor.server import Server
from prodfix.services import EXTENSION, Services
from prodfix.settings import Environment, Settings
from prodfix.settings_sources import PREFIX


def _not_launched() -> Launched:
    raise NotChecked("the application was not loaded again")


@dataclass(frozen=True)
class Subject:
    """``environ``: the environment's variables. ``launched``: what :meth:`prodfix.doctor.launch.Launch.result` says.
    ``module``: where the command line has found the application. ``silent``: it has left a request without an answer."""

    app: Flask
    environ: Mapping[str, str]
    deployment: Deployment = field(default_factory=Deployment)
    launched: Callable[[], Launched] = _not_launched
    module: str | None = None
    silent: threading.Event = field(default_factory=threading.Event)

    @cached_property
    def services(self) -> Services:
        services: Services = self.app.extensions[EXTENSION]
        return services

    @property
    def settings(self) -> Settings:
        return self.services.settings

    @cached_property
    def server(self) -> Server:
        return Server(self.services.database.clients)

    @cached_property
    def diagnostics_server(self) -> Server:
        """That of what is ours: another one where ``DIAGNOSTICS_URI`` says so."""
        clients = self.services.database.clients
        return Server(clients, diagnostics=True) if clients.apart else self.server

    @property
    def served(self) -> bool:
        """The application of :func:`prodfix.create_app`, and not one that has adopted prodfix."""
        return self.services.served

    def given(self, field: str) -> Any:
        """What is set for a setting, as it was written; None if nothing is."""
        places: tuple[Mapping[str, Any], ...] = (self.environ,) if self.served else (self.app.config, self.environ)
        names = [PREFIX + field.upper(), *((field.upper(),) if self.served else ())]
        return next((place[name] for name in names for place in places if place.get(name)), None)

    @property
    def deployed(self) -> bool:
        """Production or staging: what is wrong there hurts somebody."""
        return self.settings.app_env is not Environment.DEVELOPMENT

    @property
    def workers(self) -> int:
        """How many workers gunicorn starts, as far as it is known."""
        try:
            gunicorn = self.launched().gunicorn
        except NotChecked:
            gunicorn = None
        return self.settings.web_concurrency if gunicorn is None else gunicorn.workers


def folder_of(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.absolute().parents) if folder.exists()), Path("/"))
