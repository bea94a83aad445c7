"""The recipes of deploy/logs against real lines: each field that one names is in a line, each level gets its priority.

VRL is run by Vector's own compiler and rsyslog's recipe by rsyslogd, where they are here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prodfix.records.records import LARGEST_RECORD
from tests.support.log_shippers import (
    LOGS,
    PROGRAM,
    VECTOR,
    Receiver,
    alloy_block,
    balanced,
    fields_of,
    rsyslog,
    send,
    unfed,
    vector,
)
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = pytest.mark.served

SEVERITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}  # RFC 5424, table 2
SOURCES = ("docker.yaml", "journald.yaml", "kubernetes.yaml", "render.yaml")
SINKS = ("loki.yaml", "better-stack.yaml", "papertrail.yaml")
LOKI = vector("docker.yaml", "loki.yaml")["sinks"]["loki"]
ALLOY = (LOGS / "alloy" / "config.alloy").read_text()
TEXT = "usage: gunicorn [OPTIONS]"  # what is no line of ours

Event = dict[str, Any]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a service whose database is away, with a view that fails: lines of each level."""
    folder = tmp_path_factory.mktemp("lines")
    away, failing = "mongodb://127.0.0.1:9/away", "tests.hosts.broken:app"
    with Served(folder, away, workers=1, application=failing, wait_for_database=False, LOG_LEVEL="debug") as served:

        def levels() -> set[str]:
            return {line["level"] for line in served.stdout_lines()}

        until(lambda: served.get("/api/v1/notes").status == 503, what="an outage")
        for _ in range(5):
            served.get("/broken/view")
        until(lambda: levels() >= set(SEVERITIES), what="a line of each level")
        until(lambda: served.stdout().count('"event":"request"') > 5, what="the access lines")
    return served.stdout().splitlines()


def objects(lines: list[str]) -> list[Event]:
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def run() -> Callable[[str, Event], Event]:
    """Runs a VRL program on an event, with Vector's own compiler."""
    runtime = pytest.importorskip("vrl_python", reason="VRL's compiler is not here").VRLRuntime()
    return lambda program, event: dict(runtime.execute(program, event).processed_event)


Run = Callable[[str, Event], Event]


def of_source(line: str) -> Event:
    """As a source of Vector hands it over."""
    return {"message": line, "host": "web-1", "container_name": "prodfix-1", "timestamp": None}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("sink", SINKS)
def test_each_source_feeds_each_sink(source: str, sink: str) -> None:
    found = vector(source, sink)
    assert unfed(found) == []
    assert found["transforms"]["prodfix"]["file"] == str((VECTOR / "prodfix.vrl").relative_to(LOGS.parents[1]))
    assert unfed(vector(sink)) == ["prodfix"], "the control"


def unnamed(fields: set[str], lines: list[str]) -> set[str]:
    """Those that no line has."""
    return fields - {name for line in objects(lines) for name in line}


def test_each_field_that_loki_gets_is_in_a_line(lines: list[str]) -> None:
    added = {"service"}  # by the recipes
    assert unnamed((fields_of(LOKI["labels"]) | fields_of(LOKI["structured_metadata"])) - added, lines) == set()
    assert unnamed(set(alloy_block(ALLOY, "stage.json").values()), lines) == set()
    assert unnamed({"request_id"}, lines) == {"request_id"}, "the control"


def test_labels_of_loki_have_few_values(lines: list[str]) -> None:
    labels = {name for template in LOKI["labels"].values() for name in fields_of(template)} - {"service"}
    assert labels == set(alloy_block(ALLOY, "stage.labels")) == {"level", "event"}
    entries = objects(lines)
    seen = {name: {entry.get(name) for entry in entries} for name in (*labels, "requestId")}
    assert seen["level"] == set(SEVERITIES)
    assert len(seen["event"]) < 20
    assert len(seen["requestId"]) > 3, "the control: this one grows with the requests"


def test_alloy_takes_out_what_it_labels_and_nothing_is_left_open() -> None:
    taken = alloy_block(ALLOY, "stage.json")
    used = {*alloy_block(ALLOY, "stage.labels"), *alloy_block(ALLOY, "stage.structured_metadata"), "timestamp"}
    assert set(taken) == used
    assert 'source = "timestamp"' in ALLOY
    defined = set(re.findall(r'^([\w.]+) "(\w+)" \{$', ALLOY, flags=re.MULTILINE))
    named = re.findall(r"\b((?:discovery|loki)\.\w+)\.(\w+)\.(?:receiver|targets)\b", ALLOY)
    assert set(named) <= defined
    assert balanced(ALLOY)
    assert not balanced(ALLOY.replace("}\n\nloki.write", "\n\nloki.write")), "the control"


def test_moments_are_what_each_recipe_says_they_are(lines: list[str]) -> None:
    assert 'format = "RFC3339Nano"' in ALLOY
    moments = [entry["timestamp"] for entry in objects(lines)]
    assert [one for one in moments if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one)] == []


def test_vector_keeps_each_field_of_a_line_and_what_the_source_knows(lines: list[str], run: Run) -> None:
    for line in lines:
        entry, event = json.loads(line), run(PROGRAM, of_source(line))
        changed = {"timestamp", "message"} | ({"event"} if "event" not in entry else set())
        assert {name: value for name, value in entry.items() if event.get(name) != value and name not in changed} == {}
        assert (event["host"], event["service"], event["raw"]) == ("web-1", "prodfix", line)
        assert str(event["timestamp"]).replace(" UTC", "Z").replace(" ", "T") == entry["timestamp"].replace(".000", "")
        assert event["message"] == (entry.get("message") or f"{entry['method']} {entry['path']} {entry['status']}")


def test_vector_gives_each_level_its_severity(lines: list[str], run: Run) -> None:
    found = {(event["level"], event["syslogSeverity"]) for event in (run(PROGRAM, of_source(line)) for line in lines)}
    assert found == set(SEVERITIES.items())


@pytest.mark.parametrize("text", [TEXT, "[1]", "{", ""])
def test_what_is_no_line_of_ours_stays_a_message(text: str, run: Run) -> None:
    event = run(PROGRAM, of_source(text))
    assert (event["message"], event["event"], event["level"], event["syslogSeverity"]) == (text, "text", "info", 6)


def test_a_line_that_render_has_packed_comes_out_as_it_was(lines: list[str], run: Run) -> None:
    """render.com/docs/log-streams shows the form: the priority is made of our level, the message is the line."""
    for line in lines:
        severity = SEVERITIES[json.loads(line)["level"]]
        packed = f"<{8 + severity}>1 2026-11-29T16:00:00-08:00 prodfix web-12345 74440 web-12345 - {line}"
        event = run(PROGRAM, run(". = parse_syslog!(.message)", {"message": packed}))
        assert (event["raw"], event["appname"], event["syslogSeverity"]) == (line, "web-12345", severity)


RFC5424 = re.compile(r"<(\d+)>1 (\S+) (\S+) prodfix (\S+) - - (.*)")


def test_papertrail_gets_syslog_with_the_line_in_it(lines: list[str], run: Run) -> None:
    program = vector("papertrail.yaml")["transforms"]["papertrail_line"]["source"]
    for line in [*lines, TEXT]:
        sent = RFC5424.fullmatch(run(PROGRAM + program, of_source(line))["message"])
        assert sent is not None
        entry = json.loads(line) if line != TEXT else {"level": "info", "timestamp": sent[2]}
        assert sent.groups() == (str(16 * 8 + SEVERITIES[entry["level"]]), entry["timestamp"], "web-1", "-", line)


def test_better_stack_gets_its_moment_and_the_fields(lines: list[str], run: Run) -> None:
    program = vector("better-stack.yaml")["transforms"]["better_stack_line"]["source"]
    for line in lines:
        event = run(PROGRAM + program, of_source(line))
        assert "dt" in event
        assert {"raw", "timestamp"} & set(event) == set()
        assert event["level"] == json.loads(line)["level"]


def test_loki_gets_the_line_and_no_template_without_a_value(lines: list[str], run: Run) -> None:
    program = vector("loki.yaml")["transforms"]["loki_line"]["source"]
    wanted = fields_of(LOKI["labels"]) | fields_of(LOKI["structured_metadata"])
    for line in [*lines, TEXT]:
        event = run(PROGRAM + program, of_source(line))
        assert event["message"] == line
        assert {name for name in wanted if not isinstance(event.get(name), str)} == set()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.mark.skipif(shutil.which("rsyslogd") is None, reason="rsyslogd is not here")
def test_rsyslog_takes_the_priority_from_the_level(lines: list[str], receiver: Receiver, tmp_path: Path) -> None:
    recipe = (LOGS / "rsyslog" / "60-prodfix.conf").read_text()
    packed = partial("<30>1 2026-11-29T16:00:00Z web-1 {} 4711 - - {}".format)
    with rsyslog(tmp_path, receiver, recipe) as port:
        send(port, [packed("another", "x"), *(packed("prodfix", line) for line in [*lines, TEXT])])
        until(lambda: len(receiver.lines) == len(lines) + 1, limit=20, what="all lines at the receiver")
    sent = [match.groups() for line in receiver.lines if (match := RFC5424.fullmatch(line))]
    expected = [(str(16 * 8 + SEVERITIES[entry["level"]]), entry["timestamp"]) for entry in objects(lines)]
    assert sorted((priority, moment, line) for priority, moment, _, _, line in sent if line != TEXT) == sorted(
        (priority, moment, line) for (priority, moment), line in zip(expected, lines, strict=True)
    )
    assert [(priority, process) for priority, _, _, process, line in sent if line == TEXT] == [("134", "4711")]


def test_the_longest_line_is_not_cut() -> None:
    found = re.search(r"^LineMax=(\d+)K$", (LOGS / "journald" / "prodfix.conf").read_text(), flags=re.MULTILINE)
    assert found is not None
    assert int(found[1]) * 1024 > LARGEST_RECORD
    assert vector("render.yaml")["sources"]["prodfix_lines"]["max_length"] > LARGEST_RECORD
    assert LARGEST_RECORD > 48 * 1024, "the control: journald's own default would cut it"


def test_docker_keeps_a_bounded_log() -> None:
    daemon = json.loads((LOGS / "docker" / "daemon.json").read_text())
    assert daemon == {"log-driver": "local", "log-opts": {"max-size": "20m", "max-file": "5"}}
