"""A figure beside the one of the window before: worse is what chance does not explain."""

from __future__ import annotations

import pytest

from prodfix.blueprints.diagnostics.pages.comparison import FigureChange, of_counts, of_durations, of_rates


@pytest.mark.parametrize(
    ("now", "before", "words", "worse"),
    [
        (112, 100, "+12 %", False),  # chance
        (400, 100, "+300 %", True),
        (88, 100, "\N{MINUS SIGN}12 %", False),
        (100, 100, "as before", False),
        (3, 0, "none before", False),
        (9, 0, "none before", True),
        (2000, 100, "20 times as many", True),
    ],
)
def test_of_counts(now: int, before: int, words: str, worse: bool) -> None:
    assert of_counts(now, before) == FigureChange(words, f"{before:,}", worse)
    assert of_counts(now, before, bad=False) == FigureChange(words, f"{before:,}", worse=False)


def test_where_there_is_nothing_there_is_nothing_to_compare() -> None:
    assert of_counts(0, 0) is None
    assert of_rates((1, 10), (0, 0)) is None
    assert of_rates((0, 0), (1, 10)) is None
    assert of_durations(None, 12.0, 100) is None
    assert of_durations(12.0, None, 100) is None


@pytest.mark.parametrize(
    ("now", "before", "words", "worse"),
    [
        ((90, 1000), (5, 1000), "0.50 % before", True),
        ((5, 1000), (90, 1000), "9.00 % before", False),
        ((6, 1000), (5, 1000), "0.50 % before", False),
        ((1, 2), (1, 1000), "0.10 % before", False),
    ],
)
def test_of_rates(now: tuple[int, int], before: tuple[int, int], words: str, worse: bool) -> None:
    found = of_rates(now, before)
    assert found is not None
    assert (found.words, found.worse) == (words, worse)


def test_of_durations() -> None:
    assert of_durations(150.0, 100.0, 500) == FigureChange("+50 %", "100 ms", worse=True)
    assert of_durations(150.0, 100.0, 5) == FigureChange("+50 %", "100 ms", worse=False), "of few requests"
    assert of_durations(90.0, 100.0, 500) == FigureChange("\N{MINUS SIGN}10 %", "100 ms", worse=False)
    assert of_durations(9.5, 9.0, 500) == FigureChange("+6 %", "9.0 ms", worse=False)
