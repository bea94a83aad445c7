"""What is worth an alert, told by how the workers of the instance are. Nothing here reads anything.

A key that ends in ``@<instance>`` concerns that instance alone; the others are the same over all instances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Final, cast

from prodfix.alert_settings import ALL_RULES, AlertKind
from prodfix.errors import Severity
from prodfix.slotted import frozen
from prodfix.workers.worker_state import WorkerState

LOSSES = 3  # of the connection, within
LOSS_PERIOD = 900.0  # seconds
NEARLY_FULL = 0.8  # of what a worker's journal may hold
MEMORY_SHARE = 0.9  # of the limit
# Seconds in which nothing of ours is stored, until that is no blip: it is tried again after 10 and 30.
NOT_STORED = 60.0
RATES_KNOWN = 20.0  # seconds after its start in which a worker may not have looked at the error rate yet
SETTLED = (
    20.0  # seconds after its start in which a worker may not have written a line, or grown, as the one before it had
)


@frozen
class Condition:
    """Something that is wrong now. ``facts`` are codes and counts. ``level`` grows as it gets worse where more of it is worth
    another alert. ``certain``: what says so has waited already, and one look is enough. ``since``: when it began, in seconds
    since the epoch, if that is known to be before it was looked at."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    level: int = 0
    certain: bool = False
    since: float | None = None


@frozen
class JournalUse:
    """Writes that were put aside, over all workers, and how full the fullest worker's journal is (0 to 1)."""

    dead: int
    fullest: float


@frozen
class Situation:
    """How the instance is. ``workers`` are the states that its live workers wrote in the last seconds; ``journals`` is None
    while the disk does not tell; ``disk`` is why the alerts' own reading or writing failed."""

    instance: str
    workers: Sequence[WorkerState]
    now: float = 0.0
    """Seconds since the epoch"""
    journals: JournalUse | None = None
    disk: str | None = None
    memory_limit: float | None = None
    """MiB"""
    rates: Mapping[str, Any] = field(default_factory=dict)
    """The failed requests that are compared, while they are too many."""


class Unknown:
    """What the answer of a rule is while nobody can tell: what was the case goes on."""


UNKNOWN: Final = Unknown()
Finding = Condition | Unknown | None
Rule = Callable[[Situation], Finding]

EVENTS: dict[AlertKind, Severity] = {
    "new_kind": Severity.ERROR,
    "escalating": Severity.ERROR,
    "regression": Severity.ERROR,
    "unignored": Severity.ERROR,
}
"""What happens and does not last: of a kind of error, told once, and over when an admin has decided of it."""
LASTING: frozenset[AlertKind] = frozenset({"escalating", "regression", "unignored"})
"""Those of them that stand among what is wrong now until they are over, whether anybody was told or not."""
SEVERITIES: dict[AlertKind, Severity] = {**EVENTS}
RULES: dict[AlertKind, Rule] = {}
SHARED: set[AlertKind] = set()
"""Kinds that several instances see at the same time, and only one of them tells."""
_HEARD_OF: set[AlertKind] = set()
"""Kinds that one worker may see alone, and the others hear of by its journal: while one fails, its silence says nothing."""


@frozen
class Findings:
    """What is wrong, by key; and the keys of which nobody can tell."""

    found: Mapping[str, Condition]
    unknown: frozenset[str]


def conditions(situation: Situation, on: frozenset[AlertKind] = ALL_RULES) -> Findings:
    """All that is wrong, by the rules that are ``on``: of the others nobody can tell. Events are told otherwise."""
    found, unknown = {}, set()
    unheard = isinstance(_journal_failing(situation), Condition)
    for kind, rule in RULES.items():
        key = key_of(kind, situation.instance)
        finding = rule(situation) if kind in on else UNKNOWN
        if finding is None and unheard and kind in _HEARD_OF:
            finding = UNKNOWN
        if isinstance(finding, Unknown):
            unknown.add(key)
        elif finding is not None:
            found[key] = finding
    return Findings(found, frozenset(unknown))


def key_of(kind: AlertKind, instance: str) -> str:
    return kind if kind in SHARED else f"{kind}@{instance}"


def kind_of(key: str) -> AlertKind:
    return cast(AlertKind, key.partition("@")[0].partition(":")[0])


# -- the rules --------------------------------------------------------------------------------------------------------------


def _rule(
    kind: AlertKind, severity: Severity, *, shared: bool = False, heard_of: bool = False
) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        SEVERITIES[kind], RULES[kind] = severity, rule
        SHARED.update([kind] if shared else [])
        _HEARD_OF.update([kind] if heard_of else [])
        return rule

    return register


def _seeing(situation: Situation, cause: str) -> int:
    return sum(cause in worker.incidents for worker in situation.workers)


def _uptime(situation: Situation) -> float:
    return max((worker.uptime_seconds for worker in situation.workers), default=0.0)


def _settled(situation: Situation) -> bool:
    """Whether there are workers, and all have been there for a while: what a worker saw that is gone, its successor may not
    have seen yet."""
    return min((worker.uptime_seconds for worker in situation.workers), default=0.0) >= SETTLED


def _lost(situation: Situation) -> bool:
    """Whether the database is lost, or nobody knows that it is not."""
    return bool(_seeing(situation, "database_lost")) or not any(
        worker.connection.state == "connected" for worker in situation.workers
    )


@_rule("database_lost", Severity.CRITICAL, shared=True)
def _database_lost(situation: Situation) -> Finding:
    if seeing := _seeing(situation, "database_lost"):
        return Condition({"workers": f"{seeing} of {len(situation.workers)}"}, certain=True)
    # A worker that has just begun has lost nothing yet, and says nothing.
    answered = any(worker.connection.state == "connected" for worker in situation.workers)
    return None if answered else UNKNOWN


@_rule("connection_failures", Severity.ERROR, shared=True)
def _connection_failures(situation: Situation) -> Finding:
    # Each worker sees each loss.
    losses = max((worker.losses for worker in situation.workers), default=0)
    if losses >= LOSSES:
        return Condition({"losses": losses, "minutes": int(LOSS_PERIOD / 60)}, certain=True)
    # While it is lost for good it is lost no more often: that is not over.
    return None if _uptime(situation) >= LOSS_PERIOD and not _lost(situation) else UNKNOWN


@_rule("error_rate", Severity.ERROR, shared=True, heard_of=True)
def _error_rate(situation: Situation) -> Finding:
    if _seeing(situation, "error_rate"):
        return Condition(dict(situation.rates), certain=True)
    # While the database is lost nobody compares rates: what is not looked at is not over.
    return None if _uptime(situation) >= RATES_KNOWN and not _seeing(situation, "database_lost") else UNKNOWN


@_rule("dead_letters", Severity.ERROR, heard_of=True)
def _dead_letters(situation: Situation) -> Finding:
    if situation.journals is None:
        return UNKNOWN
    dead = situation.journals.dead
    if dead:
        return Condition({"dead": dead}, level=dead)
    # What stands in a journal of another version nobody reads.
    return UNKNOWN if any(worker.journal.other_versions for worker in situation.workers) else None


@_rule("storage_failing", Severity.CRITICAL, shared=True, heard_of=True)
def _storage_failing(situation: Situation) -> Finding:
    told = [worker.storage for worker in situation.workers]
    failing = [(one.refused, one.since) for one in told if one.refused]
    failing += [("DIAGNOSTICS_URI does not answer", one.lost_since) for one in told]
    lasting = [(why, since.timestamp()) for why, since in failing if since is not None and _lasts(situation, since)]
    if lasting:
        reasons, waiting = sorted({why for why, _ in lasting}), sum(one.waiting for one in told)
        facts = {"reason": ", ".join(reasons), "waiting": waiting}
        return Condition(facts, certain=True, since=min(since for _, since in lasting))
    if any(one.refused or one.lost_since for one in told):
        return UNKNOWN  # a blip perhaps, or not over
    # A worker that has just begun, or has the database back, has not tried yet what another one could not store.
    connected = min((worker.connection.uptime for worker in situation.workers), default=0.0)
    return None if connected >= SETTLED and _settled(situation) else UNKNOWN


def _lasts(situation: Situation, since: datetime) -> bool:
    """Whether it is so for longer than a blip. A clock that was turned back keeps nobody waiting."""
    return not 0 <= situation.now - since.timestamp() < NOT_STORED


@_rule("log_sink", Severity.ERROR, heard_of=True)
def _log_sink(situation: Situation) -> Finding:
    failing = {sink.name: sink.failing for worker in situation.workers for sink in worker.logs.sinks if sink.failing}
    if not failing:
        return None if _settled(situation) else UNKNOWN
    return Condition({"sinks": dict(sorted(failing.items()))})


@_rule("journal_failing", Severity.CRITICAL)
def _journal_failing(situation: Situation) -> Finding:
    failing = {worker.journal.failing for worker in situation.workers} | {situation.disk}
    reasons = sorted(reason for reason in failing if reason)
    if reasons:
        return Condition({"reason": ", ".join(reasons)})
    return None if situation.workers else UNKNOWN


@_rule("journal_full", Severity.ERROR, heard_of=True)
def _journal_full(situation: Situation) -> Finding:
    if situation.journals is None:
        return UNKNOWN
    share = situation.journals.fullest
    return Condition({"percent": int(share * 100)}) if share >= NEARLY_FULL else None


@_rule("journal_damaged", Severity.CRITICAL, heard_of=True)
def _journal_damaged(situation: Situation) -> Finding:
    # Each worker looks at the same folder; more files, or more that is gone, are worth another alert.
    told = [worker.journal for worker in situation.workers]
    files = max((one.quarantined for one in told), default=0)
    lost = max((one.lost_writes for one in told), default=0)
    if not files:
        return None if told else UNKNOWN
    return Condition({"files": files, "lost": lost}, level=files + lost, certain=True)


@_rule("memory", Severity.CRITICAL, heard_of=True)
def _memory(situation: Situation) -> Finding:
    limit = situation.memory_limit
    told = [worker.environment.memory for worker in situation.workers]
    sizes = [(one.resident_mb, one.shared_mb or 0.0) for one in told if one is not None and one.resident_mb]
    if limit is None or not sizes:
        return None if limit is None else UNKNOWN
    used = sum(whole - shared for whole, shared in sizes) + max(shared for _, shared in sizes)
    facts = {"usedMb": round(used), "limitMb": round(limit), "workers": len(sizes)}
    if used > limit * MEMORY_SHARE:
        return Condition(facts)
    return None if _settled(situation) and len(sizes) == len(told) else UNKNOWN
