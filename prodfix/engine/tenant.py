"""One of the applications that use an engine."""

from __future__ import annotations

from collections.abc import Callable

from prodfix.classification.classifier import Classifier
from prodfix.documents import Documents
from prodfix.links import Links
from prodfix.queries.interceptor import QueryInterceptor
from prodfix.queries.query_statistics import QueryStatistics
from prodfix.records.error_log import ErrorLog
from prodfix.recovery.recovery import Recovery


class Tenant:
    """One of the applications, as far as what runs beside its requests has to do with it.

    Nothing in here holds the application: a thread that is just looking at this does not keep it alive.
    """

    def __init__(
        self,
        classifier: Classifier,
        links: Links,
        interceptor: QueryInterceptor,
        statistics: QueryStatistics,
        make_log: Callable[[], ErrorLog | None],
    ) -> None:
        self.classifier, self.links = classifier, links
        self.interceptor, self.query_statistics = interceptor, statistics
        self._make_log = make_log
        self.error_log: ErrorLog | None = None
        self.recovery: Recovery | None = None
        self.documents: Documents | None = None

    def logs(self, error_log: ErrorLog) -> ErrorLog:
        """It has this one now, as it was first needed."""
        self.error_log = error_log
        return error_log

    def needed_log(self) -> ErrorLog | None:
        """Its own, made now if this is its first error; ``None`` once the application is gone."""
        return self.error_log or self._make_log()

    def recovers(self, recovery: Recovery) -> Recovery:
        """The same."""
        self.recovery = recovery
        return recovery

    def stores(self, documents: Documents) -> Documents:
        """The same."""
        self.documents = documents
        return documents
