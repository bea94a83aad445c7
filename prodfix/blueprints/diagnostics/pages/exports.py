"""Lists as files, for a ticket or a spreadsheet: what the API answers to the same question, all of its pages in one.

On the page, as the API takes no cookie. A file has :data:`MOST` rows at most, which is said on the page; what follows is at the
header ``Link``, as in the API. It is made page by page: between two of them other requests of the worker go on.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, NamedTuple, get_type_hints

import orjson
from flask import Response, request
from pydantic.alias_generators import to_camel

from prodfix import iso
from prodfix.blueprints.diagnostics import api, parameters
from prodfix.blueprints.diagnostics.pages.shell import at, blueprint, called
from prodfix.blueprints.diagnostics.paging import link_to_next, with_query
from prodfix.models import (
    DeferredEntry,
    EndpointFigures,
    ErrorSummary,
    GroupSummary,
    QueryFigures,
    Serializable,
    to_json,
)

MOST = 5_000  # rows of one file
PAGE = 200  # rows that are asked for at once
FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"  # what spreadsheets take for the begin of one (OWASP, CSV injection)


class Exported(NamedTuple):
    """``ask`` is the API's own view of the list; ``rows`` finds them in its answer, where they are called ``key``, and are of the
    class ``row``. ``page``: rows that are asked for at once, more of what each question must read all of."""

    ask: Callable[[Any], Any]
    query: type[parameters.Parameters]
    key: str
    row: type[Serializable]
    rows: Callable[[Any], Sequence[Any]]
    page: int = PAGE


LISTS = {
    "errors": Exported(api.records, parameters.RecordsFilter, "records", ErrorSummary, lambda page: page.records),
    "kinds": Exported(api.groups, parameters.KindsShown, "groups", GroupSummary, lambda page: page.groups, page=MOST),
    "deferred": Exported(api.deferred, parameters.Deferred, "entries", DeferredEntry, lambda page: page.entries),
    "queries": Exported(api.queries, parameters.QueriesFilter, "queries", QueryFigures, lambda page: page.page.queries),
    "endpoints": Exported(
        api.endpoints, parameters.EndpointsFilter, "endpoints", EndpointFigures, lambda page: page.endpoints
    ),
}


@blueprint.get(f"/page/export/<any({', '.join(LISTS)}):name>.<any(csv, json):form>")
def export(name: str, form: str) -> Response:
    """One list as a file, which says what it covers: in its name, and as JSON in the words of the API."""
    rows: list[Any] = []
    following: str | None = None
    covered: dict[str, Any] = {}
    for answer, page, cursor in _pages(LISTS[name]):
        following = cursor
        covered = covered or {key: value for key, value in to_json(answer).items() if key != LISTS[name].key}
        rows += [cells(one) for one in page] if form == "csv" else [orjson.dumps(to_json(one)) for one in page]
    if form == "csv":
        response = Response(written(rows, columns(LISTS[name].row)), mimetype="text/csv")
    else:
        head = orjson.dumps(covered | {"next": following})[:-1] + b',"%b":[' % name.encode()
        response = Response(head + b",".join(rows) + b"]}", mimetype="application/json")
    part = "-of-one-instance" if covered.get("scope") == "instance" and name != "deferred" else ""
    part += "-partial" if covered.get("partial") else ""
    moment = f"{datetime.now(UTC):%Y%m%dT%H%MZ}"
    response.headers["Content-Disposition"] = f'attachment; filename="prodfix-{name}{part}-{moment}.{form}"'
    response.headers.update(link_to_next(following))
    return response


@called
def exports(name: str) -> list[tuple[str, str]]:
    """What the list on the page that is shown can be had as, and where: the same question, as far as the list has it."""
    known = {one.alias or field for field, one in LISTS[name].query.model_fields.items()} - {"cursor", "limit"}
    asked = {key: value for key, value in request.args.items() if key in known and value}
    return [(form.upper(), with_query(at("export", name=name, form=form), asked)) for form in ("csv", "json")]


def _pages(exported: Exported) -> Iterator[tuple[Any, Sequence[Any], str | None]]:
    """Each answer, its rows, and the cursor of the next one."""
    query, found = parameters.query_of(request, exported.query), 0
    paged = "limit" in exported.query.model_fields
    while True:
        page = exported.ask(query.model_copy(update={"limit": min(exported.page, MOST - found)}) if paged else query)
        rows = exported.rows(page)[: MOST - found]
        found += len(rows)
        following: str | None = getattr(page, "next", None)
        yield page, rows, following
        if following is None or found >= MOST or not rows:
            return
        query = query.model_copy(update={"cursor": following})


def cells(one: Serializable, before: str = "") -> dict[str, str | int | float | None]:
    """A row: the fields of what is within it have its name before theirs, and what has no fixed fields is JSON."""
    row: dict[str, str | int | float | None] = {}
    for field in fields(one):  # type: ignore[arg-type]
        name, value = before + to_camel(field.name.rstrip("_")), getattr(one, field.name)
        if isinstance(value, Serializable):
            row |= cells(value, f"{name}.")
        else:
            row[name] = _cell(value)
    return row


def _cell(value: Any) -> str | int | float | None:
    if value is None or isinstance(value, (int, float)):
        return value
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, (list, tuple, frozenset)) and all(isinstance(one, str) for one in value):
        return harmless("; ".join(value))
    return harmless(value if isinstance(value, str) else orjson.dumps(to_json(value), default=str).decode())


def harmless(text: str) -> str:
    """Text that no spreadsheet calculates: what looks like a formula has an apostrophe before it."""
    return f"'{text}" if text[:1] in ("\t", "\r", "\n") or text.lstrip()[:1] in tuple(FORMULA) else text


def columns(row: type[Serializable], before: str = "") -> list[str]:
    """The names of the :func:`cells` of a class of rows, for a list that has none."""
    hints, found = get_type_hints(row), []
    for field in fields(row):  # type: ignore[arg-type]
        name, kind = before + to_camel(field.name.rstrip("_")), hints[field.name]
        within = isinstance(kind, type) and issubclass(kind, Serializable)
        found += columns(kind, f"{name}.") if within else [name]
    return found


def written(rows: Sequence[dict[str, Any]], known: Sequence[str]) -> str:
    """As RFC 4180 has it, with the names of all fields of all rows first; without a row the ``known`` ones."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or known
    file = io.StringIO()
    writer = csv.DictWriter(file, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
