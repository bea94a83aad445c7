"""The WSGI layer that counts each request for the metrics too. Without metrics nobody loads it, and the plain one has no trace
of it."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from flask import Flask

from prodfix.metrics.tallies import Tallies
from prodfix.request.context import RequestContext
from prodfix.services import Services
from prodfix.web.wsgi import WsgiLayer, attach_layer

FLAGS = 54  # where in a traceparent of version 00 the last digit of its flags is
_SAMPLED = frozenset("13579bdf")  # somebody keeps that trace (W3C Trace Context, section 3.2.2.5)


def attach(app: Flask, services: Services, *, answers: bool) -> None:
    """As :func:`prodfix.web.wsgi.attach`."""
    attach_layer(MeasuredLayer, app, services, answers=answers)


class MeasuredLayer(WsgiLayer):
    """As the plain one."""

    @cached_property
    def _tallies(self) -> Tallies | None:
        metrics = self._services.metrics
        return metrics.tallies if metrics is not None else None

    def count(self, context: RequestContext | None, head: Any) -> None:
        super().count(context, head)
        tallies = self._tallies
        if tallies is None:
            return
        if context is None:
            if head.status >= 500:
                method = str(head.environ.get("REQUEST_METHOD", ""))
                tallies.request(method, "unmatched", head.status, int((time.monotonic() - head.begun) * 1e6))
        elif not context.notes.uncounted:
            parent = head.environ.get("HTTP_TRACEPARENT", "")
            trace = context.trace_id if parent and _kept(parent, context.trace_id) else ""
            micros = int((time.monotonic() - context.begun) * 1e6)
            tallies.request(context.method, context.endpoint, head.status, micros, trace)


def _kept(parent: str, trace: str) -> bool:
    """Whether the request has brought that trace along, and its beginner keeps it."""
    return parent[3:35] == trace and parent[FLAGS : FLAGS + 1] in _SAMPLED
