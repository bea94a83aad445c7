"""What the services answer, as types, for who shows it: a page, an API and its document, a check. Nothing is defined here.

Beside :mod:`prodfix` the only module of this library that a plug-in imports. An envelope of one's own is a frozen dataclass
of base :class:`Serializable`; what is ``INLINE`` has its fields in the envelope.
"""

from prodfix.alerts.alerts_report import AlertsReport
from prodfix.alerts.mutes import MUTE_RULES, MutedRule, MuteRule, MuteSpan
from prodfix.deferral.admin import Command as DeferredCommand
from prodfix.deferral.backlog import CarriedOut, DeferredEntry, DeferredWrite, Ordered
from prodfix.deferral.backlog_groups import BacklogGroup, BacklogState, OrderedAlike
from prodfix.deferral.operation_status import OperationAnswer
from prodfix.diagnostics.report import DatabaseReport, DeferredCounts, InstanceReport
from prodfix.diagnostics.requests import RequestReport
from prodfix.diagnostics.selftest import Tested, TestOperation
from prodfix.errors import FieldProblem
from prodfix.incidents.incident_log import Incident, IncidentState
from prodfix.incidents.observed import IncidentCause
from prodfix.logs.request_lines import RequestLog
from prodfix.queries.query_statistics import QueryFigures, QueryPage, QuerySort
from prodfix.records.lookup import StoredEvent
from prodfix.records.records import ErrorSummary
from prodfix.records.wanted_records import SERVICE, CountedErrors
from prodfix.request.notes import SentCommand
from prodfix.serialization import INLINE, OMITTED, Description, Serializable, inlined, to_json
from prodfix.statistics.counts import Counts, ErrorKey
from prodfix.statistics.decisions import Escalation, GroupState, Ignored, Note
from prodfix.statistics.group_list import GroupFilter, GroupSort
from prodfix.statistics.group_summary import Group, GroupSummary
from prodfix.statistics.rates import RECENT as ERROR_RATE_MINUTES
from prodfix.statistics.route_figures import EndpointFigures, RouteSort
from prodfix.statistics.statistics import CountedWindow, Coverage, ErrorStatistics, SeriesPoint, TimeRange
from prodfix.statistics.triage import TriageResult
from prodfix.statistics.windows import Scope
from prodfix.version import VERSION
from prodfix.workers.log_levels import LONGEST as LONGEST_LEVEL
from prodfix.workers.log_levels import NAME as LOGGER_NAME
from prodfix.workers.log_levels import LogLevelsReport, UsualLevel
from prodfix.workers.worker_stacks import StacksReport

__all__ = [
    "ERROR_RATE_MINUTES",
    "INLINE",
    "LOGGER_NAME",
    "LONGEST_LEVEL",
    "MUTE_RULES",
    "OMITTED",
    "SERVICE",
    "VERSION",
    "AlertsReport",
    "BacklogGroup",
    "BacklogState",
    "CarriedOut",
    "CountedErrors",
    "CountedWindow",
    "Counts",
    "Coverage",
    "DatabaseReport",
    "DeferredCommand",
    "DeferredCounts",
    "DeferredEntry",
    "DeferredWrite",
    "Description",
    "EndpointFigures",
    "ErrorKey",
    "ErrorStatistics",
    "ErrorSummary",
    "Escalation",
    "FieldProblem",
    "Group",
    "GroupFilter",
    "GroupSort",
    "GroupState",
    "GroupSummary",
    "Ignored",
    "Incident",
    "IncidentCause",
    "IncidentState",
    "InstanceReport",
    "LogLevelsReport",
    "MuteRule",
    "MuteSpan",
    "MutedRule",
    "Note",
    "OperationAnswer",
    "Ordered",
    "OrderedAlike",
    "QueryFigures",
    "QueryPage",
    "QuerySort",
    "RequestLog",
    "RequestReport",
    "RouteSort",
    "Scope",
    "SentCommand",
    "Serializable",
    "SeriesPoint",
    "StacksReport",
    "StoredEvent",
    "TestOperation",
    "Tested",
    "TimeRange",
    "TriageResult",
    "UsualLevel",
    "inlined",
    "to_json",
]
