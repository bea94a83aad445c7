"""The listener that counts each command for the metrics too. Without metrics nobody loads it, and the plain one has no trace of
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandSucceededEvent

from prodfix.metrics.tallies import Tallies
from prodfix.operations.command_stats import CommandStats
from prodfix.operations.fingerprints import CommandKey, collection_of, shown_collection
from prodfix.queries.interceptor import CommandOutcome, QueryInterceptor

UNKNOWN = "_OTHER"  # as the conventions call an error that nobody can name
LONGEST = 60  # characters of a name of the driver's


class MeasuredStats(CommandStats):
    """Counts what has succeeded by the same key. ``tallies`` is asked for when the first command ends."""

    def __init__(self, tallies: Callable[[], Tallies | None]) -> None:
        super().__init__()
        self._tallies = tallies
        self._found: Tallies | None = None

    def count(self, name: str, command: Mapping[str, Any], micros: int, failed: bool) -> CommandKey:
        key = super().count(name, command, micros, failed)
        if not failed:  # of what has failed MeasuredInterceptor knows more
            tallies = self._found or self.found()
            if tallies is not None:
                tallies.command(key[0], key[1], micros)
        return key

    def found(self) -> Tallies | None:
        """None once the application is gone."""
        if self._found is None:
            self._found = self._tallies()
        return self._found


class MeasuredInterceptor(QueryInterceptor):
    """As the plain one. What fails is counted with its error."""

    def __init__(self, tallies: Callable[[], Tallies | None], **others: Any) -> None:
        super().__init__(**others)
        self.command_stats: MeasuredStats = MeasuredStats(tallies)

    def _record(
        self,
        event: CommandSucceededEvent | CommandFailedEvent,
        command: Mapping[str, Any],
        outcome: CommandOutcome,
        reply: Mapping[str, Any],
    ) -> None:
        if outcome in ("failed", "partly_failed") and (tallies := self.command_stats.found()) is not None:
            name = event.command_name
            tallies.command(name, shown_collection(collection_of(name, command)), event.duration_micros, _error(reply))
        super()._record(event, command, outcome, reply)


def _error(reply: Mapping[str, Any]) -> str:
    """The server's code, or the class of the driver's error (pymongo.pool's ``_convert_exception``)."""
    errors = reply.get("writeErrors") or ()
    found = errors[0] if errors else reply.get("writeConcernError") or reply
    if isinstance(found, Mapping):
        code, kind = found.get("code"), found.get("errtype")
        if isinstance(code, int):
            return str(code)
        if isinstance(kind, str) and kind.isidentifier():
            return kind[:LONGEST]
    return UNKNOWN
