"""``config/environment.sh`` with a stand-in for python3 that notes what it is asked for and installs nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.servers import REPOSITORY

FAKE = """\
    #!/bin/sh
    echo "$*" >>"$CALLS"
    case "$*" in
        "--version") echo Python $VERSION ;;
        "-c import ensurepip, venv") exit ${NO_VENV:-0} ;;
        "-c import sys"*) [ "$VERSION" != 3.10.1 ] ;;
        "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
        "-m pip install"*) exit ${NO_PIP:-0} ;;
    esac
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Checkout:
    """A folder with requirement files and the script, as in a clean clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config").mkdir()
        shutil.copy(REPOSITORY / "config" / "environment.sh", folder / "config")
        (folder / "requirements.txt").write_text("flask==1\n")
        (folder / "requirements-run.txt").write_text("-r requirements.txt\nsecantusdb==1\n")
        (folder / "requirements-dev.txt").write_text("-r requirements-run.txt\npytest==1\n")
        (folder / "requirements-docs.txt").write_text("mkdocs==1\n")
        self.python = folder / "python-stand-in"
        self.python.write_text(textwrap.dedent(FAKE))
        self.python.chmod(0o755)
        self._calls = folder / "calls"

    def start(self, what: str = "development", **variables: str) -> subprocess.Popen[str]:
        given = {"PATH": os.environ["PATH"], "PYTHON": str(self.python), "CALLS": str(self._calls), "VERSION": "3.11.2"}
        self._calls.write_text("")
        return subprocess.Popen(
            ["sh", "config/environment.sh", what],
            cwd=self.folder,
            env=given | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, what: str = "development", **variables: str) -> Done:
        with self.start(what, **variables) as process:
            stdout, stderr = process.communicate(timeout=30)
        return Done(process.returncode, stdout, stderr)

    def calls(self, beginning: str) -> list[str]:
        return [line for line in self._calls.read_text().splitlines() if line.startswith(beginning)]

    def installed(self) -> list[str]:
        return [line.split()[-1] for line in self.calls("-m pip install")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_clean_clone_gets_an_environment_once(checkout: Checkout) -> None:
    assert checkout.run().returncode == 0
    assert checkout.calls("-m venv") == ["-m venv .venv"]
    assert checkout.installed() == ["requirements-dev.txt"]
    again = checkout.run()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert checkout.calls("-m venv") == checkout.installed() == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-run.txt", "requirements-dev.txt"])
def test_a_changed_requirement_is_installed(checkout: Checkout, name: str) -> None:
    checkout.run()
    (checkout.folder / name).write_text("flask==2\n")
    checkout.run()
    assert checkout.installed() == ["requirements-dev.txt"]
    assert checkout.calls("-m venv") == []


@pytest.mark.parametrize("name", ["MONGODB_URI", "PRODFIX_MONGODB_URI"])
def test_a_database_may_be_named_by_either_name(checkout: Checkout, name: str) -> None:
    checkout.run("run", **{name: "mongodb://db.example/x"})
    assert checkout.installed() == ["requirements.txt"]


def test_run_needs_only_production_when_a_database_is_named(checkout: Checkout) -> None:
    checkout.run("run", MONGODB_URI="mongodb://db.example/x")
    assert checkout.installed() == ["requirements.txt"]
    checkout.run("run", MONGODB_URI="mongodb://db.example/x")
    assert checkout.installed() == []
    checkout.run("run")
    assert checkout.installed() == ["requirements-run.txt"]
    checkout.run("run", MONGODB_URI="mongodb://db.example/x")
    assert checkout.installed() == [], "those with the database hold those of production"


def test_what_runs_does_not_get_what_tests_need(checkout: Checkout) -> None:
    checkout.run("run")
    assert checkout.installed() == ["requirements-run.txt"]
    checkout.run("database")
    assert checkout.installed() == []
    checkout.run()
    assert checkout.installed() == ["requirements-dev.txt"]
    for what in ("run", "database"):
        checkout.run(what)
        assert checkout.installed() == [], "the requirements of the tests hold those of both"


def test_the_pages_have_requirements_of_their_own(checkout: Checkout) -> None:
    checkout.run("docs")
    assert checkout.installed() == ["requirements-docs.txt"]
    checkout.run("docs")
    assert checkout.installed() == []
    checkout.run("run")
    assert checkout.installed() == ["requirements-run.txt"]


def test_a_database_in_the_env_file_counts(checkout: Checkout) -> None:
    (checkout.folder / ".env").write_text("LOG_LEVEL=debug\nMONGODB_URI=mongodb://db.example/x\n")
    checkout.run("run")
    assert checkout.installed() == ["requirements.txt"]
    (checkout.folder / ".env").write_text("MONGODB_URI=\n")
    checkout.run("run")
    assert checkout.installed() == ["requirements-run.txt"]


def test_an_interrupted_installation_is_made_anew(checkout: Checkout) -> None:
    assert checkout.run(NO_PIP="1").returncode != 0
    (checkout.folder / ".venv" / "half").write_text("made")
    assert checkout.run().returncode == 0
    assert checkout.calls("-m venv") == ["-m venv .venv"]
    assert checkout.installed() == ["requirements-dev.txt"]
    assert not (checkout.folder / ".venv" / "half").exists()


def test_an_environment_without_its_python_is_made_anew(checkout: Checkout) -> None:
    checkout.run()
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    checkout.run()
    assert checkout.calls("-m venv") == ["-m venv .venv"]
    assert checkout.installed() == ["requirements-dev.txt"]


@pytest.mark.skipif(shutil.which("flock") is None, reason="without flock nobody waits")
def test_two_at_once_make_one_environment(checkout: Checkout) -> None:
    with (checkout.folder / "requirements.txt").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with checkout.start() as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "Waiting for another make in this folder\n"
            assert not (checkout.folder / ".venv").exists()
            fcntl.flock(held, fcntl.LOCK_UN)
            assert second.wait(30) == 0
    assert checkout.installed() == ["requirements-dev.txt"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"VERSION": "3.10.1"}, "Python 3.11 to 3.14 is needed"),
        ({"NO_VENV": "1"}, "apt-get install python3-venv"),
        ({"PYTHON": "no-such-python"}, "There is no no-such-python"),
    ],
)
def test_a_python_that_cannot_do_it_is_one_clear_line(checkout: Checkout, variables: dict[str, str], said: str) -> None:
    done = checkout.run(**variables)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not (checkout.folder / ".venv").exists()


def test_no_package_is_pinned_to_two_versions() -> None:
    pins: dict[str, set[str]] = {}
    for file in REPOSITORY.glob("requirements*.txt"):
        for line in file.read_text().splitlines():
            name, equals, version = line.partition("==")
            if equals:
                pins.setdefault(name.lower().replace("_", "-"), set()).add(version)
    assert len(pins) > 50
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}
