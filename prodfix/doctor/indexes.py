"""Collections and indexes: those that the application's models want, and those of prodfix itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo import IndexModel

from prodfix.alerts.agreement import ALERT_CLAIMS
from prodfix.deferral.operation_status import OPERATIONS
from prodfix.doctor.findings import Finding, NotApplicable, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.idempotency.claims import EXPIRY, KEYS
from prodfix.incidents.incident_log import HEADS, INCIDENTS
from prodfix.records.storage import CONNECTION_EVENTS, ERROR_LOG
from prodfix.services import Services
from prodfix.statistics.groups import ERROR_GROUPS
from prodfix.statistics.windows import ERROR_HOURS, ERROR_MINUTES

# What every document of ours has.
_OURS = {
    ERROR_LOG: {"requestId", "category", "severity"},
    CONNECTION_EVENTS: {"timestamp", "event", "details"},
    ERROR_MINUTES: {"timestamp", "revision"},
    ERROR_HOURS: {"timestamp", "weight"},
    ERROR_GROUPS: {"lastSeen", "releases"},
    INCIDENTS: {"cause", "from", "to"},
    HEADS: {"incident"},
    KEYS: {"claim", "expires"},
    OPERATIONS: {"operation", "state", "timestamp"},
    ALERT_CLAIMS: {"condition", "at"},
}


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
    """What prodfix stores is removed when it is old."""
    missing: list[str] = []
    other: list[str] = []
    with subject.server.asked() as database:
        there = set(database.list_collection_names())
        for name, indexes in _wanted(subject.services).items():
            found = database[name].index_information() if name in there else None
            for index in indexes if found is not None else ():
                state = _compare(index, found or {})
                (missing if state == "missing" else other if state == "other" else []).append(
                    f"{name}.{index.document['name']}"
                )
    if missing:
        yield warning(
            f"indexes of prodfix's own collections are missing: {', '.join(missing)}",
            "A worker makes them when it starts: start one, and see in its log why it could not",
            indexes=missing,
        )
    if other:
        yield note(
            f"indexes that remove what is old have another length than the settings say: {', '.join(other)}",
            "They stay as they are; drop them to have them made as ERROR_RETENTION_DAYS says",
            indexes=other,
        )


def _wanted(services: Services) -> dict[str, list[IndexModel]]:
    return {**services.errors.storage.indexes(), OPERATIONS: [services.deferral.status.index()], KEYS: [EXPIRY]}


def _compare(index: IndexModel, found: Mapping[str, Any]) -> str:
    """``same``, ``other`` (another length, or another name for the same key) or ``missing``."""
    wanted = dict(index.document)
    field, seconds = next(iter(wanted["key"])), wanted.get("expireAfterSeconds")
    alike = [
        one
        for one in found.values()
        if one["key"][0][0] == field and ("expireAfterSeconds" in one) == (seconds is not None)
    ]
    if not alike:
        return "missing"
    return "same" if seconds is None or any(one["expireAfterSeconds"] == seconds for one in alike) else "other"


@check("collection-names", "database")
def names(subject: Subject) -> Iterator[Finding]:
    """The collections with prodfix's names are prodfix's."""
    advice = "Rename yours: prodfix writes into that collection, and removes what is old in it"
    modelled = {model.collection_name for model in subject.services.documents.models}
    theirs = sorted(modelled.intersection(_OURS))
    with subject.server.asked() as database:
        there = set(database.list_collection_names())
        for name in sorted(there.intersection(_OURS) - modelled):
            document = database[name].find_one({})
            if document is not None and not _OURS[name].issubset(document):
                theirs.append(name)
    if theirs:
        yield error(
            f"collections of the application have names of prodfix's: {', '.join(theirs)}", advice, collections=theirs
        )
