"""Every line of the served application is one JSON object with its request's ID; a host's logging stays its own."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prodfix.errors import Severity
from prodfix.logs.logs import Logs
from prodfix.logs.sinks import Sinks
from prodfix.request.context import new_context, reset_context, set_context

CANARY = "canary7f3a"


class Kept:
    """A sink that keeps what its lines say."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.entries += map(json.loads, data.splitlines())


@pytest.fixture
def files() -> dict[str, Kept]:
    return {name: Kept(name) for name in ("console", "error.log", "database.log")}


@pytest.fixture
def host(files: dict[str, Kept]) -> Logs:
    """The log within an application that only adopted prodfix."""
    return Logs(Sinks(files.values()), served=False)


def test_in_a_host_lines_go_to_the_logger_prodfix_and_into_their_files(
    host: Logs, files: dict[str, Kept], caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.root.handlers[:]
    with caplog.at_level(logging.INFO, "prodfix"):
        host.emit(Severity.WARN, {"message": "braces {} and % are text"}, "error", "database")
    assert host.sinks.flush(10)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("prodfix", "WARNING")
    assert json.loads(record.getMessage()) == {"message": "braces {} and % are text"}
    assert [len(file.entries) for file in files.values()] == [0, 1, 1]
    assert logging.root.handlers == before


@pytest.mark.parametrize("severity", Severity)
def test_a_note_has_its_request_and_no_secret_in_its_facts(
    host: Logs, caplog: pytest.LogCaptureFixture, severity: Severity
) -> None:
    token = set_context(new_context(endpoint="/", method="GET", ip="", headers={"X-Request-ID": "request-1"}))
    try:
        with caplog.at_level(logging.DEBUG, "prodfix"):
            host.event(
                severity, "lost", "MongoDB is gone", facts={"uri": f"mongodb://u:{CANARY}@h", "password": CANARY}
            )
    finally:
        reset_context(token)
    entry = json.loads(caplog.messages[0])
    assert (entry["event"], entry["requestId"], entry["severity"]) == ("lost", "request-1", severity)
    assert CANARY not in caplog.text


def test_a_log_that_breaks_raises_nothing_and_is_counted(host: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise OSError

    monkeypatch.setattr(host.sinks, "put", broken)
    host.emit(Severity.ERROR, {"message": "x"}, "error")
    assert host.sinks.dropped == 1


# ---- served: loguru is global, so each of these has a process of its own

SERVED = """
import logging, sys, warnings
from loguru import logger
from prodfix.request.context import new_context, set_context
from prodfix.errors import Severity
from prodfix.logs.logs import Logs
from prodfix.logs.sinks import Console, Sinks
from prodfix.logs.uncaught import Uncaught

CANARY = "canary7f3a"
console = Sinks([Console()])
logs = Logs(console, served=True)
logs.take_over(LEVEL)
Uncaught(lambda error, context: None, logs.uncaught).take_over()
set_context(new_context(endpoint="/", method="GET", ip="", headers={"X-Request-ID": "request-1"}))
"""


@pytest.fixture
def served(python: Callable[..., str]) -> Callable[..., list[dict[str, Any]]]:
    """Runs code after ``take_over``; the lines of the console."""

    def run(code: str, level: str = "debug") -> list[dict[str, Any]]:
        printed = python(SERVED.replace("LEVEL", repr(level)) + code + "\nassert console.flush(10)\n")
        return [json.loads(line) for line in printed.splitlines()]

    return run


def test_loguru_the_standard_library_and_warnings_come_out_alike(served: Callable[..., list[dict[str, Any]]]) -> None:
    entries = served("""
logger.info("by loguru {}", 1)
logging.getLogger("some.library").warning("by %s", "logging")
warnings.warn("by warnings", stacklevel=1)
logs.event(Severity.ERROR, "event", "by us")
logging.getLogger("gunicorn.error").error("by gunicorn")
""")
    assert [entry["message"] for entry in entries] == [
        "by loguru 1", "by logging", "UserWarning: by warnings", "by us", "by gunicorn"
    ]  # fmt: skip
    assert [entry["level"] for entry in entries] == ["info", "warn", "warn", "error", "error"]
    assert {entry["requestId"] for entry in entries} == {"request-1"}
    assert [entry.get("logger") for entry in entries] == [
        "__main__",
        "some.library",
        "py.warnings",
        None,
        "gunicorn.error",
    ]


def test_a_level_of_the_standard_library_stays_what_it_is(served: Callable[..., list[dict[str, Any]]]) -> None:
    code = """
other = logging.getLogger("other"); other.setLevel(1)
for level in (5, 10, 20, 30, 40, 50): other.log(level, "x")
"""
    assert [entry["level"] for entry in served(code)] == ["debug", "info", "warn", "error", "critical"]
    assert [entry["level"] for entry in served(code, "warn")] == ["warn", "error", "critical"]


def test_the_commands_of_the_driver_are_never_logged(served: Callable[..., list[dict[str, Any]]]) -> None:
    code = """
for name in ("pymongo.command", "pymongo.serverSelection", "pymongo"): logging.getLogger(name).debug(CANARY)
logging.getLogger("other").debug("seen")
"""
    assert [entry["message"] for entry in served(code)] == ["seen"]


def test_no_secret_of_a_message_an_argument_or_a_stack_comes_out(served: Callable[..., list[dict[str, Any]]]) -> None:
    entries = served("""
def fail(password):
    raise ValueError(f"password={password}")
log = logging.getLogger("app")
log.error("cannot reach mongodb://u:%s@h", CANARY)
logger.bind(token=CANARY, headers={"Cookie": CANARY}).error("to {}@example.org", CANARY)
for by in (lambda: log.exception("failed"), lambda: logger.exception("failed"), lambda: logger.opt(exception=True).info("x")):
    try: fail(CANARY)
    except ValueError: by()
""")
    assert len(entries) == 5
    assert CANARY not in json.dumps(entries)
    assert ["in fail" in entry.get("stack", "") for entry in entries] == [False, False, True, True, True]


def test_loguru_alone_would_show_the_text_of_the_error(python: Callable[..., str]) -> None:
    printed = python("""
        import sys
        from loguru import logger
        logger.remove()
        logger.add(sys.stdout)
        def fail(password):
            raise ValueError(password)
        try: fail("canary7f3a")
        except ValueError: logger.exception("failed")
    """)
    assert CANARY in printed


def test_no_line_is_too_odd_and_none_breaks_who_logs_it(served: Callable[..., list[dict[str, Any]]]) -> None:
    entries = served(r"""
class Rude:
    def __str__(self): raise RuntimeError
    __repr__ = __str__
log = logging.getLogger("app")
log.error("two %s", "many", "arguments")
log.error("{braces} {0} %(percent)s <red>markup</red>")
log.error("%s", Rude())
log.error("a\r\nb\u2028c \x1b[31m half \ud83d")
log.error("x" * 100_000)
logger.bind(rude=Rude(), deep=[[[[[[]]]]]], half="\ud83d").error("bound")
logs.emit(Severity.ERROR, {"message": Rude()})
logs.emit(Severity.ERROR, {"message": "{not} a {format}"})
print(console.dropped, file=sys.stderr) if console.dropped else None
""")
    messages = [entry["message"] for entry in entries]
    assert messages[:3] == ["two %s", "{braces} {0} %(percent)s <red>markup</red>", "%s"]
    assert messages[3].startswith("a\r\nb\u2028c \x1b[31m half ")
    assert messages[4:] == ["x" * 4000, "bound", "<Rude>", "{not} a {format}"]


def test_a_field_of_the_caller_does_not_become_one_of_the_lines_own(
    served: Callable[..., list[dict[str, Any]]],
) -> None:
    (entry,) = served('logger.info("{level} of {message}", level=5, message="water", requestId="other", tint="blue")')
    assert (entry["message"], entry["level"], entry["requestId"]) == ("5 of water", "info", "request-1")
    assert (entry["level_"], entry["requestId_"], entry["tint"]) == (5, "other", "blue")


def test_a_log_call_within_a_broken_console_harms_nothing(python: Callable[..., str]) -> None:
    code = (
        SERVED.replace("LEVEL", "'info'")
        .replace("Console()", "Console(full)")
        .replace("CANARY =", "full = __import__('os').open('/dev/full', 1); CANARY =")
    )
    code += """
logger.error("x"); logging.getLogger("a").error("x"); logs.event(Severity.ERROR, "e", "x")
assert console.flush(10)
print(console.failures, console.failed_lines)
"""
    assert python(code) == "{'console': 'No space left on device'} {'console': 3}\n"


def test_libraries_that_print_by_themselves_use_ours_instead(python: Callable[..., str]) -> None:
    """Also those made before, with a handler or a level of their own; a library's file stays its own."""
    before = """
import logging, os, sys
early = logging.getLogger("early"); early.addHandler(logging.StreamHandler(sys.stdout)); early.propagate = False
filed = logging.getLogger("filed"); filed.addHandler(logging.FileHandler(os.devnull))
gunicorn = logging.getLogger("gunicorn.error"); gunicorn.setLevel(logging.ERROR); gunicorn.propagate = False
logging.getLogger("pymongo.command").setLevel(logging.DEBUG)
"""
    after = """
early.warning("early")
filed.warning("filed")
gunicorn.info("gunicorn")
logging.getLogger("later").warning("later")
logging.getLogger("asyncio").error("asyncio")
logging.getLogger("pymongo.command").debug(CANARY)
logging.getLogger("pymongo.topology").warning("pymongo")
logging.captureWarnings(True)
warnings.warn("captured", stacklevel=1)
assert len(filed.handlers) == 1
"""
    printed = python(before + SERVED.replace("LEVEL", "'debug'") + after)
    entries = [json.loads(line) for line in printed.splitlines()]
    assert [entry["message"] for entry in entries[:-1]] == ["early", "filed", "gunicorn", "later", "asyncio", "pymongo"]
    assert "UserWarning: captured" in entries[-1]["message"]
    assert CANARY not in printed


def test_a_warning_for_somebodys_file_goes_there(served: Callable[..., list[dict[str, Any]]]) -> None:
    assert (
        served("""
import io
stream = io.StringIO()
warnings.showwarning("x", UserWarning, "a.py", 7, stream)
assert "a.py:7: UserWarning: x" in stream.getvalue()
""")
        == []
    )


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_the_level_holds_for_everybody(served: Callable[..., list[dict[str, Any]]], level: str, shown: int) -> None:
    code = """
other, loud = logging.getLogger("other"), logging.getLogger("loud")
loud.setLevel(1)
for each in (other.debug, other.info, other.warning, other.error): each("stdlib")
for each in (loud.debug, loud.info, loud.warning, loud.error): each("loud")
for each in (logger.debug, logger.info, logger.warning, logger.error): each("loguru")
"""
    assert [entry["message"] for entry in served(code, level)] == [
        name for name in ("stdlib", "loud", "loguru") for _ in range(shown)
    ]


def test_an_entry_that_somebody_binds_is_not_taken_for_ours(served: Callable[..., list[dict[str, Any]]]) -> None:
    (entry,) = served("logger.bind(entry={'message': 'x', 'password': CANARY}).error('theirs')")
    assert entry["message"] == "theirs"
    assert CANARY not in json.dumps(entry)


@pytest.mark.parametrize("gevent", [True, False])
def test_what_ends_a_greenlet_or_a_thread_is_one_line_without_its_text(
    python: Callable[..., str], gevent: bool
) -> None:
    """Python and gevent would print the text to stderr, which ``python`` expects to be empty."""
    patch = "from gevent import monkey; monkey.patch_all()\n" if gevent else ""
    code = """
import threading
def fail(): raise ValueError(CANARY)
thread = threading.Thread(target=fail); thread.start(); thread.join()
"""
    spawned = """
import gevent
gevent.spawn(fail).join()
gevent.get_hub().threadpool.spawn(fail).wait()
"""
    printed = python(patch + SERVED.replace("LEVEL", "'info'") + code + spawned * gevent)
    entries = [json.loads(line) for line in printed.splitlines()]
    assert {entry["event"] for entry in entries} == {"uncaught"}
    kinds = ["a thread", "a greenlet", "a greenlet"] if gevent else ["a thread"]
    assert [entry["message"] for entry in entries] == [f"{kind} ended with ValueError" for kind in kinds]
    assert all("in fail" in entry["stack"] for entry in entries)
    assert CANARY not in printed


def test_what_is_said_last_is_written_without_a_flush(python: Callable[..., str]) -> None:
    """A process that ends before it serves: nobody closes its services."""
    printed = python(SERVED.replace("LEVEL", "'info'") + "\nfor number in range(5000): logger.info('{}', number)\n")
    assert [json.loads(line)["message"] for line in printed.splitlines()] == [str(number) for number in range(5000)]


def test_in_a_host_a_failing_file_is_told_to_the_hosts_logger(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Kept):
        def write(self, data: bytes) -> None:
            raise OSError(28, "x")

    console = Kept("console")
    logs = Logs(Sinks([console, Broken("error.log")], news=deque()), served=False)
    with caplog.at_level(logging.INFO, "prodfix"):
        logs.emit(Severity.ERROR, {"message": "first"}, "error")
        assert logs.sinks.flush(10)
        logs.emit(Severity.ERROR, {"message": "second"})
    messages = [json.loads(record.getMessage())["message"] for record in caplog.records]
    assert messages == ["first", "error.log fails: No space left on device", "second"]
    assert console.entries == []


# ---- a host asks, or does not

HOST = """
import logging, sys, warnings
from flask import Flask
from loguru import logger
logging.basicConfig(format="HOST %(name)s %(message)s", level=logging.WARNING, stream=sys.stdout)
logger.remove(); logger.add(sys.stdout, format="LOGURU {message}")
own = logging.getLogger("own"); own.addHandler(logging.StreamHandler(sys.stdout)); own.propagate = False
def state():
    loggers = [logging.root, own, *map(logging.getLogger, ("werkzeug", "pymongo", "gunicorn.error", "py.warnings"))]
    return [(each.level, each.propagate, each.disabled, [id(h) for h in each.handlers]) for each in loggers], (
        warnings.showwarning, sorted(logger._core.handlers), sys.excepthook)
before = state()
app = Flask("host")
@app.get("/bug")
def bug(): raise KeyError("canary7f3a")
from pathlib import Path
from prodfix import ProdFix, Settings
settings = Settings(_env_file=None, log_dir=Path(sys.argv[1]), state_dir=Path(sys.argv[1]), app_env="development",
                    jwt_secret_key="0123456789abcdef0123456789abcdef", log_level="info")
prodfix = ProdFix(app, settings=settings, OPTIONS)
changed = state() != before
answer = app.test_client().get("/bug", headers={"X-Request-ID": "request-1"})
own.warning("own"); logger.info("loguru"); logging.getLogger("other").info("other")
warnings.warn("warned", stacklevel=1)
assert prodfix.services.logs.sinks.flush(10)
print(changed, answer.status_code, "served" if prodfix.services.logs.served else "adopted")
prodfix.services.close()
"""


def test_a_host_that_does_not_ask_keeps_its_logging(tmp_path: Path, python: Callable[..., str]) -> None:
    code = HOST.replace("OPTIONS", "").replace('warnings.warn("warned", stacklevel=1)', "")
    lines = python(code, tmp_path).splitlines()
    assert lines[-1] == "False 500 adopted"
    assert "LOGURU loguru" in lines
    assert "own" in lines
    assert not [line for line in lines if "other" in line]
    ours = [line for line in lines if line.startswith("HOST prodfix ")]
    assert [json.loads(line.removeprefix("HOST prodfix "))["requestId"] for line in ours] == ["request-1"]
    assert "HOST host Exception on /bug [GET]" in lines  # Flask's own line is the host's too


def test_a_host_that_asks_has_everything_in_one_form_and_each_error_once(
    tmp_path: Path, python: Callable[..., str]
) -> None:
    printed = python(HOST.replace("OPTIONS", "logging=True"), tmp_path)
    *lines, last = printed.splitlines()
    assert last == "True 500 adopted"
    entries = [json.loads(line) for line in lines]
    assert [entry.get("event") or entry["message"] for entry in entries] == [
        "error", "own", "loguru", "other", "UserWarning: warned",
    ]  # fmt: skip
    assert entries[0]["requestId"] == "request-1"


def test_an_error_that_the_hosts_handler_answers_is_logged_once_too(tmp_path: Path, python: Callable[..., str]) -> None:
    handler = '@app.errorhandler(500)\ndef mine(error): return "mine", 500\n@app.get("/bug")'
    code = HOST.replace('@app.get("/bug")', handler).replace("OPTIONS", "logging=True")
    *lines, last = python(code, tmp_path).splitlines()
    assert last == "True 500 adopted"
    errors = [entry for entry in map(json.loads, lines) if entry["level"] == "error"]
    assert [(entry["event"], entry["errorType"], entry["context"]["endpoint"]) for entry in errors] == [
        ("error", "KeyError", "/bug")
    ]
    assert "in bug" in errors[0]["stack"]


def test_a_sink_of_the_applications_own_gets_our_lines_too(served: Callable[..., list[dict[str, Any]]]) -> None:
    entries = served("""
logs.event(Severity.WARN, "event", "before")
seen = []
own = logger.add(lambda message: seen.append(message.record["extra"]["entry"]), level="DEBUG")
logs.event(Severity.WARN, "event", "between")
logger.remove(own)
logs.event(Severity.WARN, "event", "after")
assert [(entry["message"], entry["event"]) for entry in seen] == [("between", "event")]
""")
    assert [entry["message"] for entry in entries] == ["before", "between", "after"]


def test_what_loguru_is_told_to_leave_out_is_left_out(served: Callable[..., list[dict[str, Any]]]) -> None:
    entries = served(
        """
logs.event(Severity.INFO, "event", "below the level")
logs.event(Severity.WARN, "event", "shown")
logger.disable("prodfix")
logs.event(Severity.WARN, "event", "disabled")
logger.enable("prodfix")
logs.event(Severity.WARN, "event", "enabled")
""",
        "warn",
    )
    assert [entry["message"] for entry in entries] == ["shown", "enabled"]
