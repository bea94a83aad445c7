"""All checks of all families, in the order in which they are shown."""

from __future__ import annotations

from prodfix.doctor import (
    configuration,
    costs,
    database,
    diagnostics_database,
    disk,
    environment_variables,
    error_handlers,
    health_checks,
    indexes,
    journals,
    metrics_access,
    patching,
    resources,
    timeouts,
    token_key,
    uri,
)
from prodfix.doctor.registry import FAMILIES

__all__ = ["FAMILIES"]

_FILES = [
    file.__name__
    for file in (
        environment_variables,
        patching,
        timeouts,
        resources,
        uri,
        database,
        diagnostics_database,
        indexes,
        costs,
        token_key,
        metrics_access,
        disk,
        journals,
        error_handlers,
        health_checks,
        configuration,
    )
]

for _checks in FAMILIES.values():
    _checks.sort(key=lambda check: _FILES.index(check.look.__module__))
