"""What an admin may see and do: a JSON API, and a page for eyes. Nothing below its prefix answers anybody else."""

from __future__ import annotations

from flask import Blueprint

from blueprints.diagnostics import api, changes, guard, openapi, page, sign_in
from prodfix import Settings

blueprint = Blueprint("diagnostics", __name__)
guard.attach(blueprint)
for part in (api, changes, openapi, page, sign_in):
    blueprint.register_blueprint(part.blueprint)


def registered_when(settings: Settings) -> bool:
    """:func:`prodfix.create_app` leaves the diagnostics out with ``ENABLE_DIAGNOSTICS=false``."""
    return settings.enable_diagnostics


__all__ = ["blueprint", "registered_when"]
