"""What becomes known of a request while it is served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

from prodfix.operations.fingerprints import CommandKey
from prodfix.operations.operation import DatabaseOperation
from prodfix.redaction.names import mask_key
from prodfix.redaction.redactor import redact_text
from prodfix.request.devices import DeviceType
from prodfix.request.effects import Effects
from prodfix.request.trace_context import Carried
from prodfix.serialization import Description, Millis, Serializable, json_maker
from prodfix.slotted import frozen

TRAIL = 20  # commands of a request that an error record shows
KINDS = 200  # kinds of commands of a request that are told apart

Ends = tuple[float, float]
"""When the request's time is over, and when the database's is, in monotonic seconds."""


class Notes:
    """What becomes known while a request is served: the user once a view has verified one, its database commands, the
    ID of what it does (:func:`prodfix.current_operation_id`), and what recovery did: ``retries`` are our own,
    ``driver_retries`` commands that the driver has sent again by itself. ``identified``: the view has asked for that ID;
    ``stored``: an error of it is kept under its ID; ``conflict_at`` is when (in the monotonic clock's seconds) a write met a
    conflict, None if something may have been applied since; ``holding``: somebody will call :meth:`tell` when the request ends;
    ``ends``: its deadline, while it is served; ``carried``: what came along of its caller's trace; ``span``: the application's
    own of this request, where it has a tracer; ``outcome``: what that was told of the answer, and ``outcome_of`` of which error
    (its ``id``, as it may hold the request).

    Of most requests nothing becomes known: what is here stands in the class until it is another."""

    user_id: str | None = None
    commands: int = 0
    command_micros: int = 0
    failed: DatabaseOperation | None = None
    ledger: Effects | None = None
    retries: int = 0
    driver_retries: int = 0
    recovered: bool = False
    operation_id: str | None = None
    identified: bool = False
    keyed: bool = False
    uncounted: bool = False
    unlogged: bool = False
    stored: bool = False
    conflict_at: float | None = None
    holding: bool = False
    _held: tuple[DatabaseOperation, Callable[[], None]] | None = None
    ends: Ends | None = None
    device: DeviceType | None = None
    carried: Carried | None = None
    span: Any = None
    outcome: dict[str, Any] | None = None
    outcome_of: int | None = None
    _kinds: dict[CommandKey, int] | None = None
    _trail: deque[tuple[CommandKey, int, bool, float]] | None = None

    @property
    def effects(self) -> Effects:
        """What its writes came to. Most requests write nothing, and have no ledger before they are asked for it."""
        if self.ledger is None:
            self.ledger = Effects()
        return self.ledger

    def count(self, key: CommandKey, micros: int, failed: bool, ended: float) -> int:
        """Note one command that ended at ``ended``, in the monotonic clock's seconds; how many of its kind there were in this
        request (0 for kinds beyond the limit)."""
        self.commands += 1
        self.command_micros += micros
        if self._trail is None or self._kinds is None:
            self._trail, self._kinds = deque(maxlen=TRAIL), {}
        self._trail.append((key, micros, failed, ended))
        seen = self._kinds.get(key, 0)
        if not seen and len(self._kinds) >= KINDS:
            return 0
        self._kinds[key] = seen + 1
        return seen + 1

    def hold(self, operation: DatabaseOperation, tell: Callable[[], None]) -> None:
        """Let the telling of an operation that failed wait until another one fails, or the request ends: the error in which it
        may end tells of it too. One that goes on may end in it all the same, as a guarded write does that looks what is there."""
        self.tell()
        self._held = operation, tell

    def answered(self, operation: DatabaseOperation | None) -> None:
        """It is told by an error."""
        if self._held is not None and self._held[0] is operation:
            self._held = None

    def tell(self) -> None:
        """What waits, if no error has told it."""
        if self._held is not None:
            _, tell = self._held
            self._held = None
            tell()

    def trail_json(self, begun: float) -> list[dict[str, Any]]:
        """The last commands of the request, oldest first: each a :class:`SentCommand`. ``begun``: when the request came."""
        return [
            _sent(
                key.operation,
                key.collection,
                micros / 1e3,
                failed,
                round(max(0.0, (ended - begun) * 1e3 - micros / 1e3), 3),
                tuple(sorted({_shown_name(name) for name in key.fields})),
            )
            for key, micros, failed, ended in self._trail or ()
        ]


@frozen
class SentCommand(Serializable):
    """One command of a request."""

    operation: str = ""
    collection: str | None = None
    duration_ms: Millis = None
    failed: bool = False
    offset_ms: Annotated[Millis, Description("From the begin of the request to that of the command")] = None
    fields: Annotated[tuple[str, ...], Description("Names of its filter's fields")] = ()


_sent = json_maker(SentCommand)


@lru_cache(4096)
def _shown_name(name: str) -> str:
    """The name of a filter's field, which may be data where somebody has made a key of it: the key of a command has it as it
    came."""
    return redact_text(mask_key(name))
