"""Collections and indexes: those that the application's models want, and those of prodfix itself."""

from __future__ import annotations

from collections.abc import Iterator

from pymongo import IndexModel

from prodfix.alerts.agreement import ALERT_CLAIMS
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.doctor.findings import Finding, NotApplicable, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.server import Server
from prodfix.doctor.subject import Subject
from prodfix.idempotency.claims import EXPIRY, KEYS
from prodfix.incidents.incident_log import HEADS, INCIDENTS
from prodfix.records.keeper import ERROR_SAMPLING, TOUCHED
from prodfix.records.record_indexes import CONNECTION_EVENTS, ERROR_LOG, difference
from prodfix.statistics.closed_hours import ERROR_DAYS
from prodfix.statistics.groups import ERROR_GROUPS, KINDS_STATE
from prodfix.statistics.windows import ERROR_HOURS, ERROR_MINUTES

# What every document of ours has.
_OURS = {
    ERROR_LOG: {"requestId", "category", "severity"},
    ERROR_SAMPLING: {"holder", "until"},
    CONNECTION_EVENTS: {"timestamp", "event", "details"},
    ERROR_MINUTES: {"timestamp", "revision"},
    ERROR_HOURS: {"timestamp", "weight"},
    ERROR_DAYS: {"timestamp", "hours"},
    ERROR_GROUPS: {"lastSeen", "releases"},
    INCIDENTS: {"cause", "from", "to"},
    HEADS: {"incident"},
    KEYS: {"claim", "expires"},
    OPERATIONS: {"operation", "state", "timestamp"},
    ALERT_CLAIMS: {"condition", "at"},
}
_BY_NAME = {ERROR_SAMPLING: [TOUCHED, KINDS_STATE]}  # documents that are ours by their IDs alone
COLLECTIONS = frozenset(_OURS)


@check("model-indexes", "database")
def models(subject: Subject) -> Iterator[Finding]:
    """Indexes, and in production validators, are as the models say."""
    documents = subject.services.documents
    if not documents.models:
        raise NotApplicable
    unique = {
        f"{model.collection_name}: create index {index.document['name']}"
        for model in documents.models
        for index in model.indexes
        if index.document.get("unique")
    }
    with subject.server.asked():
        changes = documents.differences()
    advice = "Run `flask --app wsgi prodfix indexes apply` when you deploy"
    if not subject.settings.production:
        changes = [change for change in changes if ": create index " in change]  # nothing makes the rest here
        if changes:
            yield note(
                f"indexes of models are not made yet: {'; '.join(changes[:5])}",
                "Each process makes the indexes before it first uses them, outside production",
                changes=changes[:20],
            )
        return
    missing = [change for change in changes if change in unique]
    others = [change for change in changes if change not in unique]
    if missing:
        yield error(
            f"unique indexes of models are missing, so that nothing keeps duplicates out: {'; '.join(missing[:5])}",
            advice,
            changes=missing[:20],
        )
    if others:
        yield warning(
            f"indexes and validators of models are missing: {'; '.join(others[:5])}", advice, changes=others[:20]
        )


@check("own-indexes", "database")
def expiry(subject: Subject) -> Iterator[Finding]:
    """What prodfix stores is removed when it is old, and found without a look at all of it.

    Errors are found by their kind, user, endpoint, category, severity, code, device and request. Without an index for one of them
    the database reads every stored error for each page of such a list.
    """
    missing: list[str] = []
    other: list[str] = []
    for server, wanted in _wanted(subject):
        with server.asked() as database:
            there = set(database.list_collection_names())
            for name, indexes in wanted.items():
                found = database[name].index_information() if name in there else None
                for index in indexes if found is not None else ():
                    state = difference(index, found or {})
                    (missing if state == "missing" else other if state == "other" else []).append(
                        f"{name}.{index.document['name']}"
                    )
    if missing:
        yield warning(
            f"indexes of prodfix's own collections are missing: {', '.join(missing)}",
            "A worker makes them when it starts, and `flask --app wsgi prodfix indexes apply` does it now",
            indexes=missing,
        )
    if other:
        yield note(
            f"indexes of prodfix's own collections have other options than the settings say: {', '.join(other)}",
            "They stay as they are; drop them to have them made as ERROR_RETENTION_DAYS says",
            indexes=other,
        )


def _wanted(subject: Subject) -> list[tuple[Server, dict[str, list[IndexModel]]]]:
    """Where which indexes should be: what the application's own requests need is with its data."""
    services = subject.services
    ours = services.errors.storage.indexes.wanted()
    return [
        (subject.diagnostics_server, ours),
        (subject.server, {OPERATIONS: [services.deferral.status.index()], KEYS: [EXPIRY]}),
    ]


@check("collection-names", "database")
def names(subject: Subject) -> Iterator[Finding]:
    """The collections with prodfix's names are prodfix's."""
    advice = "Rename yours: prodfix writes into that collection, and removes what is old in it"
    modelled = {model.collection_name for model in subject.services.documents.models}
    theirs = sorted(modelled.intersection(_OURS))
    with_the_data = {OPERATIONS, KEYS}
    for server, names in ((subject.diagnostics_server, set(_OURS) - with_the_data), (subject.server, with_the_data)):
        with server.asked() as database:
            there = set(database.list_collection_names())
            for name in sorted(there.intersection(names) - modelled):
                document = database[name].find_one({"_id": {"$nin": _BY_NAME.get(name, [])}})
                if document is not None and not _OURS[name].issubset(document):
                    theirs.append(name)
    if theirs:
        yield error(
            f"collections of the application have names of prodfix's: {', '.join(theirs)}", advice, collections=theirs
        )
