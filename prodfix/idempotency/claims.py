"""The claims on idempotency keys, in MongoDB: who runs a request, and what it was answered.

A claim is one document of ``idempotency_keys``; its ``_id`` is an HMAC of user and key. Taking it, over all workers and
instances, is one insert that the unique ``_id`` decides; a claim that is overdue is taken over only as it was seen.
All times are the server's (``$$NOW``): clocks of instances may differ. Who dies when, and what a copy then finds:

====================================== ======================== =================================================
what happened                          what is left             a copy with the same key and body
====================================== ======================== =================================================
died before the claim                  nothing                  runs
claimed, and died (before or after     a claim, ``until`` its   409 until then; then it runs, once: a write that
the write)                             deadline has passed      uses the operation ID meets the first at ``_id``
the view failed (5xx, 401, 429 ...)    a claim that is over     runs, with the same operation ID
answered, the answer could not be      a claim; this worker     as the line above until then; afterwards the
stored                                 tries again each second  stored answer
the same, and the worker died too      a claim                  as if it had died before it answered
answered and stored                    claim and answer         the stored answer, until the key expires
answered, too large or streamed        claim and marker         409: it was done, its answer was not kept
the database was away from the start   nothing                  runs, with the same operation ID
the claim's reply was lost             perhaps a claim          as if claimed: what is answered is stored there
====================================== ======================== =================================================

A key stays bound to its body until it expires, whatever became of it: another body is never taken for a copy.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.synchronous.collection import Collection
from pymongo.synchronous.database import Database

from prodfix.errors import AnswerNotKept, IdempotencyKeyReused, RequestInProgress
from prodfix.slotted import frozen

KEYS = "idempotency_keys"
EXPIRY = IndexModel("expires", name="prodfix_expiry", expireAfterSeconds=0)
TRIES = 3  # a claim may be taken, or expire, between two looks
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class KeptAnswer:
    """What is sent again. ``body`` is ``None`` where it was not kept."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def to_document(self) -> dict[str, Any]:
        return {"status": self.status, "headers": list(self.headers.items()), "body": self.body}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> KeptAnswer:
        return cls(document["status"], dict(document["headers"]), document["body"])


@frozen
class Claim:
    """The right to run the request of ``fingerprint`` for ``seconds``. ``token`` is this attempt's own: who has lost the
    claim changes nothing any more."""

    identity: str
    fingerprint: str
    seconds: float
    token: str = field(default_factory=lambda: secrets.token_hex(12))


def take(database: Database[Any], claim: Claim, *, ttl: int) -> KeptAnswer | None:
    """Take the claim; the answer instead, if there is one. ``ttl`` is in seconds.

    Raises :class:`prodfix.errors.IdempotencyKeyReused`, :class:`prodfix.errors.RequestInProgress`,
    :class:`prodfix.errors.AnswerNotKept`, and what the database says.
    """
    keys, taking = database[KEYS], _taking(claim, ttl)
    for _ in range(TRIES):
        try:
            # Matches nothing but itself, sent a second time by the driver: else it is an insert, and _id is unique.
            keys.update_one({"_id": claim.identity, "claim": claim.token}, taking, upsert=True)
            return None
        except DuplicateKeyError:
            seen = _look(keys, claim)
        if seen is None:
            continue
        answer = _settled(seen, claim)
        if answer is not None:
            return answer
        if keys.update_one({"_id": claim.identity, "claim": seen["claim"]}, taking).matched_count:
            return None
    raise RequestInProgress("a copy was always faster")


def put(database: Database[Any], claim: Claim, answer: KeptAnswer | None) -> None:
    """Store the answer, or end the claim without one. Nothing changes if the claim is somebody else's by now."""
    change = {"until": _LONG_AGO} if answer is None else {"answer": answer.to_document()}
    database[KEYS].update_one({"_id": claim.identity, "claim": claim.token}, {"$set": change})


def make_index(database: Database[Any]) -> None:
    """Let the server remove what has expired."""
    try:
        database[KEYS].create_indexes([EXPIRY])
    except OperationFailure as error:
        if error.code not in (85, 86):  # an operator's own index stays
            raise


def _look(keys: Collection[Any], claim: Claim) -> dict[str, Any] | None:
    # The clock is read and the comparison is made here: the embedded server's own comparisons with $$NOW are always equal.
    return next(keys.aggregate([{"$match": {"_id": claim.identity}}, {"$set": {"now": "$$NOW"}}]), None)


def _settled(seen: Mapping[str, Any], claim: Claim) -> KeptAnswer | None:
    """The answer; ``None`` if the claim may be taken over."""
    now = _utc(seen["now"])
    if now >= _utc(seen["expires"]):  # the server removes it within a minute or so
        return None
    if not hmac.compare_digest(seen["fingerprint"], claim.fingerprint):
        raise IdempotencyKeyReused("the key came with another request before")
    if "answer" in seen:
        answer = KeptAnswer.from_document(seen["answer"])
        if answer.body is None:
            raise AnswerNotKept("the answer was too large, or a stream")
        return answer
    if now < _utc(seen["until"]):
        raise RequestInProgress("the first request with this key has not been answered yet")
    return None


def _taking(claim: Claim, ttl: int) -> list[dict[str, Any]]:
    fields = {
        "claim": claim.token,
        "fingerprint": claim.fingerprint,
        "until": {"$add": ["$$NOW", int(claim.seconds * 1000)]},
        "expires": {"$add": ["$$NOW", ttl * 1000]},
    }
    return [{"$unset": ["answer"]}, {"$set": fields}]


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
