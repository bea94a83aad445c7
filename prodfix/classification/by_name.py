"""Classes of libraries that are not imported here, since an application may not have them: found by package and name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Meaning = TypeVar("Meaning")
Name = tuple[str, str]
"""The package at the top of the class's module, and the class's name: where in its package a class stands may change."""


def found(table: Mapping[Name, Meaning], error: BaseException) -> Meaning | None:
    """What ``table`` says of the most derived class of ``error`` that it knows."""
    for kind in type(error).__mro__:
        meaning = table.get((kind.__module__.partition(".")[0], kind.__name__))
        if meaning is not None:
            return meaning
    return None
