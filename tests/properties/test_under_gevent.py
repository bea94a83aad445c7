"""The properties of the database layer and of recovery once more, in a process that gevent has patched as it patches a worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import REPOSITORY

PROPERTIES = " or ".join(f"property_{number:02}" for number in (*range(1, 8), 12))


@pytest.mark.timeout(420)  # it gives way to what is served
def test_the_properties_hold_under_gevent() -> None:
    command = [sys.executable, "-m", "gevent.monkey", "--module", "pytest", "tests/properties", "-q", "-k", PROPERTIES]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--hypothesis-profile=gevent"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout.splitlines()[-1]
