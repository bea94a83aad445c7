"""The commands of ``flask --app wsgi prodfix``."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

import click
from flask import Flask
from flask.cli import AppGroup
from pymongo.errors import PyMongoError

from prodfix.errors import DatabaseNotConfigured
from prodfix.services import current_prodfix
from prodfix.sinks import Console
from prodfix.tokens import make_token

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
STDERR = 2

commands = AppGroup("prodfix", help="Production error management: tokens and indexes.")


def attach(app: Flask) -> None:
    app.cli.add_command(commands)


class Lifetime(click.ParamType[timedelta]):
    """``90s``, ``15m``, ``12h`` or ``7d``, up to 30 days."""

    name = "lifetime"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = re.fullmatch(r"([1-9]\d{0,6})([smhd])", str(value))
        lifetime = timedelta(seconds=int(match[1]) * _UNITS[match[2]]) if match else None
        if lifetime is None or lifetime > timedelta(days=30):
            self.fail(f"{value!r} is not a lifetime such as 90s, 15m, 12h or 7d (at most 30d)", param, ctx)
        return lifetime


@commands.command("token")
@click.option("--role", default="admin", show_default=True, help="The role that the token carries.")
@click.option(
    "--expires", type=Lifetime(), default="15m", show_default=True, help="How long it is valid: 90s, 15m, 12h, 7d."
)
@click.option("--subject", default="admin", show_default=True, help="Whose token it is; stands in the logs.")
def token(role: str, expires: timedelta, subject: str) -> None:
    """Print a token, alone on the last line of stdout."""
    current_prodfix.logs.sinks.replace(Console(STDERR))
    try:
        click.echo(make_token(current_prodfix.settings, role=role, lifetime=expires, subject=subject))
    except ValueError as error:
        raise click.ClickException(str(error)) from None


@commands.command("indexes")
def indexes() -> None:
    """Create the indexes of all registered models (outside production this happens at start)."""
    current_prodfix.logs.sinks.replace(Console(STDERR))
    try:
        for name in current_prodfix.documents.make_indexes():
            click.echo(name)
    except (PyMongoError, DatabaseNotConfigured) as error:
        meaning = current_prodfix.classifier.classify(error)
        click.echo(f"{meaning.code}: {type(error).__name__}. Is MONGODB_URI right, and the database up?", err=True)
        sys.exit(1)
    finally:
        current_prodfix.clients.close()
