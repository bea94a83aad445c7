"""The pages of ``docs/reference`` that the code knows best: settings, codes, endpoints, commands, checks of the doctor.

``python -m config.reference`` writes them; with ``--check`` it writes nothing, and ends with 1 if one is not what it would be.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from flask import Flask

from config import log_schema
from config.meanings import GROUPS, SEEDS
from prodfix import Environment, Settings, create_app, make_token, problem_codes
from prodfix.checked_record import SecretStr
from prodfix.cli.group import commands
from prodfix.logs.sinks import Console
from prodfix.settings_sources import SERVED_ONLY
from prodfix.settings_table import default_of, kind_of

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
WIDTH = 118  # characters
_NOTE = "<!-- Made by `python -m config.reference`: change the code, not this page. -->"
_OPENAPI = "/openapi.json"


def pages() -> dict[str, str]:
    """Name and text of each page."""
    with tempfile.TemporaryDirectory() as folder:
        app, token = _application(Path(folder))
        try:
            return {
                "settings.md": settings_page(),
                "codes.md": codes_page(app),
                "endpoints.md": endpoints_page(app, token),
                "commands.md": commands_page(),
                "checks.md": checks_page(),
                "log-line.schema.json": json.dumps(log_schema.schema(), indent=1) + "\n",
            }
        finally:
            app.extensions["prodfix"].close()


def settings_page() -> str:
    """Each setting with its default, what it may be and what it is for."""
    lines = [
        "Environment variables, or lines of a `.env` file (the environment wins). Empty counts as not set. In an application "
        "that has adopted prodfix each has the prefix `PRODFIX_`: see [Adopt it](../adopt.md#settings). The served application "
        "takes that too, before the bare name. Sizes may end in `k`, "
        "`m` or `g`. Names with * have the names and defaults of the seed; those with † are the served application's only.",
        "",
        "All that is wrong is told at once, by name and without its value, and nothing starts.",
    ]
    for title, group in settings_by_group().items():
        rows = [(*_row(name), text) for name, text in group.items()]
        lines += ["", f"## {title}", "", *_table(("variable", "default", "may be", "what it is for"), rows)]
    lines += [
        "",
        "## Read by `make run` alone",
        "",
        *_table(
            ("variable", "default", "what it is for"),
            [
                ("`LOG_FORMAT`", "", "`json`: JSON lines on a terminal too, and no short ones"),
                ("`NO_COLOR`", "", "No colours"),
            ],
        ),
    ]
    return _page("Settings", lines)


def _row(name: str) -> tuple[str, str, str]:
    info = Settings.model_fields[name.lower()]
    marks = (" *" if name in SEEDS else "") + (" †" if name.lower() in SERVED_ONLY else "")
    return f"`{name}`{marks}", default_of(info), kind_of(info)


def settings_by_group() -> dict[str, dict[str, str]]:
    """What each setting is for, by group. One that :mod:`config.meanings` does not have says it in its own docstring, and
    stands behind its neighbour. Raises ``ValueError`` for one that says it nowhere."""
    homes = {name: title for title, group in GROUPS.items() for name in group}
    texts = {name: text for group in GROUPS.values() for name, text in group.items()}
    groups: dict[str, dict[str, str]] = {title: {} for title in GROUPS}
    own, home = _docstrings(), next(iter(GROUPS))
    for name in map(str.upper, Settings.model_fields):
        text = texts.get(name) or own.get(name)
        if not text:
            raise ValueError(f"nothing says what {name} is for: config/meanings.py, or a docstring behind its field")
        home = homes.get(name, home)
        groups[home][name] = text
    return groups


def _docstrings() -> dict[str, str]:
    """The texts behind fields of the settings."""
    (tree,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        field.target.id.upper(): " ".join(text.value.value.replace("``", "`").split())
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def codes_page(app: Flask) -> str:
    """Each code with what it means and what to do."""
    codes = problem_codes(app.extensions["prodfix"].classifier)
    lines = [
        "The `code` of an answer, and what to do about it. The application shows the same texts at the `type` of each answer: "
        "`/problems/<code>`, in small letters with hyphens. Where no such page is registered, `type` is `urn:prodfix:<code>`.",
        "",
        *_table(
            ("code", "status", "when"),
            [
                (f"[`{code}`](#{code.lower()})", ", ".join(map(str, problem.statuses)), problem.meaning)
                for code, problem in codes.items()
            ],
        ),
        "",
        "Any other status has `HTTP_<status>`. An application's own rows have codes of their own, and pages too, unless a row "
        "decides error by error.",
    ]
    for code, problem in codes.items():
        lines += [
            "",
            f"## {code}",
            "",
            problem.meaning,
            "",
            f"- **The client:** {problem.client}",
            f"- **The operator:** {problem.operator}",
        ]
    return _page("Codes of errors", lines)


def endpoints_page(app: Flask, token: str) -> str:
    """Each route with its first sentence; of the diagnostics what their own document says, with parameters."""
    prefix = app.extensions["prodfix"].links.diagnostics
    answer = app.test_client().get(prefix + _OPENAPI, headers={"Authorization": f"Bearer {token}"})
    document = answer.get_json()
    rows = [
        (f"`{' '.join(sorted((rule.methods or set()) - {'HEAD', 'OPTIONS'}))}`", f"`{rule.rule}`", _sentence(view))
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
        if (view := app.view_functions[rule.endpoint]).__doc__ and not rule.rule.startswith(f"{prefix}/")
    ]
    lines = [
        "What the served application answers. In an application that has adopted prodfix each blueprint has the prefix that "
        "it is given there.",
        "",
        *_table(("method", "path", ""), rows),
        "",
        "## The diagnostics",
        "",
        f"All of them below `{prefix}`, for a token with the role `admin`; what is no change, for a `viewer` too. "
        f"`{prefix}{_OPENAPI}` is the OpenAPI document that this is made of, with the types of the answers; health checks and "
        "the status of deferred writes are in it as well.",
    ]
    ours = {path: item for path, item in document["paths"].items() if path.startswith(f"{prefix}/")}
    for path, operations in ours.items():
        for method, operation in operations.items():
            lines += ["", f"### {method.upper()} {path.removeprefix(prefix) or '/'}", "", *_operation(operation)]
    return _page("Endpoints", lines)


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    yield " ".join(str(operation["description"]).replace("``", "`").split())
    parameters = [
        (f"`{one['name']}`", one["in"], _schema(one.get("schema", {})), str(one.get("description", "")))
        for one in operation.get("parameters", ())
    ]
    if parameters:
        yield ""
        yield from _table(("parameter", "in", "may be", ""), parameters)


def _schema(schema: Mapping[str, Any]) -> str:
    kinds = [one for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())) if one.get("type") != "null"]
    if kinds:
        return " or ".join(filter(None, map(_schema, kinds)))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    known = [str(schema[name]) for name in ("format", "type") if name in schema][:1]
    low, high = schema.get("minimum"), schema.get("maximum")
    return " ".join([*known, *([f"{low} to {high}"] if low is not None and high is not None else [])])


def commands_page() -> str:
    """Each command of ``flask prodfix`` with its options."""
    lines = [
        "`flask --app wsgi prodfix COMMAND`; in an application that has adopted prodfix `flask --app yours prodfix COMMAND`. "
        "The commands read the settings of the service: give them the same ones.",
    ]
    for name, command in _commands(commands, click.Context(commands)):
        usage = " ".join(
            f"{one.name.upper()}" for one in command.params if isinstance(one, click.Argument) and one.name
        )
        lines += ["", f"## {name}{f' {usage}' if usage else ''}", "", *_described(command)]
    return _page("Commands", lines)


def _commands(group: click.Group, context: click.Context, within: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, context, f"{within}{name} ")
        elif command is not None:
            yield f"{within}{name}", command


def _described(command: click.Command) -> Iterator[str]:
    text = inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "")
    yield _flowing(text)
    options = [
        (f"`{', '.join(one.opts)}`", _default(one), one.help or "")
        for one in command.params
        if isinstance(one, click.Option) and not one.hidden
    ]
    if options:
        yield ""
        yield from _table(("option", "default", ""), options)


def _default(option: click.Option) -> str:
    given = option.default
    return f"`{given}`" if isinstance(given, (str, int)) and not isinstance(given, bool) and given != "" else ""


def checks_page() -> str:
    """Each check of the doctor."""
    import prodfix.doctor.checks  # noqa: F401 - the checks register when it is loaded
    from prodfix.doctor.registry import FAMILIES, explanation

    lines = ["What `flask --app wsgi prodfix doctor` looks at. The codes stay what they are over releases."]
    for family, checks in FAMILIES.items():
        lines += ["", f"## {family.capitalize()}"]
        for check in checks:
            lines += ["", f"### {check.code}", "", _flowing(explanation(check))]
    return _page("Checks of the doctor", lines)


def _application(folder: Path) -> tuple[Flask, str]:
    from blueprints import BLUEPRINTS

    settings = Settings(
        app_env=Environment.DEVELOPMENT,
        state_dir=folder,
        log_dir=folder / "log",
        jwt_secret_key=SecretStr("a key for the pages of reference, which signs nothing else"),
    )
    app = create_app(settings, BLUEPRINTS)
    app.extensions["prodfix"].logs.sinks.replace(Console(os.open(os.devnull, os.O_WRONLY)))
    return app, make_token(settings, role="admin", lifetime=timedelta(minutes=5))


def _sentence(view: Any) -> str:
    return _flowing(inspect.cleandoc(view.__doc__).partition("\n\n")[0])


def _flowing(text: str) -> str:
    """A docstring as Markdown: one line for each paragraph, but for what is indented or a list."""
    paragraphs = re.sub(r"``([^`]*)``", r"`\1`", text).split("\n\n")
    return "\n\n".join(
        part if re.search(r"^(?:\s|[-*] )", part, flags=re.MULTILINE) else " ".join(part.split()) for part in paragraphs
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", _NOTE, "", *(part for line in lines for part in _wrapped(line)), ""])


def _wrapped(text: str) -> Iterator[str]:
    """Prose in lines as long as those of the other pages; tables and headings as they are."""
    for line in text.split("\n"):
        if len(line) <= WIDTH or line.startswith(("|", "#", "    ")):
            yield line
        else:
            indent = "  " if line.startswith("- ") else ""
            yield from textwrap.wrap(
                line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m config.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is not current")
    check = parser.parse_args().check
    stale = {name: text for name, text in pages().items() if not _is(FOLDER / name, text)}
    for name, text in stale.items():
        if check:
            print(f"docs/reference/{name} is not current: python -m config.reference", file=sys.stderr)
        else:
            (FOLDER / name).write_text(text)
    return int(check and bool(stale))


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
