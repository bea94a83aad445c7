"""What an engine has of its instance: which other workers live, how each is, and what is asked of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prodfix.deferral.admin import COMMANDS_FOLDER
from prodfix.instance.heartbeat import Heartbeat
from prodfix.instance.presence import Presence
from prodfix.journal.journal import Journal
from prodfix.process.lazy import Lazy, made_once
from prodfix.workers.asks import Asks
from prodfix.workers.log_levels import LogLevels
from prodfix.workers.worker_state import WorkerState
from prodfix.workers.workers import Workers


class EngineInstance(Lazy):
    """``state``: how this worker is; ``follow`` takes the levels that all workers are to log at. ``muted``: the applications
    are under test, and there is nobody else."""

    def __init__(
        self,
        journal: Journal,
        *,
        state: Callable[[], WorkerState],
        follow: Callable[[Mapping[str, str]], None],
        muted: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.journal, self._state, self._follow, self._muted = journal, state, follow, muted
        self.presence = Presence(journal.folder, watched=journal.folder / COMMANDS_FOLDER)

    @made_once
    def workers(self) -> Workers:
        return Workers(self.journal, state=self._state, beats=self._beats, version=self.version)

    @made_once
    def asks(self) -> Asks:
        """What is asked of all workers."""
        return Asks(self.journal, self._answer_of)

    def _answer_of(self, question: str) -> Any:
        if question != "stacks":
            return None  # of another version
        from prodfix.workers.worker_stacks import stacks_here

        return stacks_here(self.journal.boot).to_json()

    @made_once
    def log_levels(self) -> LogLevels:
        return LogLevels(self.journal, follow=self._follow, tell_all=self.asks.tell_all)

    def version(self) -> object | None:
        """Another one whenever a worker comes, goes, or changes its journal; None while the others are not seen."""
        siblings = self.siblings()
        if siblings is None or not self.presence.opened:
            return None
        return self.journal.version(), frozenset((one.owner, one.version) for one in siblings)

    def _beats(self) -> Sequence[Heartbeat]:
        """Of all that live; under test there is nobody else."""
        return [] if self._muted() else self.presence.read()

    def siblings(self) -> Sequence[Heartbeat] | None:
        """Of the others; None if they cannot be known now."""
        if self.presence.opened and self.presence.failure is not None:
            return None
        return [beat for beat in self._beats() if beat.owner != self.journal.boot]

    def living(self) -> frozenset[str] | None:
        """The others by their boots; None if they cannot be known now."""
        if not self.presence.opened or self.presence.failure is not None:
            return None
        return frozenset(one.owner for one in self.presence.others())
