"""A frozen record whose fields are checked when it is made, each by what its annotation says.

It is the part of pydantic that settings need, under pydantic's names. pydantic itself takes 6 MB, and a third of the CPU that
importing Flask and the driver takes; a host that has no model of ours would load it for its settings alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, dataclass_transform, get_args, get_origin

Read = Callable[[Any], Any]
_SWITCHES = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


class ValidationError(ValueError):
    """Fields are wrong. ``problems`` says by their names what is wrong with each, without its value."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name} {problem}" for name, problem in problems.items()))


class SecretStr:
    """A text that is not shown; pydantic's own is taken as well, and is equal to one of ours with the same text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        tell = getattr(other, "get_secret_value", None)
        return tell is not None and bool(tell() == self._text)

    def __hash__(self) -> int:
        return hash(self._text)

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return "SecretStr('**********')" if self._text else "SecretStr('')"

    __str__ = __repr__


class BeforeValidator(NamedTuple):
    """``func`` makes of what was given what its type can be read of. Raises ``ValueError``, without the value."""

    func: Read


class AfterValidator(NamedTuple):
    """``func`` makes of a value that has its type the one that counts. Raises ``ValueError``, without the value."""

    func: Read


class Field(NamedTuple):
    """The limits of a number, or of the length of a text."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def check(self, value: Any) -> None:
        if self.ge is not None and not value >= self.ge:
            raise ValueError(f"must be {self.ge} or more")
        if self.gt is not None and not value > self.gt:
            raise ValueError(f"must be more than {self.gt}")
        if self.le is not None and not value <= self.le:
            raise ValueError(f"must be {self.le} or less")
        if self.lt is not None and not value < self.lt:
            raise ValueError(f"must be less than {self.lt}")
        if self.min_length is not None and len(value) < self.min_length:
            raise ValueError(f"must have {self.min_length} characters or more")
        if self.max_length is not None and len(value) > self.max_length:
            raise ValueError(f"must have {self.max_length} characters or less")


class FieldInfo:
    """What is known of a field: its type, what else its annotation says, its default."""

    def __init__(self, annotation: Any, default: Any) -> None:
        self.default = default
        self.annotation, self.metadata = annotation, ()
        if get_origin(annotation) is Annotated:
            self.annotation, *metadata = get_args(annotation)
            self.metadata = tuple(metadata)
        self.read = _reader(annotation)


def field_validator(*names: str) -> Callable[[Any], Any]:
    """Of a class method: it is given the value of each of these fields, and gives the one that counts."""

    def mark(method: Any) -> Any:
        method.__func__.validates = names
        return method

    return mark


@dataclass_transform(kw_only_default=True, frozen_default=True)
class CheckedRecord:
    """Base of a record. Its module's annotations are no texts. It is made by keyword; what has no field is left out."""

    model_fields: dict[str, FieldInfo]
    _validators: list[tuple[str, str]]  # fields, and the methods that look at their values

    def __init_subclass__(cls) -> None:
        cls.model_fields = {name: FieldInfo(kind, getattr(cls, name)) for name, kind in cls.__annotations__.items()}
        cls._validators = [
            (field, name)
            for name, method in vars(cls).items()
            for field in getattr(getattr(method, "__func__", None), "validates", ())
        ]

    def __init__(self, **given: Any) -> None:
        """Raises :class:`ValidationError` with every problem at once. A default is not checked."""
        problems: dict[str, str] = {}
        for name, field in self.model_fields.items():
            value = field.default
            if name in given:
                try:
                    value = field.read(given[name])
                    for validated, validator in self._validators:
                        if validated == name:
                            value = getattr(self, validator)(value)
                except ValueError as error:
                    problems[name] = str(error)
            self.__dict__[name] = value
        if problems:
            raise ValidationError(problems)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Another one with some fields replaced, which are not checked."""
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **update)
        return copy


# -- reading ----------------------------------------------------------------------------------------------------------------


def _reader(kind: Any) -> Read:
    """What makes a value of this type of what was given, as a value or as a text. It raises ``ValueError``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated(_reader(arguments[0]), arguments[1:])
    if origin in (Union, UnionType):
        (other,) = (part for part in arguments if part is not type(None))
        inner = _reader(other)
        return lambda value: None if value is None else inner(value)
    if origin is Literal:
        return lambda value: _one_of(arguments, value)
    if origin is frozenset:
        return _words
    if issubclass(kind, Enum):
        return lambda value: kind(_one_of([one.value for one in kind], value))
    return _READERS[kind]


def _annotated(inner: Read, metadata: tuple[Any, ...]) -> Read:
    before = [one.func for one in reversed(metadata) if isinstance(one, BeforeValidator)]

    def read(value: Any) -> Any:
        for prepare in before:
            value = prepare(value)
        value = inner(value)
        for one in metadata:
            if isinstance(one, Field) and value is not None:
                one.check(value)
            elif isinstance(one, AfterValidator):
                value = one.func(value)
        return value

    return read


def _one_of(known: Any, value: Any) -> Any:
    if value not in known:
        raise ValueError(f"must be {' or '.join(map(str, known))}")
    return value


def _integer(value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a whole number") from None
    if not isinstance(value, str) and number != value:
        raise ValueError("must be a whole number")
    return number


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a number") from None
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def _switch(value: Any) -> bool:
    known = _SWITCHES.get(str(value).strip().lower())
    if known is None:
        raise ValueError("must be true or false")
    return known


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return str.__str__(value)  # also of an enum's member


def _path(value: Any) -> Path:
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("must be a path")
    return Path(value)


def _secret(value: Any) -> SecretStr:
    tell = getattr(value, "get_secret_value", None)
    return SecretStr(_text(value if tell is None else tell()))


def _moment(value: Any) -> datetime:
    try:
        return value if isinstance(value, datetime) else datetime.fromtimestamp(_number(value), UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError("must be a moment") from None


def _words(value: Any) -> frozenset[str]:
    if not isinstance(value, (frozenset, set, list, tuple)):
        raise ValueError("must be words")
    return frozenset(_text(one) for one in value)


_READERS: dict[Any, Read] = {
    int: _integer,
    float: _number,
    bool: _switch,
    str: _text,
    Path: _path,
    SecretStr: _secret,
    datetime: _moment,
}
