"""What the command line says when the settings are not usable: there is no application then, and so none of its commands."""

from __future__ import annotations

import sys
from typing import IO, Any

import click
import orjson

from prodfix.doctor.findings import Finding, Level
from prodfix.settings import SettingsError

MEND = "Set it as the table of settings says (docs/reference/settings.md)"


class SettingsRefused(click.ClickException):
    """Told on stderr, each variable with what is wrong and without its value; exit code 1.

    ``prodfix doctor --json`` answers with findings even then: a script must not have to read anything else.
    """

    def __init__(self, error: SettingsError) -> None:
        super().__init__(str(error))
        self.problems = error.problems

    def show(self, file: IO[Any] | None = None) -> None:
        words = sys.argv[1:]
        if "doctor" in words and "--json" in words:
            findings = [
                {"family": "settings", **Finding(Level.ERROR, f"{name} {problem}", MEND, check="settings").to_json()}
                for name, problem in self.problems.items()
            ]
            answer = {"findings": findings, "errors": len(findings), "warnings": 0}
            click.echo(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        else:
            super().show(file)
