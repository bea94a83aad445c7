"""A collector of OpenTelemetry on 127.0.0.1: OTLP over HTTP, as protobuf. It keeps what it is sent, by signal."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tests.support.loopback import Loopback, QuietHandler

_SIGNALS = {
    "/v1/traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "/v1/metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "/v1/logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}


class Sent(NamedTuple):
    """One span, log record or data point: the message itself, and the attributes of it and of its resource. ``name`` is the
    span's, the metric's, or the log record's event."""

    name: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    message: Any


class Collector(Loopback):
    """A context manager. ``endpoint`` is for ``OTEL_EXPORTER_OTLP_ENDPOINT``; ``status`` is what it answers."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self._lock = threading.Lock()
        self._kept: dict[str, list[Any]] = {path: [] for path in _SIGNALS}
        collector = self

        class Handler(QuietHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                assert self.headers["Content-Type"] == "application/x-protobuf"
                answer = collector.take(self.path, data)
                self.send_response(collector.status)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        super().__init__(Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, data: bytes) -> bytes:
        """Raises ``DecodeError`` for what is no such message."""
        request, response = _SIGNALS[path]
        found = request.FromString(data)
        with self._lock:
            self.requests += 1
            if self.status == 200:
                self._kept[path].append(found)
        answer: bytes = response().SerializeToString()
        return answer

    @property
    def spans(self) -> list[Sent]:
        return [
            Sent(span.name, values(span.attributes), values(part.resource.attributes), span)
            for request in self._all("/v1/traces")
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]

    @property
    def logs(self) -> list[Sent]:
        return [
            Sent(record.event_name, values(record.attributes), values(part.resource.attributes), record)
            for request in self._all("/v1/logs")
            for part in request.resource_logs
            for scope in part.scope_logs
            for record in scope.log_records
        ]

    @property
    def points(self) -> list[Sent]:
        """Of all metrics, oldest first."""
        return [
            Sent(metric.name, values(point.attributes), values(part.resource.attributes), point)
            for request in self._all("/v1/metrics")
            for part in request.resource_metrics
            for scope in part.scope_metrics
            for metric in scope.metrics
            for point in _points(metric)
        ]

    def _all(self, path: str) -> list[Any]:
        with self._lock:
            return list(self._kept[path])


def _points(metric: Any) -> Iterator[Any]:
    yield from getattr(metric, metric.WhichOneof("data")).data_points


def values(attributes: Any) -> dict[str, Any]:
    """As Python has them."""
    return {one.key: value(one.value) for one in attributes}


def value(told: AnyValue) -> Any:
    kind = told.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in told.array_value.values]
    if kind == "kvlist_value":
        return values(told.kvlist_value.values)
    return getattr(told, kind) if kind is not None else None
