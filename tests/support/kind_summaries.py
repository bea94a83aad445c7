"""Kinds of errors as services answer them, made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prodfix.models import GroupSummary

SEEN = datetime(2026, 11, 26, 10, tzinfo=UTC)


def kind_summary(**fields: Any) -> GroupSummary:
    """One with seven errors, but for ``fields``."""
    known: dict[str, Any] = {
        "fingerprint": "0123456789abcdef",
        "message": "INTERNAL_ERROR (KeyError) in views.py:show",
        "headline": "KeyError: 'price'",
        "place": "views.py:show",
        "code": "INTERNAL_ERROR",
        "category": "unknown",
        "count": 7,
        "trend": [0] * 23 + [7],
        "users": 3,
        "users_exact": True,
        "first_seen": SEEN,
        "last_seen": SEEN,
        "releases": ["3f2a9c1"],
        "devices": {"mobile": 7},
        "endpoints": {"/orders": 7},
        "badges": [],
        "status": "open",
        "resolved_by": None,
        "resolved_at": None,
    }
    return GroupSummary(**{**known, **fields})
