"""What a forked process has of its own, whoever forks, and whatever its parent was in the middle of."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from prodfix.process import per_process
from prodfix.process.per_process import PerProcess, in_each_process
from tests.support.processes import in_child


class Counted:
    def __init__(self) -> None:
        self.begun = 0
        in_each_process(self.begin)

    def begin(self) -> None:
        self.begun += 1


def test_it_is_made_once_on_first_use() -> None:
    one = PerProcess(object)
    assert one.made is None
    assert one.get() is one.get() is one.made


def test_many_that_ask_at_once_get_one() -> None:
    made: list[object] = []

    def make() -> object:
        threading.Event().wait(0.02)
        made.append(object())
        return made[-1]

    one = PerProcess(make)
    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(lambda _: one.get(), range(8))}) == len(made) == 1


def test_what_could_not_be_made_is_tried_again() -> None:
    answers: list[Any] = [ValueError("no"), "made"]

    def make() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    one = PerProcess(make)
    with pytest.raises(ValueError, match="no"):
        one.get()
    assert one.get() == "made"


def test_what_is_taken_is_made_anew() -> None:
    one = PerProcess(object)
    assert one.take() is None
    first = one.get()
    assert one.take() is first
    assert one.made is None
    assert one.get() is not first


def test_a_child_makes_its_own_and_its_parent_keeps_its() -> None:
    one = PerProcess(os.getpid)
    assert one.get() == os.getpid()
    before, child, own = in_child(lambda: (one.made, one.get(), os.getpid()))
    assert (before, child) == (None, own)
    assert one.get() == os.getpid() != own


def test_a_childs_child_makes_its_own_too() -> None:
    one = PerProcess(os.getpid)
    one.get()
    first, (second, own) = in_child(lambda: (one.get(), in_child(lambda: (one.get(), os.getpid()))))
    assert second == own
    assert len({one.get(), first, second}) == 3


def test_what_a_parent_has_is_not_ended_in_its_child() -> None:
    ended = os.pipe()

    class Ends:
        def __del__(self) -> None:
            os.write(ended[1], b"x")

    one = PerProcess(Ends)
    one.get()

    def child() -> None:
        one.get()
        gc.collect()

    in_child(child)
    os.set_blocking(ended[0], False)
    with pytest.raises(BlockingIOError):
        os.read(ended[0], 1)
    one.take()  # the control
    assert os.read(ended[0], 1) == b"x"


def test_a_lock_that_another_thread_holds_as_the_process_forks_holds_up_no_child() -> None:
    entered, release = threading.Event(), threading.Event()

    def make() -> int:
        entered.set()
        release.wait(10)
        return os.getpid()

    one = PerProcess(make)
    with ThreadPoolExecutor(1) as pool:
        task = pool.submit(one.get)
        assert entered.wait(10)

        def child() -> list[int]:
            release.set()
            return [one.get(), os.getpid()]

        found, own = in_child(child)
        release.set()
        assert task.result(10) == os.getpid()
    assert found == own


def test_it_begins_now_and_once_in_each_child() -> None:
    counted = Counted()
    assert counted.begun == 1
    assert in_child(lambda: (counted.begun, in_child(lambda: counted.begun))) == [2, 3]
    assert counted.begun == 1


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a method"):
        in_each_process(lambda: None)


def test_who_is_gone_is_not_held() -> None:
    counted, before = Counted(), len(per_process._begins)
    del counted
    gc.collect()
    assert len(per_process._begins) < before


FORKED = """
    import sys
    if sys.argv[1] == "gevent":
        from gevent import monkey
        monkey.patch_all()
    import os, time, warnings
    import orjson
    from flask import Flask
    from prodfix import ProdFix, Settings, current_prodfix
    from pathlib import Path

    warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tried here (Python 3.12)
    app = Flask("host")
    folder = Path(sys.argv[2])
    settings = Settings(app_env="development", state_dir=folder / "var", log_dir=folder / "log")
    services = ProdFix(app, settings=settings).services

    @app.get("/")
    def view():
        return "fine"

    def facts():
        status = app.test_client().get("/").status_code
        state = services.state()
        return {
            "status": status,
            "own": state.pid == os.getpid(),
            "boot": services.runtime.journal.boot.partition("-")[0] == str(os.getpid()),
            "tries": state.recovery.budget.tries,
            "workers": len(services.runtime.workers.read()),
        }

    services.recovery.run(lambda: None)
    found = [facts()]
    assert services.runtime.background.running
    end = time.monotonic() + 20
    while not services.runtime.journal.read("SELECT 1 FROM status") and time.monotonic() < end:
        time.sleep(0.01)  # until it has told its siblings of itself
    reading, writing = os.pipe()
    if os.fork() == 0:
        running, used = services.runtime.background.running, services.database.clients.in_use
        early = [running, used, services.runtime.journal.read_own("SELECT 1")]
        os.write(writing, orjson.dumps([early, facts()]))
        services.close()
        os._exit(0)
    os.close(writing)
    found.append(orjson.loads(os.read(reading, 10_000)))
    os.wait()
    found.append(facts())
    services.close()
    print(orjson.dumps(found).decode())
"""


@pytest.mark.parametrize("how", ["gevent", "threads"])
def test_an_application_that_has_served_before_a_fork_serves_in_both(
    python: Callable[..., str], tmp_path: Path, how: str
) -> None:
    """As with gunicorn's ``--preload``, once something has asked the application before it forks."""
    before, (early, child), after = orjson.loads(python(FORKED, how, tmp_path))
    good = {"status": 200, "own": True, "boot": True}
    assert before == {**good, "tries": 1, "workers": 1}
    assert early == [False, None, []]
    assert child == {**good, "tries": 0, "workers": 2}
    assert after == {**good, "tries": 1, "workers": after["workers"]}


COPIED = """
    from gevent import monkey
    monkey.patch_all()
    import os, time
    import gevent, orjson
    from prodfix.process.loops import Loop

    seen, copied = [], []
    loop = Loop("own", lambda: seen.append(os.getpid()), 0.01, print)
    loop.start()

    def plain():
        while True:
            copied.append(os.getpid())
            time.sleep(0.01)

    gevent.spawn(plain)
    time.sleep(0.1)
    reading, writing = os.pipe()
    if os.fork() == 0:
        time.sleep(0.3)
        os.write(writing, orjson.dumps([os.getpid() in seen, os.getpid() in copied]))
        os._exit(0)
    found = orjson.loads(os.read(reading, 100))
    seen.clear()
    time.sleep(0.1)
    print(orjson.dumps([*found, bool(seen)]).decode())
"""


def test_a_loop_stays_its_parents_though_gevent_copies_greenlets(python: Callable[..., str]) -> None:
    in_child, control, in_parent = orjson.loads(python(COPIED))
    assert (in_child, control, in_parent) == (False, True, True)
