"""The active trace is asked for where there is a tracer, and never looked for where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from prodfix.process.tracing import active_span, ids_of, untraced

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


def tracer(span: Callable[[], Any]) -> ModuleType:
    module = ModuleType("opentelemetry.trace")
    module.get_current_span = span  # type: ignore[attr-defined]
    return module


def context(*, valid: bool = True) -> Any:
    return SimpleNamespace(get_span_context=lambda: SimpleNamespace(trace_id=TRACE, span_id=SPAN, is_valid=valid))


@pytest.mark.parametrize(
    ("span", "found"),
    [
        (context, ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")),
        (lambda: context(valid=False), None),
        (lambda: None, None),
        (lambda: 1 / 0, None),
    ],
)
def test_the_active_span(
    monkeypatch: pytest.MonkeyPatch, span: Callable[[], Any], found: tuple[str, str] | None
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", tracer(span))
    active = active_span()
    assert (active if active is None else ids_of(active)) == found


def test_where_there_is_no_tracer_there_is_no_span(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("opentelemetry.trace", "opentelemetry.context"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert active_span() is None
    with untraced():
        assert "opentelemetry.context" not in sys.modules
