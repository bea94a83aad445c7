"""The moment of a line, whose text is made once a second."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.logs import lines


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=1, max_size=5))
def test_it_is_iso_8601_in_utc_with_milliseconds_whatever_came_before(moments: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for moment in moments:
            # A half: so that no rounding of a float takes it over a millisecond.
            patch.setattr("prodfix.logs.lines.time.time", lambda moment=moment: (moment + 0.5) / 1000)
            wanted = datetime.fromtimestamp(moment // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            assert lines.timestamp() == f"{wanted}.{moment % 1000:03d}Z"
