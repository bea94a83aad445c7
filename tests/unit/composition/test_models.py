"""What the services answer, as types: each can be written and described, and a worker's state read back from any sibling."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from prodfix import models
from prodfix.blueprints.diagnostics import envelopes
from prodfix.serialization import Marker, Serializable, _fields, inlined
from prodfix.workers.worker_state import WorkerState


def types_of(module: Any) -> dict[str, type[Serializable]]:
    found = {name: getattr(module, name) for name in dir(module)}
    ours = {name: one for name, one in found.items() if isinstance(one, type) and issubclass(one, Serializable)}
    return {name: one for name, one in ours.items() if one is not Serializable}


ANSWERED = types_of(models) | types_of(envelopes)


def within(kind: type[Serializable]) -> Iterator[type[Serializable]]:
    """It, and the types of its fields."""
    yield kind
    for one in _fields(kind):
        if isinstance(one.kind, type) and issubclass(one.kind, Serializable) and one.kind is not Serializable:
            yield from within(one.kind)


@pytest.mark.parametrize("name", ANSWERED)
def test_each_is_frozen_and_the_schema_has_its_fields(name: str) -> None:
    kind = ANSWERED[name]
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    inlined({**schema.get("$defs", {}), name: schema})
    own = {one.alias for one in _fields(kind) if one.marker is not Marker.INLINE}
    assert own <= set(schema["properties"])
    assert len(schema["required"]) == len(set(schema["required"])) <= len(schema["properties"])


def test_a_workers_state_has_a_default_for_whatever_a_sibling_does_not_say() -> None:
    kinds = list(within(WorkerState))
    assert len(kinds) > 8, "the control: its parts are looked at"
    for kind in kinds:
        for one in dataclasses.fields(kind):  # type: ignore[arg-type]
            missing = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            assert not missing, f"{kind.__name__}.{one.name}"
    assert WorkerState.from_json(None) == WorkerState()


def test_what_is_left_out_while_it_is_none_can_be_read_back() -> None:
    kinds = {part for kind in ANSWERED.values() for part in within(kind)}
    omitted = [(kind, one) for kind in kinds for one in _fields(kind) if one.marker is Marker.OMITTED]
    assert omitted, "the control: there are some"
    defaults = {(kind, one.name): one.default for kind, _ in omitted for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    assert all(one.optional and defaults[kind, one.name] is None for kind, one in omitted)
