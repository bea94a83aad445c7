"""What `make run` prints once the application answers: where it is, and lines to try it with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

NOTE = '{"slug": "first", "title": "My first note", "body": "Hello", "notebook": "inbox"}'


def _notes(address: str) -> list[str]:
    """Lines for the example plug-in, as long as nobody has deleted it."""
    if find_spec("blueprints.notes") is None:
        return []
    return [
        f"  curl -i -H 'Content-Type: application/json' -d {shlex.quote(NOTE)} {address}/api/v1/notes",
        f"  curl -i {address}/api/v1/notes",
    ]


def _outage(pid: int | None) -> list[str]:
    if pid is None:
        return []
    return [
        "",
        "Try an outage:",
        f"  kill -9 {pid:<15} # the database stops; POST a note now, and ask for its statusUrl",
        "  make database           # in another terminal: it is back, with the same data",
    ]


def _commands(settings: Mapping[str, str]) -> list[str]:
    if not settings:
        return []
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    return ["", "Commands, in another terminal:", f"  export {words}", "  .venv/bin/flask --app wsgi prodfix doctor"]


def greeting(
    address: str,
    *,
    database: str,
    token: str | None,
    settings: Mapping[str, str] | None = None,
    database_pid: int | None = None,
    log: Path | None = None,
) -> str:
    """The text for the application at ``address``; without a token (in production) the place to get one is named.

    ``settings``: what the commands must be told, as nobody has set it: the embedded database. ``database_pid``: its process.
    ``log``: where the whole log is, if the terminal shows only a short form.
    """
    errors = f"{address}/api/v1/diagnostics/errors?timeRange=1h"
    bearer = shlex.quote(f"Authorization: Bearer {token or '<token>'}")
    lines = [
        "",
        f"prodfix answers at {address}",
        f"  health       {address}/health/db",
        f"  diagnostics  {address}/api/v1/diagnostics",
        f"  database     {database}",
        *([f"  log          {log}"] if log else []),
        "",
        "Try it:",
        f"  curl -i {address}/health/db",
        *_notes(address),
        f"  curl -i -H {bearer} {shlex.quote(errors)}",
        *_outage(database_pid),
        *_commands(settings or {}),
        "",
        f"Admin token: {token}"
        if token
        else "Admin token: .venv/bin/flask --app wsgi prodfix token --role admin --expires 15m",
        "Ctrl-C ends everything.",
        "",
    ]
    return "\n".join(lines)
