"""Flask's own configuration of the application, and the clients that it has made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from pymongo import AsyncMongoClient, MongoClient

from prodfix.connection.clients import GatedClient
from prodfix.doctor.findings import Finding, NotApplicable, counted, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.driver.hooked_client import is_closed
from prodfix.observers import observing
from prodfix.queries.routing import observes


@check("flask-flags", "application")
def flags(subject: Subject) -> Iterator[Finding]:
    """The application is configured for its environment."""
    app = subject.app
    propagates = app.config["PROPAGATE_EXCEPTIONS"]
    thrown = {"DEBUG": app.debug, "TESTING": app.testing, "PROPAGATE_EXCEPTIONS": bool(propagates)}
    names = [name for name, on in thrown.items() if on]
    if not names:
        return
    level = error if subject.settings.production else note
    yield level(
        f"{', '.join(names)}: on, so that exceptions go past every handler, to a debugger or to gunicorn's page in HTML",
        "Switch them off in production; FLASK_DEBUG switches DEBUG on, too",
        flags=names,
    )


@check("json-provider", "application")
def json_provider(subject: Subject) -> Iterator[Finding]:
    """Bodies are plain JSON.

    No request body can become a Python object that a view does not expect.
    """
    kind = type(subject.app.json)
    if kind.__module__.partition(".")[0] == "flask_pymongo":
        yield warning(
            'flask-pymongo has replaced the JSON provider: a body such as {"x": {"$oid": "zz"}} is answered with 500',
            "After PyMongo.init_app(app) set app.json = DefaultJSONProvider(app) (flask.json.provider)",
            provider=f"{kind.__module__}.{kind.__qualname__}",
        )


@check("observed-clients", "application")
def clients(subject: Subject) -> Iterator[Finding]:
    """Every client of the application is observed.

    It has prodfix's listeners. What is looked at are the clients that are there once the application is loaded: of one that is
    made for the first request nobody knows before, unless all are observed.
    """
    if not subject.settings.enable_query_logging:
        raise NotApplicable
    others = [client for client in _made() if not _ours(client)]
    blind = [client for client in others if not observes(client)]
    if blind:
        yield warning(
            f"{counted(len(blind), 'client')} of the application's own that nobody observes ({_places(blind)}): without "
            "prodfix's listeners, or made before ProdFix.observe() was called",
            "prodfix.observe() before they are made, event_listeners=[*prodfix.listeners], or current_prodfix.db",
            clients=len(blind),
        )
    elif not others and not subject.served and not observing():
        yield note(
            "the application has made no client yet, so that nobody knows whether it is observed",
            "prodfix.observe() before it is made, or event_listeners=[*prodfix.listeners]",
        )


def _places(clients: list[Any]) -> str:
    """What they are: a class and the name that the application gave them, and never where they lead."""
    found = sorted({_described(client) for client in clients})
    return ", ".join(found[:5])


def _described(client: Any) -> str:
    kind = type(client)
    name = client.options.pool_options.appname
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}{f' {name[:40]!r}' if name else ''}"


def _made() -> list[Any]:
    """All clients of this process."""
    # By type(): asking a proxy what it is an instance of would make it look for what it stands for.
    return [one for one in gc.get_objects() if issubclass(type(one), (MongoClient, AsyncMongoClient))]


def _ours(client: Any) -> bool:
    """prodfix's own, or one that is closed and watches nothing any more."""
    name = client.options.pool_options.appname
    return isinstance(client, GatedClient) or name == "prodfix-watch" or is_closed(client)
