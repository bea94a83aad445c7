"""Both text formats, read by the parsers of the library that everybody has; and which of them a scraper gets."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from prodfix.metrics.exposition import OPENMETRICS, PLAIN, negotiated, rendered
from prodfix.metrics.families import CATALOGUE, CONVENTIONS, Distribution, Exemplar, MetricFamily, MetricSample
from prodfix.version import VERSION
from tests.support import REPOSITORY
from tests.support.metered import Metered
from tests.support.scrapes import parsed, problems, scrape

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

FORMATS = [
    (None, PLAIN),
    ("", PLAIN),
    ("*/*", PLAIN),
    ("text/*", PLAIN),
    ("text/html", PLAIN),
    (PROMETHEUS, OPENMETRICS),
    ("application/openmetrics-text", OPENMETRICS),
    ("Application/OpenMetrics-Text; Version=1.0.0", OPENMETRICS),
    ("application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4", OPENMETRICS),
    ("application/openmetrics-text; version=2.0.0, text/plain", PLAIN),
    ("application/openmetrics-text; q=0.3, text/plain; q=0.5", PLAIN),
    ("application/openmetrics-text; q=0.5, text/plain; q=0.3", OPENMETRICS),
    ("application/openmetrics-text; q=0", PLAIN),
    ("application/openmetrics-text; q=nonsense", PLAIN),
    ("application/openmetrics-text; q=nan", PLAIN),
    ("application/openmetrics-text; q=0.1, */*", PLAIN),
    ("application/openmetrics-text, */*; q=0.1", OPENMETRICS),
    (";;;,,,=", PLAIN),
    ("application/openmetrics-text;q=0.2" + "," * 100_000, OPENMETRICS),
]


@pytest.mark.parametrize(("accept", "kind"), FORMATS)
def test_the_format_is_the_one_that_is_liked_most(accept: str | None, kind: str) -> None:
    assert negotiated(accept) == kind


def busy(worker: Metered) -> Metered:
    tallies = worker.tallies
    tallies.request("GET", "/notes/<identity>", 200, 7_000, "a" * 32)
    tallies.request("GET", "/notes/<identity>", 200, 11_000_000)
    tallies.request("POST", "/notes", 503, 1)
    tallies.request("PURGE", '/%s/{x}"\\', 200, 5_000)
    tallies.command("find", "notes", 900)
    tallies.command("insert", "notes", 2_000_000, "11000")
    tallies.command("insert", "notes", 2_000, "AutoReconnect")
    tallies.error("database_connection", "DATABASE_UNREACHABLE")
    worker.counts |= {"retries": 3, "first_tries": 40, "log_lines_dropped:console": 2}
    worker.firing = {"memory": 1}
    worker.metrics.judge(None)
    worker.metrics.flush()
    return worker


@pytest.fixture
def worker(journal: Any) -> Metered:
    return busy(Metered(journal))


@pytest.mark.parametrize("accept", [OPENMETRICS, PLAIN])
def test_the_parsers_take_it_and_the_rules_have_nothing_against_it(worker: Metered, accept: str) -> None:
    text = worker.text(accept)
    assert problems(text) == []
    found = scrape(text)
    labels = {"http_request_method": "GET", "http_route": "/notes/<identity>", "http_response_status_code": "200"}
    name = "http_server_request_duration_seconds"
    assert found.value(f"{name}_bucket", **labels, le="0.005") == 0
    assert found.value(f"{name}_bucket", **labels, le="0.01") == 1
    assert found.value(f"{name}_bucket", **labels, le="10.0") == 1
    assert found.value(f"{name}_bucket", **labels, le="+Inf") == found.value(f"{name}_count", **labels) == 2
    assert found.value(f"{name}_sum", **labels) == pytest.approx(11.007)
    assert found.total(f"{name}_count", error_type="503", http_response_status_code="503") == 1
    odd = {"http_request_method": "_OTHER", "http_route": '/%s/{x}"\\', "http_response_status_code": "200"}
    assert found.value(f"{name}_count", **odd) == 1
    commands = "db_client_operation_duration_seconds_count"
    common = {"db_system_name": "mongodb", "db_collection_name": "notes"}
    assert found.value(commands, **common, db_operation_name="find") == 1
    failed = {**common, "db_operation_name": "insert"}
    assert found.value(commands, **failed, error_type="11000", db_response_status_code="11000") == 1
    assert found.value(commands, **failed, error_type="AutoReconnect") == 1
    assert found.value("prodfix_errors_total", category="database_connection", code="DATABASE_UNREACHABLE") == 1
    assert found.value("prodfix_retries_total") == 3
    assert found.value("prodfix_log_lines_dropped_total", sink="console") == 2
    assert found.value("prodfix_alerts_firing", kind="memory") == 1
    assert found.value("prodfix_scrapes_total", result="admitted") == 1
    assert found.total("prodfix_build_info", version=VERSION) == 1, "also in a checkout"


def test_both_formats_say_the_same(worker: Metered) -> None:
    drop = lambda values: {key: value for key, value in values.items() if "age" not in key[0]}  # noqa: E731
    assert drop(scrape(worker.text(PLAIN)).values) == drop(scrape(worker.text(OPENMETRICS)).values)


def test_an_exemplar_leads_to_the_trace_of_a_request(worker: Metered) -> None:
    found = [
        (sample.labels["le"], sample.exemplar.labels, sample.exemplar.value)
        for family in open_metrics(worker.text(OPENMETRICS))
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert found == [("0.01", {"trace_id": "a" * 32}, 0.007)]
    assert "trace_id" not in worker.text(PLAIN)


def test_all_that_is_in_the_catalogue_is_shown_and_nothing_else(worker: Metered) -> None:
    shown = {family.name for family in worker.metrics.families()}
    assert shown == set(CATALOGUE)


def test_the_page_tells_of_each_metric_and_of_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .* \| (.+) \|$", (REPOSITORY / "docs" / "metrics.md").read_text(), re.M)
    suffixes = {"counter": "_total", "info": "_info"}
    wanted = [(one.name + suffixes.get(one.kind, ""), one.kind, one.help) for one in CATALOGUE.values()]
    assert [row for row in rows if row[1] in ("counter", "gauge", "histogram", "info")] == wanted


def test_names_of_conventions_are_theirs() -> None:
    from opentelemetry.semconv.attributes import db_attributes, error_attributes, http_attributes
    from opentelemetry.semconv.metrics import db_metrics, http_metrics

    stable = {
        value
        for module in (db_attributes, error_attributes, http_attributes, db_metrics, http_metrics)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    assert set(CONVENTIONS.values()) <= stable
    for ours, theirs in CONVENTIONS.items():
        assert ours in (theirs.replace(".", "_"), theirs.replace(".", "_") + "_seconds")


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x1f")
)


@given(TEXTS, st.floats(allow_nan=False))
def test_whatever_a_label_holds_the_parsers_read_it_back(text: str, value: float) -> None:
    family = MetricFamily("some_gauge_of_ours", "gauge", "", 'a "help" \\ of\nlines')
    family = family.of([MetricSample((("label", text), ("other", "x")), value)])
    for kind in (OPENMETRICS, PLAIN):
        (found,) = parsed(rendered([family], kind).decode())
        assert found.documentation == family.help or kind == PLAIN
        (sample,) = found.samples
        assert sample.labels == ({"label": text} if text else {}) | {"other": "x"}
        assert sample.value == value


def test_a_percent_sign_and_braces_in_a_histograms_label_are_text() -> None:
    family = CATALOGUE["http_server_request_duration_seconds"]
    counts = [1] * (len(family.bounds) + 1)
    exemplars = {0: Exemplar("b" * 32, 0.001, 1.5)}
    for marks in ({}, exemplars):
        one = family.of([MetricSample((("http_route", "/%d/{le}%"),), Distribution(counts, 1.0, marks))])
        found = scrape(rendered([one], OPENMETRICS).decode())
        assert found.value(f"{family.name}_count", http_route="/%d/{le}%") == len(counts)


def test_what_is_not_finite_is_written_as_the_formats_have_it() -> None:
    family = MetricFamily("some_thing", "gauge", "", "help").of([MetricSample((), math.inf)])
    assert b"some_thing +Inf\n" in rendered([family], PLAIN)


# -- the rules themselves -----------------------------------------------------------------------------------------------------

BAD = {
    "no help": "# TYPE some_thing gauge\nsome_thing 1\n",
    "a counter without _total": "# HELP some_thing h\n# TYPE some_thing counter\nsome_thing 1\n",
    "_total, and no counter": "# HELP some_total h\n# TYPE some_total gauge\nsome_total 1\n",
    "its type is in its name": "# HELP some_gauge h\n# TYPE some_gauge gauge\nsome_gauge 1\n",
    "a name is lower case, with underscores and without colons": "# HELP some:thing h\n# TYPE some:thing gauge\nsome:thing 1\n",
    "no base unit": "# HELP some_milliseconds h\n# TYPE some_milliseconds gauge\nsome_milliseconds 1\n",
    "an abbreviated unit": "# HELP some_ms h\n# TYPE some_ms gauge\nsome_ms 1\n",
    "a histogram's label or suffix, and none": '# HELP some_one h\n# TYPE some_one gauge\nsome_one{le="1"} 1\n',
    "a label is lower case, with underscores": '# HELP some_one h\n# TYPE some_one gauge\nsome_one{aB="1"} 1\n',
    "less than nothing": "# HELP some_total h\n# TYPE some_total counter\nsome_total -1\n",
    "its buckets do not end with +Inf, or are in no order": (
        '# HELP some_one h\n# TYPE some_one histogram\nsome_one_bucket{le="1"} 1\nsome_one_count 1\nsome_one_sum 1\n'
    ),
    "its buckets do not add up": (
        '# HELP some_one h\n# TYPE some_one histogram\nsome_one_bucket{le="1"} 2\nsome_one_bucket{le="+Inf"} 1\n'
        "some_one_count 1\nsome_one_sum 1\n"
    ),
    "no sum": '# HELP some_one h\n# TYPE some_one histogram\nsome_one_bucket{le="+Inf"} 1\nsome_one_count 1\n',
}


@pytest.mark.parametrize("problem", BAD)
def test_each_rule_finds_what_it_is_against(problem: str) -> None:
    assert any(problem in found for found in problems(BAD[problem])), problems(BAD[problem])


def test_a_series_that_is_there_twice_is_found() -> None:
    with pytest.raises(ValueError, match="twice"):
        scrape("# HELP some_one h\n# TYPE some_one gauge\nsome_one 1\nsome_one 2\n")
