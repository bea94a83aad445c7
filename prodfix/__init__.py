"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package.
"""

from prodfix.alerts.outbox import State as DeliveryState
from prodfix.alerts.rules import Kind as AlarmKind
from prodfix.alerts.texts import Part as AlertPart
from prodfix.classification.classifications import Classification
from prodfix.classification.classifier import Classifier, classify
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.status import ConnectionState, ConnectionStatus, HealthCheckResult
from prodfix.context import RequestContext, current_context, iso, uncounted
from prodfix.credentials import Claims, make_token
from prodfix.deadlines import deadline
from prodfix.deferral.backlog import BacklogState
from prodfix.deferral.orders import Command as DeferredCommand
from prodfix.deferral.traces import OperationStatus
from prodfix.deferral.writes import Insert, Update, Write, WriteResult, deferrable
from prodfix.devices import DeviceType, device_type
from prodfix.diagnostics.selftest import TestOperation
from prodfix.documents import Document
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

__all__ = [
    "RECORD_FIELDS",
    "AlarmKind",
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
    "classify",
    "create_app",
    "current_context",
    "current_operation_id",
    "current_prodfix",
    "current_user",
    "deadline",
    "deferrable",
    "device_type",
    "error_summary",
    "idempotent",
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
