"""What a worker stores in MongoDB beside requests, and when it looks for what there is to store."""

from __future__ import annotations

import time
from collections.abc import Callable

from prodfix.engine.engine import Engine
from prodfix.errors import DatabaseUnavailable
from prodfix.journal.news import News
from prodfix.process.breather import give_way
from prodfix.process.per_process import in_each_process
from prodfix.process.tracing import untraced

SETTLING = 12.0  # seconds after a change of the journal in which it is looked each second what of it is to be stored
REST = 10.0  # seconds between two looks at a journal that has not changed, and for what dead siblings have left
STORABLE = ("records", "minutes", "incidents", "ended", "dead", "writes", "orders")  # tables of the journal


class _Looks:
    """When to look: each second for a while after ``version`` has become another one, and now and then besides."""

    def __init__(self, version: Callable[[], object | None]) -> None:
        self._news = News(version, rest=REST)
        self._found: tuple[object] | None = None
        self._changed_at = -SETTLING

    def take(self, store: Callable[[], bool]) -> bool | None:
        """What ``store`` returns, or None if it was not called. False: it has more to do, and is called the next time."""
        found, now = self._news.begin(), time.monotonic()
        if found is None and now - self._changed_at >= SETTLING:
            return None
        if found is not None and found != self._found:
            self._found, self._changed_at = found, now
        stored = store()
        if stored and found is not None:
            self._news.done(found)
        return stored

    def forget(self) -> None:
        """Look the next time."""
        self._news.forget()


class Writer:
    """Of one engine in one process. What is ours goes to the application's database, or to one of its own: then each is stored to
    by a loop of its own, and neither waits for the other. All of it raises what MongoDB says, and goes on the next time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        in_each_process(self._begin)

    def _begin(self) -> None:
        self._warm = False
        self._with_data, self._apart = _Looks(self._storable), _Looks(self._storable)

    def _storable(self) -> object | None:
        """Another one whenever this worker's journal has something else that MongoDB should have, or a sibling comes, goes or
        changes its own: who stores for all of them reads those too."""
        siblings = self._engine.presence.others()
        return self._engine.journal.version(*STORABLE), frozenset((one.owner, one.version) for one in siblings)

    @property
    def _answers(self) -> bool:
        return self._engine.clients.configured and self._engine.monitor.healthy

    def write(self) -> None:
        """To the database that has the application's data."""
        try:
            if self._answers:
                self._write()
                return
        except DatabaseUnavailable:  # it was lost meanwhile, which the pinger tells
            pass
        self.adopt()
        self._with_data.forget()

    def _write(self) -> None:
        self._warm_up()
        if self._engine.deferral.drainer.first or self._with_data.take(self._store_with_data) is False:
            return
        give_way()
        self._engine.idempotency.work()
        give_way()
        self._engine.advisor.work()
        self._engine.selftest.sweep()

    def _store_with_data(self) -> bool:
        stored = self._engine.databases.apart or self._engine.store()
        self._engine.deferral.queue.recount()
        give_way()
        if stored:  # else what else is ours would be refused, too
            self._engine.deferral.statuses.store()
        return stored

    def write_apart(self) -> None:
        """To the database that has only what is ours."""
        self._apart.take(self._engine.store)

    def _warm_up(self) -> None:
        """It fills the pool before the first request needs it."""
        if self._engine.logs.served and not self._warm:
            with untraced():
                self._engine.clients.application.admin.command("ping")
                for tenant in self._engine.tenants:
                    if tenant.documents is not None:
                        tenant.documents.prepare()
        self._warm = True

    def adopt(self) -> None:
        """Take over what dead workers have left, while it cannot be stored."""
        if not self._engine.databases.apart:
            self._engine.storage.adopt()
        self._engine.deferral.queue.recount()

    def fold(self) -> None:
        """Where there is no database at all."""
        self.adopt()
        self._engine.minutes.fold(self._engine.settings.error_retention_days)

    # -- as the worker ends ---------------------------------------------------------------------------------------------------

    def write_all(self) -> None:
        """Whatever waits for others, and whenever it was looked last."""
        self._engine.storage.hurry()
        self._with_data.forget()
        if self._engine.databases.apart:
            self._engine.store()
        self.write()

    def finish_incidents(self) -> None:
        """Store what this worker counts for its instance's incidents."""
        databases = self._engine.databases
        database = databases.diagnostics_answering() if databases.apart or self._answers else None
        if database is not None:
            self._engine.incident_log.finish(database)

    def release(self) -> None:
        """Close what is kept open for deferred writes."""
        if self._answers:
            self._engine.deferral.queue.releases.close()
