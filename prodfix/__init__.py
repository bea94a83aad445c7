"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package. Each is loaded when it is first
asked for (PEP 562): who needs one of them does not load the driver, Flask and all the rest of it. gunicorn's arbiter, which
must not load them, redacts with :mod:`prodfix.redaction` as everybody does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prodfix.alerts.conditions import AlertKind
    from prodfix.alerts.messages import AlertPart
    from prodfix.alerts.notifications import DeliveryState
    from prodfix.classification.classifications import Classification
    from prodfix.classification.classifier import Classifier, classify
    from prodfix.connection.clients import Clients
    from prodfix.connection.monitor import ConnectionMonitor
    from prodfix.connection.status import ConnectionState, ConnectionStatus, HealthCheckResult
    from prodfix.context import RequestContext, current_context, declare_outcome, iso, uncounted
    from prodfix.credentials import Claims, make_token
    from prodfix.deadlines import deadline, in_request
    from prodfix.deferral.backlog import BacklogState
    from prodfix.deferral.orders import Command as DeferredCommand
    from prodfix.deferral.traces import OperationStatus
    from prodfix.deferral.writes import Insert, Update, Write, WriteResult, deferrable
    from prodfix.devices import DeviceType, device_type
    from prodfix.diagnostics.selftest import TestOperation
    from prodfix.documents import Document
    from prodfix.effects import auxiliary_writes
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
    from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
    from prodfix.queries.queries import QuerySort
    from prodfix.records.incident_log import IncidentState
    from prodfix.records.incidents import IncidentCause
    from prodfix.records.lookup import RECORD_FIELDS, Place, Wanted, shown
    from prodfix.records.records import ErrorRecord, error_summary
    from prodfix.recovery.idempotency import current_operation_id
    from prodfix.recovery.recovery import Recovery
    from prodfix.redaction import redact_document, redact_text, redact_uri
    from prodfix.services import Services, current_prodfix, run_transaction
    from prodfix.settings import Environment, Settings, SettingsError
    from prodfix.shapes import redact_command
    from prodfix.statistics.groups import GroupState
    from prodfix.statistics.statistics import ErrorStatistics, TimeRange
    from prodfix.web.acceptance import accepted
    from prodfix.web.replays import idempotent
    from prodfix.web.tokens import current_user, require_role

# The same once more, for when the program runs: module to names, with the public name behind a colon where it differs.
_NAMES = {
    "alerts.conditions": "AlertKind",
    "alerts.messages": "AlertPart",
    "alerts.notifications": "DeliveryState",
    "classification.classifications": "Classification",
    "classification.classifier": "Classifier classify",
    "connection.clients": "Clients",
    "connection.monitor": "ConnectionMonitor",
    "connection.status": "ConnectionState ConnectionStatus HealthCheckResult",
    "context": "RequestContext current_context declare_outcome iso uncounted",
    "credentials": "Claims make_token",
    "deadlines": "deadline in_request",
    "deferral.backlog": "BacklogState",
    "deferral.orders": "Command:DeferredCommand",
    "deferral.traces": "OperationStatus",
    "deferral.writes": "Insert Update Write WriteResult deferrable",
    "devices": "DeviceType device_type",
    "diagnostics.selftest": "TestOperation",
    "documents": "Document",
    "effects": "auxiliary_writes",
    "errors": (
        "AuthenticationRequired ClientError ConcurrentModification Conflict ErrorCategory FieldError "
        "Forbidden NotFound NotKnownNow Outcome ProdFixError Severity Unguarded ValidationFailed"
    ),
    "extension": "ProdFix",
    "factory": "create_app",
    "queries.interceptor": "CommandRecord QueryInterceptor",
    "queries.queries": "QuerySort",
    "records.incident_log": "IncidentState",
    "records.incidents": "IncidentCause",
    "records.lookup": "RECORD_FIELDS Place Wanted shown",
    "records.records": "ErrorRecord error_summary",
    "recovery.idempotency": "current_operation_id",
    "recovery.recovery": "Recovery",
    "redaction": "redact_document redact_text redact_uri",
    "services": "Services current_prodfix run_transaction",
    "settings": "Environment Settings SettingsError",
    "shapes": "redact_command",
    "statistics.groups": "GroupState",
    "statistics.statistics": "ErrorStatistics TimeRange",
    "web.acceptance": "accepted",
    "web.replays": "idempotent",
    "web.tokens": "current_user require_role",
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
    "RECORD_FIELDS",
    "AlertKind",
    "AlertPart",
    "AuthenticationRequired",
    "BacklogState",
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
    "DeferredCommand",
    "DeliveryState",
    "DeviceType",
    "Document",
    "Environment",
    "ErrorCategory",
    "ErrorRecord",
    "ErrorStatistics",
    "FieldError",
    "Forbidden",
    "GroupState",
    "HealthCheckResult",
    "IncidentCause",
    "IncidentState",
    "Insert",
    "NotFound",
    "NotKnownNow",
    "OperationStatus",
    "Outcome",
    "Place",
    "ProdFix",
    "ProdFixError",
    "QueryInterceptor",
    "QuerySort",
    "Recovery",
    "RequestContext",
    "Services",
    "Settings",
    "SettingsError",
    "Severity",
    "TestOperation",
    "TimeRange",
    "Unguarded",
    "Update",
    "ValidationFailed",
    "Wanted",
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
    "error_summary",
    "idempotent",
    "in_request",
    "iso",
    "make_token",
    "redact_command",
    "redact_document",
    "redact_text",
    "redact_uri",
    "require_role",
    "run_transaction",
    "shown",
    "uncounted",
]
