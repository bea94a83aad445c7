"""When gevent patches the standard library, and what had been imported by then (measured: see the table in :func:`order`)."""

from __future__ import annotations

from collections.abc import Iterator

from prodfix.doctor.findings import Finding, NotChecked, error, note, warning
from prodfix.doctor.launch import Gunicorn, Launched
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject

# They take names out of ssl, socket or threading when they are imported, and keep them.
LIBRARIES = ("pymongo", "requests", "urllib3", "loguru")
FIRST = "Let the first two lines of the module that gunicorn loads be: from gevent import monkey; monkey.patch_all()"
NO_PRELOAD = (
    "start gunicorn without --preload, which Render puts into GUNICORN_CMD_ARGS: `env -u GUNICORN_CMD_ARGS gunicorn`"
)


@check("application-loads", "process")
def loads(subject: Subject) -> Iterator[Finding]:
    """The application loads in a fresh interpreter.

    That is how gunicorn loads it.
    """
    failure = subject.launched().error
    if failure is not None:
        yield error(
            f"what gunicorn would load cannot be loaded: {failure}",
            "Run `gunicorn --check-config` with the options of the start command",
            error=failure,
        )


@check("patch-order", "process")
def order(subject: Subject) -> Iterator[Finding]:
    """The standard library is patched before anything keeps a name of it.

    ================= ========= ===================================================================================
    patches first     --preload what follows with gevent workers
    ================= ========= ===================================================================================
    yes               no        nothing: patching twice is harmless
    no, late or never no        nothing: gunicorn's worker patches before it loads the application
    yes               yes       TLS works; the arbiter is patched too, and does not notice that a worker has died
    no, late or never yes       every TLS connection hangs (Python 3.11), or ends with a RecursionError (3.13)
    ================= ========= ===================================================================================
    """
    launched = subject.launched()
    gunicorn, kept = launched.gunicorn, [name for name in launched.before if name in LIBRARIES]
    if launched.error is not None and not launched.called:
        raise NotChecked("the application could not be loaded again")
    if gunicorn is not None and not gunicorn.gevent:
        yield from _without_gevent(gunicorn, launched)
    elif kept or not launched.called:
        yield from _not_first(gunicorn, launched, kept)
    elif launched.before:
        yield note(
            f"{', '.join(launched.before)}: imported before monkey.patch_all(), and patched all the same",
            f"Names that somebody took from them (`from ssl import SSLContext`) are not. {FIRST}",
            importedBefore=list(launched.before),
        )


def _not_first(gunicorn: Gunicorn | None, launched: Launched, kept: list[str]) -> Iterator[Finding]:
    facts = {"importedBefore": list(launched.before), "called": launched.called}
    what = (
        f"monkey.patch_all() is called after {', '.join(kept)} was imported"
        if kept
        else "monkey.patch_all() is never called"
    )
    if gunicorn is not None and gunicorn.preload:
        yield error(
            f"{what}, and gunicorn preloads the application: no TLS connection of its workers works",
            f"{FIRST}, before every other import; and {NO_PRELOAD}",
            **facts,
        )
    elif kept:
        plain = (
            ""
            if gunicorn is not None
            else "If you serve with sync or gthread workers, take monkey.patch_all() out. Else: "
        )
        yield warning(
            f"{what}: it works only as long as gunicorn does not preload the application: then no TLS connection works",
            f"{plain}{FIRST}, before every other import; and {NO_PRELOAD}",
            **facts,
        )
    elif gunicorn is not None:
        yield note(
            f"{what}: gunicorn's worker does it, as long as nothing preloads the application", f"{FIRST}", **facts
        )
    else:
        yield note(
            f"{what}: with sync or gthread workers that is right, and only the database's part of a deadline can be enforced",
            f"With those there is nothing to do; to have whole deadlines serve with `gunicorn -k gevent`. {FIRST}",
            **facts,
        )


def _without_gevent(gunicorn: Gunicorn, launched: Launched) -> Iterator[Finding]:
    if launched.called:
        kind = gunicorn.worker_class
        yield warning(
            f"the application patches the standard library for gevent, and is served by {kind} workers",
            f"Take monkey.patch_all() out if {kind} workers are meant to serve it, else serve with `-k gevent`",
            workerClass=kind,
        )


@check("preload", "process")
def preload(subject: Subject) -> Iterator[Finding]:
    """gunicorn loads the application in its workers."""
    gunicorn = subject.launched().gunicorn
    if gunicorn is None:
        if "--preload" in subject.environ.get("GUNICORN_CMD_ARGS", "").split():
            yield warning("GUNICORN_CMD_ARGS has --preload", f"Put a start command into a Procfile, and {NO_PRELOAD}")
        return
    if gunicorn.preload and gunicorn.gevent:
        yield error(
            "gunicorn preloads the application: patched by gevent, its arbiter does not notice that a worker has died",
            NO_PRELOAD[0].upper() + NO_PRELOAD[1:],
        )
    elif gunicorn.preload_asked and not gunicorn.preload:
        yield note(
            "--preload is asked for, and our configuration ignores it",
            NO_PRELOAD[0].upper() + NO_PRELOAD[1:],
        )
