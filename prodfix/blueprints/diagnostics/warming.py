"""What the first page of a worker would have to wait for, done soon after its start: modules, templates, types.

Some tenths of a second in all, in steps of some milliseconds. The database is asked nothing: most workers nobody looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

from prodfix import Services, redact_document
from prodfix.blueprints.diagnostics import parameters
from prodfix.blueprints.diagnostics.guard import PREFIX
from prodfix.blueprints.diagnostics.html import templates
from prodfix.models import Group, Serializable

LATE = ("jwt", "packaging.version", "deprecated.sphinx", "limits", "prodfix.blueprints.diagnostics.rate_limits")
"""Modules that are loaded for the first admin who asks, those below them first."""

AT_ONCE = 4  # types of one step: each takes half a millisecond


def steps(services: Services) -> Iterator[None]:
    """One at a time; what another release of a library has not is left out."""
    for name in LATE:
        try:
            import_module(name)
        except ImportError:
            continue
        yield
    yield from templates()
    redact_document({"endpoint": f"{PREFIX}/page", "ip": "127.0.0.1"})  # as the audit log's line is
    yield
    kinds = [Group, *_below(Serializable)]
    for first in range(0, len(kinds), AT_ONCE):
        for kind in kinds[first : first + AT_ONCE]:
            # The classes that they were before they had slots are there, too, until they are collected.
            is_dataclass(kind)
        yield
    for shown in (parameters.Overview, parameters.RecordsFilter, parameters.KindsShown, parameters.Shown):
        shown.model_validate({})
        yield
    # What workers tell each other, whose readers are made by the first who reads it.
    for read in (services.alerts.read, services.diagnostics.report.instance, services.queries.statistics.read):
        with suppress(TimeoutError):
            read()
        yield


def _below(kind: type[Any]) -> list[type[Any]]:
    found: list[type[Any]] = []
    for one in kind.__subclasses__():
        found += [one, *_below(one)]
    return found
