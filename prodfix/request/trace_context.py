"""What a request carries of its caller's trace (W3C Trace Context and W3C Baggage), and what a request of ours hands on.

``traceparent``: https://www.w3.org/TR/trace-context/#traceparent-header. Nothing follows version 00, whatever is new another
hyphen in a higher one, version ff is none, and neither an ID of zeros nor a capital letter is valid. ``tracestate`` counts only
beside a valid ``traceparent``, and is dropped whole where it breaks its rules; ``baggage`` stands for itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PARENT = re.compile(
    r"(?!ff)(?:00(?=.{53}\Z)|(?!00)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?",
    re.ASCII,
)
MEMBERS, LONGEST_STATE = 32, 512
"""Members of ``tracestate`` at most, and its characters, of which members are handed on as long as they fit."""
LARGEST_BAGGAGE, MOST_BAGGAGE = 8192, 64
"""Bytes of ``baggage``, and its members: what W3C Baggage asks everybody to hand on."""
LONG_MEMBER = 128  # characters: where members of tracestate must go, these go first

_LCALPHA, _KEYCHAR = "a-z", r"a-z0-9_\-*/"
_MEMBER = re.compile(
    rf"(?:[{_LCALPHA}][{_KEYCHAR}]{{0,255}}|[{_LCALPHA}0-9][{_KEYCHAR}]{{0,240}}@[{_LCALPHA}][{_KEYCHAR}]{{0,13}})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*"
# Possessive: blanks between an empty value and what follows belong to one of both, and are looked at once.
_ENTRY = re.compile(
    rf"{_TOKEN}[ \t]*+=[ \t]*+{_VALUE}+(?:[ \t]*+;[ \t]*+{_TOKEN}(?:[ \t]*+=[ \t]*+{_VALUE}+)?[ \t]*+)*+"
)
_BLANK = " \t"


class Carried(NamedTuple):
    """What came along, as it may be handed on; empty where nothing did."""

    state: str = ""
    baggage: str = ""
    parent: str = ""
    """The ID of the caller's span."""
    flags: str = "00"


def trace_state(header: str) -> str:
    """``tracestate`` with its members in their order; empty if one of them is none, if a key comes twice, or if there are more
    than :data:`MEMBERS`. What is longer than :data:`LONGEST_STATE` loses long members first, then the last ones."""
    members = [member for one in header.split(",") if (member := one.strip(_BLANK))]
    keys = {member.partition("=")[0] for member in members}
    if len(keys) != len(members) or len(members) > MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return ""
    while members and sum(map(len, members)) + len(members) - 1 > LONGEST_STATE:
        long = [place for place, member in enumerate(members) if len(member) > LONG_MEMBER]
        members.pop(long[-1] if long else -1)
    return ",".join(members)


def baggage(header: str) -> str:
    """``baggage`` with those of its members that are some, in their order, as many as there is room for."""
    kept: list[str] = []
    size = 0
    for one in header[: 4 * LARGEST_BAGGAGE].split(","):
        member = one.strip(_BLANK)
        if not member or not _ENTRY.fullmatch(member):
            continue
        size += len(member) + bool(kept)
        if size > LARGEST_BAGGAGE or len(kept) == MOST_BAGGAGE:
            break
        kept.append(member)
    return ",".join(kept)


def baggage_items(header: str) -> dict[str, str]:
    """Names and values of :func:`baggage`, still percent-encoded, without properties; of a name that comes twice the last."""
    pairs = (member.partition(";")[0].partition("=") for member in header.split(",") if member)
    return {name.strip(_BLANK): value.strip(_BLANK) for name, _, value in pairs}


def parent_header(trace: str, span: str, flags: str) -> str:
    """``traceparent`` of version 00; of the caller's flags only what that version knows: sampled."""
    return f"00-{trace}-{span}-{int(flags, 16) & 1:02x}"
