"""What the host gives to all workers together: memory, file descriptors; and the versions that they run on."""

from __future__ import annotations

import platform
import resource
from collections.abc import Iterator, Sequence

import pymongo

from prodfix.doctor import uri
from prodfix.doctor.findings import Finding, NotApplicable, counted, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.doctor.timeouts import MONITORS, OWN_CONNECTIONS
from prodfix.driver import missing_names
from prodfix.driver.private_names import PrivateName
from prodfix.process import memory

WORKER_MB = 65  # that a worker takes under load, where none runs that could be asked
ARBITER_MB = 30
TIGHT = 0.8  # of the limit
OTHER_FILES = 60  # a worker's: the interpreter's own, journals of all workers, log files and their locks, gevent's
LEAST_CONNECTIONS = 100  # of clients, for one worker
LEAK_FROM, OLDEST_DRIVER = (3, 14), (4, 19)


@check("memory", "process")
def memory_limit(subject: Subject) -> Iterator[Finding]:
    """All workers together stay within the memory limit."""
    limit = memory.limit(subject.settings.memory_limit_mb)
    if limit is None:
        raise NotApplicable
    seen = [worker.environment.memory for worker in subject.services.runtime.workers.read()]
    measured = [one.peak_mb for one in seen if one is not None]
    each = max(measured, default=WORKER_MB)
    workers = subject.workers
    needed = round(each * workers + ARBITER_MB)
    facts = {
        "limitMb": round(limit),
        "neededMb": needed,
        "workers": workers,
        "workerMb": round(each),
        "measured": bool(measured),
    }
    size = f"{each:.0f} MB{'' if measured else ' (as usual)'}"
    found = f"{counted(workers, 'worker')} of {size} and the arbiter take {needed} MB of {limit:.0f} MB"
    advice = "Lower WEB_CONCURRENCY, or give it more memory: a worker that the kernel kills loses its requests"
    if needed > limit:
        yield error(found, advice, **facts)
    elif needed > limit * TIGHT:
        yield warning(found, advice, **facts)


@check("file-descriptors", "process")
def descriptors(subject: Subject) -> Iterator[Finding]:
    """A worker may open as many files as it needs."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    own = subject.settings.db_pool_size + OWN_CONNECTIONS + MONITORS + OTHER_FILES
    try:
        gunicorn = subject.launched().gunicorn
    except Exception:  # noqa: BLE001 - told by another check; gunicorn's own default then
        gunicorn = None
    clients = 1000 if gunicorn is None else gunicorn.worker_connections
    facts = {"limit": limit, "needed": own + clients, "own": own}
    if limit == resource.RLIM_INFINITY:
        return
    if limit < own + LEAST_CONNECTIONS:
        yield error(
            f"a process may open {limit} files, and a worker needs {own} for itself, without one client",
            "Raise the limit (`ulimit -n 4096`)",
            **facts,
        )
    elif limit < own + clients:
        yield note(
            f"a process may open {limit} files, and a worker with all of its {clients} clients needs {own + clients}",
            "Raise the limit (`ulimit -n 4096`), or lower gunicorn's --worker-connections",
            **facts,
        )


@check("python-version", "process")
def python(subject: Subject) -> Iterator[Finding]:
    """The versions of Python and gevent go together."""
    yield from _python(subject, tuple(int(part) for part in platform.python_version_tuple()[:2]))


def _python(subject: Subject, version: tuple[int, ...]) -> Iterator[Finding]:
    clients = subject.services.database.clients
    if version >= LEAK_FROM and clients.configured and uri.read(clients.uri).tls:
        yield warning(
            "since Python 3.14 gevent's TLS connections to MongoDB leak memory (gevent issue 2149)",
            "Serve with Python 3.13: name it in .python-version",
            python=".".join(map(str, version)),
        )


@check("driver-names", "process")
def private_names(subject: Subject) -> Iterator[Finding]:
    """The driver has all that prodfix stands in."""
    yield from _private_names(missing_names.missing())


def _private_names(missing: Sequence[PrivateName]) -> Iterator[Finding]:
    if missing:
        lost = "; ".join(dict.fromkeys(name.lost for name in missing))
        yield warning(
            f"this PyMongo has no {', '.join(name.name for name in missing)}, so that there is not: {lost}",
            "Install PyMongo 4.20, which prodfix is tested with",
            pymongo=pymongo.version,
            names=[name.name for name in missing],
        )


@check("driver-version", "process")
def driver_version(subject: Subject) -> Iterator[Finding]:
    """The driver survives greenlets that are killed."""
    yield from _driver(pymongo.version_tuple)


def _driver(version: tuple[int | str, ...]) -> Iterator[Finding]:
    if tuple(part for part in version[:2] if isinstance(part, int)) < OLDEST_DRIVER:
        yield error(
            "this PyMongo loses connections of its pool when a greenlet is killed (PYTHON-6074, PYTHON-6136)",
            "Install PyMongo 4.19 or later; prodfix is tested with 4.20",
            pymongo=".".join(map(str, version[:3])),
        )
