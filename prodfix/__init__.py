"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package.
"""

from prodfix.classification.classifications import Classification
from prodfix.classification.classifier import Classifier, classify
from prodfix.connection.clients import Clients
from prodfix.connection.monitor import ConnectionMonitor
from prodfix.connection.status import ConnectionStatus, HealthCheckResult
from prodfix.context import RequestContext, current_context
from prodfix.deadlines import deadline
from prodfix.deferral.backlog import BACKLOG_STATES
from prodfix.deferral.orders import COMMANDS
from prodfix.deferral.traces import OperationStatus
from prodfix.deferral.writes import Insert, Update, Write, WriteResult, deferrable
from prodfix.devices import device_type
from prodfix.diagnostics import TEST_OPERATIONS
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
    Outcome,
    ProdFixError,
    Severity,
    Unguarded,
    ValidationFailed,
)
from prodfix.extension import ProdFix
from prodfix.factory import create_app
from prodfix.queries.interceptor import CommandRecord, QueryInterceptor
from prodfix.queries.queries import QUERY_SORTS
from prodfix.records.records import ErrorRecord
from prodfix.recovery.idempotency import current_operation_id
from prodfix.recovery.recovery import Recovery
from prodfix.redaction import redact_document, redact_text, redact_uri
from prodfix.services import Services, current_prodfix, run_transaction
from prodfix.settings import Environment, Settings, SettingsError
from prodfix.shapes import redact_command
from prodfix.statistics.statistics import TIME_RANGES, ErrorStatistics, TimeRange
from prodfix.web.acceptance import accepted
from prodfix.web.replays import idempotent
from prodfix.web.tokens import current_user, make_token, require_role

__all__ = [
    "BACKLOG_STATES",
    "COMMANDS",
    "QUERY_SORTS",
    "TEST_OPERATIONS",
    "TIME_RANGES",
    "AuthenticationRequired",
    "Classification",
    "Classifier",
    "ClientError",
    "Clients",
    "CommandRecord",
    "ConcurrentModification",
    "Conflict",
    "ConnectionMonitor",
    "ConnectionStatus",
    "Document",
    "Environment",
    "ErrorCategory",
    "ErrorRecord",
    "ErrorStatistics",
    "FieldError",
    "Forbidden",
    "HealthCheckResult",
    "Insert",
    "NotFound",
    "OperationStatus",
    "Outcome",
    "ProdFix",
    "ProdFixError",
    "QueryInterceptor",
    "Recovery",
    "RequestContext",
    "Services",
    "Settings",
    "SettingsError",
    "Severity",
    "TimeRange",
    "Unguarded",
    "Update",
    "ValidationFailed",
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
    "idempotent",
    "make_token",
    "redact_command",
    "redact_document",
    "redact_text",
    "redact_uri",
    "require_role",
    "run_transaction",
]
