"""One derivation of what leaves the process: the JSON, the documents and the schema of a frozen dataclass, from its fields.

A field's name in JSON is its own in camelCase; ``from_`` is ``from``, which is no name in Python, and ``_id`` stays. A moment
is ISO 8601 in UTC, an enum its value. What a class needs is found out once. Standard library only: parts of it are on the
path of every error, and the schema is made by who has pydantic (its ``TypeAdapter`` calls the hooks below).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from enum import Enum
from functools import cache, lru_cache, partial
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    ParamSpec,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from prodfix.slotted import frozen

Convert = Callable[[Any], Any]
Given = ParamSpec("Given")


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and ``Z``."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat("T", "milliseconds")[:-6] + "Z"  # without +00:00


def iso_of(seconds: float) -> str:
    """:func:`iso` of seconds since the epoch, in a fifth of the time: most of what is told now is told in one second."""
    second, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_second(second)}.{micros // 1000:03d}Z"


@lru_cache(16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat("T", "seconds")[:-6]


def camel(name: str) -> str:
    """``created_at`` -> ``createdAt``."""
    head, *rest = name.rstrip("_").split("_") if not name.startswith("_") else [name]
    return head + "".join(word.capitalize() for word in rest)


@frozen
class Description:
    """What a schema says of a field: ``Annotated[float, Description("Seconds")]``."""

    text: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        return {**handler(core), "description": self.text}


Millis = Annotated[float | None, Description("Milliseconds")]


class Marker(Enum):
    """How a field is written, where that is not by its name and value: ``Annotated[int | None, OMITTED]``."""

    INLINE = "its own fields in its place"
    OMITTED = "not at all while it is None"


_INLINE = "x-inline"
INLINE: Final = Marker.INLINE
OMITTED: Final = Marker.OMITTED


class Serializable:
    """Base of frozen dataclasses that leave the process. Without ``__dict__``, so that they may have slots."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"alias_generator": camel}

    def to_json(self) -> dict[str, Any]:
        """What JSON has of it: no type but its own."""
        return _writer(type(self), True)(self)

    def to_document(self) -> dict[str, Any]:
        """What BSON has of it: as JSON, and moments stay such."""
        return _writer(type(self), False)(self)

    @classmethod
    def from_json(cls, told: Any) -> Self:
        """What :meth:`to_json` or :meth:`to_document` made, perhaps of another release: each field that is missing, or is none
        of its type, has its default, and what has no field is left out. Raises ``TypeError`` for one that has none."""
        found = told if isinstance(told, Mapping) else {}
        given = {name: value for name, read in _readers(cls) if (value := read(found)) is not MISSING}
        return cls(**given)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        """As it is written: nothing is left out because it has a default, and what is said of the class is said to readers of
        the code."""
        reference: dict[str, Any] = handler(core)
        schema = handler.resolve_ref_schema(reference)
        schema.pop("description", None)
        required: list[str] = []
        for one in _fields(cls):
            found = schema["properties"][one.alias]
            found.pop("default", None)
            kinds = [kind for kind in found.get("anyOf", ()) if kind != {"type": "null"}]
            if one.marker is not None and len(kinds) == 1:
                found.pop("anyOf")
                found |= kinds[0]
            if one.marker is INLINE:
                found[_INLINE] = not one.optional  # see inlined()
            elif one.marker is None:
                required.append(one.alias)
        schema["required"] = required
        return reference


def inlined(definitions: dict[str, Any]) -> None:
    """Put into each of a schema's ``definitions`` the fields of what is :data:`INLINE` in it. Only here, as the parts of a
    schema come in no order."""
    for schema in definitions.values():
        _take_in(schema, definitions)


def _take_in(schema: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    properties: dict[str, Any] = {}
    for alias, found in schema.get("properties", {}).items():
        needed = found.pop(_INLINE, None)
        if needed is None:
            properties[alias] = found
            continue
        inner = definitions[found["$ref"].rpartition("/")[2]]
        _take_in(inner, definitions)
        properties |= inner["properties"]
        schema["required"] = list(dict.fromkeys(schema["required"] + (inner["required"] if needed else [])))
    if properties:
        schema["properties"] = properties


def to_json(value: Any) -> Any:
    """``value`` as JSON has it, if it is one of ours or a list of them; anything else is returned as it is."""
    if isinstance(value, (list, tuple)):
        return [to_json(one) for one in value]
    return value.to_json() if isinstance(value, Serializable) else value


# -- writing ----------------------------------------------------------------------------------------------------------------


@frozen
class _Field:
    name: str
    alias: str
    kind: Any
    optional: bool
    marker: Marker | None


def _fields(cls: type) -> list[_Field]:
    hints = get_type_hints(cls, include_extras=True)
    found = []
    for one in fields(cls):
        kind, markers = _bare(hints[one.name])
        kind, optional = _without_none(kind)
        found.append(_Field(one.name, camel(one.name), kind, optional, next(iter(markers), None)))
    return found


def _bare(kind: Any) -> tuple[Any, list[Marker]]:
    """A type without what is annotated, and its markers."""
    if get_origin(kind) is not Annotated:
        return kind, []
    inner, *noted = get_args(kind)
    return inner, [one for one in noted if isinstance(one, Marker)]


def _without_none(kind: Any) -> tuple[Any, bool]:
    """A type without ``| None``, and whether it had that. A union of ours is any of ours, of another nothing is known."""
    if get_origin(kind) not in (Union, types.UnionType):
        return kind, False
    others = [_bare(part)[0] for part in get_args(kind) if part is not type(None)]
    ours = all(isinstance(part, type) and issubclass(part, Serializable) for part in others)
    return others[0] if len(others) == 1 else Serializable if ours else Any, len(others) < len(get_args(kind))


def _made_writer(cls: type, json: bool) -> Callable[[Any], dict[str, Any]]:
    """What writes a ``cls``: a function of one expression, as one would write it by hand, and as fast."""
    expression, names = _written(cls, json, "it.")
    # As dataclasses itself does it. All of the text is names of our own fields.
    write: Callable[[Any], dict[str, Any]] = eval(f"lambda it: {expression}", names)  # noqa: S307
    return write


def json_maker(make: Callable[Given, Serializable]) -> Callable[Given, dict[str, Any]]:
    """What is called as the class ``make``, and returns at once what ``make(...).to_json()`` would: where an object for each
    error or command would take as long as all the rest. The class has no default that is made anew."""
    made: Callable[Given, dict[str, Any]] | None = None

    def to_json(*given: Given.args, **named: Given.kwargs) -> dict[str, Any]:
        nonlocal made
        if made is None:
            made = _made_maker(make)
        return made(*given, **named)

    return to_json


def _made_maker(cls: Any) -> Callable[..., dict[str, Any]]:
    expression, names = _written(cls, True, "")
    defaults = {one.name: one.default for one in fields(cls)}
    parameters = ", ".join(
        name if default is MISSING else f"{name}=_defaults[{name!r}]" for name, default in defaults.items()
    )
    made: Callable[..., dict[str, Any]] = eval(f"lambda {parameters}: {expression}", names | {"_defaults": defaults})  # noqa: S307
    return made


def _written(cls: type, json: bool, prefix: str) -> tuple[str, dict[str, Any]]:
    """The expression that writes a ``cls`` of values whose names are those of its fields after ``prefix``; and what else it
    needs by name."""
    converts: dict[str, Convert] = {}
    parts = []
    for one in _fields(cls):
        convert = _convert(one.kind, json)
        name = value = prefix + one.name
        if convert is not None:
            converts[f"_convert_{one.name}"] = convert
            value = f"_convert_{one.name}({name})"
        if one.optional and convert is not None and one.marker is None:
            value = f"None if {name} is None else {value}"
        if one.marker is not None:
            there = value if one.marker is INLINE else f"{{{one.alias!r}: {value}}}"
            parts.append(f"**({{}} if {name} is None else {there})")
        else:
            parts.append(f"{one.alias!r}: {value}")
    return f"{{{', '.join(parts)}}}", converts


_writer: Callable[[type, bool], Callable[[Any], dict[str, Any]]] = cache(_made_writer)


def _convert(kind: Any, json: bool) -> Convert | None:
    """What makes of a value of this type its written form; None where it has that already."""
    kind, optional = _without_none(_bare(kind)[0])
    origin, arguments = get_origin(kind), get_args(kind)
    convert: Convert | None = None
    if isinstance(kind, type) and issubclass(kind, Serializable):
        convert = kind.to_json if json else kind.to_document
    elif isinstance(kind, type) and issubclass(kind, Enum):
        convert = _value
    elif kind is datetime:
        convert = iso if json else None
    elif origin in (tuple, list):
        each = _convert(arguments[0], json)
        convert = list if each is None else partial(_each, each)
    elif origin is dict and (each := _convert(arguments[1], json)) is not None:
        convert = partial(_each_value, each)
    return partial(_unless_none, convert) if optional and convert is not None else convert


def _unless_none(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _value(one: Enum) -> Any:
    return one.value


def _each(convert: Convert, found: Iterable[Any]) -> list[Any]:
    return [convert(one) for one in found]


def _each_value(convert: Convert, found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: convert(one) for name, one in found.items()}


# -- reading ----------------------------------------------------------------------------------------------------------------


def _made_readers(cls: type) -> tuple[tuple[str, Convert], ...]:
    """By field what finds its value in what was told, or ``MISSING``."""
    return tuple((one.name, _reader(one)) for one in _fields(cls))


_readers: Callable[[type], tuple[tuple[str, Convert], ...]] = cache(_made_readers)


def _reader(field: _Field) -> Convert:
    read = _read(field.kind)
    # Here, and not for each that is read: a class is asked for its fields by its annotations, which are texts.
    inner = frozenset(one.alias for one in _fields(field.kind)) if field.marker is INLINE else frozenset()

    def find(told: Mapping[str, Any]) -> Any:
        if field.marker is INLINE:
            return read(told) if not inner.isdisjoint(told) else MISSING
        if field.alias not in told:
            return MISSING
        value = told[field.alias]
        return None if field.optional and value is None else read(value)

    return find


def _read(kind: Any) -> Convert:
    """What makes a value of this type of what was told, or ``MISSING`` if it is none."""
    kind, _ = _bare(kind)
    kind, _ = _without_none(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return lambda told: told if told in arguments else MISSING
    if origin in (tuple, list):
        return partial(_read_each, _read(arguments[0]), origin)
    if origin is dict:
        return partial(_read_values, _read(arguments[1]))
    return _read_plain(kind) if isinstance(kind, type) else _read_any


def _read_plain(kind: type) -> Convert:
    if kind is Any:  # a class, since Python 3.11
        return _read_any
    if issubclass(kind, Serializable):
        return partial(_read_part, kind)
    if issubclass(kind, (Enum, datetime)):
        return partial(_read_as, kind.fromisoformat if issubclass(kind, datetime) else kind, kind)
    if kind is float:
        return lambda told: told if isinstance(told, (int, float)) and not isinstance(told, bool) else MISSING
    return lambda told: told if isinstance(told, kind) and isinstance(told, bool) is (kind is bool) else MISSING


def _read_any(told: Any) -> Any:
    return told


def _read_part(kind: type[Serializable], told: Any) -> Any:
    try:
        return kind.from_json(told) if isinstance(told, Mapping) else MISSING
    except TypeError:  # what has no default is missing
        return MISSING


def _read_as(make: Convert, kind: type, told: Any) -> Any:
    try:
        return told if isinstance(told, kind) else make(told)
    except (TypeError, ValueError):
        return MISSING


def _read_each(read: Convert, make: Convert, told: Any) -> Any:
    if not isinstance(told, (list, tuple)):
        return MISSING
    return make(value for one in told if (value := read(one)) is not MISSING)


def _read_values(read: Convert, told: Any) -> Any:
    if not isinstance(told, dict):
        return MISSING
    return {name: value for name, one in told.items() if (value := read(one)) is not MISSING}
