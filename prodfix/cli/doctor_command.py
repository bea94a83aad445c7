"""``flask --app wsgi prodfix doctor``: what is wrong with this deployment, and what to do about it."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from flask import current_app
from flask.cli import ScriptInfo, prepare_import, with_appcontext
from rich.table import Table
from rich.text import Text

from prodfix.cli.read_only import as_json_option, echo_json, only_look, show
from prodfix.doctor import deployment
from prodfix.doctor.checks import FAMILIES
from prodfix.doctor.findings import Finding, Level, counted
from prodfix.doctor.launch import Launch
from prodfix.doctor.registry import examine, explanation
from prodfix.doctor.subject import Subject
from prodfix.logs.sinks import Console as Stderr
from prodfix.services import current_prodfix

STDERR = 2
_LAUNCHING = frozenset(
    ("settings", "disk", "process")
)  # families that want to know how gunicorn starts the application
_STYLES = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.ERROR: "bold red"}
Found = dict[str, list[Finding]]


def _list(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """Each check with what is found where nothing is wrong."""
    if wanted:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for family, checks in FAMILIES.items():
            for check in checks:
                table.add_row(family, check.code, Text(check.good))
        show(table)
        context.exit()


def _explain(context: click.Context, parameter: click.Parameter, code: str | None) -> None:
    if code is None:
        return
    found = next((check for checks in FAMILIES.values() for check in checks if check.code == code), None)
    if found is None:
        raise click.BadParameter(f"no check has the code {code!r}; --list shows them all", context, parameter)
    click.echo(explanation(found))
    context.exit()


@click.command("doctor")
@as_json_option
@click.option("--only", type=click.Choice(list(FAMILIES)), multiple=True, help="Only this family; may be given again.")
@click.option("--strict", is_flag=True, help="Exit code 1 for warnings, too.")
@click.option("--verbose", is_flag=True, help="Show each check that found nothing.")
@click.option(
    "--list",
    "listed",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List the checks, and look at nothing.",
)
@click.option(
    "--explain",
    metavar="CODE",
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Say what a check looks for, and look at nothing.",
)
@with_appcontext
def doctor(as_json: bool, only: tuple[str, ...], strict: bool, verbose: bool) -> None:
    """Check this deployment.

    Settings, database, disk, process and application; exit code 1 if there is an error.

    It starts nothing, and writes nothing but one document, which it removes again; prodfix's own test collection stays, empty.
    """
    found = _examined(only)
    findings = [finding for each in found.values() for finding in each]
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    if as_json:
        flat = [{"family": family, **finding.to_json()} for family, each in found.items() for finding in each]
        answer = {"findings": flat, "errors": count[Level.ERROR], "warnings": count[Level.WARNING]}
        echo_json(answer)
    else:
        _draw(found, verbose=verbose)
        click.echo(", ".join(counted(count[level], level) for level in (Level.ERROR, Level.WARNING, Level.NOTE)))
    if count[Level.ERROR] or (strict and count[Level.WARNING]):
        raise click.exceptions.Exit(1)


def _examined(only: tuple[str, ...]) -> Found:
    services = current_prodfix
    services.logs.sinks.replace(Stderr(STDERR))
    only_look(services)
    read = deployment.read(Path.cwd(), os.environ)
    target, folder = _target()
    launch = Launch(target, read.command, folder=folder)
    if not only or not _LAUNCHING.isdisjoint(only):
        launch.start()
    subject = Subject(
        app=current_app._get_current_object(),  # type: ignore[attr-defined]
        environ=os.environ,
        deployment=read,
        launched=launch.result,
        module=target.partition(":")[0] if target else None,
    )
    try:
        return examine(subject, only)
    finally:
        launch.close()
        services.database.clients.close()


def _target() -> tuple[str | None, str]:
    """The module of the application, with its attribute if one was named, and the folder that it is imported from."""
    info = click.get_current_context().find_object(ScriptInfo)
    if info is None or info.create_app is not None:
        return None, os.getcwd()
    path = info.app_import_path
    if path is None:  # what flask itself looks for
        path = next((name for name in ("wsgi.py", "app.py") if os.path.exists(name)), None)
    if path is None:
        return None, os.getcwd()
    place, *attribute = re.split(r":(?![\\/])", path, maxsplit=1)
    return ":".join([prepare_import(place), *attribute]), sys.path[0]


def _draw(found: Found, *, verbose: bool) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for family, findings in found.items():
        if not findings:
            continue  # nothing to look at here
        table.add_row(Text(family, style="bold"))
        for level, name, text in _rows(findings, verbose=verbose):
            table.add_row(Text(f"  {level}", style=_STYLES[level]), name, Text(text))
        table.add_row()
    show(table)


def _rows(findings: list[Finding], *, verbose: bool) -> Iterator[tuple[Level, str, str]]:
    """Level, check and text; what is good, and what could not be checked for one reason, is one row unless ``verbose``."""
    rest = [one for one in findings if not (one.advice or one.facts)]
    folded = Counter((one.level, "" if one.level is Level.OK else one.found) for one in rest)
    for finding in findings:
        alike = (finding.level, "" if finding.level is Level.OK else finding.found)
        if finding.advice:
            yield finding.level, finding.check, f"{finding.found}\n-> {finding.advice}"
        elif finding.facts or verbose or (folded[alike] == 1 and finding.level is not Level.OK):
            yield finding.level, finding.check, finding.found
        elif folded[alike]:
            yield finding.level, f"{folded[alike]} checks", alike[1]
            folded[alike] = 0
