"""How the files beside the application say that it is started: Procfile, render.yaml, and ``GUNICORN_CMD_ARGS``.

They are read as text: what is looked for is a line of its own in both, and needs no library for YAML.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from prodfix.slotted import frozen

LARGEST = 256 * 1024  # bytes of a file that are read

_PROCFILE = re.compile(r"(?m)^web:[ \t]*(\S.*)$")
_START = re.compile(r"(?m)^[ \t-]*startCommand:[ \t]*(\S.*?)[ \t]*$")
_HEALTH = re.compile(r"(?m)^[ \t-]*healthCheckPath:[ \t]*[\"']?(/[^\s\"'#]*)")
_INSTANCES = re.compile(r"(?m)^[ \t-]*(?:numInstances|maxInstances):[ \t]*(\d{1,4})\b")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


@frozen
class StartCommand:
    """gunicorn's ``arguments`` in a line of ``source``, and the variables that the line sets or (None) takes away."""

    source: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str | None]


@frozen
class Deployment:
    """What the files say. ``health_paths`` are render.yaml's ``healthCheckPath``s."""

    commands: tuple[StartCommand, ...] = ()
    health_paths: tuple[str, ...] = ()
    instances: int = 1

    @property
    def command(self) -> StartCommand | None:
        return self.commands[0] if self.commands else None


def read(folder: Path, environ: Mapping[str, str]) -> Deployment:
    """The deployment that the files in ``folder`` describe; on Render its own file counts first."""
    procfile, render = _text(folder / "Procfile"), _text(folder / "render.yaml")
    lines = [("Procfile", match[1]) for match in _PROCFILE.finditer(procfile)]
    lines += [("render.yaml", _unquoted(match[1])) for match in _START.finditer(render)]
    if environ.get("RENDER"):
        lines.reverse()
    found = [start_command(source, line, environ) for source, line in lines]
    return Deployment(
        commands=tuple(command for command in found if command is not None),
        health_paths=tuple(dict.fromkeys(match[1] for match in _HEALTH.finditer(render))),
        instances=max([1, *(int(match[1]) for match in _INSTANCES.finditer(render))]),
    )


def start_command(source: str, line: str, environ: Mapping[str, str]) -> StartCommand | None:
    """The command of ``line`` as a shell would run it with ``environ``; None if it does not start gunicorn."""
    try:
        words = [_expanded(word, environ) for word in shlex.split(line, comments=True)]
    except ValueError:  # a quote that nobody closes
        return None
    place = next((index for index, word in enumerate(words) if os.path.basename(word) == "gunicorn"), None)
    if place is None:
        return None
    end = next((index for index, word in enumerate(words) if index > place and word in ("&&", "||", ";", "|")), None)
    return StartCommand(source, tuple(words[place + 1 : end]), _variables(words[:place]))


def _variables(words: list[str]) -> dict[str, str | None]:
    changed: dict[str, str | None] = {}
    for before, word in zip(["", *words], words, strict=False):
        assignment = _ASSIGNMENT.fullmatch(word)
        if before in ("-u", "--unset"):
            changed[word] = None
        elif word.startswith("--unset="):
            changed[word.removeprefix("--unset=")] = None
        elif assignment is not None:
            changed[assignment[1]] = assignment[2]
    return changed


def _expanded(word: str, environ: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: environ.get(match[1] or match[3]) or match[2] or "", word)


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _text(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(LARGEST).decode("utf-8", "replace")
    return ""
