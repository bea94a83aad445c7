"""What `make run` prints once the application answers: where it is, and lines to try it with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.util import find_spec

NOTE = '{"slug": "first", "title": "My first note", "body": "Hello", "notebook": "inbox"}'


def _notes(address: str) -> list[str]:
    """Lines for the example plug-in, as long as nobody has deleted it."""
    if find_spec("blueprints.notes") is None:
        return []
    return [
        f"  curl -i -H 'Content-Type: application/json' -d {shlex.quote(NOTE)} {address}/api/v1/notes",
        f"  curl -i {address}/api/v1/notes",
    ]


def _commands(settings: Mapping[str, str]) -> list[str]:
    if not settings:
        return []
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in settings.items())
    return ["", "Commands, in another terminal:", f"  export {words}", "  .venv/bin/flask --app wsgi prodfix doctor"]


def greeting(address: str, *, database: str, token: str | None, settings: Mapping[str, str] | None = None) -> str:
    """The text for the application at ``address``; without a token (in production) the place to get one is named.

    ``settings``: what the commands must be told, as nobody has set it: the embedded database.
    """
    errors = f"{address}/api/v1/diagnostics/errors?timeRange=1h"
    bearer = shlex.quote(f"Authorization: Bearer {token or '<token>'}")
    lines = [
        "",
        f"prodfix answers at {address}",
        f"  health       {address}/health/db",
        f"  diagnostics  {address}/api/v1/diagnostics",
        f"  database     {database}",
        "",
        "Try it:",
        f"  curl -i {address}/health/db",
        *_notes(address),
        f"  curl -i -H {bearer} {shlex.quote(errors)}",
        "",
        f"Admin token: {token}"
        if token
        else "Admin token: .venv/bin/flask --app wsgi prodfix token --role admin --expires 15m",
        *_commands(settings or {}),
        "",
    ]
    return "\n".join(lines)
