"""A request as text that is taken elsewhere: a command that asks the same again, and Markdown for a ticket or an assistant.

All of it is what the page shows, redacted as that is. A record has the route's template and neither a path nor a body, as both
may hold what is a person's; tokens and cookies are in no record at all.
"""

from __future__ import annotations

import re
import shlex

from prodfix import iso
from prodfix.blueprints.diagnostics.markdown import block, span
from prodfix.models import RequestReport, SentCommand

NO_ROUTES = ("unmatched", "background")
LONGEST_STACK = 12_000  # characters


def as_curl(report: RequestReport, base: str) -> str:
    """A command for a shell, or nothing for what came to no route. ``base`` is where the application is, without a slash at its
    end. Its ``<parts>`` are for who sends it."""
    context = report.context
    if not context.endpoint or context.endpoint in NO_ROUTES or not context.method:
        return ""
    words = ["curl", "--include"]
    if context.method not in ("GET", "HEAD"):
        words += ["--request", context.method]
    elif context.method == "HEAD":
        words.append("--head")
    for name, value in (("User-Agent", context.user_agent), ("X-App-Version", context.app_version)):
        if value:
            words += ["--header", f"{name}: {value}"]
    return " ".join(shlex.quote(word) for word in [*words, base + context.endpoint])


def as_markdown(report: RequestReport, address: str) -> str:
    """``address`` is the page's."""
    context = report.context
    answer = f"{report.status} {report.code}" if report.code else "without an error"
    lines = [f"## Request {span(context.request_id)}", ""]
    lines.append(f"- Answered: {span(answer)}" + (f", the write: {span(report.outcome)}" if report.outcome else ""))
    lines.append(f"- When: {iso(report.timestamp)}")
    lines.append(f"- Endpoint: {span(f'{context.method or chr(63)} {context.endpoint or chr(63)}')}")
    told = {
        "Release": report.release,
        "Instance": report.instance,
        "Device": context.device_type,
        "App version": context.app_version,
        "Trace": context.trace_id,
    }
    lines += [f"- {name}: {span(value)}" for name, value in told.items() if value]
    lines += [
        f"- Part of incident: {span(one.cause)}, from {iso(one.from_)} "
        + ("on, not over yet" if one.status == "open" else f"to {iso(one.to)}")
        for one in report.incidents
    ]
    lines += [f"- Deferred write {span(one.operation_id)}: {span(one.status)}" for one in report.deferred]
    lines.append(f"- Page: <{re.sub(r'[<>`]|[^!-~]', '', address)}>")
    for error in report.errors[:5]:
        lines += ["", f"### {span(str(error.get('code')))}", "", block(str(error.get("message") or ""))]
        if error.get("stack"):
            lines += ["", block(str(error["stack"])[:LONGEST_STACK])]
    if report.commands:
        lines += ["", "### Commands", "", *map(_command, report.commands)]
    if report.log is not None and report.log.lines:
        said = "\n".join(f"{iso(one.at) if one.at else '-'} {one.level} {one.message}" for one in report.log.lines)
        lines += ["", "### Log lines", "", block(said)]
    return "\n".join(lines) + "\n"


def _command(one: SentCommand) -> str:
    at = "" if one.offset_ms is None else f"+{one.offset_ms:.0f} ms "
    shape = f" by {span(', '.join(one.fields))}" if one.fields else ""
    took = "" if one.duration_ms is None else f", {one.duration_ms:.1f} ms"
    return f"- {at}{span(f'{one.operation} {one.collection or str()}')}{shape}{took}{', failed' if one.failed else ''}"
