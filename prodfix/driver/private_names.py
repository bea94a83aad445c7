"""What a private name of the driver's is, and whether this version of the driver has it as we use it."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from prodfix.slotted import frozen


@frozen
class PrivateName:
    """A name of the driver's that is none of its public ones."""

    name: str
    lost: str
    """What there is not without it."""
    there: bool


def found(module: str, name: str) -> Any:
    """What ``module`` has by that name; ``None`` if one of them is not there."""
    try:
        return getattr(import_module(module), name, None)
    except ImportError:
        return None


def takes(owner: Any, method: str, *parameters: str) -> bool:
    """Whether the class has such a method, whose first parameters have these names; or one that a decorator passes everything
    on to, as ``Connection.command`` until 4.16."""
    function = getattr(owner, method, None)
    known = tuple(inspect.signature(function).parameters.values()) if inspect.isfunction(function) else ()
    passes_on = [one.kind for one in known] == [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
    return passes_on or tuple(one.name for one in known[: len(parameters) + 1]) == ("self", *parameters)


def sets(owner: Any, *names: str) -> bool:
    """Whether the class's constructors set attributes, or take options, of these names: only their code tells."""
    makers: list[Any] = [vars(kind).get("__init__") for kind in inspect.getmro(owner)]
    codes = [getattr(inspect.unwrap(maker), "__code__", None) for maker in makers if maker is not None]
    known = {name for code in codes if code is not None for name in (*code.co_names, *code.co_consts)}
    return known.issuperset(names)
