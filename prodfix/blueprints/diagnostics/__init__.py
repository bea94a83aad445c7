"""What an admin may see and do: a JSON API, and a page for eyes. Nothing below its prefix answers anybody else."""

from __future__ import annotations

from importlib.util import find_spec

from flask import Blueprint
from flask.blueprints import BlueprintSetupState

# Said here, and not by the first admin who asks: it is loaded late.
if find_spec("limits") is None:
    raise ImportError("the diagnostics need limits: pip install limits, or prodfix with its extra diagnostics")

from prodfix import Settings, links_of
from prodfix.blueprints.diagnostics import api, changes, guard, openapi, pages, runtime, sign_in
from prodfix.blueprints.diagnostics.pages.error_page import as_page
from prodfix.blueprints.diagnostics.warming import steps

blueprint = Blueprint("prodfix_diagnostics", __name__, url_prefix=guard.PREFIX)
guard.attach(blueprint, as_page)
for part in (api, changes, runtime, openapi, pages):
    blueprint.register_blueprint(part.blueprint)


@blueprint.record
def warm(state: BlueprintSetupState) -> None:
    """So that nobody waits for the first page of a worker."""
    links_of(state.app.extensions).warmed_by(lambda: steps(state.app.extensions["prodfix"]))


@blueprint.record
def add_sign_in(state: BlueprintSetupState) -> None:
    """Below the prefix that an application has given; beside the usual one, where it has always been."""
    prefix = guard.below(state.url_prefix or "")
    usual = prefix.endswith(guard.PREFIX)
    place = f"{prefix.removesuffix(guard.PREFIX)}/diagnostics" if usual else prefix
    name = f"{state.name_prefix}.{state.name}".lstrip(".")
    sign_in.blueprint.register(state.app, {"url_prefix": place, "name_prefix": name})


def registered_when(settings: Settings) -> bool:
    """:func:`prodfix.create_app` leaves the diagnostics out with ``ENABLE_DIAGNOSTICS=false``."""
    return settings.enable_diagnostics


__all__ = ["blueprint", "registered_when"]
