"""The database of what is ours, where ``DIAGNOSTICS_URI`` names one: does it answer, and is it another one?"""

from __future__ import annotations

from collections.abc import Iterator

from pymongo.errors import PyMongoError

from prodfix.connection.clients import DEFAULT_DATABASE
from prodfix.doctor.findings import Finding, NotApplicable, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.server import reason
from prodfix.doctor.subject import Subject
from prodfix.settings_values import parsed_uri


@check("diagnostics-reachable", "database")
def reachable(subject: Subject) -> Iterator[Finding]:
    """The database of the diagnostics answers."""
    if not subject.services.database.clients.apart:
        raise NotApplicable
    try:
        subject.diagnostics_server.first()
    except PyMongoError as failure:
        yield warning(
            f"the database of DIAGNOSTICS_URI does not answer: {reason(failure)}",
            "Is it up, and does its access list allow this host? Until then errors and counts wait on disk",
        )


@check("diagnostics-apart", "uri")
def apart(subject: Subject) -> Iterator[Finding]:
    """The database of the diagnostics is another one than the application's."""
    clients = subject.services.database.clients
    if not (clients.apart and clients.configured):
        raise NotApplicable
    ours, theirs = (_place(uri) for uri in (str(clients.diagnostics_uri), clients.uri))
    if ours == theirs:
        yield note(
            "DIAGNOSTICS_URI names the application's own database",
            "Take it out, or name another one: an outage of the one is now an outage of both, with connections for two",
        )
    elif ours[0] == theirs[0]:
        yield note(
            "DIAGNOSTICS_URI names another database of the application's own cluster",
            "That keeps the collections apart; for outages and disks name another cluster",
        )


def _place(uri: str) -> tuple[frozenset[str], str]:
    """The hosts, which nobody is told, and the database."""
    parsed = parsed_uri(uri)
    hosts = frozenset(f"{str(host).lower()}:{port}" for host, port in parsed["nodelist"])
    return hosts, parsed["database"] or DEFAULT_DATABASE
