"""The properties of the database layer and of recovery once more, in a process that gevent has patched as it patches a worker."""

from __future__ import annotations

import subprocess
import sys

from tests.support import REPOSITORY

PROPERTIES = " or ".join(f"property_{number:02}" for number in (*range(1, 8), 12))


def test_the_properties_hold_under_gevent() -> None:
    pytest = [sys.executable, "-m", "gevent.monkey", "--module", "pytest", "tests/properties", "-q", "-k", PROPERTIES]
    run = subprocess.run(
        [*pytest, "-p", "no:cacheprovider", "--hypothesis-profile=gevent"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout.splitlines()[-1]
