"""Kinds of errors: the list of all, one of them with what an admin decides of it, and its single errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import request, url_for
from flask.typing import ResponseReturnValue

from prodfix import NotFound, ValidationFailed, current_prodfix
from prodfix.blueprints.diagnostics import parameters
from prodfix.blueprints.diagnostics.html import category_name
from prodfix.blueprints.diagnostics.markdown import kind_as_markdown
from prodfix.blueprints.diagnostics.pages.kind_changes import CHANGES, WINDOWS, done_words
from prodfix.blueprints.diagnostics.pages.kind_views import (
    LOOKED_AT,
    crumbs_of,
    exact_shares,
    newest_stack,
    plot_of,
    releases_of,
    sampled_shares,
)
from prodfix.blueprints.diagnostics.pages.shell import back, blueprint, show
from prodfix.blueprints.diagnostics.paging import next_address, number_of, with_query
from prodfix.blueprints.diagnostics.source_lines import sources
from prodfix.models import SERVICE, GroupState, GroupSummary, TimeRange, TriageResult

NEWEST = 20  # errors that the page of a kind lists
TABS: dict[str, tuple[GroupState, ...]] = {
    "open": ("open", "regressed", "unknown"),
    "ignored": ("ignored",),
    "resolved": ("resolved",),
}
"""The states that each of them has: nobody must read in an outage that nothing is wrong."""
SORTS = {"newest": "Newest kinds", "most": "Most errors", "users": "Most users", "trend": "Rising most"}
NOTED = {"owner": "Owner", "link": "Issue", "text": "Note"}  # fields of the note, and what the page calls them
FILTERS = ("q", "category", "endpoint", "device", "release", "user")


@blueprint.get("/page/groups")
def groups() -> str:
    """Every kind of error in a window: those in one state, and with what is searched for."""
    query = parameters.shown_of(request, parameters.KindsShown)
    read, offset = current_prodfix.requests.statistics.read(query.time_range), number_of(query.cursor)
    in_any_state = replace(query.wanted(), status=None)
    fitting = current_prodfix.errors.groups.chosen(read.window, in_any_state, sort=query.sort)
    by_tab = {name: [group for group in fitting if group.status in states] for name, states in TABS.items()}
    total, found = len(by_tab[query.status]), by_tab[query.status][offset : offset + query.limit]
    coverage = read.coverage()
    asked = {name: value for name in FILTERS if (value := _asked(query, name))}
    here = {"timeRange": query.time_range, "status": query.status, "sort": query.sort, **asked}
    if query.errors == "all":
        here["errors"] = "all"

    def at(**changed: str | None) -> str:
        wanted = {name: value for name, value in {**here, **changed}.items() if value}
        return with_query(url_for(".groups"), wanted)

    return show(
        "groups.html",
        groups=current_prodfix.errors.groups.summaries(found, read.window),
        total=total,
        offset=offset,
        limit=query.limit,
        coverage=coverage,
        time_range=query.time_range,
        query=query,
        asked=asked,
        at=at,
        windows=WINDOWS,
        tabs={name: len(groups) for name, groups in by_tab.items()},
        everything=query.errors == "all",
        unknown=any(group.status == "unknown" for group in fitting),
        sorts=SORTS,
        choices=_choices(read.window.counts.errors, asked),
        before=at(cursor=str(max(0, offset - query.limit))) if offset else None,
        following=at(cursor=str(offset + query.limit)) if offset + query.limit < total else None,
        storage=current_prodfix.diagnostics.report.instance().storage,
    )


def _asked(query: parameters.KindsShown, name: str) -> str:
    value = getattr(query, name)
    return "" if value is None else str(value)


def _choices(keys: Mapping[Any, Any], asked: Mapping[str, str]) -> dict[str, list[str]]:
    """What the filters may be set to: what occurs in the window, and what they are set to."""
    found = {
        "category": {key.category for key in keys},
        "endpoint": {key.endpoint for key in keys},
        "device": {key.device for key in keys},
        "release": {release for seen in keys.values() for release in seen.releases},
    }
    return {
        name: sorted({*values, *([asked[name]] if name in asked else [])} - {"__other__"})
        for name, values in found.items()
    }


@blueprint.get("/page/groups/<fingerprint>")
def group(fingerprint: str) -> str:
    """One kind of error."""
    query = parameters.query_of(request, parameters.Shown)
    return _shown(fingerprint, query.time_range, changed=query.done)


@blueprint.post("/page/groups/<fingerprint>/<change>")
def change_group(fingerprint: str, change: str) -> ResponseReturnValue:
    """What an admin decides of it, or notes. A note that cannot be taken comes back in its form, with what is wrong."""
    decide, asked = CHANGES.get(change), request.args.get("timeRange")
    window: TimeRange = next((name for name in WINDOWS if name == asked), "7d")
    try:
        result = decide(fingerprint[:64]) if decide is not None else TriageResult.NOWHERE
    except ValidationFailed as error:
        if change != "note":
            raise
        return _shown(fingerprint, window, refused=error), 422
    if not result:
        raise NotFound("no such group, or no such change")
    done = "pending" if result is TriageResult.PENDING else change
    return back(".group", fingerprint=fingerprint, timeRange=window, done=done)


def _shown(
    fingerprint: str, time_range: TimeRange, *, changed: str | None = None, refused: ValidationFailed | None = None
) -> str:
    """The page of one kind; with ``refused`` what stands in the form of its request, and why it was not taken."""
    read = current_prodfix.requests.statistics.read(time_range)
    found = current_prodfix.errors.groups.find(fingerprint[:64], read.window)
    if found is None:
        raise NotFound("no such group")
    settings = current_prodfix.settings
    newest = current_prodfix.errors.lookup.errors(fingerprint=found.fingerprint, limit=LOOKED_AT)
    records, coverage = newest.records, read.coverage()
    stack = newest_stack(records, sources(), settings.release, with_source=settings.diagnostics_source_lines)
    log = current_prodfix.diagnostics.requests.log(stack.request_id or "", stack.came) if stack else None
    releases = releases_of(found, records)
    begin = coverage.window_from
    return show(
        "group.html",
        group=found,
        records=newest.summaries[:NEWEST],
        more=len(records) > NEWEST,
        looked_at=len(records),
        kept=current_prodfix.errors.lookup.kept(found.fingerprint),
        of_client=found.category not in SERVICE,
        coverage=coverage,
        plot=plot_of(found, coverage, records, all_records=newest.next is None),
        stack=stack,
        crumbs=crumbs_of(stack, log) if stack else [],
        running=settings.release,
        with_source=settings.diagnostics_source_lines,
        releases=releases,
        shares={
            "Endpoint": exact_shares(found.endpoints, found.fingerprint, "endpoint", begin),
            "Device": exact_shares(found.devices, found.fingerprint, "device", begin),
        },
        sampled={
            "Release": sampled_shares(records, "release"),
            "App version": sampled_shares(records, "context.appVersion"),
        },
        markdown=kind_as_markdown(
            found,
            window=WINDOWS[time_range],
            address=_address_of(found.fingerprint),
            category=category_name(found.category),
            releases=releases,
            stack=stack.text if stack else "",
            stack_at=(stack.release, stack.at) if stack else None,
            commands=stack.commands if stack else (),
        ),
        windows=WINDOWS,
        time_range=time_range,
        changed=changed,
        # That it is ignored, and until when, the page tells anyway.
        done=None if changed == "ignore" and found.ignored is not None else done_words(changed),
        refused=[(NOTED.get(one.field, one.field), one.message) for one in refused.problems] if refused else [],
        noted={name: request.form.get(name, "") for name in NOTED} if refused else _noted(found),
    )


def _noted(group: GroupSummary) -> dict[str, str]:
    """What the form of the note begins with."""
    return {
        "owner": group.owner or "",
        "link": group.link or "",
        "text": group.note.text if group.note is not None else "",
    }


def _address_of(fingerprint: str) -> str:
    """Of the page, where people find it."""
    path = url_for(".group", fingerprint=fingerprint, timeRange="7d")
    base: str = current_prodfix.settings.address or request.host_url
    return base.rstrip("/") + path


@blueprint.get("/page/errors")
def errors() -> str:
    """Single errors, newest first."""
    query = parameters.shown_of(request, parameters.RecordsFilter)
    page = current_prodfix.errors.lookup.errors(**query.asked())
    asked = {name: value for name, value in request.args.items() if value and name not in ("cursor", "limit")}

    def without(name: str) -> str:
        return with_query(url_for(".errors"), {other: value for other, value in asked.items() if other != name})

    return show(
        "errors.html",
        records=page.summaries,
        scope=page.scope,
        sampled=current_prodfix.diagnostics.requests.sampled(),
        asked=asked,
        without=without,
        following=next_address(page.next),
    )
