"""The evaluator of the tests: what it says of expressions whose answers are known, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.support.promql import Unknown, evaluate, series_of
from tests.support.scrapes import Scrape


def at(moment: float, **values: Any) -> Scrape:
    """``requests={"a": 3}``: the series of ``requests`` by their label ``code``; a number has no label."""
    found = {}
    for name, given in values.items():
        for label, value in given.items() if isinstance(given, dict) else [(None, given)]:
            found[name, frozenset([("code", label)] if label else [])] = float(value)
    return Scrape(moment, found)


SCRAPES = [
    at(0, requests={"200": 10, "500": 0}, up=1, limit=4),
    at(60, requests={"200": 40, "500": 6}, up=1, limit=4),
    at(120, requests={"200": 5, "500": 12}, up=0, limit=4),
]


def key(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


KNOWN: list[tuple[str, Any]] = [
    ("1 + 2 * 3", 7.0),
    ("(1 + 2) * 3", 9.0),
    ("-2 + 1e3", 998.0),
    ("up", {key(): 0.0}),
    ("up == 0", {key(): 0.0}),
    ("up == 1", {}),
    ('requests{code="500"}', {key(code="500"): 12.0}),
    ('requests{code=~"5.."}', {key(code="500"): 12.0}),
    ('requests{code!~"5.."}', {key(code="200"): 5.0}),
    ('requests{code!=""}', {key(code="200"): 5.0, key(code="500"): 12.0}),
    ('requests{other=""}', {key(code="200"): 5.0, key(code="500"): 12.0}),
    ('increase(requests{code="500"}[5m])', {key(code="500"): 12.0}),
    ('increase(requests{code="500"}[1m])', {key(code="500"): 6.0}),
    ('rate(requests{code="500"}[5m])', {key(code="500"): 0.1}),
    ('increase(requests{code="200"}[5m])', {key(code="200"): 35.0}),  # 30, and 5 after a fall
    ("sum(requests)", {key(): 17.0}),
    ("sum by (code) (requests)", {key(code="200"): 5.0, key(code="500"): 12.0}),
    ("sum(requests) by (none)", {key(): 17.0}),
    ("max(requests)", {key(): 12.0}),
    ("min(requests)", {key(): 5.0}),
    ("count(requests)", {key(): 2.0}),
    ("absent(nothing)", {key(): 1.0}),
    ("absent(up)", {}),
    ("clamp_min(requests, 6)", {key(code="200"): 6.0, key(code="500"): 12.0}),
    ("clamp_max(requests, 6)", {key(code="200"): 5.0, key(code="500"): 6.0}),
    ("requests > 6", {key(code="500"): 12.0}),
    ("6 < requests", {key(code="500"): 12.0}),
    ("sum(requests) / limit", {key(): 4.25}),
    ("requests / limit", {}),
    ('requests and requests{code="500"}', {key(code="500"): 12.0}),
    ('requests unless requests{code="500"}', {key(code="200"): 5.0}),
    ("up == 1 or limit", {key(): 4.0}),
    ("limit > 3 and up == 0", {key(): 4.0}),
]


@pytest.mark.parametrize(("expression", "value"), KNOWN)
def test_it_says_what_prometheus_says(expression: str, value: Any) -> None:
    assert evaluate(expression, SCRAPES) == (pytest.approx(value) if value else value)


def buckets(**counts: float) -> Scrape:
    return Scrape(
        0,
        {("b", frozenset([("le", {"inf": "+Inf"}.get(le, le[1:].replace("_", ".")))])): n for le, n in counts.items()},
    )


def test_quantiles_are_linear_within_a_bucket() -> None:
    found = buckets(b0_1=0, b0_5=50, b1=100, inf=100)
    assert evaluate("histogram_quantile(0.5, b)", [found]) == {key(): pytest.approx(0.5)}
    assert evaluate("histogram_quantile(0.75, b)", [found]) == {key(): pytest.approx(0.75)}
    assert evaluate("histogram_quantile(0.25, b)", [found]) == {key(): pytest.approx(0.3)}
    assert evaluate("histogram_quantile(0.99, b)", [buckets(b0_1=0, b1=10, inf=100)]) == {key(): 1.0}
    (nothing,) = evaluate("histogram_quantile(0.5, b)", [buckets(b1=0, inf=0)]).values()  # type: ignore[union-attr]
    assert math.isnan(nothing)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "up up",
        "rate(up)",
        "up[5m]",
        "up offset 5m",
        "sum without (code) (requests)",
        "avg(requests)",
        "topk(1, requests)",
        "requests / on (code) requests",
        "up == bool 1",
        "1 == 1",
        "label_replace(up)",
        "up{code}",
        'up{code~"x"}',
        "(up",
        "up)",
        "rate(requests[5x])",
        "histogram_quantile(0.5, up)",
        "clamp_min(requests, up)",
        "2 ^ 2",
        "up; up",
        "max_over_time(up[5m])",
    ],
)
def test_what_it_does_not_know_it_refuses(expression: str) -> None:
    with pytest.raises(Unknown):
        evaluate(expression, SCRAPES)


def test_it_knows_what_an_expression_asks_for() -> None:
    assert series_of('sum(rate(a_total{x="y"}[5m])) / b and absent(c)') == {"a_total", "b", "c"}
