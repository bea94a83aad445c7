"""What nobody catches: exceptions of background greenlets and threads, of destructors, and of the main program.

Python and gevent print those to stderr, with whatever their texts hold. Here they become records like any other error, and
before and after a process serves a line of the log. Nobody else in this library touches their hooks.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from prodfix.process.native import under_gevent
from prodfix.request.context import RequestContext, context_of, current_context
from prodfix.request.deadlines import REQUEST

Tell = Callable[[BaseException, RequestContext | None], Any]
Line = Callable[[str, BaseException], None]

MOST_LEFT = 100  # exceptions of destructors that wait; more of them are printed


class Uncaught:
    """Has ``tell`` hear of every uncaught exception of this process, with the request that began the work, if it is known.

    Attach it in the process that serves: a hub belongs to one. What destructors raise is told with :meth:`tell_left`. While it is
    not attached, and where ``tell`` fails, ``line`` is told of what has ended a thread or a greenlet, once :meth:`take_over` was
    called.
    """

    def __init__(self, tell: Tell, line: Line = lambda kind, error: None) -> None:
        self._tell, self._line = tell, line
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        self._hub: Any = None
        self._hubs_own: Any = None
        self._left: deque[tuple[sys.UnraisableHookArgs, RequestContext | None]] = deque()

    def take_over(self) -> None:
        """From now on nothing of what ends a thread or a greenlet reaches stderr: for who owns the process's logging."""
        threading.excepthook = self._thread_ended
        if under_gevent():
            from gevent.hub import Hub

            line = self._line

            def greenlet_ended(hub: Any, context: Any, kind: Any, value: Any, trace: Any) -> None:
                line("greenlet", value if isinstance(value, BaseException) else kind())

            Hub.print_exception = greenlet_ended  # type: ignore[method-assign, assignment]

    def _thread_ended(self, failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
            self._line("thread", failed.exc_value)

    def attach(self) -> None:
        self._before = (sys.excepthook, threading.excepthook, sys.unraisablehook)
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._main, self._thread, self._destructor
        if under_gevent():
            from gevent import get_hub

            self._hub = get_hub()
            self._hubs_own, self._hub.handle_error = self._hub.handle_error, self._greenlet

    def detach(self) -> None:
        """Put everything back, unless somebody else has put something in its place since."""
        self.tell_left()
        if sys.excepthook == self._main:
            sys.excepthook, threading.excepthook, sys.unraisablehook = self._before
        if self._hub is not None:
            self._hub.handle_error, self._hub = self._hubs_own, None

    def tell_left(self) -> None:
        """Tell of what destructors have raised since the last time."""
        while self._left:
            facts, context = self._left.popleft()
            if not self._told(facts.exc_value, context):
                self._before[2](facts)

    def _told(self, error: Any, context: RequestContext | None = None) -> bool:
        if not isinstance(error, Exception):
            return False
        try:
            self._tell(error, context or vars(error).get(REQUEST))
        except Exception:  # noqa: BLE001 - then it is printed, as without us
            return False
        return True

    def _main(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not self._told(error):
            self._before[0](kind, error, trace)

    def _thread(self, facts: threading.ExceptHookArgs) -> None:
        if not self._told(facts.exc_value):
            self._before[1](facts)

    def _destructor(self, facts: sys.UnraisableHookArgs) -> None:
        # Called wherever the garbage collector is, also where a lock is held that telling of it needs, that of the counts say.
        if isinstance(facts.exc_value, Exception) and len(self._left) < MOST_LEFT:
            self._left.append((facts, current_context()))
        else:
            self._before[2](facts)

    def _greenlet(self, where: Any, kind: Any, error: Any, trace: Any) -> None:
        # Without a greenlet it is the hub's own failure, which must end the process.
        quiet = (*self._hub.NOT_ERROR, *self._hub.SYSTEM_ERROR)
        context = context_of(getattr(where, "gr_context", None))
        if where is None or isinstance(error, quiet) or not self._told(error, context):
            self._hubs_own(where, kind, error, trace)
