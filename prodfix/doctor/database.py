"""MongoDB itself: does it answer, is it one that transactions work on, is its clock ours, and may prodfix write?"""

from __future__ import annotations

from collections.abc import Iterator

from pymongo.errors import PyMongoError

from prodfix.classification.classifier import classify
from prodfix.diagnostics.selftest import TestOperation
from prodfix.doctor.findings import Finding, NotApplicable, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.server import reason
from prodfix.doctor.subject import Subject
from prodfix.doctor.uri import source

OLDEST = (7, 0)  # the oldest release that MongoDB still mends (mongodb.com/legal/support-policy/lifecycles)
LATE, WRONG = 2.0, 30.0  # seconds between two clocks: worth a word, and harmful


@check("database-reachable", "database")
def reachable(subject: Subject) -> Iterator[Finding]:
    """The database answers."""
    if not subject.server.configured:
        yield _no_uri(subject)
        return
    try:
        subject.server.first()
    except PyMongoError as failure:
        meaning, place = classify(failure), source(subject)
        advice = f"Is it up, is the URI {place} right, and does its access list allow this host?"
        if not meaning.transient:
            advice = f"It refuses credentials or options of the URI {place}: compare them with its users and settings"
        yield error(f"the database does not answer: {reason(failure)}", advice, code=meaning.code)


def _no_uri(subject: Subject) -> Finding:
    if not subject.served:
        level = warning if subject.deployed else note
        return level(
            "prodfix knows no database: records and statistics are this instance's only, and gone with its disk",
            "Set MONGODB_URI, or give ProdFix(uri=...) what your own client has",
        )
    if subject.deployed:
        return error(
            "MONGODB_URI is not set, and without it gunicorn does not start", "Set it to a replica set or Atlas"
        )
    return note("MONGODB_URI is not set", "`make run` brings a database of its own; else set it")


@check("server-version", "database")
def version(subject: Subject) -> Iterator[Finding]:
    """The server's release is one that gets fixes."""
    with subject.server.asked() as database:
        told = str(database.client.admin.command("buildInfo")["version"])
    numbers = tuple(int(part) for part in told.split(".")[:2] if part.isdecimal())
    if numbers < OLDEST:
        yield warning(
            f"the server is MongoDB {told[:20]}, which gets no fixes any more",
            f"Move to {OLDEST[0]}.{OLDEST[1]} or later",
            version=told[:20],
            maxWireVersion=subject.server.hello().reply.get("maxWireVersion"),
        )


@check("server-topology", "database")
def topology(subject: Subject) -> Iterator[Finding]:
    """The server has transactions, and takes writes.

    It is a replica set or a sharded cluster.
    """
    hello = subject.server.hello()
    if hello.standalone:
        yield warning(
            "the server is a standalone: run_transaction and atomic deferrable operations fail, and nothing takes over",
            "Make it a replica set, which may have one member (`mongod --replSet`, rs.initiate())",
            topology="standalone",
        )
    elif not hello.writable:
        yield error(
            "the server that the URI leads to is no primary: every write fails",
            "Take directConnection out of the URI, and name all members, or use a mongodb+srv address",
        )


@check("clock", "database")
def clock(subject: Subject) -> Iterator[Finding]:
    """The clocks of this host and of the server agree."""
    ahead = subject.server.hello().ahead
    if ahead is None:
        raise NotApplicable
    if abs(ahead) > LATE:
        level = error if abs(ahead) > WRONG else warning
        yield level(
            f"the server's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host's",
            "Let NTP set both: ages of deferred writes, tokens and minutes of statistics compare times",
            aheadSeconds=round(ahead, 1),
        )


@check("rights", "database")
def rights(subject: Subject) -> Iterator[Finding]:
    """prodfix may write and delete in its own collections.

    The diagnostics' own test operation does.
    """
    yield from _tested(subject, "write", "Give the URI's user the role readWrite on the database")


@check("transactions", "database")
def transactions(subject: Subject) -> Iterator[Finding]:
    """A transaction commits."""
    if subject.server.hello().standalone:
        raise NotApplicable
    yield from _tested(
        subject, "transaction", "Look at the code in MongoDB's manual; a replica set is needed for transactions"
    )


def _tested(subject: Subject, operation: TestOperation, advice: str) -> Iterator[Finding]:
    with subject.server.asked():
        answer = subject.services.diagnostics.selftest.run(operation)
    if not answer.success:
        yield error(f"a {operation} in prodfix's own test collection fails: {answer.error}", advice)
