"""``flask --app wsgi prodfix mcp``: the diagnostics as tools of the Model Context Protocol, for assistants, over stdio."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import click
from flask.cli import with_appcontext

from prodfix.cli.audit import audit, command_user
from prodfix.cli.read_only import looking, ping
from prodfix.services import Services

FRESH = 2.0  # seconds in which MongoDB is not pinged again


@click.command("mcp")
@click.option("--allow-changes", is_flag=True, help="Also resolve, reopen, ignore and note kinds of errors.")
@with_appcontext
def mcp(allow_changes: bool) -> None:
    """Serve assistants (MCP).

    On stdin and stdout, until stdin ends.
    """
    if importlib.util.find_spec("mcp") is None:
        raise click.ClickException("this needs the package mcp: pip install mcp, or prodfix with its extra mcp")
    from prodfix.assistants.assistant_calls import AssistantCalls
    from prodfix.assistants.stdio import serve

    by = command_user()
    with looking(audited=True) as services:
        told = audit_of_tools(services, by)
        serve(AssistantCalls(services, by=by, allowed=allow_changes, look=_look(services), audit=told))


def audit_of_tools(services: Services, by: str) -> Callable[[str, str, str | None], None]:
    """Writes down which tool was called, how that ended, and what it was about."""

    def told(tool: str, result: str, fingerprint: str | None) -> None:
        audit(services, f"mcp {tool}", by, fingerprint=fingerprint, result=result)

    return told


def _look(services: Services) -> Callable[[], None]:
    """Whether MongoDB answers, as of a moment ago: this process has no pinger, and may run for hours."""
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if services.database.clients.configured and time.monotonic() - looked > FRESH:
            ping(services)
            looked = time.monotonic()

    return look
