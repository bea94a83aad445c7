"""What an admin does not want to hear of for a while: one entry for each rule, and one for all of them.

They stand in one file of ``STATE_DIR/journal``, which any process of the instance may replace (under a lock of its own, by
renaming), and for the other instances in MongoDB, beside the claims. Whoever finds two of one rule keeps the later one; so an
order that was given while MongoDB was away reaches the others once it is back. An entry that is over stays, as an answer to
an older one. There are never more than there are rules.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import orjson
from pymongo.errors import DuplicateKeyError
from pymongo.synchronous.database import Database

from prodfix.alert_settings import ALERT_KINDS, AlertKind, QuietHours, next_morning
from prodfix.alerts.agreement import ALERT_CLAIMS, MUTES
from prodfix.serialization import Description, Serializable
from prodfix.slotted import frozen

MuteRule = Literal[AlertKind, "all"]
MUTE_RULES: tuple[MuteRule, ...] = (*ALERT_KINDS, "all")
MuteSpan = Literal["1h", "morning", "ever"]
MUTE_SPANS: tuple[MuteSpan, ...] = get_args(MuteSpan)
FILE, LOCK = "mutes.json", "mutes.lock"
EVER = 253_370_764_800.0  # in the year 9999, in seconds since the epoch


@frozen
class Mute:
    """``rule`` is told nobody of until ``until``, in seconds since the epoch; ``stored``: MongoDB has it."""

    rule: MuteRule
    until: float
    by: str
    at: float
    stored: bool = False


@frozen
class MutedRule(Serializable):
    """A rule that nobody hears of, or `all`."""

    rule: MuteRule
    until: Annotated[datetime | None, Description("null: for ever")]
    by: str
    at: datetime
    everywhere: Annotated[bool, Description("False while only this instance knows: MongoDB has not answered since")]


MuteMap = Mapping[MuteRule, Mute]


def until_of(span: MuteSpan, now: float, quiet: QuietHours | None) -> float:
    if span == "1h":
        return now + 3600.0
    return next_morning(now, quiet) if span == "morning" else EVER


def muted_rules(found: MuteMap, now: float) -> list[MutedRule]:
    """Those that hold now, for who shows them."""
    return [
        MutedRule(one.rule, None if one.until >= EVER else _moment(one.until), one.by, _moment(one.at), one.stored)
        for one in sorted(found.values(), key=lambda one: MUTE_RULES.index(one.rule))
        if one.until > now
    ]


def muted_until(found: MuteMap, kind: AlertKind, now: float) -> float | None:
    """When ``kind`` may be told again; None if it may now."""
    ends = [one.until for one in (found.get(kind), found.get("all")) if one is not None and one.until > now]
    return max(ends, default=None)


# -- the file -----------------------------------------------------------------------------------------------------------------


class Mutes:
    """The file of ``folder``. All methods may wait for the disk: call them in a native thread."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / FILE, folder / LOCK
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[MuteRule, Mute] = {}

    def read(self) -> dict[MuteRule, Mute]:
        """What stands there; nothing if there is none, or it is not what was written. Raises ``OSError``."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._known = None, {}
            return {}
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._seen:
            self._known, self._seen = _decoded(self._path.read_bytes()), seen
        return dict(self._known)

    def merge(self, mutes: Iterable[Mute]) -> dict[MuteRule, Mute]:
        """What stands there, once these do, unless there are later ones. Raises ``OSError``."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = self.read()
            after = dict(before)
            for one in mutes:
                known = after.get(one.rule)
                if known is None or (one.at, one.stored) > (known.at, known.stored):
                    after[one.rule] = one
            if after != before:
                self._write(after)
            return after
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor too
            os.close(lock)

    def _write(self, mutes: Mapping[MuteRule, Mute]) -> None:
        draft = self._path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(orjson.dumps(list(mutes.values())))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def _decoded(content: bytes) -> dict[MuteRule, Mute]:
    """What is no mute, or of a rule that another release has, is left out."""
    try:
        told = orjson.loads(content)
    except ValueError:
        return {}
    found = map(_mute_of, told if isinstance(told, list) else ())
    return {one.rule: one for one in found if one is not None}


def _mute_of(told: Any) -> Mute | None:
    try:
        one = Mute(**told)
    except TypeError:
        return None
    times = all(type(at) in (int, float) and 0 <= at <= EVER for at in (one.until, one.at))
    return one if times and one.rule in MUTE_RULES and isinstance(one.by, str) else None


# -- MongoDB: these raise what it says -----------------------------------------------------------------------------------------


def store_mute(database: Database[Any], one: Mute) -> None:
    """For all instances, unless there is a later one."""
    document = {
        "condition": MUTES,
        "rule": one.rule,
        "until": _moment(one.until),
        "by": one.by,
        "at": _moment(one.at),
    }
    # If there is a later one the document is not found, and its identity is there already.
    with contextlib.suppress(DuplicateKeyError):
        database[ALERT_CLAIMS].replace_one(
            {"_id": f"{MUTES}:{one.rule}", "at": {"$lte": _moment(one.at)}}, document, upsert=True
        )


def stored_mutes(database: Database[Any]) -> list[Mute]:
    return mutes_of(database[ALERT_CLAIMS].find({"condition": MUTES}))


def mutes_of(documents: Iterable[Mapping[str, Any]]) -> list[Mute]:
    """What the documents say; what another release has written otherwise is left out."""
    found = []
    for one in documents:
        with contextlib.suppress(KeyError, AttributeError):
            if one["condition"] == MUTES and one["rule"] in MUTE_RULES:
                rule = cast(MuteRule, one["rule"])
                found.append(Mute(rule, _seconds(one["until"]), str(one["by"]), _seconds(one["at"]), stored=True))
    return found


def _moment(seconds: float) -> datetime:
    """To the millisecond, as MongoDB keeps it."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def _seconds(moment: datetime) -> float:
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), 3)


def order(rule: MuteRule, until: float, by: str, clock: Callable[[], float] = time.time) -> Mute:
    """Of now. ``until`` 0 takes back what was ordered before."""
    return Mute(rule, round(until, 3), by, round(clock(), 3))
