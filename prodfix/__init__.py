"""prodfix: production error management for Flask services on MongoDB.

Everything that an application, a blueprint or a check relies on is a name of this package.
"""

from prodfix.classifications import Classification
from prodfix.classifier import Classifier, classify
from prodfix.clients import Clients
from prodfix.connection import ConnectionMonitor
from prodfix.context import RequestContext, current_context
from prodfix.deadlines import deadline
from prodfix.deferred import Insert, Update, Write, WriteResult
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
    ValidationFailed,
)
from prodfix.extension import ProdFix
from prodfix.factory import create_app
from prodfix.idempotency import current_operation_id
from prodfix.interceptor import CommandRecord, QueryInterceptor
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
from prodfix.tokens import make_token, require_role

__all__ = [
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
    "Update",
    "ValidationFailed",
    "Write",
    "WriteResult",
    "classify",
    "create_app",
    "current_context",
    "current_operation_id",
    "current_prodfix",
    "deadline",
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
