"""What nobody catches is told like any other error, and everything is put back afterwards."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bson
import pytest

import prodfix
from prodfix import in_request
from prodfix.logs.uncaught import MOST_LEFT, Uncaught
from prodfix.request.context import new_context, reset_context, set_context


class Told:
    def __init__(self) -> None:
        self.errors: list[tuple[BaseException, Any]] = []
        self.fails = False

    def __call__(self, error: BaseException, context: Any) -> None:
        if self.fails:
            raise OSError("the record cannot be made")
        self.errors.append((error, context))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the hooks that were there before are given."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *facts: found.append(facts[1]))
    monkeypatch.setattr(threading, "excepthook", lambda facts: found.append(facts.exc_value))
    monkeypatch.setattr(sys, "unraisablehook", lambda facts: found.append(facts.exc_value))
    return found


@pytest.fixture
def attached(told: Told, printed: list[Any]) -> Iterator[Uncaught]:
    uncaught = Uncaught(told)
    uncaught.attach()
    yield uncaught
    uncaught.detach()


def fail_in_thread(error: BaseException) -> None:
    def work() -> None:
        raise error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def fail_in_destructor(error: BaseException) -> None:
    class Broken:
        def __del__(self) -> None:
            raise error

    Broken()


def fail_in_main(error: BaseException) -> None:
    sys.excepthook(type(error), error, None)


EVERYWHERE = pytest.mark.parametrize("fail", [fail_in_thread, fail_in_destructor, fail_in_main])


@EVERYWHERE
def test_an_exception_that_nobody_catches_is_told(
    attached: Uncaught, told: Told, printed: list[Any], fail: Callable[[BaseException], None]
) -> None:
    error = ValueError("x")
    fail(error)
    attached.tell_left()
    assert (told.errors, printed) == ([(error, None)], [])


def test_what_a_destructor_raises_is_told_later_and_not_where_the_collector_was_called(
    attached: Uncaught, told: Told, printed: list[Any]
) -> None:
    """It may be where a lock is held that telling of it needs."""
    errors = [ValueError(str(number)) for number in range(MOST_LEFT + 1)]
    context = new_context(endpoint="/x", method="GET", ip="", headers={})
    token = set_context(context)
    for error in errors:
        fail_in_destructor(error)
    reset_context(token)
    assert (told.errors, printed) == ([], [errors[-1]])
    attached.detach()
    assert told.errors == [(error, context) for error in errors[:-1]]


@EVERYWHERE
def test_without_us_it_is_printed(printed: list[Any], fail: Callable[[BaseException], None]) -> None:
    error = ValueError("x")
    fail(error)
    assert printed == [error]


@EVERYWHERE
def test_what_cannot_be_told_is_printed(
    attached: Uncaught, told: Told, printed: list[Any], fail: Callable[[BaseException], None]
) -> None:
    told.fails, error = True, ValueError("x")
    fail(error)
    attached.tell_left()
    assert printed == [error]


@EVERYWHERE
def test_what_ends_a_program_on_purpose_is_none_of_ours(
    attached: Uncaught, told: Told, printed: list[Any], fail: Callable[[BaseException], None]
) -> None:
    error = KeyboardInterrupt()
    fail(error)
    assert (told.errors, printed) == ([], [error])


def test_everything_is_put_back(attached: Uncaught, told: Told, printed: list[Any]) -> None:
    attached.detach()
    fail_in_thread(error := ValueError("x"))
    assert (told.errors, printed) == ([], [error])


def test_what_somebody_else_has_put_there_since_stays(attached: Uncaught, monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs(*facts: Any) -> None: ...

    monkeypatch.setattr(sys, "excepthook", theirs)
    attached.detach()
    assert sys.excepthook is theirs


def test_a_greenlet_that_fails_is_told_with_the_request_that_it_was_begun_for(python: Callable[..., str]) -> None:
    printed = python("""
        from gevent import monkey; monkey.patch_all()
        import contextvars, gevent
        from prodfix.request.context import new_context, set_context
        from prodfix.logs.uncaught import MOST_LEFT, Uncaught

        told = []
        uncaught = Uncaught(lambda error, context: told.append((str(error), context and context.request_id)))
        uncaught.attach()
        def fail(text):
            raise ValueError(text)
        set_context(new_context(endpoint="/", method="GET", ip="", headers={"X-Request-ID": "request-1"}))
        gevent.spawn(fail, "alone").join()
        gevent.spawn(contextvars.copy_context().run, fail, "copied").join()
        greenlet = gevent.Greenlet(fail, "given")
        greenlet.gr_context = contextvars.copy_context()
        greenlet.start()
        greenlet.join()
        gevent.spawn(lambda: gevent.sleep(10)).kill()
        print(told)
    """)
    assert printed == "[('alone', None), ('copied', None), ('given', 'request-1')]\n"


def test_a_greenlet_that_fails_without_us_is_printed(python: Callable[..., str]) -> None:
    printed = python("""
        from gevent import monkey; monkey.patch_all()
        import contextlib, io, sys, gevent
        from prodfix.logs.uncaught import MOST_LEFT, Uncaught

        uncaught = Uncaught(lambda error, context: None)
        uncaught.attach()
        uncaught.detach()
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            gevent.spawn(lambda: 1 / 0).join()
        print("ZeroDivisionError" in stderr.getvalue())
    """)
    assert printed == "True\n"


def test_work_of_a_request_that_nobody_waits_for_fails_as_the_requests(attached: Uncaught, told: Told) -> None:
    context = new_context(endpoint="/", method="GET", ip="", headers={})

    def fail() -> None:
        raise ValueError

    token = set_context(context)
    try:
        works = [in_request(fail), fail]
    finally:
        reset_context(token)
    for work in works:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert [found for _, found in told.errors] == [context, None]


def test_one_owner_has_the_hooks_before_during_and_after_serving(serve: Callable[..., Any]) -> None:
    services = serve().extensions["prodfix"]
    owners = [threading.excepthook.__self__]  # type: ignore[attr-defined]
    services.start()
    owners += [threading.excepthook.__self__, sys.excepthook.__self__]  # type: ignore[attr-defined]
    services.close()
    owners += [threading.excepthook.__self__]  # type: ignore[attr-defined]
    assert owners == [services.runtime.uncaught] * 4
    assert sys.excepthook is sys.__excepthook__


def test_it_may_be_the_first_error_of_its_application(serve: Callable[..., Any]) -> None:
    """Of which nothing has made a record yet."""
    services = serve().extensions["prodfix"]
    services.start()
    fail_in_thread(ValueError("nobody waits for this"))
    rows = services.runtime.journal.read("SELECT entry FROM records")
    assert [bson.decode(entry)["errorType"] for (entry,) in rows] == ["ValueError"]


def test_what_cannot_be_told_is_a_line_where_the_logging_is_ours(told: Told, printed: list[Any]) -> None:
    lines: list[tuple[str, BaseException]] = []
    uncaught = Uncaught(told, lambda *line: lines.append(line))
    uncaught.take_over()
    fail_in_thread(before := ValueError("before"))
    uncaught.attach()
    fail_in_thread(recorded := ValueError("recorded"))
    told.fails = True
    fail_in_thread(failed := ValueError("failed"))
    uncaught.detach()
    fail_in_thread(after := ValueError("after"))
    assert lines == [("thread", before), ("thread", failed), ("thread", after)]
    assert ([error for error, _ in told.errors], printed) == ([recorded], [])


def test_nobody_else_in_the_library_touches_the_hooks() -> None:
    sources = Path(prodfix.__file__).parent.rglob("*.py")
    hooks = ("excepthook", "unraisablehook", "print_exception", "handle_error")
    assert {path.name for path in sources if any(hook in path.read_text() for hook in hooks)} == {"uncaught.py"}
