"""What the services answer, as types, for who shows it: a page, an API and its document, a check. Nothing is defined here.

Beside :mod:`prodfix` the only module of this library that a plug-in imports. An envelope of one's own is a frozen dataclass
of base :class:`Serializable`; what is ``INLINE`` has its fields in the envelope.
"""

from prodfix.alerts.alerts_report import AlertsReport
from prodfix.deferral.admin import Command as DeferredCommand
from prodfix.deferral.backlog import BacklogState, CarriedOut, DeferredEntry, DeferredWrite, Ordered
from prodfix.diagnostics.report import DatabaseReport, DeferredCounts, InstanceReport
from prodfix.diagnostics.requests import RequestReport
from prodfix.diagnostics.selftest import Tested, TestOperation
from prodfix.errors import FieldProblem
from prodfix.incidents.incident_log import Incident, IncidentState
from prodfix.incidents.observed import IncidentCause
from prodfix.queries.query_statistics import QueryPage, QuerySort
from prodfix.records.lookup import StoredEvent
from prodfix.records.records import ErrorSummary
from prodfix.serialization import INLINE, Description, Serializable, inlined, to_json
from prodfix.statistics.groups import GroupState, GroupSummary
from prodfix.statistics.statistics import Coverage, ErrorStatistics, SeriesPoint, TimeRange
from prodfix.statistics.windows import Scope

__all__ = [
    "INLINE",
    "AlertsReport",
    "BacklogState",
    "CarriedOut",
    "Coverage",
    "DatabaseReport",
    "DeferredCommand",
    "DeferredCounts",
    "DeferredEntry",
    "DeferredWrite",
    "Description",
    "ErrorStatistics",
    "ErrorSummary",
    "FieldProblem",
    "GroupState",
    "GroupSummary",
    "Incident",
    "IncidentCause",
    "IncidentState",
    "InstanceReport",
    "Ordered",
    "QueryPage",
    "QuerySort",
    "RequestReport",
    "Scope",
    "Serializable",
    "SeriesPoint",
    "StoredEvent",
    "TestOperation",
    "Tested",
    "TimeRange",
    "inlined",
    "to_json",
]
