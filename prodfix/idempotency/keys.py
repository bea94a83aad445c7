"""Idempotent requests: IDs and fingerprints, the claim before a view runs, and its answer after it. Knows no HTTP.

Source: draft-ietf-httpapi-idempotency-key-header-07: sections 2.4 (fingerprint), 2.6 and 2.7 (first, repeated and
concurrent requests), 5 (the key is looked up together with the user, so that nobody is given another one's answer).
What is left when something dies stands in :mod:`prodfix.idempotency.claims`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.synchronous.database import Database

from prodfix.classification.classifier import Classifier
from prodfix.deferral.writes import new_identity
from prodfix.errors import AnswerNotKept, IdempotencyKeyReused, Outcome, RequestInProgress
from prodfix.idempotency import claims
from prodfix.idempotency.claims import Claim, KeptAnswer
from prodfix.request.context import current_context, declare_outcome
from prodfix.serialization import Serializable
from prodfix.settings import Settings
from prodfix.slotted import frozen

LARGEST = 64 * 1024  # bytes of a body that is stored, and of one whose JSON is compared by content
CLAIM_LIMIT = 2.0  # seconds; by then the pinger knows of a database that has gone
INDEX_LIMIT = 5.0
STORE_LIMIT = 0.4  # seconds; a request that is over its deadline is answered within 500 ms
WAITING = 100  # answers of this worker that may wait to be stored

Report = Callable[[str, Mapping[str, Any]], None]


_REFUSALS: dict[type[Exception], str] = {
    RequestInProgress: "in_progress",
    IdempotencyKeyReused: "reused",
    AnswerNotKept: "not_kept",
}


@frozen
class IdempotencyCounts(Serializable):
    """Of requests with a key. ``unprotected`` ran while the database was away; ``waiting`` answers are to be stored yet,
    ``lost`` ones never will be."""

    claimed: int = 0
    replayed: int = 0
    in_progress: int = 0
    reused: int = 0
    not_kept: int = 0
    unprotected: int = 0
    unstored: int = 0
    lost: int = 0
    waiting: int = 0


class Idempotency:
    """The keys of one application.

    ``secret`` is the same in all workers and instances of a deployment, and so are therefore all IDs. Without one they
    meet all the same, and whoever reads the collection can check a guess of user and key. With another one, what was
    claimed before is not found again. ``ttl`` is in seconds; ``database`` gives ``None`` while it is known to be down.
    """

    def __init__(
        self,
        database: Callable[[], Database[Any] | None],
        classifier: Classifier,
        *,
        secret: str,
        ttl: int,
        report: Report = lambda message, facts: None,
    ) -> None:
        self._database, self._classifier = database, classifier
        self._secret = hmac.digest(secret.encode(), b"prodfix idempotency 1", "sha256")
        self._ttl = ttl
        self._report = report
        self._counts: Counter[str] = Counter()
        self._unstored: deque[tuple[Claim, KeptAnswer | None]] = deque()
        self._used = self._indexed = self._failing = False

    @classmethod
    def made(
        cls,
        settings: Settings,
        database: Callable[[], Database[Any] | None],
        classifier: Classifier,
        *,
        report: Callable[[str, Mapping[str, Any]], None],
    ) -> Idempotency:
        """That of an application."""
        key = settings.jwt_secret_key
        secret = key.get_secret_value() if key else ""
        return cls(database, classifier, secret=secret, ttl=settings.idempotency_ttl, report=report)

    def operation_id(self, user: str, route: str, key: str) -> str:
        """What every copy of a request uses as ``_id``, on any worker, also while the database is away: 24 hex digits."""
        return self._digest("operation", user, route, key)[:12].hex()

    def fingerprint(
        self, method: str, route: str, arguments: Mapping[str, Any], query: bytes, body: bytes, *, is_json: bool
    ) -> str:
        """What makes two requests the same. JSON counts by its content: clients may order its members anew each time."""
        values = [f"{name}={value}" for name, value in sorted(arguments.items())]
        content = _canonical(body) if is_json and len(body) <= LARGEST else body
        return self._digest("request", method, route, str(len(values)), *values, query, content).hex()

    def claim(self, user: str, key: str, fingerprint: str, *, seconds: float) -> Claim | KeptAnswer | None:
        """The claim, for ``seconds``; the answer if the request was answered before; ``None`` while the database is away.

        Raises :class:`prodfix.errors.IdempotencyKeyReused`, :class:`prodfix.errors.RequestInProgress`,
        :class:`prodfix.errors.AnswerNotKept`, and what a database that is there but refuses, or is late, says.
        """
        database = self._database()
        if database is None:
            self._counts["unprotected"] += 1
            return None
        self._used = True
        claim = Claim(self._digest("key", user, key).hex(), fingerprint, seconds)
        try:
            with pymongo.timeout(CLAIM_LIMIT):
                answer = claims.take(database, claim, ttl=self._ttl)
        except (IdempotencyKeyReused, RequestInProgress, AnswerNotKept) as refusal:
            self._counts[_REFUSALS[type(refusal)]] += 1
            raise
        except PyMongoError as error:
            if not self._away(error):
                declare_outcome(Outcome.NOT_APPLIED)  # the claim perhaps was; of the view nothing has run
                raise
            self._counts["unprotected"] += 1
            return claim  # it may have been taken, and then the answer belongs there
        self._counts["claimed" if answer is None else "replayed"] += 1
        return claim if answer is None else answer

    def settle(self, claim: Claim, make: Callable[[], KeptAnswer | None]) -> None:
        """Store what ``make`` says was answered; ``None`` lets the next copy run. Never raises, and waits ``STORE_LIMIT``
        at most, which is not the request's time: that may be over. What fails is tried again by :meth:`work`."""
        try:
            answer = make()
            stored = Context().run(self._store, claim, answer)
        except Exception as error:  # noqa: BLE001 - the request has its answer already, and must get it
            self._failed(error)
            return
        if stored:
            return
        if len(self._unstored) < WAITING:
            self._unstored.append((claim, answer))
        else:
            self._counts["lost"] += 1

    def work(self) -> None:
        """Store the answers that wait; in the background, while the database answers."""
        while self._unstored:
            claim, answer = self._unstored.popleft()
            if not self._store(claim, answer):
                self._unstored.appendleft((claim, answer))
                return
        if self._used and not self._indexed:
            self._make_index()

    def counts(self) -> IdempotencyCounts:
        """Since this worker began."""
        return IdempotencyCounts(**self._counts, waiting=len(self._unstored))

    def _make_index(self) -> None:
        database = self._database()
        if database is None:
            return
        try:
            with pymongo.timeout(INDEX_LIMIT):
                claims.make_index(database)
        except OperationFailure as error:
            # Refused: keys that have expired count no more, but stay. What is merely late is tried again.
            if getattr(error, "timeout", False):
                return
            self._report("the index that removes expired keys cannot be made", {"error": type(error).__name__})
        except PyMongoError:
            return
        self._indexed = True

    def _store(self, claim: Claim, answer: KeptAnswer | None) -> bool:
        """Whether no other try is needed."""
        database = self._database()
        if database is None:
            return False
        try:
            with pymongo.timeout(STORE_LIMIT):
                claims.put(database, claim, answer)
        except PyMongoError as error:
            self._failed(error)
            return False
        if self._failing:
            self._failing = False
            self._report("answers are stored again", {})
        return True

    def _failed(self, error: Exception) -> None:
        self._counts["unstored"] += 1
        if not self._failing:
            self._failing = True
            self._report("answers cannot be stored", {"error": type(error).__name__})

    def _away(self, error: PyMongoError) -> bool:
        meaning = self._classifier.classify(error)
        return self._database() is None or (meaning.code == "DATABASE_UNAVAILABLE" and meaning.transient)

    def _digest(self, label: str, *parts: str | bytes) -> bytes:
        state = hmac.new(self._secret, label.encode(), "sha256")
        for part in parts:
            data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            state.update(len(data).to_bytes(8, "big") + data)
        return state.digest()


def current_operation_id(label: str = "") -> str:
    """The operation ID of the current request: the same for every copy with its ``Idempotency-Key``, else made for it.

    For ``Write(..., id=current_operation_id())`` or as an ``_id``. A view that writes twice gives each write a ``label``.
    """
    context = current_context()
    if context is None:
        return new_identity()
    context.notes.identified = True
    if context.notes.operation_id is None:
        context.notes.operation_id = new_identity()
    if not label:
        return context.notes.operation_id
    return hashlib.sha256(f"{context.notes.operation_id} {label}".encode()).hexdigest()[:24]


def _canonical(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()
    except (ValueError, RecursionError):  # what is no JSON is compared as it is
        return body
