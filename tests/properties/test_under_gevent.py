"""The database layer's properties once more, in a process that gevent has patched as it patches a worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROPERTIES = " or ".join(f"property_0{number}" for number in range(1, 7))


def test_properties_1_to_6_hold_under_gevent() -> None:
    pytest = [sys.executable, "-m", "gevent.monkey", "--module", "pytest", "tests/properties", "-q", "-k", PROPERTIES]
    run = subprocess.run(
        [*pytest, "-p", "no:cacheprovider"], cwd=REPOSITORY, capture_output=True, text=True, timeout=170, check=False
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout.splitlines()[-1]
