"""What an admin decides of a kind of error: ``flask prodfix errors resolve|reopen|ignore|note FINGERPRINT``."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
from flask.cli import with_appcontext
from pymongo.errors import PyMongoError

from prodfix.cli.audit import audit, command_user
from prodfix.cli.named_settings import named
from prodfix.cli.read_only import as_json_option, echo_json, looking
from prodfix.errors import DatabaseNotConfigured, ValidationFailed
from prodfix.services import Services
from prodfix.statistics.triage import MOST_MORE, TriageResult
from prodfix.statistics.windows import Window

_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])")
_RESULTS = {
    TriageResult.STORED: "changed",
    TriageResult.PENDING: "pending",
    TriageResult.NOWHERE: "not found",
}
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Deciding = Callable[[Services, Window, str], TriageResult]


def _fingerprint(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if _FINGERPRINT.fullmatch(value) is None:
        raise click.BadParameter("is 16 hexadecimal digits, as `errors top` shows them")
    return value


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """``90m``, ``12h``, ``7d`` from now, or a moment of ISO 8601 (UTC, if it names no zone)."""
    if value is None:
        return None
    span = _SPAN.fullmatch(value)
    if span is not None:
        return datetime.now(UTC) + int(span[1]) * _UNITS[span[2]]
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter("is neither 90m, 12h, 7d nor a moment such as 2026-11-26T12:00:00Z") from None
    return found.replace(tzinfo=found.tzinfo or UTC)


fingerprint_argument = click.argument("fingerprint", callback=_fingerprint)


def _changed(name: str, fingerprint: str, done: str, as_json: bool, change: Deciding) -> None:
    """Do it, with its line in the audit log; exit code 1 if nobody knows this kind, or MongoDB cannot be asked."""
    by, command = command_user(), f"errors {name}"
    with looking(audited=True) as services:
        result = "failed"
        try:
            window = services.requests.statistics.read("7d").window
            result = _RESULTS[change(services, window, by)]
        except ValidationFailed as error:
            told = "; ".join(f"{problem.field} {problem.message}" for problem in error.problems)
            raise click.ClickException(told) from None
        except DatabaseNotConfigured:
            raise click.ClickException(named("MONGODB_URI is not set: what is decided is kept there")) from None
        except PyMongoError as error:
            meaning = services.classifier.classify(error)
            raise click.ClickException(f"{meaning.code}: nothing was changed; try again when MongoDB answers") from None
        finally:
            audit(services, command, by, fingerprint=fingerprint, result=result)
    if result == "not found":
        raise click.ClickException("no kind of error of the last 7 days, or of MongoDB, has this fingerprint")
    pending = result == "pending"
    if as_json:
        echo_json({"changed": True, **({"pending": True} if pending else {})})
    else:
        click.echo(f"{fingerprint} {done}" + (", as soon as MongoDB answers: it is kept on disk" if pending else ""))


@click.command("resolve")
@fingerprint_argument
@click.option("--in-next-release", is_flag=True, help="The releases that have it go on to run for a while.")
@as_json_option
@with_appcontext
def resolve(fingerprint: str, in_next_release: bool, as_json: bool) -> None:
    """Mark a kind of error as done.

    What comes back is a regression.
    """

    def change(services: Services, window: Window, by: str) -> TriageResult:
        return services.errors.triage.resolve(fingerprint, window, by=by, in_next_release=in_next_release)

    _changed("resolve", fingerprint, "is resolved", as_json, change)


@click.command("reopen")
@fingerprint_argument
@as_json_option
@with_appcontext
def reopen(fingerprint: str, as_json: bool) -> None:
    """Take back that a kind is resolved or ignored."""

    def change(services: Services, window: Window, by: str) -> TriageResult:
        return services.errors.triage.reopen(fingerprint, window, by=by)

    _changed("reopen", fingerprint, "is open", as_json, change)


@click.command("ignore")
@fingerprint_argument
@click.option("--until", callback=_moment, help="90m, 12h, 7d, or a moment.")
@click.option("--more", type=click.IntRange(1, MOST_MORE), help="Until so many more have happened.")
@click.option("--escalates", is_flag=True, help="Until it happens more often than its last days predict.")
@as_json_option
@with_appcontext
def ignore(fingerprint: str, until: datetime | None, more: int | None, escalates: bool, as_json: bool) -> None:
    """Let nobody hear of a kind.

    It is counted all the same. Without an option for ever.
    """

    def change(services: Services, window: Window, by: str) -> TriageResult:
        return services.errors.triage.ignore(fingerprint, window, by=by, until=until, more=more, escalates=escalates)

    _changed("ignore", fingerprint, "is ignored", as_json, change)


@click.command("note")
@fingerprint_argument
@click.argument("text", required=False)
@click.option("--owner", help="Who looks after it.")
@click.option("--link", help="The http or https URL of an issue elsewhere.")
@as_json_option
@with_appcontext
def note(fingerprint: str, text: str | None, owner: str | None, link: str | None, as_json: bool) -> None:
    """Write a note of a kind.

    An empty text takes it away.
    """

    def change(services: Services, window: Window, by: str) -> TriageResult:
        return services.errors.triage.note(fingerprint, window, by=by, text=text, owner=owner, link=link)

    _changed("note", fingerprint, "is noted", as_json, change)


TRIAGE = (resolve, reopen, ignore, note)
