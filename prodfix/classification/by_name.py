"""Classes of libraries that are not imported here, since an application may not have them: found by package and name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

Meaning = TypeVar("Meaning")
Name = tuple[str, str]
"""The package at the top of the class's module, and the class's name: where in its package a class stands may change."""


def found(table: Mapping[Name, Meaning], error: BaseException) -> Meaning | None:
    """What ``table`` says of the most derived class of ``error`` that it knows."""
    kind: Any = type(error)
    names = names_of_class(kind)
    if table.keys().isdisjoint(names):  # of most errors no table says anything
        return None
    return next(table[name] for name in names if name in table)


@lru_cache(1024)
def names_of_class(kind: Any) -> tuple[Name, ...]:
    """Those of the class and of its parents, the most derived first."""
    return tuple((str(parent.__module__).partition(".")[0], parent.__name__) for parent in kind.__mro__)
