"""Native threads, the same way under gevent, under threads and in plain Python.

After ``monkey.patch_all()`` a ``threading.Thread`` is a greenlet, which is what a loop that waits on the network wants.
Work that blocks a whole thread, such as a file's fsync, belongs into a thread of the operating system: this file is the
one place that knows how to get one.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


def under_gevent() -> bool:
    """Whether ``threading`` is monkey-patched, so that waiting must be left to the hub."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class Task(Generic[Result]):
    """A result that a native thread is still working for."""

    __slots__ = ("_result",)

    def __init__(self, result: Any) -> None:
        self._result = result

    def wait(self, limit: float | None = None) -> Result:
        """The result. Raises what the work raised, and ``TimeoutError`` after ``limit`` seconds (the work goes on)."""
        if isinstance(self._result, Future):
            return self._result.result(limit)  # type: ignore[no-any-return]
        # Not gevent's Future: that one takes every gevent.Timeout for its own, a request's deadline too.
        self._result.wait(limit)
        if not self._result.ready():
            raise TimeoutError
        value, error = self._result.get()
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]

    def ended(self, limit: float) -> bool:
        """Whether the work is over within ``limit`` seconds, however it ended."""
        if isinstance(self._result, Future):
            return bool(wait([self._result], limit).done)
        if not self._result.ready():
            self._result.wait(limit)
        return bool(self._result.ready())


def _outcome(work: Callable[..., Result], *arguments: Any) -> tuple[Result | None, Exception | None]:
    """What ``work`` raises is carried as a value: gevent's hub would print it, with whatever its text holds, to stderr."""
    try:
        return work(*arguments), None
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        return None, error


class Pool:
    """A few native threads; waiting for their results lets other greenlets run. Make it after the fork that uses it."""

    def __init__(self, threads: int) -> None:
        self._pool: Any = _Threads(threads)
        if under_gevent():
            from gevent.threadpool import ThreadPool

            self._pool = ThreadPool(threads)

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Task[Result]:
        if isinstance(self._pool, _Threads):
            return Task(self._pool.submit(work, *arguments))
        return Task(self._pool.spawn(_outcome, work, *arguments))

    def run(self, work: Callable[..., Result], *arguments: Any, limit: float | None = None) -> Result:
        """Like ``submit(...).wait(limit)``."""
        return self.submit(work, *arguments).wait(limit)

    def close(self) -> None:
        """Let what was submitted come to its end, and end the threads."""
        if isinstance(self._pool, _Threads):
            self._pool.close()
        else:
            self._pool.kill()


class _Threads:
    """Plain Python's. Not ``ThreadPoolExecutor``, which the interpreter shuts down before it calls what is registered with
    ``atexit``: whoever has something to write at the end of the process could not."""

    def __init__(self, most: int) -> None:
        self._most, self._idle = most, 0
        self._ends: list[threading.Event] = []
        self._queue: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._starting = threading.Lock()

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Future[Result]:
        future: Future[Result] = Future()
        with self._starting:
            self._queue.put((future, work, arguments))
            if self._idle < self._queue.qsize() and len(self._ends) < self._most:
                self._ends.append(end := threading.Event())
                threading.Thread(target=self._work, args=(end,), name="prodfix-native", daemon=True).start()
        return future

    def _work(self, end: threading.Event) -> None:
        try:
            while True:
                with self._starting:
                    self._idle += 1
                item = self._queue.get()
                with self._starting:
                    self._idle -= 1
                if item is None:
                    return
                _finish(*item)
                del item  # with what its work holds
        finally:
            end.set()

    def close(self) -> None:
        with self._starting:
            for _ in self._ends:
                self._queue.put(None)
        for end in self._ends:
            end.wait()


def _finish(future: Future[Any], work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        result = work(*arguments)
    except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
        future.set_exception(error)
    else:
        future.set_result(result)


class Inline:
    """In the place of a :class:`Pool`: the work is done at once, by whoever asks for it."""

    def submit(self, work: Callable[..., Result], *arguments: Any) -> Task[Result]:
        future: Future[Result] = Future()
        _finish(future, work, arguments)
        return Task(future)

    def run(self, work: Callable[..., Result], *arguments: Any, limit: float | None = None) -> Result:
        return work(*arguments)

    def close(self) -> None: ...


def hub_held() -> float:
    """For how many seconds gevent's hub of this thread has not looked whether something has come, as far as who asks this has
    seen: 0 for who is the first to ask since then, and without a hub."""
    global _round, _round_seen
    hub = _hub_here()
    if hub is None:
        return 0.0
    found, now = hub.loop.iteration, time.monotonic()
    if found != _round or found < 0:  # libuv counts none
        _round, _round_seen = found, now
    return now - _round_seen


_round, _round_seen = -1, 0.0  # which round of the hub was seen last, and when first


def _hub_here() -> Any:
    global _find_hub  # noqa: PLW0603 - what was patched stays so
    if _find_hub is None:
        if not under_gevent():
            return None
        from gevent._hub_local import get_hub_if_exists  # which makes none: a native thread of ours has none

        _find_hub = get_hub_if_exists
    return _find_hub()


_find_hub: Callable[[], Any] | None = None


def allocate_lock() -> Any:
    """A lock between native threads. It blocks the hub while held, so it is held for microseconds only."""
    if under_gevent():
        from gevent.monkey import get_original

        return get_original("_thread", "allocate_lock")()
    import _thread

    return _thread.allocate_lock()


def original_queue() -> Any:
    """An unbounded queue between native threads: ``put`` never waits, ``get`` blocks only the native thread that calls it."""
    if under_gevent():
        from gevent.monkey import get_original

        return get_original("queue", "SimpleQueue")()
    return SimpleQueue()


class Alarm:
    """Has gevent's hub of the main thread call ``work`` in a while: what does not wait needs no greenlet and no thread.

    Make one in each process. ``work`` runs within the hub: it must not wait for anything.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._hub: Any = None
        self._timer: Any = None
        self._thread: int | None = None

    def here(self) -> bool:
        """Whether this is the thread of that hub. Never in plain Python."""
        return self._thread == thread_number() if self._thread is not None else self._find()

    def set(self, seconds: float) -> None:
        """Call it in so many seconds, if it is not to be called sooner. For who is :meth:`here`."""
        if self._timer is None:
            self._timer = self._hub.loop.timer(seconds, ref=False)
        if not self._timer.active:
            self._timer.start(self._work, update=True)

    def _find(self) -> bool:
        hub = _hub_here()
        if hub is None or not hub.main_hub:
            return False
        self._hub, self._thread = hub, thread_number()
        return True


def thread_number() -> int:
    """Which native thread this is, whatever greenlet runs in it."""
    global _get_ident  # noqa: PLW0603 - found once, as what was patched stays so
    if _get_ident is None:
        _get_ident = original("_thread", "get_ident")
    return _get_ident()


_get_ident: Callable[[], int] | None = None


def start_thread(work: Callable[[], None]) -> None:
    """Run ``work`` in a native thread that ends with the process. It must not touch anything of gevent's."""
    if under_gevent():
        from gevent.monkey import get_original

        get_original("_thread", "start_new_thread")(work, ())
        return
    import _thread

    _thread.start_new_thread(work, ())


def wait_until_writable(descriptor: int) -> None:
    """Block the calling native thread until ``descriptor`` takes bytes. Never call it where greenlets run."""
    if under_gevent():
        from gevent.monkey import get_original

        poll = get_original("select", "poll")()
    else:
        import select

        poll = select.poll()
    poll.register(descriptor, 4)  # POLLOUT
    poll.poll()


def run_program(
    command: Sequence[str], *, environment: Mapping[str, str], stdin: int, stdout: int, limit: float
) -> int | None:
    """Run a program to its end, in the native thread that calls: its exit code, or None if it was killed after ``limit`` seconds.

    ``stdin`` and ``stdout`` are descriptors; what it says on stderr is lost. It is spawned, not forked: a fork would copy the
    hub, and locks that other native threads hold. It is no member of this process's group, whose signals are not for it.
    Raises ``OSError`` if it cannot be started.
    """
    spawn, waitpid, sleep = original("os", "posix_spawn"), original("os", "waitpid"), original("time", "sleep")
    files = [
        (os.POSIX_SPAWN_DUP2, stdin, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    usual = [signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD]
    pid = spawn(command[0], list(command), dict(environment), file_actions=files, setpgroup=0, setsigdef=usual)
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            found, status = waitpid(pid, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            sleep(_LOOK)
        os.kill(pid, signal.SIGKILL)
        waitpid(pid, 0)
        return None
    except (
        ChildProcessError
    ):  # somebody else in this process waits for every child (libev does, where gevent started one)
        return None


_LOOK = 0.02  # seconds between two looks at a program that runs


def original(module: str, name: str) -> Any:
    """What ``module`` had under that name before it was patched."""
    if under_gevent():
        from gevent.monkey import get_original

        return get_original(module, name)
    return getattr(importlib.import_module(module), name)
