"""A kind of error as Markdown, for a ticket or an assistant: what the page shows, redacted as that is.

Whatever is not ours stands in a code span or a fenced block, longer than any backticks in it: there nothing is markup, a link
or somebody's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from prodfix import iso, redact_text
from prodfix.models import GroupSummary, SentCommand

_LONGEST_STACK = 12_000  # characters
_COMMANDS = 40
_TICKS = re.compile("`+")


def kind_as_markdown(
    group: GroupSummary,
    *,
    window: str,
    address: str,
    releases: Iterable[str],
    stack: str,
    stack_at: tuple[str | None, datetime] | None,
    commands: Sequence[SentCommand],
    category: str,
) -> str:
    """``category`` in words. ``stack_at``: the release and time of the record that stack and commands are of."""
    lines = [f"## {span(group.headline)}", ""]
    if group.place:
        lines.append(f"- Place: {span(group.place)}")
    lines += [
        f"- Code: {span(group.code)}, category: {span(category)}, status: {span(group.status)}",
        f"- Count: {group.count} within {window}" + _users(group),
        f"- First seen: {_told(group.first_seen)}, last seen: {_told(group.last_seen)}",
        f"- Releases: {', '.join(map(span, releases)) or 'not known'}",
        f"- Fingerprint: {span(group.fingerprint)}",
        f"- Page: <{_address(address)}>",
    ]
    if stack and stack_at is not None:
        release, at = stack_at
        of = f" of release {span(release)}" if release else ""
        lines += ["", f"### Stack of {_told(at)}{of}", "", block(stack[:_LONGEST_STACK])]
    if commands:
        lines += ["", "### Commands of that request", "", *map(_command, commands[:_COMMANDS])]
        if len(commands) > _COMMANDS:
            lines.append(f"- and {len(commands) - _COMMANDS} more")
    return "\n".join(lines) + "\n"


def span(text: str) -> str:
    """In one line, as code."""
    told = " ".join(redact_text(text).split()) or "—"
    fence = "`" * (_longest(told) + 1)
    room = " " if told.startswith("`") or told.endswith("`") else ""
    return f"{fence}{room}{told}{room}{fence}"


def block(text: str) -> str:
    """As a block of code."""
    told = redact_text(text).strip("\n")
    fence = "`" * max(3, _longest(told) + 1)
    return f"{fence}text\n{told}\n{fence}"


def _longest(text: str) -> int:
    return max((len(ticks) for ticks in _TICKS.findall(text)), default=0)


def _users(group: GroupSummary) -> str:
    if group.users is None:
        return ""
    about = "" if group.users_exact else "about "
    return f", {about}{group.users} users affected"


def _command(one: SentCommand) -> str:
    where = f" on {span(one.collection)}" if one.collection else ""
    took = "" if one.duration_ms is None else f", {one.duration_ms:.1f} ms"
    return f"- {span(one.operation)}{where}{took}{', failed' if one.failed else ''}"


def _told(at: datetime) -> str:
    return iso(at)


def _address(address: str) -> str:
    """Between angle brackets, where neither they nor blanks may stand."""
    return re.sub(r"[<>\s`]", "", address)
