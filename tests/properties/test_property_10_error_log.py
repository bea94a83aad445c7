from __future__ import annotations

import contextlib
import json
import logging
import re
import runpy
import urllib.parse
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from hypothesis import example, given
from hypothesis import strategies as st
from loguru import logger

from config.access_log import AccessLog
from prodfix import RequestContext, Severity
from prodfix.logs.sinks import render
from tests.properties.site import Site
from tests.properties.strategies import (
    client_errors,
    contexts,
    driver_errors,
    errors,
    moment,
    own_errors,
    python_errors,
    text,
)
from tests.support.servers import REPOSITORY

CONTEXT = {
    "requestId",
    "traceId",
    "userId",
    "endpoint",
    "method",
    "userAgent",
    "deviceType",
    "appVersion",
    "ip",
    "timestamp",
}
RECORD = {
    "requestId",
    "traceId",
    "fingerprint",
    "category",
    "severity",
    "code",
    "status",
    "message",
    "errorType",
    "stack",
    "context",
    "database",
    "trail",
    "recovery",
    "facts",
    "outcome",
    "retryable",
    "release",
}


@given(error=errors(driver_errors, client_errors, own_errors, python_errors), context=st.none() | contexts())
def test_every_entry_is_complete(site: Site, error: Exception, context: RequestContext | None) -> None:
    """For any logged error, the log entry should include timestamp, severity level, error type, and full context.

    An error outside any request (a background loop, a command line) has no context, and says so. What is stored holds the
    same as what is logged, and nothing is lost on the way.

    Feature: production-deployment-fix, Property 10
    """
    site.clear()
    log = site.services.errors.log
    record = log.record(error, context)
    log.append(record)
    assert log.failures == site.services.logs.sinks.dropped == 0
    for entry in (*site.errors(), *[json.loads(render(record.to_document()))]):
        assert entry.keys() >= RECORD | {"timestamp"}
        assert datetime.now(UTC) - datetime.fromisoformat(entry["timestamp"]) < timedelta(minutes=1)
        assert entry["severity"] in ("info", "warn", "error", "critical")
        assert entry["errorType"] == type(error).__name__
        assert entry["stack"] or entry["severity"] in ("info", "warn")
        assert entry["requestId"]
        if context is None:
            assert entry["context"] is None
        else:
            assert set(entry["context"]) == CONTEXT
            assert entry["context"]["userId"] is not None
            assert entry["context"]["endpoint"] == context.endpoint
            assert moment(entry["context"]["timestamp"])
    assert len(site.errors()) == (record.disposition != "counted")
    assert len(site.services.errors.lookup.request(record.request_id)) >= (record.disposition == "stored")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.binary(max_size=9) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(text, values, max_size=4))
def test_an_entry_is_one_line(entry: dict[str, object]) -> None:
    """And an entry stays one line of JSON, whatever stands in it: nobody forges a second one.

    Feature: production-deployment-fix, Property 10
    """
    line = render(entry).decode("utf-8")
    assert line.splitlines(keepends=True) == [line]
    assert isinstance(json.loads(line), dict)
    assert len(json.loads(line)) <= len(entry)


def test_a_plain_line_would_be_forged() -> None:
    """The control: the same text without rendering makes a second line."""
    forged = 'x\n{"severity": "info"}'
    assert len(forged.splitlines()) == 2
    assert len(render({"message": forged}).decode().splitlines()) == 1


# ---- nobody forges a line

BREAKS = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
HIDDEN = "\0\x07\x08\x1b\x7f\x80\x9b\x9d\u202a\u202e\u2066\u2069\ud800\udfff"
hostile = st.text(st.characters() | st.sampled_from(BREAKS + HIDDEN + '{}%s"\\<>'), max_size=60)
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal acts on, or a reader of lines."""


def _say(site: Site, words: str) -> int:
    """Say ``words`` in every way that there is; how many lines that should have been."""
    log, lines = logging.getLogger("somebody.else"), 0
    with contextlib.suppress(Exception):  # loguru's: a template that asks for what it is not given, in the caller
        logger.info(words, other=words)
        lines += 1
    logger.info("{}", words)
    logger.info(words)
    logger.bind(words=words, nested={words: [words]}).info("bound")
    logger.info("{words}", words=words)
    log.warning(words)
    log.warning("%s", words)
    log.warning(words, words)
    log.error("raised", exc_info=ValueError(words))
    logging.getLogger(words).error("named")
    warnings.showwarning(UserWarning(words), UserWarning, words, 1)
    site.services.logs.event(Severity.WARN, "event", words, facts={"fact": words, words: 1})
    return lines + 11


def _ask(site: Site, words: str) -> int:
    """Ask with ``words`` in path, header and body; the error's line, if it was no plain 404 or 400."""
    sent = words.encode("latin-1", "replace").decode("latin-1").translate(dict.fromkeys(b"\r\n\0"))
    path = f"/raise/{urllib.parse.quote(words.encode('utf-8', 'surrogatepass'))}"
    headers = {"User-Agent": sent, "X-Request-ID": sent, "X-App-Version": sent, "Sec-CH-UA-Platform": sent}
    return int(site.fail(ValueError(words), path=path, headers=headers).status_code == 500)


def _access(site: Site, words: str) -> int:
    """An access line, as gunicorn's worker has it written."""
    conf = runpy.run_path(str(REPOSITORY / "config" / "gunicorn.conf.py"))
    config = Config()
    config.set("accesslog", "-")
    log = AccessLog(config)
    log.hand_over(conf["_written_by"](site.services))
    wsgi = words.encode("utf-8", "surrogatepass").decode("latin-1")
    environ = {"PATH_INFO": "/" + wsgi, "REQUEST_METHOD": wsgi, "REMOTE_ADDR": words}
    response = SimpleNamespace(status=200, headers=[("X-Request-ID", words)])
    log.access(response, None, environ, timedelta(0))
    return int(not ("/" + words).startswith("/health/"))


@pytest.mark.parametrize("ways", [_say, _ask, _access])
@given(words=hostile)
@example(words=BREAKS + HIDDEN)
@example(words='x\r\n{"level":"info","message":"all is well"}')
def test_nobody_forges_a_line(site: Site, ways: Callable[[Site, str], int], words: str) -> None:
    """Whatever stands in messages, arguments, user agents, paths, headers and warnings: so many lines, each of JSON.

    Feature: production-deployment-fix, Property 10
    """
    # pytest's own handlers raise what a wrong call of a logger raises in them.
    logging.root.handlers = [each for each in logging.root.handlers if not type(each).__module__.startswith("_pytest")]
    site.clear()
    expected = ways(site, words)
    assert site.services.logs.sinks.flush(30)
    told = site.console.data.decode()
    assert len(told.splitlines()) == told.count("\n") == expected
    assert all(isinstance(json.loads(line), dict) for line in told.splitlines())
    for printed in (told, *(path.read_text() for path in site.folder.glob("log/*.log"))):
        assert not UNSAFE.search(printed.replace("\n", ""))
    assert site.services.logs.sinks.dropped == 0


def test_a_plain_formatter_would_be_forged() -> None:
    """The control: the same texts as the standard library prints them."""
    plain = logging.Formatter("%(levelname)s %(message)s")
    record = logging.LogRecord("x", logging.INFO, "x", 1, 'x\r\n{"level":"info"}', None, None)
    assert len(plain.format(record).splitlines()) == 2
    assert UNSAFE.search(plain.format(logging.LogRecord("x", logging.INFO, "x", 1, HIDDEN, None, None)))
    assert len(json.dumps({"a": BREAKS}, ensure_ascii=False).splitlines()) > 1
