"""Runs in a fresh interpreter, as a script: loads an application as gunicorn would, and tells what it did.

It imports nothing of prodfix, nor anything else before the application does that gunicorn's arbiter would not have imported.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

WATCHED = ("ssl", "socket", "threading", "pymongo", "requests", "urllib3", "loguru")
_OPTIONS = {
    "worker_class": "worker_class_str",
    "workers": "workers",
    "threads": "threads",
    "worker_connections": "worker_connections",
    "preload": "preload_app",
    "graceful_timeout": "graceful_timeout",
    "timeout": "timeout",
    "keepalive": "keepalive",
}


def main() -> None:
    asked = json.loads(sys.argv[1])
    told: dict[str, Any] = {"gunicorn": None, "target": asked["target"], "called": False, "before": [], "error": None}
    with _own_output() as report:
        sys.path.insert(0, asked["folder"])
        begun = time.monotonic()
        try:
            if asked["arguments"] is not None:
                told["gunicorn"], told["target"] = _configured(asked["arguments"])
            _watch_patching(told)
            _load(told["target"], as_gunicorn=told["gunicorn"] is not None)
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a module, too; the type is what is told
            told["error"] = type(error).__name__
        told["seconds"] = round(time.monotonic() - begun, 1)
        report.write(json.dumps(told).encode())
        report.flush()
        os._exit(0)  # neither the threads nor the atexit functions of an application that was only looked at


@contextlib.contextmanager
def _own_output() -> Iterator[Any]:
    """What the application prints goes nowhere; the report alone goes to stdout."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    with os.fdopen(os.dup(1), "wb") as report:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield report


def _configured(arguments: list[str]) -> tuple[dict[str, Any], str]:
    """gunicorn's options after command line, environment and configuration file; and what it loads."""
    sys.argv = ["gunicorn", *arguments]
    from gunicorn.app.wsgiapp import WSGIApplication

    application = WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]")
    config = application.cfg
    options = {name: getattr(config, attribute) for name, attribute in _OPTIONS.items()}
    options["preload_asked"] = options["preload"]
    if options["preload"] and not config.logger_class.__module__.startswith("gunicorn."):
        config.logger_class(config)  # the arbiter makes it before it would preload, and ours turns that off
        options["preload"] = config.preload_app
    if options["worker_class"] == "gevent" or "gevent" in options["worker_class"].lower():
        importlib.import_module("gunicorn.workers.ggevent")
    return options, application.app_uri


def _watch_patching(told: dict[str, Any]) -> None:
    """Note when ``gevent.monkey.patch_all`` is called for the first time, and what the application had imported by then."""
    try:
        from gevent import monkey
    except ImportError:
        return
    there = set(sys.modules)
    patch_all = monkey.patch_all

    def noted(*arguments: Any, **options: Any) -> Any:
        if not told["called"]:
            told["called"] = True
            told["before"] = [name for name in WATCHED if name in sys.modules and name not in there]
        return patch_all(*arguments, **options)

    monkey.patch_all = noted


def _load(target: str, *, as_gunicorn: bool) -> None:
    if as_gunicorn:
        from gunicorn.util import import_app

        import_app(target)
        return
    module, _, attribute = target.partition(":")
    loaded = importlib.import_module(module)
    from flask.cli import find_app_by_string, find_best_app  # after the application, which it must not precede

    if attribute:
        find_app_by_string(loaded, attribute)
    else:
        with contextlib.suppress(Exception):  # the module is loaded: which application it exposes is another question
            find_best_app(loaded)


if __name__ == "__main__":
    main()
