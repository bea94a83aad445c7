"""The commands of ``flask --app wsgi prodfix``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

import click
from flask import Flask
from pymongo.errors import PyMongoError

from prodfix.access_tokens import ROLES, make_token
from prodfix.cli.named_settings import named
from prodfix.cli.suggesting import SuggestingGroup, suggestion
from prodfix.errors import DatabaseNotConfigured
from prodfix.logs.sinks import Console
from prodfix.services import current_prodfix
from prodfix.version import VERSION

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STDERR = 2


class Commands(SuggestingGroup):
    """Commands, of which those in ``later`` are loaded when they are asked for: a worker has no use for any of them."""

    later: ClassVar = {
        "alerts": "prodfix.cli.alert_commands",
        "deferred": "prodfix.cli.deferred_commands",
        "doctor": "prodfix.cli.doctor_command",
        "errors": "prodfix.cli.error_commands",
        "health": "prodfix.cli.health_command",
        "incidents": "prodfix.cli.incident_commands",
        "log-level": "prodfix.cli.runtime_commands",
        "mcp": "prodfix.cli.mcp_command",
        "queries": "prodfix.cli.query_commands",
        "request": "prodfix.cli.request_commands",
        "stacks": "prodfix.cli.runtime_commands",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.later and cmd_name not in self.commands:
            self.add_command(getattr(import_module(self.later[cmd_name]), cmd_name.replace("-", "_")))
        return super().get_command(ctx, cmd_name)


def _tell_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"prodfix {VERSION}")
        context.exit()


commands = Commands(
    "prodfix",
    help="Production error management.\n\nDoctor, health, tokens, errors, requests, incidents, alerts, deferred writes.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_tell_version,
            help="Say which version this is.",
        )
    ],
)


def attach(app: Flask) -> None:
    app.cli.add_command(commands)


if TYPE_CHECKING:
    _Parameter = click.ParamType[timedelta]
else:
    _Parameter = click.ParamType  # which says its type since click 8.2


class Lifetime(_Parameter):
    """``90s``, ``15m``, ``12h`` or ``7d``, up to 30 days."""

    name = "lifetime"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = re.fullmatch(r"([1-9]\d{0,6})([smhd])", str(value))
        lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
        if lifetime is None or lifetime > timedelta(days=30):
            self.fail(f"{value!r} is not a lifetime such as 90s, 15m, 12h or 7d (at most 30d)", param, ctx)
        return lifetime


def _not_empty(ctx: click.Context, param: click.Parameter, value: str) -> str:
    # A token without a subject is refused wherever it is shown, and a role without a name opens nothing.
    if not value.strip():
        raise click.BadParameter("must not be empty")
    return value


def _checked_role(role: str, *, of_application: bool) -> None:
    """A token with a role that was misspelt is valid, and opens nothing: nobody would find out why."""
    if not of_application and role not in ROLES:
        known = " and ".join(ROLES)
        told = f"prodfix knows the roles {known}, and not {role!r}.{suggestion(role, ROLES)}"
        raise click.BadParameter(f"{told} A role that your own views ask for needs --own-role", param_hint="'--role'")


@commands.command("token")
@click.option(
    "--role", default="admin", callback=_not_empty, show_default=True, help="admin, or viewer, who changes nothing."
)
@click.option("--own-role", is_flag=True, help="The role is the application's own.")
@click.option(
    "--expires", type=Lifetime(), default="15m", show_default=True, help="How long it is valid: 90s, 15m, 12h, 7d."
)
@click.option(
    "--subject",
    default="admin",
    callback=_not_empty,
    show_default=True,
    help="Whose token it is; stands in the logs.",
)
def token(role: str, own_role: bool, expires: timedelta, subject: str) -> None:
    """Print a token.

    It stands alone on the last line of stdout.
    """
    _checked_role(role, of_application=own_role)
    current_prodfix.logs.sinks.replace(Console(STDERR))
    try:
        click.echo(make_token(current_prodfix.settings, role=role, lifetime=expires, subject=subject))
    except ValueError as error:
        raise click.ClickException(named(str(error))) from None


@commands.group("indexes", cls=SuggestingGroup)
def indexes() -> None:
    """Indexes and validators.

    Those of all registered models (outside production the indexes are made at start), and prodfix's own.
    """


@indexes.command("diff")
def diff() -> None:
    """Show what `apply` would change.

    Exit code 1 if there is anything.
    """
    own = current_prodfix.errors.storage.indexes
    changes = _asked(
        lambda: [
            *current_prodfix.documents.differences(),
            *own.differences(current_prodfix.database.clients.diagnostics_db),
        ]
    )
    _print(changes, "the database is as the models say")
    sys.exit(1 if changes else 0)


@indexes.command("apply")
def apply() -> None:
    """Put indexes and validators in place.

    Nothing is removed; run it when you deploy.
    """
    own = current_prodfix.errors.storage.indexes
    changes = _asked(
        lambda: [*current_prodfix.documents.apply(), *own.apply(current_prodfix.database.clients.diagnostics_db)]
    )
    _print(changes, "nothing to do")


def _print(changes: list[str], none: str) -> None:
    for change in changes or [none]:
        click.echo(change)


def _asked(work: Callable[[], list[str]]) -> list[str]:
    current_prodfix.logs.sinks.replace(Console(STDERR))
    try:
        return work()
    except (PyMongoError, DatabaseNotConfigured) as error:
        meaning = current_prodfix.classifier.classify(error)
        text = f"{meaning.code}: {type(error).__name__}. Is MONGODB_URI right, and the database up?"
        raise click.ClickException(named(text)) from None
    finally:
        current_prodfix.database.clients.close()
