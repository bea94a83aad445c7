"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package.
"""

from prodfix.acceptance import accepted
from prodfix.backlog import BACKLOG_STATES
from prodfix.classifications import Classification
from prodfix.classifier import Classifier, classify
from prodfix.clients import Clients
from prodfix.connection import ConnectionMonitor
from prodfix.context import RequestContext, current_context
from prodfix.deadlines import deadline
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
from prodfix.idempotency import current_operation_id
from prodfix.interceptor import CommandRecord, QueryInterceptor
from prodfix.orders import COMMANDS
from prodfix.queries import QUERY_SORTS
from prodfix.records import ErrorRecord
from prodfix.recovery import Recovery
from prodfix.redaction import redact_document, redact_text, redact_uri
from prodfix.replays import idempotent
from prodfix.services import Services, current_prodfix, run_transaction
from prodfix.settings import Environment, Settings, SettingsError
from prodfix.shapes import redact_command
from prodfix.statistics import TIME_RANGES, ErrorStatistics, TimeRange
from prodfix.status import ConnectionStatus, HealthCheckResult
from prodfix.tokens import current_user, make_token, require_role
from prodfix.traces import OperationStatus
from prodfix.writes import Insert, Update, Write, WriteResult, deferrable

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
