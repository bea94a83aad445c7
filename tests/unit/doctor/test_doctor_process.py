"""How the application is started: what each check finds, where it is silent, and what a fresh interpreter sees."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pydantic import SecretStr

from prodfix.doctor import deployment, resources
from prodfix.doctor.deployment import Deployment
from prodfix.doctor.findings import NotChecked
from prodfix.doctor.launch import Launch, Launched
from prodfix.doctor.patching import order
from prodfix.doctor.subject import Subject
from prodfix.driver.private_names import PrivateName
from tests.support.doctor_cases import GOOD, GUNICORN, Case, command, findings, ids, judge
from tests.support.processes import alive
from tests.support.waiting import until
from tests.unit.conftest import ROOT
from tests.unit.doctor.test_doctor_disk import worker

TLS = {"mongodb_uri": SecretStr("mongodb://127.0.0.1:9/notes?tls=true")}
LATE = ("ssl", "socket", "threading", "pymongo")


def launched(*before: str, called: bool = True, **options: Any) -> Launched:
    return Launched(replace(GUNICORN, **options) if options else GUNICORN, called, before)


def unknown(*before: str, called: bool = True) -> Launched:
    """As it is where no file says how it is started."""
    return Launched(None, called, before)


FOUND = [
    Case("application-loads", "error", "ValueError", launched=replace(GOOD, error="ValueError")),
    Case("patch-order", "error", "preloads the application: no TLS", launched=launched(*LATE, preload=True)),
    Case(
        "patch-order", "error", "is never called, and gunicorn preloads", launched=launched(called=False, preload=True)
    ),
    Case("patch-order", "warning", "called after pymongo was imported", launched=launched(*LATE)),
    Case("patch-order", "warning", "called after requests, urllib3", launched=unknown("requests", "urllib3")),
    Case("patch-order", "note", "gunicorn's worker does it", launched=launched(called=False)),
    Case("patch-order", "note", "only the database's part", launched=unknown(called=False)),
    Case("patch-order", "note", "ssl, socket: imported before", launched=launched("ssl", "socket")),
    Case("patch-order", "warning", "gthread", launched=launched(worker_class="gthread")),
    Case("preload", "error", "does not notice", launched=launched(preload=True, preload_asked=True)),
    Case("preload", "note", "ignores it", launched=launched(preload_asked=True)),
    Case(
        "preload", "warning", "GUNICORN_CMD_ARGS", {}, {"GUNICORN_CMD_ARGS": "--preload --bind :1"}, launched=unknown()
    ),
    Case(
        "memory",
        "error",
        "2 workers of 65 MB (as usual) and the arbiter take 160 MB of 128 MB",
        {"memory_limit_mb": 128},
    ),
    Case("memory", "warning", "160 MB of 192 MB", {"memory_limit_mb": 192}),
    Case("memory", "error", "8 workers", {"memory_limit_mb": 512}, launched=launched(workers=8)),
    Case("file-descriptors", "error", "without one client", {"db_pool_size": 1000}),
    Case("file-descriptors", "note", "all of its 2000 clients", launched=launched(worker_connections=2000)),
]
SILENT = [
    Case("application-loads", "ok"),
    Case("patch-order", "ok"),
    Case("patch-order", "ok", launched=unknown()),
    Case("patch-order", "ok", launched=launched(worker_class="gthread", called=False)),
    Case("preload", "ok"),
    Case("preload", "ok", launched=unknown()),
    Case("memory", "ok", settings={"memory_limit_mb": 512}),
    Case("memory", ""),
    Case("file-descriptors", "ok", launched=launched(worker_connections=200)),
    Case("python-version", "ok"),
    Case("driver-version", "ok"),
    Case("driver-names", "ok"),
]


@pytest.fixture(autouse=True)
def _roomy_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.memory, "limit", lambda given: given)
    monkeypatch.setattr(resources.resource, "getrlimit", lambda kind: (1024, 4096))


@pytest.mark.parametrize("case", FOUND, ids=ids)
def test_what_is_wrong_is_found_with_what_to_do(adopt: Callable[..., Flask], case: Case) -> None:
    judge(case, findings(case, adopt(**case.settings)))


@pytest.mark.parametrize("case", SILENT, ids=ids)
def test_what_is_right_is_left_alone(adopt: Callable[..., Flask], case: Case) -> None:
    judge(case, findings(case, adopt(**case.settings)))


def test_where_nobody_knows_what_is_loaded_it_could_not_be_checked(adopt: Callable[..., Flask]) -> None:
    from prodfix.doctor.registry import run
    from prodfix.doctor.subject import Subject
    from tests.support.doctor_cases import CHECKS

    (finding,) = run(CHECKS["patch-order"], Subject(adopt(), {}))
    assert (finding.level, finding.found) == ("note", "could not be checked: the application was not loaded again")


# -- versions and memory ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "settings", "found"), [((3, 14), TLS, 1), ((3, 13), TLS, 0), ((3, 14), {}, 0)])
def test_python_3_14_leaks_with_gevent_and_tls(
    adopt: Callable[..., Flask], version: tuple[int, int], settings: Mapping[str, Any], found: int
) -> None:
    from prodfix.doctor.subject import Subject

    assert len(list(resources._python(Subject(adopt(**settings), {}), version))) == found


@pytest.mark.parametrize(("version", "found"), [((4, 18, 2), 1), ((4, 19, 0), 0), ((5, 0, 0, "dev"), 0)])
def test_an_old_driver_is_an_error(version: tuple[int | str, ...], found: int) -> None:
    assert [finding.level for finding in resources._driver(version)] == ["error"] * found


def test_a_driver_without_a_name_that_is_stood_in_loses_what_is_told() -> None:
    name = PrivateName("Pool._get_conn", "a limit of waits", there=False)
    (finding,) = resources._private_names([name])
    assert (finding.level, finding.facts["names"]) == ("warning", ["Pool._get_conn"])
    assert "no Pool._get_conn, so that there is not: a limit of waits" in finding.found
    assert list(resources._private_names([])) == []


def test_memory_is_that_of_a_worker_that_runs(adopt: Callable[..., Flask]) -> None:
    def telling(app: Flask) -> None:
        worker(app)
        journal = app.extensions["prodfix"].runtime.journal
        (path,) = journal.folder.glob("*.db")
        import sqlite3

        connection = sqlite3.connect(path)
        with connection:
            connection.execute('UPDATE status SET entry = \'{"memory": {"peakMb": 100.2}}\'')
        connection.close()

    case = Case("memory", "error", "2 workers of 100 MB and the arbiter take 230 MB", {"memory_limit_mb": 200})
    judge(case, findings(replace(case, prepare=telling), adopt(**case.settings)))


# -- how it is started ------------------------------------------------------------------------------------------------------


def test_prodfixs_own_files_are_read(tmp_path: Path) -> None:
    read = deployment.read(ROOT, {"WEB_CONCURRENCY": "3"})
    assert [one.source for one in read.commands] == ["Procfile", "render.yaml"]
    assert len({one.arguments for one in read.commands}) == 1
    start = read.commands[0]
    assert start.arguments[:6] == ("-k", "gevent", "-w", "3", "-b", "0.0.0.0:10000")
    assert start.arguments[-1] == "wsgi:app"
    assert start.variables == {"GUNICORN_CMD_ARGS": None}
    assert read.health_paths == ("/health/startup",)
    assert deployment.read(ROOT, {"RENDER": "true"}).commands[0].source == "render.yaml"
    assert deployment.read(tmp_path, {}) == Deployment()


@pytest.mark.parametrize(
    ("line", "arguments", "variables"),
    [
        ("gunicorn app:app", ("app:app",), {}),
        ("exec /app/.venv/bin/gunicorn -w ${N:-4} app:app", ("-w", "4", "app:app"), {}),
        ("python -m gunicorn -b :$PORT app:app", ("-b", ":81", "app:app"), {}),
        ("A=1 env --unset=B C='d e' gunicorn app:app # all", ("app:app",), {"A": "1", "B": None, "C": "d e"}),
        ("cd src && gunicorn app:app && echo done", ("app:app",), {}),
        ("newrelic-admin run-program gunicorn 'app:make(1)'", ("app:make(1)",), {}),
    ],
)
def test_a_start_command_is_read_as_a_shell_reads_it(
    line: str, arguments: tuple[str, ...], variables: dict[str, str | None]
) -> None:
    start = deployment.start_command("Procfile", line, {"PORT": "81"})
    assert start is not None
    assert (start.arguments, start.variables) == (arguments, variables)


@pytest.mark.parametrize("line", ["uwsgi --http :1", "gunicorn 'app", "", "waitress-serve app:app"])
def test_what_starts_no_gunicorn_is_no_start_command(line: str) -> None:
    assert deployment.start_command("Procfile", line, {}) is None


def test_health_paths_and_instances_are_found_in_any_style(tmp_path: Path) -> None:
    (tmp_path / "render.yaml").write_text(
        "services:\n  - healthCheckPath: '/a'\n    numInstances: 3\n"
        '  - type: web\n    healthCheckPath: "/b"  # ours\n    startCommand: "gunicorn x:y"\n'
        "    scaling:\n      maxInstances: 7\n"
        "    # healthCheckPath: /comment\n"
    )
    read = deployment.read(tmp_path, {})
    assert (read.health_paths, read.instances) == (("/a", "/b"), 7)
    assert read.commands[0].arguments == ("x:y",)


# -- in a fresh interpreter -------------------------------------------------------------------------------------------------

LOADED = {
    "first": ("from gevent import monkey\nmonkey.patch_all()\nimport pymongo, ssl\n", True, ()),
    "late": ("import pymongo\nfrom gevent.monkey import patch_all\npatch_all()\n", True, ("pymongo",)),
    "twice": ("from gevent import monkey\nmonkey.patch_all()\nimport loguru\nmonkey.patch_all()\n", True, ()),
    "never": ("import pymongo\n", False, ()),
}


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Launched]:
    def run(code: str, target: str | None = "site", *, arguments: str | None = None, limit: float = 30.0) -> Launched:
        (tmp_path / "site_of_test.py").write_text(textwrap.dedent(code))
        start = None if arguments is None else command(arguments.replace("site", "site_of_test"))
        target = target.replace("site", "site_of_test") if target else None
        launch = Launch(target, start, folder=str(tmp_path), limit=limit)
        launch.start()
        try:
            return launch.result()
        finally:
            launch.close()

    return run


APPLICATION = "import sys\nprint('noise', flush=True); print('noise', file=sys.stderr)\napp = print\n"


@pytest.mark.filterwarnings("ignore::gevent.monkey.MonkeyPatchWarning")
@pytest.mark.parametrize("name", LOADED)
def test_the_order_of_patching_is_seen(load: Callable[..., Launched], name: str) -> None:
    code, called, kept = LOADED[name]
    seen = load(code + APPLICATION)
    assert (seen.gunicorn, seen.called, seen.error) == (None, called, None)
    assert tuple(name for name in seen.before if name in ("pymongo", "loguru")) == kept


def test_gunicorns_options_are_those_that_hold_in_the_end(load: Callable[..., Launched], tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("keepalive = 7\ngraceful_timeout = 11\nworkers = 9\n")
    seen = load(APPLICATION, arguments=f"-k gevent -w 3 --preload -c {tmp_path}/conf.py site:app")
    assert seen.gunicorn == replace(
        GUNICORN, workers=3, preload=True, preload_asked=True, keepalive=7, graceful_timeout=11, timeout=30
    )
    assert (seen.target, seen.error) == ("site_of_test:app", None)


def test_our_configuration_ignores_preload(load: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    seen = load(APPLICATION, arguments=f"-k gevent --preload -c {ROOT}/config/gunicorn.conf.py site:app")
    assert seen.gunicorn is not None
    assert (seen.gunicorn.preload, seen.gunicorn.preload_asked) == (False, True)


def test_a_factory_is_called_as_gunicorn_and_as_flask_call_it(load: Callable[..., Launched]) -> None:
    code = """
        def create_app():
            from gevent import monkey
            import pymongo
            monkey.patch_all()
            from flask import Flask
            return Flask("made")
    """
    for seen in (load(code, arguments="site:create_app()"), load(code, "site:create_app()"), load(code)):
        assert (seen.called, "pymongo" in seen.before, seen.error) == (True, True, None)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ValueError('canary7f3a')", "ValueError"),
        ("import sys; sys.exit(4)", "SystemExit"),
        ("import nothing_here", "ModuleNotFoundError"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_told_by_the_errors_type(
    load: Callable[..., Launched], code: str, error: str
) -> None:
    seen = load(code)
    assert seen.error == error
    assert "canary7f3a" not in str(seen)


def test_a_module_that_never_ends_loading_is_ended_with_what_it_has_started(
    load: Callable[..., Launched], tmp_path: Path
) -> None:
    code = f"""
        import os, subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(600)
    """
    begun = time.monotonic()
    with pytest.raises(NotChecked, match="within 3 seconds"):
        load(code, limit=3.0)
    assert time.monotonic() - begun < 15
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(alive(pid) for pid in pids), what="the end of the module and its child")
    assert len(pids) == 2


def test_what_was_not_asked_for_was_not_looked_at(tmp_path: Path) -> None:
    launch = Launch(None, None, folder=str(tmp_path))
    launch.start()
    with pytest.raises(NotChecked, match="not known"):
        launch.result()
    launch.close()


def test_nothing_of_prodfix_is_loaded_before_the_application(load: Callable[..., Launched], tmp_path: Path) -> None:
    code = f"""
        import sys
        open({str(tmp_path / "there")!r}, "w").write(" ".join(name.partition(".")[0] for name in sys.modules))
        app = print
    """
    for arguments in (None, "-k gevent site:app"):
        load(code, arguments=arguments)
        there = set((tmp_path / "there").read_text().split())
        assert there.isdisjoint({"prodfix", "pymongo", "flask", "loguru"})
        assert "gevent" in there  # the control: it is there, to be watched


def test_the_advice_to_a_host_of_threads_is_about_threads() -> None:
    assert "With those there is nothing to do" in advice_of(unknown(called=False))
    assert "sync or gthread workers, take monkey.patch_all() out" in advice_of(unknown("pymongo"))
    assert "if gthread workers are meant" in advice_of(launched(worker_class="gthread"))
    assert "gthread" not in advice_of(launched(*LATE)), "the control: with gevent it is about gevent alone"


def advice_of(seen: Launched) -> str:
    (finding,) = order(Subject(Flask("host"), {}, launched=lambda: seen))
    return finding.advice
