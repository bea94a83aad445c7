"""Kinds of errors on a terminal: no ID is cut, the trend is drawn, an estimate says that it is one."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console

from prodfix.cli.kind_table import bars, kind_lines, kind_table, states, users_of_kind
from prodfix.statistics.decisions import Escalation, Note
from prodfix.statistics.group_summary import GroupSummary

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
KIND = GroupSummary(
    "0123456789abcdef",
    "INTERNAL_ERROR (KeyError) in shop/views.py:show",
    "unknown",
    12_345,
    NOW,
    NOW,
    ["v1"],
    {"mobile": 12_345},
    {"/cart": 12_345},
    "open",
    None,
    None,
    headline="KeyError: 'price'",
    place="shop/views.py:show",
    code="INTERNAL_ERROR",
    trend=[0] * 20 + [1, 2, 4, 8],
    users=320,
    badges=["new", "escalating"],
    escalation=Escalation(NOW, 90, 1.5, 20, 60, 7.0),
    note=Note("the till\x1b[31m", "ann", NOW),
    pending=True,
)


def drawn(kind: GroupSummary, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(kind_table([kind], width))
    return out.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_id_and_no_trend_is_cut(width: int) -> None:
    lines = drawn(KIND, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[1].startswith("0123456789abcdef ")
    assert ("▁▂▄█" if width >= 100 else "▂█") in lines[1]
    text = " ".join(lines)
    assert "12,345" in text
    assert "~320" in text
    assert "\u2026" not in text
    for word in ("KeyError:", "'price'", "views.py:show", "new", "escalating", "pending"):
        assert word in text


@pytest.mark.parametrize(
    ("counts", "told"),
    [([], ""), ([0, 0], "  "), ([5], "█"), ([1, 8], "▁█"), ([1, 1000], "▁█"), ([0, 500, 1000], " ▄█")],
)
def test_bars(counts: list[int], told: str) -> None:
    assert bars(counts) == told


def test_what_is_merely_open_says_nothing() -> None:
    plain = replace(KIND, badges=[], pending=False)
    found = [states(replace(plain, status=status)) for status in ("open", "unknown", "ignored", "resolved")]
    assert found == [[], [], ["ignored"], ["resolved"]]
    assert states(replace(plain, status="regressed", badges=["regression"])) == ["regression"]


def test_how_many_users() -> None:
    assert users_of_kind(KIND) == "~320"
    assert users_of_kind(replace(KIND, users=3, users_exact=True)) == "3"
    assert users_of_kind(replace(KIND, users=None)) == ""


def test_all_of_one_kind() -> None:
    text = "\n".join(kind_lines(KIND))
    for part in ("KeyError: 'price'\nin shop/views.py:show", "escalating: 90 in 60 minutes", "users:      ~320"):
        assert part in text
    assert "\x1b" not in text
    assert "owner:" not in text
    assert "waits for MongoDB" in text
