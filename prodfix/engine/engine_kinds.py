"""What an engine has of kinds of errors: their groups, what admins decide of them, and who is told of new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pymongo.synchronous.database import Database

from prodfix.alert_settings import AlertKind
from prodfix.alerts.kind_events import OF_CLIENTS
from prodfix.alerts.service import Alerts
from prodfix.classification.classifications import of_database
from prodfix.engine.engine_databases import EngineDatabases
from prodfix.incidents.outages import Outages
from prodfix.journal.journal import Journal
from prodfix.process.lazy import Lazy, made_once
from prodfix.records.lookup import Lookup
from prodfix.records.reports import Reports
from prodfix.statistics.counters import Counters
from prodfix.statistics.decision_orders import DecisionOrder, DecisionOrders
from prodfix.statistics.escalations import Escalations
from prodfix.statistics.groups import Groups
from prodfix.statistics.minutes import Minutes
from prodfix.statistics.triage import Triage, WaitedResult
from prodfix.statistics.windows import Window, Windows, moment_of


class EngineKinds(Lazy):
    """``lookup``, ``reports`` and ``alerts`` are asked for when something is told: they are made of what is here. ``kept``: what
    is ours goes to a database."""

    def __init__(
        self,
        journal: Journal,
        databases: EngineDatabases,
        counters: Counters,
        windows: Windows,
        minutes: Minutes,
        *,
        lookup: Callable[[], Lookup],
        reports: Callable[[], Reports],
        alerts: Callable[[], Alerts],
        outages: Outages,
        kept: bool,
    ) -> None:
        super().__init__()
        self._journal, self._databases, self._counters = journal, databases, counters
        self._windows, self._minutes = windows, minutes
        self._lookup, self._reports, self._alerts, self._kept = lookup, reports, alerts, kept
        self._outages = outages

    @made_once
    def groups(self) -> Groups:
        return Groups(
            self._databases.diagnostics,
            kinds=self._counters.kinds,
            orders=self.orders,
            on_regression=self._regressed,
            on_new_kind=self._new_kind,
            on_early_kind=self._early_kind,
            on_further_kinds=self._further_kinds,
            on_escalation=self._escalated,
            on_unignored=self._unignored,
            kinds_of=self._kinds_of,
        )

    @made_once
    def orders(self) -> DecisionOrders | None:
        """None where nobody could ever apply them."""
        return DecisionOrders(self._journal) if self._kept else None

    @made_once
    def triage(self) -> Triage:
        return Triage(self._databases.diagnostics, self.groups, self.orders, on_waited=self._waited)

    @made_once
    def escalations(self) -> Escalations:
        return Escalations(
            self._windows,
            self.groups,
            stored=lambda: self._minutes.stored,
            outages=lambda begin, end: [one[1:] for one in self._outages.between(begin, end)],
        )

    def store(self, database: Database[Any]) -> None:
        """What waits for MongoDB, and what is to be decided of what it has. Raises what MongoDB says."""
        self.groups.begun(database)  # from the first start on, and not from the first error on: that one is news
        self.triage.apply(database)
        self.escalations.look(database)

    def _kinds_of(self, user: str, window: Window) -> set[str]:
        begin, end = window.first, window.last
        return self._lookup().kinds_of_user(
            user,
            begin=None if begin is None else moment_of(begin),
            end=None if end is None else moment_of(end + 1),
        )

    # -- what is told upwards ---------------------------------------------------------------------------------------------

    def _regressed(self, group: Mapping[str, Any]) -> None:
        group = self._inhibited(group)
        self._reports().regression(group)
        self._alert("regression", group)

    def _new_kind(self, group: Mapping[str, Any]) -> None:
        group = self._inhibited(group)
        self._reports().new_kind(group)
        if group.get("category") not in OF_CLIENTS:  # which are answered with 4xx, and call nobody
            self._alert("new_kind", group)

    def _early_kind(self, group: Mapping[str, Any]) -> None:
        """In the first hour of all: no news of its own, but whoever has just set up alerts waits for one."""
        if group.get("category") not in OF_CLIENTS:
            self._alert("new_kind", {**self._inhibited(group), "early": True})

    def _alert(self, kind: AlertKind, group: Mapping[str, Any]) -> None:
        """A consequence of an outage alerts nobody beside that, which is told. Alertmanager's word for it is inhibition."""
        if "incident" not in group or "database_lost" not in self._alerts().routing.on:
            self._alerts().happened(kind, group)

    def _inhibited(self, group: Mapping[str, Any]) -> Mapping[str, Any]:
        """With the ``incident`` that it is a consequence of, if it says that the database is away while it was."""
        if not of_database(str(group.get("category")), str(group.get("code"))):
            return group
        at = datetime.fromisoformat(group["at"]).timestamp()
        found = [one for one in self._outages.between(at, at) if one.begin <= at <= one.end]
        return {**group, "incident": found[0].incident} if found else group

    def _further_kinds(self, numbers: Mapping[str, int]) -> None:
        if number := sum(number for category, number in numbers.items() if category not in OF_CLIENTS):
            self._alerts().further_kinds(number)

    def _waited(self, order: DecisionOrder, result: WaitedResult) -> None:
        self._reports().waited(order, result)

    def _escalated(self, group: Mapping[str, Any]) -> None:
        self._reports().escalation(group)
        if group.get("category") not in OF_CLIENTS:
            self._alerts().happened("escalating", group)

    def _unignored(self, group: Mapping[str, Any]) -> None:
        """Whatever it is: somebody has asked for it to be told then."""
        self._reports().unignored(group)
        self._alerts().happened("unignored", group)
