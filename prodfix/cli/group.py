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
from flask.cli import AppGroup
from pymongo.errors import PyMongoError

from prodfix.access_tokens import make_token
from prodfix.cli.named_settings import named
from prodfix.errors import DatabaseNotConfigured
from prodfix.logs.sinks import Console
from prodfix.services import current_prodfix

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STDERR = 2


class Commands(AppGroup):
    """Commands, of which those in ``later`` are loaded when they are asked for: a worker has no use for any of them."""

    later: ClassVar = {
        "alerts": "prodfix.cli.alert_commands",
        "deferred": "prodfix.cli.deferred_commands",
        "doctor": "prodfix.cli.doctor_command",
        "errors": "prodfix.cli.error_commands",
        "health": "prodfix.cli.health_command",
        "queries": "prodfix.cli.query_commands",
        "request": "prodfix.cli.request_commands",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self.later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.later and cmd_name not in self.commands:
            self.add_command(getattr(import_module(self.later[cmd_name]), cmd_name))
        return super().get_command(ctx, cmd_name)


commands = Commands(
    "prodfix",
    help="Production error management: doctor, health, tokens, errors, requests, alerts, deferred writes and indexes.",
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


@commands.command("token")
@click.option(
    "--role", default="admin", callback=_not_empty, show_default=True, help="The role that the token carries."
)
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
def token(role: str, expires: timedelta, subject: str) -> None:
    """Print a token, alone on the last line of stdout."""
    current_prodfix.logs.sinks.replace(Console(STDERR))
    try:
        click.echo(make_token(current_prodfix.settings, role=role, lifetime=expires, subject=subject))
    except ValueError as error:
        raise click.ClickException(named(str(error))) from None


@commands.group("indexes")
def indexes() -> None:
    """Indexes and validators of all registered models (outside production the indexes are made at start)."""


@indexes.command("diff")
def diff() -> None:
    """Show what `apply` would change; exit code 1 if there is anything."""
    changes = _asked(current_prodfix.documents.differences)
    _print(changes, "the database is as the models say")
    sys.exit(1 if changes else 0)


@indexes.command("apply")
def apply() -> None:
    """Put indexes and validators in place. Nothing is removed; run it when you deploy."""
    _print(_asked(current_prodfix.documents.apply), "nothing to do")


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
