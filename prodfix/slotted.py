"""Dataclasses with slots that are compiled when they are first used: ``@frozen`` and ``@mutable``, as attrs calls its own.

``dataclasses`` writes and compiles the methods of a class when the class is defined, and makes it a second time to give it
slots: half a millisecond for each, an eighth of a second for all of prodfix, of which a worker that serves uses a part. Here
a class is made once, with its slots; the first who makes an instance, or asks for its fields, has ``dataclasses`` write the
same methods. From then on it is what ``@dataclass(slots=True)`` would have made it.
"""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import Any, NamedTuple, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)


class _Definition(NamedTuple):
    """What a class is defined with, until its methods are made."""

    namespace: dict[str, Any]
    frozen: bool


_DEFINITION = "__definition__"
_MADE = ["__repr__", "__eq__", "__hash__", "__match_args__", "__dataclass_params__", "__dataclass_fields__", "__init__"]
if sys.version_info >= (3, 13):
    _MADE.insert(0, "__replace__")  # copy.replace's


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Class) -> Class:
    """``@dataclass(frozen=True, slots=True)``, made when it is first used. Its annotations are texts, it has no ``__init__``
    of its own, and no method that says ``super()``."""
    return _with_slots(cls, frozen=True)


@dataclass_transform(field_specifiers=(field,))
def mutable(cls: Class) -> Class:
    """``@dataclass(slots=True)``, made when it is first used, under the same conditions."""
    return _with_slots(cls, frozen=False)


def _with_slots(cls: Class, *, frozen: bool) -> Class:
    names = [name for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar")]
    namespace = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    kept = {name: value for name, value in namespace.items() if name not in names}
    ours = {"__slots__": names, _DEFINITION: _Definition(namespace, frozen), **_UNMADE}
    made: Class = type(cls)(cls.__name__, cls.__bases__, kept | ours | (_FROZEN if frozen else {}))
    return made


def _make(cls: type) -> None:
    """Give ``cls``, and whatever of ours it is derived from, its methods. Two threads may do it at once: they do the same."""
    for one in cls.__mro__:
        definition: _Definition | None = vars(one).get(_DEFINITION)
        if definition is None:
            continue
        whole = type(one)(one.__name__, one.__bases__, dict(definition.namespace))
        dataclass(frozen=definition.frozen)(whole)
        for name in _MADE:  # __init__ at last: who finds it finds all the rest
            if name not in definition.namespace:
                setattr(one, name, vars(whole)[name])
        setattr(one, _DEFINITION, None)


def _init(self: Any, *arguments: Any, **named: Any) -> None:
    _make(type(self))
    self.__init__(*arguments, **named)


class _Asked:
    """What :mod:`dataclasses` asks a class for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        _make(owner)
        return getattr(owner, self._name)


_UNMADE = {"__init__": _init} | {name: _Asked(name) for name in ("__dataclass_fields__", "__dataclass_params__")}


def _refuse(self: object, name: str, *value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to or delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for one, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


# Without the last two, copy and pickle would assign to its fields.
_FROZEN = {"__setattr__": _refuse, "__delattr__": _refuse, "__getstate__": _state, "__setstate__": _set_state}
