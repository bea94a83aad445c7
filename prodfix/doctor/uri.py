"""The options of the connection string: those that weaken what prodfix promises, and those that do not do what they say.

Neither user, password nor host is looked at, nor told; of two URIs only whether they are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prodfix.doctor.findings import Finding, NotApplicable, error, note, told, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.errors import DatabaseNotConfigured
from prodfix.redaction.names import mask_key
from prodfix.settings_sources import HOSTS_URI, PREFIX
from prodfix.settings_values import parsed_uri

# The options of ours that are keyword arguments of the client, which win over the URI (pymongo.mongo_client.MongoClient).
_OURS = {
    "maxpoolsize": "DB_POOL_SIZE",
    "minpoolsize": "DB_MIN_POOL_SIZE",
    "connecttimeoutms": "DB_CONNECT_TIMEOUT_MS",
    "sockettimeoutms": "DB_SOCKET_TIMEOUT_MS",
    "serverselectiontimeoutms": "DB_SERVER_SELECTION_TIMEOUT_MS",
    "waitqueuetimeoutms": "DB_WAIT_QUEUE_TIMEOUT_MS",
    "heartbeatfrequencyms": "DB_HEARTBEAT_MS",
}
_TLS_WEAK = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")


class Uri(NamedTuple):
    """What is known of the URI. ``names``: its options as they are written; ``options``: those that the driver takes."""

    names: tuple[str, ...]
    options: Mapping[str, Any]
    database: str | None
    user: bool
    srv: bool

    @property
    def tls(self) -> bool:
        return bool(self.options.get("tls", self.srv))


def _uri(subject: Subject) -> Uri:
    return read(_uri_text(subject))


def _uri_text(subject: Subject) -> str:
    try:
        return subject.services.database.clients.uri
    except DatabaseNotConfigured:
        raise NotApplicable from None


def read(text: str) -> Uri:
    """Raises what the driver says of a URI that is none."""
    parsed = parsed_uri(text)
    written = re.split("[&;]", text.partition("?")[2])
    return Uri(
        names=tuple(name for name, _, _ in (option.partition("=") for option in written) if name),
        options={name.lower(): value for name, value in dict(parsed["options"]).items()},
        database=parsed["database"],
        user=parsed["username"] is not None,
        srv=text.startswith("mongodb+srv"),
    )


@check("uri-source", "uri")
def uri_source(subject: Subject) -> Iterator[Finding]:
    """The URI is named in one place.

    Which one that is is told: the environment, a file ``.env``, the configuration of the application, or its code.
    """
    used, place = _uri_text(subject), source(subject)
    # In a host the other names are its own, and may mean another database.
    ours = [one for one in _places(subject) if subject.served or one.name.startswith(PREFIX)]
    others = [str(one) for one in ours if one.value not in ("", used)]
    if others:
        yield warning(
            f"the URI is the one {place}; another one is set {' and '.join(others)}, and is passed over",
            "Take out the one that is not meant",
            place=place,
        )
    else:
        yield told(f"the URI is the one {place}", place=place)


class UriPlace(NamedTuple):
    """Somewhere a URI may be set."""

    name: str
    where: str
    value: str

    def __str__(self) -> str:
        return f"in {self.where} (`{self.name}`)"


def source(subject: Subject) -> str:
    """Where the URI comes from: ``in .env (`MONGODB_URI`)``. Raises :class:`NotApplicable` without one."""
    used = _uri_text(subject)
    return next((str(place) for place in _places(subject) if place.value == used), "in the application's code")


def _places(subject: Subject) -> Iterator[UriPlace]:
    """In the order in which they count, each with what stands there."""
    names = [f"{PREFIX}MONGODB_URI", *(("MONGODB_URI",) if subject.served else ())]
    for name in names:
        if not subject.served:
            yield UriPlace(name, "app.config", str(subject.app.config.get(name) or ""))
        yield from _of_environment(subject, name)
    if not subject.served:
        for name in HOSTS_URI:
            yield UriPlace(name, "app.config", str(subject.app.config.get(name) or ""))


def _of_environment(subject: Subject, name: str) -> Iterator[UriPlace]:
    """``flask`` puts what stands in a file into the environment, unless it is there already."""
    value = subject.environ.get(name) or ""
    files = {file: _kept(file).get(name) or "" for file in (".env", ".flaskenv")}
    if not value or value not in files.values():
        yield UriPlace(name, "the environment", value)
    yield from (UriPlace(name, file, found) for file, found in files.items())


def _kept(file: str) -> Mapping[str, str | None]:
    try:
        from dotenv import dotenv_values
    except ImportError:  # then nobody reads such a file
        return {}
    return dotenv_values(file) if Path(file).is_file() else {}


@check("write-concern", "uri")
def write_concern(subject: Subject) -> Iterator[Finding]:
    """What is acknowledged is there."""
    options = _uri(subject).options
    if options.get("w") == 0:
        yield error(
            "w=0 in the URI: the server tells of no failure, so no error can be answered, retried or recorded",
            "Take it out: the default is majority",
        )
    elif options.get("w") == 1:
        yield warning(
            "w=1 in the URI: what was acknowledged may be gone after a failover",
            "Take it out: the default is majority",
        )
    if options.get("journal") is False:
        yield warning(
            "journal=false in the URI: what was acknowledged may be gone after a loss of power",
            "Take it out of the URI",
        )


@check("retryable", "uri")
def retryable(subject: Subject) -> Iterator[Finding]:
    """The driver repeats what a failover has cut."""
    options = _uri(subject).options
    off = [name for name in ("retrywrites", "retryreads") if options.get(name) is False]
    if off and subject.served:
        yield note(
            f"{_cased(off)}=false in the URI has no effect: prodfix's client sets them to true",
            "Take it out of the URI",
        )
    elif off:
        yield warning(
            f"{_cased(off)}=false in the URI: each failover of the database is an error of your users",
            "Take it out: the driver then repeats an operation once",
        )


def _cased(names: list[str]) -> str:
    return ", ".join({"retrywrites": "retryWrites", "retryreads": "retryReads"}[name] for name in names)


@check("primary", "uri")
def topology(subject: Subject) -> Iterator[Finding]:
    """Operations go to the primary."""
    options = _uri(subject).options
    if options.get("directconnection"):
        level = warning if subject.deployed else note
        yield level(
            "directConnection=true in the URI: there is no failover to another member",
            "Take it out, and name all members, or use a mongodb+srv address",
        )
    preference = str(options.get("readpreference", "primary"))
    if preference.lower() != "primary":
        yield warning(
            "readPreference in the URI is not primary: a user may not see what they have just written, and a transaction refuses",
            "Take it out, and read from secondaries only where a query says so",
            readPreference=preference,
        )


@check("certificates", "uri")
def encryption(subject: Subject) -> Iterator[Finding]:
    """The server's certificate is checked."""
    options = _uri(subject).options
    weak = [name for name in _TLS_WEAK if options.get(name)]
    if weak:
        level = error if subject.deployed else warning
        yield level(
            "the URI says that certificates need not be valid: whoever stands between can read and change everything",
            "Take tlsInsecure and tlsAllowInvalid... out, and name the authority with tlsCAFile",
        )


@check("database-name", "uri")
def database_name(subject: Subject) -> Iterator[Finding]:
    """The URI names its database."""
    if _uri(subject).database is None:
        yield note(
            "the URI names no database: it is `prodfix`",
            "Put its name behind the hosts, before the options: /orders?",
        )


@check("authentication-source", "uri")
def authentication(subject: Subject) -> Iterator[Finding]:
    """The URI says where its user is known."""
    uri = _uri(subject)
    if uri.user and uri.database is not None and not uri.srv and "authsource" not in uri.options:
        yield note(
            "the URI has a user and no authSource: it is looked for in the URI's own database",
            "Add authSource=admin if the server refuses the user",
        )


@check("overruled-options", "uri")
def overruled(subject: Subject) -> Iterator[Finding]:
    """No option of the URI is overruled by a setting, nor overrules one."""
    uri = _uri(subject)
    written = {name.lower() for name in uri.names}
    both = [setting for option, setting in _OURS.items() if option in written]
    if both and subject.served:
        yield warning(
            f"options of the URI have no effect, as settings win: {', '.join(both)}",
            "Set these variables, and take the options out of the URI",
            settings=both,
        )
    if "timeoutms" in uri.options:
        yield warning(
            "timeoutMS in the URI ends every operation outside of requests, and makes the driver pass over DB_SOCKET_TIMEOUT_MS",
            "Take it out: within a request the deadline does the same, and better",
            timeoutMs=round(float(uri.options["timeoutms"] or 0) * 1000),
        )


@check("unknown-options", "uri")
def unknown(subject: Subject) -> Iterator[Finding]:
    """The driver knows every option of the URI."""
    uri = _uri(subject)
    srv = {"srvservicename", "srvmaxhosts"} if uri.srv else set()
    known = {*uri.options, *srv, *({"ssl"} if "tls" in uri.options else ())}
    ignored = sorted({mask_key(name) for name in uri.names if name.lower() not in known})
    if ignored:
        yield warning(
            f"options of the URI that the driver does not know, or whose value is wrong: {', '.join(ignored[:10])}",
            "Mend them or take them out: the driver only warns, and passes over them",
            options=ignored[:10],
        )
