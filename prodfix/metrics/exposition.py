"""Families as text: OpenMetrics 1.0 (prometheus.io/docs/specs/om/open_metrics_spec) and Prometheus' own format 0.0.4
(prometheus.io/docs/instrumenting/exposition_formats), and which of them a scraper asks for.

A histogram is most of a scrape. Its lines differ by labels and numbers only, so each family has one template.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate

from prodfix.metrics.families import Distribution, Exemplar, Labels, MetricFamily

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
LONGEST_ACCEPT = 1_000  # characters that are looked at

_MARK = "\0"  # in a template, where labels come


def negotiated(accept: str | None) -> str:
    """The content type for a request's ``Accept``: what it likes most, and :data:`PLAIN` where it says nothing, or nothing that
    can be had (RFC 9110 section 12.5.1; a scraper is better off with some format than with 406)."""
    ranges = [_range(part) for part in (accept or "")[:LONGEST_ACCEPT].split(",")]
    # The named format counts, and what is said of all formats only where it is not named.
    wanted = _quality(ranges, ("application/openmetrics-text",), ("1.0.0", "0.0.1"))
    plain = _quality(ranges, ("text/plain", "text/*", "*/*"), ("0.0.4",))
    return OPENMETRICS if wanted > 0 and wanted >= plain else PLAIN


def _range(part: str) -> tuple[str, str | None, float]:
    """Type, version and quality."""
    kind, *parameters = (one.strip() for one in part.split(";"))
    found = dict(
        (name.strip().lower(), value.strip().strip('"'))
        for name, _, value in (one.partition("=") for one in parameters)
    )
    try:
        quality = float(found.get("q", "1"))
    except ValueError:
        quality = 0.0
    return kind.lower(), found.get("version"), quality if 0.0 <= quality <= 1.0 else 0.0


def _quality(
    ranges: Iterable[tuple[str, str | None, float]], kinds: tuple[str, ...], versions: tuple[str, ...]
) -> float:
    """Of the most specific of ``kinds`` that is named, in a version that is known."""
    known = [(kind, quality) for kind, version, quality in ranges if version is None or version in versions]
    for wanted in kinds:
        found = [quality for kind, quality in known if kind == wanted]
        if found:
            return max(found)
    return 0.0


def rendered(families: Iterable[MetricFamily], content_type: str) -> bytes:
    """All families with samples, in the format of ``content_type``."""
    open_metrics = content_type == OPENMETRICS
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += _head(family, open_metrics=open_metrics)
            lines += _lines(family, open_metrics=open_metrics)
    if open_metrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _head(family: MetricFamily, *, open_metrics: bool) -> Iterator[str]:
    name, kind = family.name, family.kind
    if not open_metrics:
        name += _SUFFIXES.get(kind, "")
        kind = "gauge" if kind == "info" else kind
    yield f"# HELP {name} {_text(family.help)}\n"
    yield f"# TYPE {name} {kind}\n"
    if open_metrics and family.unit:
        yield f"# UNIT {name} {family.unit}\n"


_SUFFIXES = {"counter": "_total", "info": "_info"}


def _lines(family: MetricFamily, *, open_metrics: bool) -> Iterator[str]:
    name = family.name + _SUFFIXES.get(family.kind, "")
    template = _template(family.name, family.bounds) if family.bounds else ""
    for sample in family.samples:
        value = sample.value
        if not isinstance(value, Distribution):
            labels = _labels(sample.labels)
            yield f"{name}{{{labels}}} {number(value)}\n" if labels else f"{name} {number(value)}\n"
        elif open_metrics and value.exemplars:
            yield from _with_exemplars(family, sample.labels, value)
        else:
            counts = list(accumulate(value.counts))
            lines = template % (*counts, counts[-1], number(value.total))  # first: a label may hold a percent sign
            yield lines.replace(_MARK, _labels(sample.labels))


@lru_cache(16)
def _template(name: str, bounds: tuple[float, ...]) -> str:
    """The lines of one series of a histogram."""
    buckets = "".join(f'{name}_bucket{{{_MARK},le="{le}"}} %d\n' for le in _ends(bounds))
    return f"{buckets}{name}_count{{{_MARK}}} %d\n{name}_sum{{{_MARK}}} %s\n"


def _ends(bounds: tuple[float, ...]) -> list[str]:
    return [*(number(bound) for bound in bounds), "+Inf"]


def _with_exemplars(family: MetricFamily, labels: Labels, value: Distribution) -> Iterator[str]:
    shown, counts = _labels(labels), list(accumulate(value.counts))
    for place, (le, count) in enumerate(zip(_ends(family.bounds), counts, strict=True)):
        exemplar = value.exemplars.get(place)
        yield f'{family.name}_bucket{{{shown},le="{le}"}} {count}{_exemplar(exemplar) if exemplar else ""}\n'
    yield f"{family.name}_count{{{shown}}} {counts[-1]}\n{family.name}_sum{{{shown}}} {number(value.total)}\n"


def _exemplar(one: Exemplar) -> str:
    return f' # {{trace_id="{one.trace_id}"}} {number(one.value)} {number(one.at)}'


@lru_cache(4096)
def _labels(labels: Labels) -> str:
    """An empty value is no label."""
    return ",".join(f'{name}="{_value(value)}"' for name, value in labels if value)


def _value(text: str) -> str:
    return text.replace("\0", "").replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _text(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def number(value: float) -> str:
    """As Go writes floats, which both formats ask for where a number is compared as text (``le``)."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
