"""What the files of a deployment and their pages call by `flask prodfix` is a command, with options that it has."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from prodfix.cli.group import commands
from tests.support import REPOSITORY

PLACES = [
    *(REPOSITORY / "docs" / name for name in ("containers.md", "production-checklist.md", "log-shipping.md")),
    REPOSITORY / "render.yaml",
    *sorted(path for path in (REPOSITORY / "deploy").rglob("*") if path.suffix in (".yaml", ".conf", ".service")),
]
_CALL = re.compile(r"--app,? wsgi,? prodfix,? ([a-z][a-z, ]*(?: --?[\w-]+)*)")


def calls(text: str) -> list[list[str]]:
    """The words behind `flask --app wsgi prodfix`, of a shell's line or a YAML list."""
    joined = re.sub(r"\s*\\?\n\s*", " ", text)
    return [found.replace(",", " ").split() for found in _CALL.findall(joined)]


def problem(words: list[str]) -> str | None:
    """What is wrong with the words of a call; None if it is one of ours. Words that are values of options are passed over."""
    command: click.Command = commands
    for word in words:
        if word.startswith("--"):
            if word not in {name for option in command.params for name in option.opts}:
                return f"{command.name} has no {word}"
        elif isinstance(command, click.Group):
            below = command.get_command(click.Context(command), word)
            if below is None:
                return f"{command.name} has no {word}"
            command = below
    return f"{command.name} wants a command" if isinstance(command, click.Group) else None


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(REPOSITORY)))
def test_each_call_is_one_that_there_is(place: Path) -> None:
    assert [told for words in calls(place.read_text()) if (told := problem(words)) is not None] == []


def test_calls_are_found_in_each_form_and_wrong_ones_are_told() -> None:
    assert calls("x: flask --app wsgi prodfix indexes apply\n") == [["indexes", "apply"]]
    assert calls("[flask, --app, wsgi, prodfix, indexes, apply]") == [["indexes", "apply"]]
    assert calls("flask --app wsgi prodfix\n  deferred drain`. Its") == [["deferred", "drain"]]
    assert problem(["indexes", "apply"]) is None
    assert problem(["indexes"]) == "indexes wants a command"
    assert problem(["index", "apply"]) == "prodfix has no index"
    assert problem(["doctor", "--stricter"]) == "doctor has no --stricter"


def test_the_manifests_and_the_pages_have_some() -> None:
    named = {" ".join(words[:2]) for place in PLACES for words in calls(place.read_text())}
    assert {"indexes apply", "deferred drain", "alerts test"} <= named
