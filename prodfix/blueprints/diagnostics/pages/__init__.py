"""The pages: what an admin opens at three at night, on a phone. HTML made here, which works without any script."""

from prodfix.blueprints.diagnostics.pages import (
    alerts_page,
    database_page,
    deferred_pages,
    endpoint_pages,
    error_page,
    exports,
    kind_changes,
    kind_pages,
    overview,
    request_pages,
    runtime_pages,
)
from prodfix.blueprints.diagnostics.pages.shell import blueprint

__all__ = [
    "alerts_page",
    "blueprint",
    "database_page",
    "deferred_pages",
    "endpoint_pages",
    "error_page",
    "exports",
    "kind_changes",
    "kind_pages",
    "overview",
    "request_pages",
    "runtime_pages",
]
