"""What an admin may see and do: a JSON API, and a page for eyes. Nothing below its prefix answers anybody else."""

from __future__ import annotations

from flask import Blueprint

from blueprints.diagnostics import api, changes, guard, openapi, page, sign_in

blueprint = Blueprint("diagnostics", __name__)
guard.attach(blueprint)
for part in (api, changes, openapi, page, sign_in):
    blueprint.register_blueprint(part.blueprint)

__all__ = ["blueprint"]
