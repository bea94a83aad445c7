"""The commands `doctor` and `health` without a server: what they print, how they end, and what they never show."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import Result
from flask import Flask
from pydantic import SecretStr

from prodfix import Settings
from prodfix.blueprints import health
from prodfix.cli.read_only import only_look
from prodfix.doctor import registry, server
from prodfix.doctor.checks import FAMILIES
from prodfix.doctor.findings import Finding, Level, NotApplicable, NotChecked, counted, error, note, warning
from prodfix.doctor.registry import Check, check, examine, explanation, run
from prodfix.doctor.subject import Subject
from tests.support.doctor_cases import CHECKS, Case, examined
from tests.unit.doctor.test_doctor_disk import worker

pytestmark = pytest.mark.filterwarnings("ignore:Unknown option")  # which the driver says of the planted URI

CANARY = "canary7f3a"
KEY = f"{CANARY}-q8Vb3mXw-2LrT7hZpK0sYd_N4cJfUaE6"
URI = f"mongodb://{CANARY}user:{CANARY}word@{CANARY}.invalid:27017/notes?w=1&timeoutMS=900&{CANARY * 6}=1"
ALERTS = f"tgram://{CANARY}bot/{CANARY}chat"

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Procfile, no variables of whoever runs the tests, and no long wait for a database that is not there."""
    monkeypatch.chdir(tmp_path)
    for name in (*map(str.upper, Settings.model_fields), "GUNICORN_CMD_ARGS", "FLASK_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(server, "EACH", 0.2)


@pytest.fixture
def command(adopt: Callable[..., Flask]) -> Callable[..., Command]:
    def make(app: Flask | None = None, **settings: Any) -> Command:
        host = adopt(app, **settings)
        host.register_blueprint(health.blueprint)
        runner = host.test_cli_runner(env={"COLUMNS": "100"})
        return lambda *arguments: runner.invoke(args=["prodfix", *arguments])

    return make


def checks(*findings: Finding) -> dict[str, tuple[Check, ...]]:
    """A family of one check for each finding, and one that finds nothing."""
    looks = [lambda examined, finding=finding: iter([finding]) for finding in findings]
    return {
        "made": (
            *(Check(f"check-{number}", look, "good") for number, look in enumerate(looks)),
            Check("silent", lambda examined: iter(()), "all is well"),
            Check("silent-too", lambda examined: iter(()), "all is well, too"),
        )
    }


@pytest.fixture
def finding(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``finding(error(...))``: the command finds this, and nothing else."""

    def find(*findings: Finding) -> None:
        made = checks(*findings)
        monkeypatch.setattr("prodfix.cli.doctor_command.examine", lambda examined, only: examine(examined, (), made))

    return find


# -- what it prints, and how it ends ----------------------------------------------------------------------------------------


def test_the_worst_is_first_and_what_is_good_is_one_line(command: Callable[..., Command], finding: Any) -> None:
    finding(note("a note", "leave it"), error("an error", "mend it"), warning("a warning", "think of it"))
    answer = command()("doctor")
    assert answer.exit_code == 1
    assert [line.rstrip() for line in answer.stdout.splitlines()] == [
        "made",
        "  error    check-1   an error",
        "                     -> mend it",
        "  warning  check-2   a warning",
        "                     -> think of it",
        "  note     check-0   a note",
        "                     -> leave it",
        "  ok       2 checks",
        "",
        "1 error, 1 warning, 1 note",
    ]
    assert "\x1b" not in answer.stdout


def test_verbose_shows_what_was_looked_at(command: Callable[..., Command], finding: Any) -> None:
    finding()
    assert "silent-too  all is well, too" in command()("doctor", "--verbose").stdout
    assert "silent" not in command(Flask("other"))("doctor").stdout


@pytest.mark.parametrize(
    ("found", "strict", "code"),
    [
        ([], False, 0),
        ([note("a", "b")], True, 0),
        ([warning("a", "b")], False, 0),
        ([warning("a", "b")], True, 1),
        ([error("a", "b")], False, 1),
    ],
)
def test_the_exit_code_is_for_scripts(
    command: Callable[..., Command], finding: Any, found: list[Finding], strict: bool, code: int
) -> None:
    finding(*found)
    assert command()("doctor", *(["--strict"] if strict else [])).exit_code == code


def test_json_is_one_object_with_everything(command: Callable[..., Command], finding: Any) -> None:
    finding(warning("a warning", "think of it", seconds=2.5, names=["a"]))
    answer = command()("doctor", "--json")
    assert orjson.loads(answer.stdout) == {
        "findings": [
            {
                "family": "made",
                "check": "check-0",
                "level": "warning",
                "found": "a warning",
                "advice": "think of it",
                "facts": {"seconds": 2.5, "names": ["a"]},
            },
            *(
                {"family": "made", "check": name, "level": "ok", "found": good, "advice": "", "facts": {}}
                for name, good in (("silent", "all is well"), ("silent-too", "all is well, too"))
            ),
        ],
        "errors": 0,
        "warnings": 1,
    }


def test_only_some_families_are_looked_at(command: Callable[..., Command]) -> None:
    answer = orjson.loads(command()("doctor", "--json", "--only", "tokens", "--only", "uri").stdout)
    assert {found["family"] for found in answer["findings"]} == {
        "tokens"
    }  # without a URI there is nothing to say of it
    everything = orjson.loads(command(Flask("other"))("doctor", "--json").stdout)
    assert {found["family"] for found in everything["findings"]} == {*FAMILIES} - {"uri"}


@pytest.mark.parametrize("arguments", [["--only", "colours"], ["--loud"], ["now"]])
def test_wrong_usage_is_clicks_own(command: Callable[..., Command], arguments: list[str]) -> None:
    assert command()("doctor", *arguments).exit_code == 2


def test_what_could_not_be_checked_for_one_reason_is_one_line(command: Callable[..., Command]) -> None:
    answer = command(mongodb_uri=SecretStr("mongodb://127.0.0.1:9/x"))("doctor", "--only", "database")
    assert len(re.findall("does not answer", answer.stdout)) == 2
    assert re.search(r"note +8 checks +could not be checked: the database does not answer", answer.stdout)
    assert answer.stdout.endswith("1 error, 0 warnings, 8 notes\n")


def test_in_a_pipe_no_line_is_padded_and_where_the_uri_comes_from_is_a_line_of_its_own(
    command: Callable[..., Command],
) -> None:
    asked = command(mongodb_uri=SecretStr("mongodb://127.0.0.1:9/x"))
    for shown in (asked("doctor", "--only", "uri").stdout, asked("doctor", "--list").stdout):
        assert [line for line in shown.splitlines() if line != line.rstrip()] == []
    told = asked("doctor", "--only", "uri").stdout
    assert re.search(r"ok +uri-source +the URI is the one in the application's code", told)
    assert re.search(r"ok +\d+ checks", told), "the control: what has nothing to tell is one line"


def test_one_of_a_kind_is_no_plural() -> None:
    assert (counted(0, "note"), counted(1, "note"), counted(2, "note")) == ("0 notes", "1 note", "2 notes")


# -- a check that fails -----------------------------------------------------------------------------------------------------


def raising(failure: Exception) -> Callable[[Subject], Iterator[Finding]]:
    def look(examined: Subject) -> Iterator[Finding]:
        yield warning("found before", "mend it")
        raise failure

    return look


@pytest.mark.parametrize(
    ("failure", "found"),
    [
        (ValueError(CANARY), "could not be checked: ValueError"),
        (OSError(5, CANARY, f"/srv/{CANARY}"), "could not be checked: OSError"),
        (NotChecked("the moon is full"), "could not be checked: the moon is full"),
        (NotApplicable(), None),
    ],
)
def test_a_check_that_fails_is_a_finding(adopt: Callable[..., Flask], failure: Exception, found: str | None) -> None:
    answers = list(run(Check("a-check", raising(failure), "good"), Subject(adopt(), {})))
    assert answers[0].found == "found before"
    assert [(one.level, one.found) for one in answers[1:]] == ([(Level.NOTE, found)] if found else [])
    assert {one.check for one in answers} == {"a-check"}
    assert CANARY not in str(answers)


# -- nothing secret ---------------------------------------------------------------------------------------------------------

PLANTED = {
    "mongodb_uri": SecretStr(URI),
    "jwt_secret_key": SecretStr(KEY),
    "app_env": "production",
    "render": True,
    "enable_operation_queue": "ephemeral",
    "log_level": "debug",
}
ENVIRON = {
    "MONGODB_URI": URI,
    "JWT_SECRET_KEY": KEY,
    "JWT_SECRET": KEY,
    "ALERT_URLS": ALERTS,
    "DB_POOLSIZE": CANARY,
    "APP_ENV": CANARY,
    "GUNICORN_CMD_ARGS": f"--preload --proxy-allow-from {CANARY}",
}


def planted(app: Flask) -> None:
    app.register_blueprint(health.blueprint)
    app.config.update(SECRET_KEY=CANARY, DEBUG=True)

    @app.before_request
    def fail() -> None:
        raise ValueError(URI)


def test_no_finding_shows_a_secret(adopt: Callable[..., Flask]) -> None:
    app = adopt(**PLANTED)
    try:
        found = examine(examined(Case("", "", environ=ENVIRON, prepare=planted), app))
    finally:
        app.extensions["prodfix"].database.clients.close()
    levels = [finding.level for findings in found.values() for finding in findings]
    assert levels.count(Level.ERROR) == 3
    assert levels.count(Level.WARNING) >= 6
    assert CANARY not in orjson.dumps({name: [one.to_json() for one in each] for name, each in found.items()}).decode()


def test_the_control_what_is_looked_at_has_them_all_and_a_check_that_tells_is_stopped(
    adopt: Callable[..., Flask],
) -> None:
    app = adopt(**PLANTED)
    subject = examined(Case("", "", environ=ENVIRON), app)
    assert CANARY in subject.services.database.clients.uri

    def tell(examined: Subject) -> Iterator[Finding]:
        uri = examined.services.database.clients.uri
        yield error(f"cannot reach {uri}", f"look at {uri}", uri=uri, password=CANARY)

    (stopped,) = run(Check("tells", tell, "good"), subject)
    assert CANARY not in str(stopped)
    assert CANARY in str(next(iter(tell(subject))))


def test_the_command_shows_no_secret_either(command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    app = Flask("host")
    app.config.update(DEBUG=True)
    run_it = command(app, **PLANTED)
    for arguments in ([], ["--json"], ["--verbose"]):
        answer = run_it("doctor", *arguments)
        assert answer.exit_code == 1
        assert CANARY not in answer.stdout


# -- the list ---------------------------------------------------------------------------------------------------------------


def test_each_code_is_one_check_with_one_sentence() -> None:
    codes = [one.code for family in FAMILIES.values() for one in family]
    assert len(codes) == len(set(codes)) == len(CHECKS)
    for one in CHECKS.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one.code)
        assert one.good
        assert not one.good.endswith(".")
        assert one.look.__doc__


def test_a_check_registers_beside_its_function_and_its_first_sentence_is_what_users_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(FAMILIES, "uri", [])

    @check("made-here", "uri")
    def look(subject: Subject) -> Iterator[Finding]:
        """The host example.org is the
        right one. It is asked first."""
        yield from ()

    (made,) = FAMILIES["uri"]
    assert (made.code, made.look, made.good) == ("made-here", look, "the host example.org is the right one")
    with pytest.raises(ValueError, match="two checks have the code made-here"):
        check("made-here", "disk")(look)
    look.__doc__ = "No full stop"
    with pytest.raises(ValueError, match="look has no sentence"):
        check("made-there", "disk")(look)
    assert [one.code for one in FAMILIES["uri"]] == ["made-here"]


@pytest.mark.parametrize(
    ("first", "good"),
    [("STATE_DIR can be written.", "STATE_DIR can be written"), ("A ping is young. Or so.", "a ping is young")],
)
def test_a_name_in_capitals_keeps_them(monkeypatch: pytest.MonkeyPatch, first: str, good: str) -> None:
    monkeypatch.setitem(FAMILIES, "uri", [])

    def look(subject: Subject) -> Iterator[Finding]:
        yield from ()

    look.__doc__ = first
    check("made-here", "uri")(look)
    assert FAMILIES["uri"][0].good == good


def test_all_are_listed_and_nothing_is_looked_at(
    command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prodfix.cli.doctor_command.examine", None)
    answer = command()("doctor", "--list")
    assert answer.exit_code == 0
    rows = [line.split(maxsplit=2)[:2] for line in answer.stdout.splitlines() if line and not line.startswith(" ")]
    assert rows == [[family, one.code] for family, ones in FAMILIES.items() for one in ones]


def test_one_is_explained_and_nothing_is_looked_at(
    command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prodfix.cli.doctor_command.examine", None)
    answer = command()("doctor", "--explain", "health-routes")
    assert (answer.exit_code, answer.stdout) == (
        0,
        "The health routes answer by themselves.\n\nNo redirect, no log-in, no error.\n",
    )
    assert all("``" not in text for ones in FAMILIES.values() for one in ones for text in (explanation(one), one.good))
    wrong = command(Flask("other"))("doctor", "--explain", "nothing")
    assert wrong.exit_code == 2
    assert "no check has the code 'nothing'" in wrong.stderr


def test_each_check_has_a_case_in_which_it_finds_something_and_one_in_which_it_is_silent() -> None:
    folder = Path(__file__).parent
    cases = "\n".join(path.read_text() for path in folder.glob("test_doctor_*.py"))
    finding = set(re.findall(r'Case\(\s*"([a-z0-9-]+)",\s*"(?:note|warning|error)"', cases))
    silent = set(re.findall(r'Case\(\s*"([a-z0-9-]+)",\s*""', cases))
    silent |= set(re.findall(r'Case\(\s*"([a-z0-9-]+)",\s*"ok"', cases))
    # These have no settings that could make them find something, and tests of their own.
    by_hand = {"python-version", "driver-version", "driver-names", "free-space"}
    assert set(CHECKS) - finding == by_hand
    assert (
        set(CHECKS) - silent
        == {"database-reachable", "server-version", "rights", "transactions", "free-space"} - silent
    )


# -- health -----------------------------------------------------------------------------------------------------------------

TELLING = {
    "pid": 7,
    "connection": {
        "state": "connected",
        "uptime": 9.0,
        "lastError": None,
        "poolSize": 2,
        "availableConnections": 9,
        "checkedOut": 1,
        "waiting": 0,
        "capacity": 10,
    },
    "breaker": {"state": "closed"},
    "journal": {"failing": None},
    "memory": {"peakMb": 61.2},
    "loopLagMs": 0.4,
}


def tell(app: Flask, **changes: Any) -> None:
    """A worker that has told a moment ago how it is."""
    import sqlite3

    worker(app)
    for path in app.extensions["prodfix"].runtime.journal.folder.glob("*.db"):
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE status SET entry = ?", (orjson.dumps(TELLING | changes),))
        connection.close()


def test_health_is_what_is_seen_from_here_and_what_the_workers_say(
    command: Callable[..., Command], database_uri: str
) -> None:
    app = Flask("host")
    ask = command(app, mongodb_uri=SecretStr(database_uri))
    assert "none has said anything" in ask("health").stdout
    tell(app)
    answer = ask("health", "--json")
    said = orjson.loads(answer.stdout)
    assert (answer.exit_code, said["healthy"], said["database"]["connected"]) == (0, True, True)
    assert said["database"]["latencyMs"] > 0
    assert said["workers"] == [
        {
            "worker": "7-aa",
            "pid": 7,
            "state": "connected",
            "uptime": 9.0,
            "lastError": None,
            "pool": {"poolSize": 2, "availableConnections": 9, "checkedOut": 1, "waiting": 0, "capacity": 10},
            "breaker": "closed",
            "journal": None,
            "memoryMb": 61.2,
            "loopLagMs": 0.4,
        }
    ]
    shown = ask("health")
    assert shown.exit_code == 0
    assert re.search(r"7-aa +connected +1 of 10 in use +closed +ok +61.2 MB +0.4 ms", shown.stdout)


def test_a_worker_that_is_not_connected_is_not_healthy(command: Callable[..., Command], database_uri: str) -> None:
    app = Flask("host")
    ask = command(app, mongodb_uri=SecretStr(database_uri))
    lost = TELLING["connection"] | {"state": "reconnecting", "lastError": "AutoReconnect"}
    tell(app, connection=lost, breaker={"state": "open"})
    answer = ask("health")
    assert answer.exit_code == 1
    assert re.search(r"7-aa +reconnecting +AutoReconnect .* open", answer.stdout)


@pytest.mark.parametrize("uri", [None, URI])
def test_a_database_that_does_not_answer_is_not_healthy_and_nothing_is_logged_of_it(
    command: Callable[..., Command], monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    monkeypatch.setattr("prodfix.cli.read_only.PATIENCE", 0.3)
    app = Flask("host")
    ask = command(app, mongodb_uri=SecretStr(uri) if uri else None)
    answer = ask("health", "--json")
    said = orjson.loads(answer.stdout)
    assert (answer.exit_code, said["healthy"]) == (1, False)
    assert said["database"]["error"] == ("ServerSelectionTimeoutError" if uri else "DatabaseNotConfigured")
    assert CANARY not in answer.output
    settings = app.extensions["prodfix"].settings
    assert not settings.log_dir.exists()
    assert not settings.state_dir.exists()


def test_a_process_that_only_looks_never_becomes_a_worker(adopt: Callable[..., Flask]) -> None:
    services = adopt().extensions["prodfix"]
    only_look(services)
    services.start()
    assert not services.runtime.background.running
    services.close()
    other = adopt(Flask("control")).extensions["prodfix"]
    other.start()
    assert other.runtime.background.running
    assert registry.FAMILIES is FAMILIES


def test_a_worker_does_not_load_the_checks(python: Callable[..., str]) -> None:
    code = """
        import sys
        from flask import Flask
        from prodfix import ProdFix, Settings
        app = Flask("host")
        ProdFix(app, settings=Settings())
        loaded = lambda: "prodfix.doctor.checks" in sys.modules
        before = loaded()
        listed = app.test_cli_runner().invoke(args=["prodfix", "--help"]).stdout
        print(before, "doctor" in listed, "health" in listed, loaded())
    """
    assert python(code) == "False True True True\n"
