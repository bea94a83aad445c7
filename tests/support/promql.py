"""As much of PromQL as our dashboard and our alert rules have, over scrapes: strict, so that what is not known here fails.

Source: prometheus.io/docs/prometheus/latest/querying. A rate is taken between the first and the last scrape of its range, without
Prometheus' extrapolation to the edges. Vectors are matched by all labels: ``on`` and ``ignoring`` are not known here.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.scrapes import Labels, Scrape

Vector = dict[Labels, float]
Value = float | Vector

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w:])|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<text>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<range>\[\d+[smhd]\])|(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^(){},=<>]))"""
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_AGGREGATED: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "max": max,
    "min": min,
    "count": lambda values: float(len(values)),
}
_LEVELS = [("or",), ("and", "unless"), tuple(_COMPARED), ("+", "-"), ("*", "/")]


class Unknown(ValueError):
    """It is not in the subset, or no PromQL."""


def evaluate(expression: str, scrapes: Sequence[Scrape]) -> Value:
    """What ``expression`` is at the moment of the last of ``scrapes``. Raises :class:`Unknown`."""
    return _Query(expression, scrapes).value()


def series_of(expression: str) -> set[str]:
    """The names of all samples that it asks for."""
    query = _Query(expression, [Scrape(0.0, {})])
    query.value()
    return query.names


class _Query:
    def __init__(self, expression: str, scrapes: Sequence[Scrape]) -> None:
        self._scrapes = scrapes
        self._tokens = list(_tokens(expression))
        self._place = 0
        self.names: set[str] = set()

    def value(self) -> Value:
        found = self._binary(0)
        if self._place < len(self._tokens):
            raise Unknown(f"{self._peek()!r} follows")
        return found

    # -- tokens -----------------------------------------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else ""

    def _next(self) -> str:
        if self._place >= len(self._tokens):
            raise Unknown("it ends too soon")
        self._place += 1
        return self._tokens[self._place - 1][1]

    def _expect(self, text: str) -> None:
        if (found := self._next()) != text:
            raise Unknown(f"{found!r} instead of {text!r}")

    # -- expressions --------------------------------------------------------------------------------------------------------

    def _binary(self, level: int) -> Value:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek() in _LEVELS[level] and self._kind() in ("sign", "name"):
            sign = self._next()
            if self._peek() in ("on", "ignoring", "bool", "group_left", "group_right"):
                raise Unknown(self._peek())
            left = _applied(sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Value:
        if self._peek() == "-":
            self._next()
            return _applied("*", -1.0, self._unary())
        return self._primary()

    def _primary(self) -> Value:
        kind, text = self._kind(), self._next()
        if kind == "number":
            return float(text)
        if text == "(":
            found = self._binary(0)
            self._expect(")")
            return found
        if text in _AGGREGATED:
            return self._aggregated(text)
        if kind == "name" and self._peek() == "(":
            return self._called(text)
        if kind == "name":
            return self._instant(text)
        raise Unknown(text)

    def _aggregated(self, name: str) -> Vector:
        by = self._labels() if self._peek() == "by" else None
        self._expect("(")
        found = _vector(self._binary(0))
        self._expect(")")
        if by is None and self._peek() == "by":
            by = self._labels()
        if self._peek() == "without":
            raise Unknown("without")
        groups: dict[Labels, list[float]] = {}
        for labels, value in found.items():
            key = frozenset((label, text) for label, text in labels if label in (by or ()))
            groups.setdefault(key, []).append(value)
        return {key: _AGGREGATED[name](values) for key, values in groups.items()}

    def _labels(self) -> set[str]:
        self._expect("by")
        self._expect("(")
        found = set()
        while self._peek() != ")":
            found.add(self._next())
            if self._peek() == ",":
                self._next()
        self._expect(")")
        return found

    def _called(self, name: str) -> Value:
        self._expect("(")
        if name in ("rate", "increase"):
            found: Value = self._ranged(per_second=name == "rate")
        elif name == "histogram_quantile":
            share = self._binary(0)
            self._expect(",")
            found = _quantile(share, _vector(self._binary(0)))
        elif name in ("clamp_min", "clamp_max"):
            values = _vector(self._binary(0))
            self._expect(",")
            limit, chosen = self._binary(0), max if name == "clamp_min" else min
            if isinstance(limit, dict):
                raise Unknown("a limit is a number")
            found = {labels: chosen(value, limit) for labels, value in values.items()}
        elif name == "absent":
            found = {} if _vector(self._binary(0)) else {frozenset(): 1.0}
        else:
            raise Unknown(name)
        self._expect(")")
        return found

    # -- selectors ----------------------------------------------------------------------------------------------------------

    def _matcher(self, name: str) -> Callable[[tuple[str, Labels]], bool]:
        self.names.add(name)
        conditions: list[tuple[str, str, str]] = []
        if self._peek() == "{":
            self._next()
            while self._peek() != "}":
                label, sign, text = self._next(), self._next(), self._next()
                if sign not in ("=", "!=", "=~", "!~") or not text.startswith('"'):
                    raise Unknown(f"{label}{sign}{text}")
                conditions.append((label, sign, text[1:-1].replace("\\\\", "\\")))
                if self._peek() == ",":
                    self._next()
            self._expect("}")

        def matches(key: tuple[str, Labels]) -> bool:
            labels = dict(key[1])
            return key[0] == name and all(_fits(labels.get(label, ""), sign, text) for label, sign, text in conditions)

        return matches

    def _instant(self, name: str) -> Vector:
        matches = self._matcher(name)
        if self._kind() == "range":
            raise Unknown("a range outside of a rate")
        return {key[1]: value for key, value in self._scrapes[-1].values.items() if matches(key)}

    def _ranged(self, *, per_second: bool) -> Vector:
        matches = self._matcher(self._next())
        if self._kind() != "range":
            raise Unknown("a rate without a range")
        text = self._next()
        seconds = int(text[1:-2]) * _SECONDS[text[-2]]
        within = [one for one in self._scrapes if one.at >= self._scrapes[-1].at - seconds]
        found: Vector = {}
        for key in {key for one in within for key in one.values if matches(key)}:
            points = [(one.at, one.values[key]) for one in within if key in one.values]
            if len(points) < 2:
                continue
            # After a fall it counts from nothing.
            grown = sum(
                after - before if after >= before else after for (_, before), (_, after) in itertools.pairwise(points)
            )
            found[key[1]] = grown / (points[-1][0] - points[0][0]) if per_second else grown
        return found


def _tokens(expression: str) -> Any:
    place, expression = 0, expression.rstrip()
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise Unknown(f"{expression[place : place + 20]!r}")
        place = match.end()
        yield match.lastgroup, match[match.lastgroup or 0]


def _fits(value: str, sign: str, text: str) -> bool:
    found = re.fullmatch(text, value) is not None if "~" in sign else value == text
    return found is not sign.startswith("!")


def _vector(value: Value) -> Vector:
    if isinstance(value, float):
        raise Unknown("a number where a vector belongs")
    return value


def _applied(sign: str, left: Value, right: Value) -> Value:
    if sign in ("and", "unless", "or"):
        first, second = _vector(left), _vector(right)
        if sign == "or":
            return second | first
        return {labels: value for labels, value in first.items() if (labels in second) is (sign == "and")}
    if isinstance(left, float) and isinstance(right, float):
        if sign in _COMPARED:
            raise Unknown("two numbers compared without bool")
        return _calculated(sign, left, right)
    if isinstance(right, float):
        pairs = {labels: (value, right) for labels, value in _vector(left).items()}
    elif isinstance(left, float):
        pairs = {labels: (left, value) for labels, value in right.items()}
    else:
        pairs = {labels: (value, right[labels]) for labels, value in left.items() if labels in right}
    if sign in _COMPARED:
        kept = {labels: pair for labels, pair in pairs.items() if _COMPARED[sign](*pair)}
        return {labels: one if not isinstance(left, float) else other for labels, (one, other) in kept.items()}
    return {labels: _calculated(sign, *pair) for labels, pair in pairs.items()}


def _calculated(sign: str, left: float, right: float) -> float:
    if sign == "/":
        return left / right if right else (math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left))
    return {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](left, right)  # type: ignore[no-any-return]


def _quantile(share: Value, buckets: Vector) -> Vector:
    if not isinstance(share, float):
        raise Unknown("a share is a number")
    series: dict[Labels, list[tuple[float, float]]] = {}
    for labels, value in buckets.items():
        named = dict(labels)
        if "le" not in named:
            raise Unknown("histogram_quantile of what has no le")
        bound = float(named.pop("le"))
        series.setdefault(frozenset(named.items()), []).append((bound, value))
    return {labels: _interpolated(share, sorted(found)) for labels, found in series.items()}


def _interpolated(share: float, buckets: Sequence[tuple[float, float]]) -> float:
    """As Prometheus does: linear within the bucket, and the last finite bound beyond it."""
    total = buckets[-1][1]
    if not total or buckets[-1][0] != math.inf or len(buckets) < 2:
        return math.nan
    rank, place = share * total, 0
    while buckets[place][1] < rank:
        place += 1
    if place == len(buckets) - 1:
        return buckets[-2][0]
    start, before = buckets[place - 1] if place else (0.0, 0.0)
    bound, count = buckets[place]
    return start + (bound - start) * ((rank - before) / (count - before) if count > before else 1.0)
