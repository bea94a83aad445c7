"""The Dockerfile: without a remark of hadolint's, not root, and what it says is what the settings and gunicorn say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prodfix import Settings
from tests.support import REPOSITORY
from tests.support.containers import required
from tests.support.deployment_facts import routes, seconds, unknown_settings
from tests.support.dockerfile import Context, Stage, stages

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
BUILD, IMAGE = stages(DOCKERFILE)
CONTEXT = Context(REPOSITORY, (REPOSITORY / ".dockerignore").read_text())
CHOICE = REPOSITORY / "requirements-integrations.txt"
HADOLINT = Path(sys.executable).with_name("hadolint")
STATE = "/var/lib/prodfix"


def remarks(text: str) -> list[str]:
    """hadolint's, by their codes."""
    done = subprocess.run(
        [HADOLINT, "--no-color", "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    found = re.findall(r"\b((?:DL|SC)\d{4})\b", done.stdout)
    assert bool(found) is (done.returncode != 0), done.stdout + done.stderr
    return found


def test_hadolint_has_no_remark() -> None:
    assert remarks(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("python:3.13-slim-trixie AS build", "python AS build", "DL3006"),
        (" --no-cache-dir --disable", " --disable", "DL3042"),
        ("USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_the_control_hadolint_has_one_for_a_worse_file(old: str, new: str, code: str) -> None:
    assert code in remarks(DOCKERFILE.replace(old, new))


def test_both_stages_have_the_base_that_the_repository_is_for() -> None:
    version = (REPOSITORY / ".python-version").read_text().strip()
    assert {BUILD.base, IMAGE.base} == {f"python:{version}-slim-trixie"}


def test_it_runs_as_a_user_who_is_a_number_and_not_root() -> None:
    assert re.fullmatch(r"([1-9]\d{4}):\1", IMAGE.last("USER").text)
    assert f"--uid {IMAGE.last('USER').text.split(':')[0]}" in IMAGE.all("RUN")[0].text


def wrong_names(stage: Stage) -> list[str]:
    """Variables that neither Python nor a shell nor our settings read."""
    others = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    return unknown_settings([name for name in stage.environment if name not in others])


def test_each_variable_is_read_by_somebody_and_has_a_value_that_is_one() -> None:
    assert wrong_names(IMAGE) == []
    values = {name.lower(): value for name, value in IMAGE.environment.items() if value}
    settings = Settings(**{name: value for name, value in values.items() if name in Settings.model_fields})
    assert (settings.port, str(settings.state_dir), settings.durable) == (8000, STATE, False)


def test_the_control_a_name_that_nobody_reads_is_found() -> None:
    wrong = DOCKERFILE.replace("STATE_DIR_DURABLE=", "STATE_DIR_IS_DURABLE=")
    assert wrong_names(stages(wrong)[1]) == ["STATE_DIR_IS_DURABLE"]


def test_the_port_is_that_of_the_settings_and_the_volume_that_of_the_state() -> None:
    assert IMAGE.last("EXPOSE").text == IMAGE.environment["PORT"] == str(Settings().port)
    assert IMAGE.last("VOLUME").text == IMAGE.environment["STATE_DIR"] == STATE
    assert IMAGE.environment["LOG_DIR"].startswith(f"{STATE}/"), "no other place can be written"


def test_the_command_is_gunicorn_itself_with_the_options_of_the_procfile() -> None:
    assert IMAGE.last("CMD").text.startswith("["), "a shell would be process 1, and keep the signal for itself"
    assert IMAGE.last("STOPSIGNAL").text == "SIGTERM"
    procfile = (REPOSITORY / "Procfile").read_text().split()
    assert IMAGE.command[-3:] == procfile[-3:] == ["-c", "config/gunicorn.conf.py", "wsgi:app"]


def test_the_health_check_asks_a_route_that_is_there_without_curl() -> None:
    health = IMAGE.last("HEALTHCHECK").text
    options, _, command = health.partition(" CMD ")
    words = ast.literal_eval(command)
    assert words[:2] == ["python", "-I"]
    assert (words[2] in CONTEXT.files("deploy/docker/healthcheck.py"), words[3] in routes()) == (True, True)
    assert words[3] == "/health/startup"
    limit = re.search(r"^LIMIT = ([\d.]+)", (REPOSITORY / "deploy/docker/healthcheck.py").read_text(), re.MULTILINE)
    timeout = re.search(r"--timeout=(\w+)", options)
    assert limit
    assert timeout
    assert float(limit[1]) < seconds(timeout[1]), "or Docker kills it before it can say why"


def test_the_context_has_what_is_copied_and_no_more() -> None:
    copied = {
        str(path.relative_to(REPOSITORY))
        for one in BUILD.all("COPY")
        for source in one.words[:-1]
        for path in CONTEXT.files(source).values()
    }
    assert {"wsgi.py", "requirements.txt", "config/gunicorn.conf.py", "prodfix/py.typed"} <= copied
    assert {path.split("/")[0] for path in copied} == {
        "blueprints", "config", "deploy", "prodfix", "requirements.txt", "requirements-integrations.txt", "wsgi.py"
    }  # fmt: skip
    assert [path for path in copied if "__pycache__" in path] == []


def test_what_is_installed_can_be_chosen_from_what_is_copied() -> None:
    assert BUILD.last("ARG").text == "REQUIREMENTS=requirements.txt"
    (copying,) = (one for one in BUILD.all("COPY") if one.words[-1] == "/tmp/")
    assert copying.words[:-1] == ["requirements.txt", CHOICE.name], "both, as one includes the other"
    assert CHOICE.read_text().splitlines()[1] == "-r requirements.txt"
    assert '-r "/tmp/${REQUIREMENTS}"' in BUILD.all("RUN")[0].text


def unpinned(lines: list[str]) -> set[str]:
    """What the choice needs beyond what production has, and none of its lines pins."""
    pins = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines if "==" in line}
    return required(CHOICE) - required(REPOSITORY / "requirements.txt") - pins


def test_each_sdk_is_pinned_with_what_it_needs() -> None:
    lines = CHOICE.read_text().splitlines()
    assert unpinned(lines) == set()
    assert unpinned([line for line in lines if not line.startswith("starlette")]) == {"starlette"}, "the control"


@pytest.mark.parametrize(
    "path", [".env", ".git/config", "tests/conftest.py", "docs/index.md", "config/__pycache__/x.pyc", "var/jwt.key"]
)
def test_what_is_secret_or_not_needed_is_not_sent(path: str) -> None:
    assert not CONTEXT.has(path)
    assert Context(REPOSITORY, "").has(path), "the control: without .dockerignore it would be"


def test_a_file_that_cannot_be_read_here_is_refused() -> None:
    with pytest.raises(ValueError, match="ONBUILD"):
        stages("FROM a\nONBUILD RUN b")
    with pytest.raises(ValueError, match="before FROM"):
        stages("RUN b")
