"""The active trace is asked for where there is a tracer, and never looked for where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from prodfix.process.tracing import active_trace_id, untraced

TRACE = 0x0AF7651916CD43DD8448EB211C80319C


def tracer(span: Callable[[], Any]) -> ModuleType:
    module = ModuleType("opentelemetry.trace")
    module.get_current_span = span  # type: ignore[attr-defined]
    return module


def context(*, valid: bool = True) -> Any:
    return SimpleNamespace(get_span_context=lambda: SimpleNamespace(trace_id=TRACE, is_valid=valid))


@pytest.mark.parametrize(
    ("span", "found"),
    [
        (context, "0af7651916cd43dd8448eb211c80319c"),
        (lambda: context(valid=False), None),
        (lambda: None, None),
        (lambda: 1 / 0, None),
    ],
)
def test_the_active_trace(monkeypatch: pytest.MonkeyPatch, span: Callable[[], Any], found: str | None) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", tracer(span))
    assert active_trace_id() == found


def test_where_there_is_no_tracer_there_is_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("opentelemetry.trace", "opentelemetry.context"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert active_trace_id() is None
    with untraced():
        assert "opentelemetry.context" not in sys.modules
