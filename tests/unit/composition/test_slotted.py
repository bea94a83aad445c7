"""A class that is made when it is first used is the one that dataclasses would have made at once."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from prodfix.slotted import frozen, mutable


@frozen
class Pair:
    """Two of a kind."""

    left: int
    right: int = 2
    more: list[int] = field(default_factory=list, compare=False)
    kind: ClassVar[str] = "pair"

    @property
    def sum(self) -> int:
        return self.left + self.right


@frozen
class Triple(Pair):
    third: int = 3


@mutable
class Place:
    row: int
    column: int = 0

    def __post_init__(self) -> None:
        self.column += 1


@dataclass(frozen=True, slots=True)
class FrozenOracle:
    """Two of a kind."""

    left: int
    right: int = 2
    more: list[int] = field(default_factory=list, compare=False)
    kind: ClassVar[str] = "pair"


@dataclass(slots=True)
class MutableOracle:
    row: int
    column: int = 0


def _shown(value: Any) -> str:
    return repr(value).replace("FrozenOracle", "Pair").replace("MutableOracle", "Place")


ORACLES: list[tuple[Any, Any]] = [(Pair, FrozenOracle), (Place, MutableOracle)]


@pytest.mark.parametrize(("cls", "oracle"), ORACLES)
def test_its_fields_and_parameters_are_those_of_a_dataclass(cls: Any, oracle: Any) -> None:
    assert dataclasses.is_dataclass(cls)
    assert [repr(one) for one in dataclasses.fields(cls)] == [repr(one) for one in dataclasses.fields(oracle)]
    assert cls.__dataclass_params__.frozen is oracle.__dataclass_params__.frozen
    assert cls.__match_args__ == oracle.__match_args__
    assert tuple(cls.__slots__) == tuple(oracle.__slots__)
    assert (cls.__doc__ is None, cls.__module__) == (cls is Place, __name__)


def test_values_behave_as_those_of_a_dataclass() -> None:
    for cls, oracle in ((Pair, FrozenOracle), (Triple, FrozenOracle)):
        assert _shown(cls(1)).startswith(_shown(oracle(1))[:-1].replace("Pair", cls.__name__))
        assert cls(1) == cls(1, 2, [7])
        assert cls(1) != cls(2)
        assert cls(1) != oracle(1)
        assert hash(cls(1)) == hash(cls(1, more=[7]))
    assert hash(Pair(1)) == hash(FrozenOracle(1))
    assert Pair(1) != Triple(1)
    assert (Pair(1, 5).sum, Pair.kind, Triple(1).third) == (6, "pair", 3)
    assert Pair(1).more is not Pair(1).more
    assert dataclasses.replace(Triple(1), right=9) == Triple(1, 9)
    assert hasattr(Pair, "__replace__") == hasattr(FrozenOracle, "__replace__")
    if sys.version_info >= (3, 13):
        assert copy.replace(Triple(1), right=9) == Triple(1, 9)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Pair(1, nothing=2)  # type: ignore[call-arg]
    match Pair(3, 4):
        case Pair(left, right):
            assert (left, right) == (3, 4)


@pytest.mark.parametrize("value", [Pair(1, 2, [3]), Triple(1), Place(4)])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_it_is_copied_and_pickled(value: Any, copied: Callable[[Any], Any]) -> None:
    assert copied(value) == value
    assert copied(value) is not value


def test_what_is_frozen_takes_no_value_and_what_is_mutable_does() -> None:
    for name in ("left", "other"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(Pair(1), name, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Pair(1).left  # type: ignore[misc]
    place = Place(1)
    place.row = 5
    assert (place.row, place.column) == (5, 1)
    with pytest.raises(AttributeError):
        place.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unhashable"):
        hash(place)


def test_nothing_is_compiled_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counting(text: str, *more: Any) -> Any:
        compiled.append(text)
        return exec(text, *more)

    monkeypatch.setattr(dataclasses, "exec", counting, raising=False)

    @frozen
    class Later:
        a: int
        b: int = 1

    assert compiled == []
    assert Later(1) == Later(1, 1)
    once = len(compiled)
    assert once, "the control: its methods are compiled now"
    assert Later(2) != Later(1)
    assert len(compiled) == once

    @dataclass(frozen=True)
    class AtOnce:
        a: int

    assert len(compiled) > once, "the control: this is what is saved"


def test_threads_may_be_the_first_at_the_same_time() -> None:
    for _ in range(50):

        @frozen
        class Raced:
            a: int
            b: str = "b"

        ready, made = threading.Barrier(4), []

        def make(kind: Any = Raced, ready: threading.Barrier = ready, made: list[Any] = made) -> None:
            ready.wait(5)
            made.append(kind(1))

        threads = [threading.Thread(target=make) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join(5)
        assert made == [Raced(1)] * 4
