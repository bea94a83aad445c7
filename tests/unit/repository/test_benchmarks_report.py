"""The benchmarks' report: what stands in it, from figures that nobody had to measure."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import plots, profiles
from benchmarks.beside import costs
from benchmarks.profiles import Line
from benchmarks.report import _served, render
from benchmarks.rows import Figure
from benchmarks.team import ROOT

TAKEN = {
    "bare/find": [{"cpu": 100.0}, {"cpu": 110.0}, {"cpu": 105.0}],
    "bare again/find": [{"cpu": 101.0}, {"cpu": 109.0}, {"cpu": 105.0}],
    "served/find": [{"cpu": 150.0}, {"cpu": 165.0}, {"cpu": 160.0}],
    "sentry/find": [{"cpu": 220.0}, {"cpu": 230.0}, {"cpu": 240.0}],
}
COUNTS = {"bare/find": 400_000.0, "served/find": 560_000.0}
CURVE = {
    "name": "connections",
    "title": "One request",
    "along": "connections",
    "unit": "µs CPU",
    "series": {"bare": [[1, 300.0], [64, 310.0]], "bare again": [[1, 303.0], [64, 310.0]], "served": [[1, 450.0], [64, 400.0]]},
    "note": "Ended early.",
}  # fmt: skip


@pytest.fixture
def result() -> dict[str, Any]:
    missed = Figure("7", "own | exception", "an error", "caller p10", 9.9, "x", 1.01, 2.5, 1.8, (9.1, 10.2))
    return {
        "environment": {
            "machine": "2 x CPU",
            "load": [1.0],
            "valgrind": "valgrind-3.19.0",
            "versions": {"Flask": "3.1.3"},
        },
        "load after": [2.0],
        "rounds": 3,
        "seconds": 7,
        "peers": {"sentry-sdk": "2.75.0"},
        "figures": [missed.to_json(), *(each.to_json() for each in _served([CURVE]))],
        "beside": [each.to_json() for each in costs("commands", TAKEN, "cpu", COUNTS)],
        "memory": {"commands": {"bare": 30.0, "served": 52.0, "sentry": 38.0}, "requests": {}},
        "left out": ["the worker of elastic ended with 1"],
        "curves": [CURVE],
        "profiles": [{"work": "served/boom", "text": "| a table |"}],
    }


def test_the_report_has_figures_with_controls_and_spread_and_what_was_left_out(
    result: dict[str, Any], tmp_path: Path
) -> None:
    text = render(result, tmp_path).read_text()
    assert (
        "| 7 | an error: own \\| exception | caller p10 | x 9.900 | 9.100–10.2 | 1.010 | 2.500 | 1.800 | missed |"
        in text
    )
    assert "| 6 | a request under gunicorn with its access log, to bare with its own: 64 connections |" in text
    assert "Load before 1.0, after 2.0." in text
    assert "sentry-sdk 2.75.0" in text
    assert "Not measured: the worker of elastic ended with 1." in text
    assert "Ended early." in text
    assert "| served | **1.400** · 1.505 (1.500–1.524), +51 µs |" in text
    assert "### served/boom\n\n| a table |" in text
    assert str(ROOT) not in text


def test_every_plot_that_is_named_is_there_and_needs_nothing_from_elsewhere(
    result: dict[str, Any], tmp_path: Path
) -> None:
    text = render(result, tmp_path).read_text()
    named = {part.partition(")")[0] for part in text.split("](")[1:]}
    files = {f"pictures/{file.name}" for file in (tmp_path / "pictures").iterdir()}
    assert named == files != set()
    for name in files:
        tree = ET.parse(tmp_path / name)
        assert not [each for each in tree.iter() if each.tag.endswith("script")]
        assert "http" not in "".join(each.get("href") or "" for each in tree.iter())


def test_who_is_beside_is_compared_with_the_bare_one_of_the_same_round() -> None:
    found = {each.variant: each for each in costs("commands", TAKEN, "cpu", COUNTS)}
    assert set(found) == {"bare again", "served", "sentry"}
    assert found["bare again"].ratio == pytest.approx(1.0, abs=0.02)
    assert found["served"].ratio == pytest.approx(152 / 101)
    assert found["served"].low <= 1.5 <= found["served"].high
    assert found["served"].added == pytest.approx(51.0)
    assert found["served"].instructions == pytest.approx(1.4)
    assert found["sentry"].instructions is None


def test_a_plot_of_what_grows_steeply_is_logarithmic_and_one_of_what_does_not_begins_at_zero() -> None:
    steep = plots.lines("a", "x", "µs", {"one": [(10, 1.0), (100_000, 300.0)]}).decode()
    flat = plots.lines("a", "x", "µs", {"one": [(10, 3.0), (100_000, 4.0)]}).decode()
    assert {">1<", ">10<", ">100<", ">1,000<", ">100,000<"} <= {part for part in re.findall(">[^<]*<", steep)}
    assert ">0<" in flat
    assert ">0<" not in steep


def test_a_profile_says_which_functions_and_files_and_how_much_of_it_is_ours() -> None:
    lines = [
        Line("prodfix/redaction/redactor.py redact_text", 7.0, 0.5, 0.7),
        Line("flask/app.py wsgi_app", 1.0, 0.3, 1.0),
    ]
    text = profiles.shown([*lines, Line("prodfix/redaction/redactor.py _rest", 1.0, 0.2, 0.2)])
    first = text.index("| prodfix/redaction/redactor.py redact_text | 7.0 | 50.0 % | 70.0 % |")
    assert text.index("| prodfix/redaction/redactor.py _rest |") > first
    assert text.count("flask/app.py wsgi_app") == 1
    assert "(prodfix: 70 %)" in text
    assert "| prodfix/redaction/redactor.py |  | 70.0 % |  |" in text
    assert profiles.short(str(ROOT / "prodfix" / "redaction" / "names.py")) == "prodfix/redaction/names.py"
    assert profiles.short("/x/lib/python3.13/site-packages/flask/app.py") == "flask/app.py"
    assert profiles.short("/usr/lib/python3.13/json/encoder.py") == "json/encoder.py"
