"""What a scrape says: read by the library's parsers, which are strict, and looked at by the rules that ``promtool check metrics``
has for names, helps and units (github.com/prometheus/client_golang, prometheus/testutil/promlint)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

Labels = frozenset[tuple[str, str]]
Values = Mapping[tuple[str, Labels], float]

_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_ABBREVIATED = frozenset("s ms us ns sec b kb mb gb tb pb m h d".split())
_NOT_BASE = frozenset(
    """
    milliseconds microseconds nanoseconds minutes hours days weeks kilobytes megabytes gigabytes kibibytes mebibytes bits
    millimeters centimeters kilometers milliamperes millivolts grams kelvin fahrenheit percent
    """.split()
)


class Scrape(NamedTuple):
    """``at``: seconds, of any beginning. ``values`` by the name of a sample and its labels."""

    at: float
    values: Values

    def value(self, name: str, **labels: str) -> float:
        """The one series. Raises ``KeyError``."""
        return self.values[name, frozenset(labels.items())]

    def total(self, name: str, **labels: str) -> float:
        """Over all series that have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self.values.items() if found == name and wanted <= has)


def parsed(text: str) -> list[Metric]:
    """The families of a scrape in either format. Raises ``ValueError`` for what its parser refuses."""
    return list(open_metrics(text) if text.endswith("# EOF\n") else plain(text))


def scrape(text: str, at: float = 0.0) -> Scrape:
    """Raises ``ValueError`` also for a series that is there twice."""
    values: dict[tuple[str, Labels], float] = {}
    for family in parsed(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            if key in values:
                raise ValueError(f"{key} is there twice")
            values[key] = sample.value
    return Scrape(at, values)


def counters(text: str) -> dict[tuple[str, Labels], float]:
    """All samples that must never fall."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parsed(text)
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def fallen(before: Mapping[Any, float], after: Mapping[Any, float]) -> dict[Any, tuple[float, float | None]]:
    """What is less than it was, or gone."""
    return {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1.0) < value}


def problems(text: str) -> list[str]:
    """What the rules have against it; nothing for what is well made."""
    families = parsed(text)
    found = [f"{family.name}: {problem}" for family in families for problem in _of_family(family)]
    names = [family.name for family in families]
    if not text.endswith("# EOF\n"):  # where the parser itself would add it
        found += [
            f"{name}: a counter without _total" for name in re.findall(r"^# TYPE (\S+(?<!_total)) counter$", text, re.M)
        ]
    return found + [f"{name}: there twice" for name in sorted({name for name in names if names.count(name) > 1})]


def _of_family(family: Metric) -> Iterator[str]:
    words = family.name.split("_")
    if not family.documentation.strip():
        yield "no help"
    if not re.fullmatch("[a-z][a-z0-9_]*", family.name):
        yield "a name is lower case, with underscores and without colons"
    if family.type == "unknown":
        yield "no type"
    if any(word in _TYPES for word in words):
        yield "its type is in its name"
    if any(word in _ABBREVIATED for word in words):
        yield "an abbreviated unit"
    if any(word in _NOT_BASE for word in words):
        yield "no base unit"
    if family.unit and not family.name.endswith(family.unit):
        yield "its unit is not in its name"
    yield from _of_samples(family)


def _of_samples(family: Metric) -> Iterator[str]:
    for sample in family.samples:
        if family.type != "counter" and sample.name.endswith("_total"):
            yield "_total, and no counter"
        if family.type != "histogram" and (
            "le" in sample.labels or sample.name.endswith(("_bucket", "_count", "_sum"))
        ):
            yield "a histogram's label or suffix, and none"
        if any(not re.fullmatch("[a-z][a-z0-9_]*", name) for name in sample.labels):
            yield "a label is lower case, with underscores"
        if sample.value < 0 and family.type != "gauge":
            yield "less than nothing"
    if family.type == "histogram":
        yield from _of_buckets(family)


def _of_buckets(family: Metric) -> Iterator[str]:
    series: dict[Labels, dict[str, Any]] = {}
    for sample in family.samples:
        labels = frozenset((name, value) for name, value in sample.labels.items() if name != "le")
        found = series.setdefault(labels, {"buckets": []})
        if sample.name.endswith("_bucket"):
            found["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            found[sample.name.rpartition("_")[2]] = sample.value
    for found in series.values():
        buckets: Sequence[tuple[float, float]] = found["buckets"]
        bounds, counts = [bound for bound, _ in buckets], [count for _, count in buckets]
        if bounds != sorted(set(bounds)) or bounds[-1:] != [float("inf")]:
            yield "its buckets do not end with +Inf, or are in no order"
        if counts != sorted(counts) or counts[-1] != found.get("count"):
            yield "its buckets do not add up"
        if "sum" not in found:
            yield "no sum"
