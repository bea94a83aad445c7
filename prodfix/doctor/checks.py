"""All checks of all families, in the order in which they are shown."""

from __future__ import annotations

from prodfix.doctor import (
    configuration,
    database,
    disk,
    handlers,
    health_checks,
    indexes,
    journals,
    limits,
    patching,
    resources,
    tokens,
    uri,
    variables,
)
from prodfix.doctor.registry import FAMILIES

__all__ = ["FAMILIES"]

_FILES = [
    file.__name__
    for file in (
        variables,
        patching,
        limits,
        resources,
        uri,
        database,
        indexes,
        tokens,
        disk,
        journals,
        handlers,
        health_checks,
        configuration,
    )
]

for _checks in FAMILIES.values():
    _checks.sort(key=lambda check: _FILES.index(check.look.__module__))
