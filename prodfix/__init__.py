"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package; what only those who show answers
need is in :mod:`prodfix.models`. Each is loaded when it is first asked for (PEP 562): who needs one of them does not load the
driver, Flask and all the rest of it. gunicorn's arbiter, which must not load them, redacts with
:mod:`prodfix.redaction.redactor` as everybody does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodfix.access_tokens import Claims, make_token
    from prodfix.classification.classifications import Classification
    from prodfix.classification.classifier import Classifier, classify
    from prodfix.classification.problem_codes import ProblemCode, problem_code, problem_codes, problem_slug
    from prodfix.connection.clients import Clients
    from prodfix.connection.monitor import ConnectionMonitor
    from prodfix.connection.status import ConnectionState, ConnectionStatus, HealthCheckResult
    from prodfix.deferral.operation_status import OperationStatus
    from prodfix.deferral.writes import Insert, Update, Write, WriteResult, deferrable
    from prodfix.document import Document
    from prodfix.errors import (
        AuthenticationRequired,
        ClientError,
        ConcurrentModification,
        Conflict,
        ErrorCategory,
        FieldError,
        Forbidden,
        NotFound,
        NotKnownNow,
        Outcome,
        ProdFixError,
        Severity,
        Unguarded,
        ValidationFailed,
    )
    from prodfix.extension import ProdFix
    from prodfix.factory import create_app
    from prodfix.idempotency.keys import current_operation_id
    from prodfix.links import HealthRoutes, links_of
    from prodfix.logs.redacted_spans import RedactingSpanExporter
    from prodfix.operations.shapes import redact_command
    from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
    from prodfix.records.records import ErrorRecord
    from prodfix.recovery.recovery import Recovery
    from prodfix.redaction.redactor import redact_document, redact_text, redact_uri
    from prodfix.reporters.reporter import ErrorReporter
    from prodfix.request.context import RequestContext, current_context, declare_outcome, uncounted
    from prodfix.request.deadlines import deadline, in_request
    from prodfix.request.devices import DeviceType, device_type
    from prodfix.request.effects import auxiliary_writes
    from prodfix.request.outgoing_trace import trace_headers
    from prodfix.serialization import iso
    from prodfix.services import Services, current_prodfix, run_transaction
    from prodfix.settings import Environment, Settings, SettingsError
    from prodfix.statistics.statistics import ErrorStatistics
    from prodfix.web.accepted import accepted
    from prodfix.web.authentication import current_user, require_role
    from prodfix.web.idempotent import idempotent
    from prodfix.web.sentry_events import sentry_before_send

# The same once more, for when the program runs: module to names, with the public name behind a colon where it differs.
_NAMES = {
    "classification.classifications": "Classification",
    "classification.classifier": "Classifier classify",
    "classification.problem_codes": "ProblemCode problem_code problem_codes problem_slug",
    "connection.clients": "Clients",
    "connection.monitor": "ConnectionMonitor",
    "connection.status": "ConnectionState ConnectionStatus HealthCheckResult",
    "request.context": "RequestContext current_context declare_outcome uncounted",
    "request.outgoing_trace": "trace_headers",
    "access_tokens": "Claims make_token",
    "request.deadlines": "deadline in_request",
    "deferral.operation_status": "OperationStatus",
    "deferral.writes": "Insert Update Write WriteResult deferrable",
    "request.devices": "DeviceType device_type",
    "document": "Document",
    "request.effects": "auxiliary_writes",
    "errors": (
        "AuthenticationRequired ClientError ConcurrentModification Conflict ErrorCategory FieldError "
        "Forbidden NotFound NotKnownNow Outcome ProdFixError Severity Unguarded ValidationFailed"
    ),
    "extension": "ProdFix",
    "factory": "create_app",
    "links": "HealthRoutes links_of",
    "logs.redacted_spans": "RedactingSpanExporter",
    "queries.interceptor": "CommandRecord QueryInterceptor",
    "records.records": "ErrorRecord",
    "idempotency.keys": "current_operation_id",
    "recovery.recovery": "Recovery",
    "reporters.reporter": "ErrorReporter",
    "redaction.redactor": "redact_document redact_text redact_uri",
    "serialization": "iso",
    "services": "Services current_prodfix run_transaction",
    "settings": "Environment Settings SettingsError",
    "operations.shapes": "redact_command",
    "statistics.statistics": "ErrorStatistics",
    "web.accepted": "accepted",
    "web.idempotent": "idempotent",
    "web.sentry_events": "sentry_before_send",
    "web.authentication": "current_user require_role",
}
_HOMES = {
    name.rpartition(":")[2]: (module, name.partition(":")[0])
    for module, names in _NAMES.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # for mypy a name that is not above does not exist

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, inner = _HOMES[name]
        value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), inner)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


__all__ = [
    "AuthenticationRequired",
    "Claims",
    "Classification",
    "Classifier",
    "ClientError",
    "Clients",
    "CommandRecord",
    "ConcurrentModification",
    "Conflict",
    "ConnectionMonitor",
    "ConnectionState",
    "ConnectionStatus",
    "DeviceType",
    "Document",
    "Environment",
    "ErrorCategory",
    "ErrorRecord",
    "ErrorReporter",
    "ErrorStatistics",
    "FieldError",
    "Forbidden",
    "HealthCheckResult",
    "HealthRoutes",
    "Insert",
    "NotFound",
    "NotKnownNow",
    "OperationStatus",
    "Outcome",
    "ProblemCode",
    "ProdFix",
    "ProdFixError",
    "QueryInterceptor",
    "Recovery",
    "RedactingSpanExporter",
    "RequestContext",
    "Services",
    "Settings",
    "SettingsError",
    "Severity",
    "Unguarded",
    "Update",
    "ValidationFailed",
    "Write",
    "WriteResult",
    "accepted",
    "auxiliary_writes",
    "classify",
    "create_app",
    "current_context",
    "current_operation_id",
    "current_prodfix",
    "current_user",
    "deadline",
    "declare_outcome",
    "deferrable",
    "device_type",
    "idempotent",
    "in_request",
    "iso",
    "links_of",
    "make_token",
    "problem_code",
    "problem_codes",
    "problem_slug",
    "redact_command",
    "redact_document",
    "redact_text",
    "redact_uri",
    "require_role",
    "run_transaction",
    "sentry_before_send",
    "trace_headers",
    "uncounted",
]
