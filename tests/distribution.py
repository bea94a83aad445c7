"""`make dist`: wheel and sdist in dist/, checked, and the wheel in an environment that has what an index gives it.

Building isolates itself, and pip is the ordinary client; a host there is asked what tests/integration/test_wheel.py asks.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.support import REPOSITORY
from tests.support.servers import DatabaseServer
from tests.support.wheels import ADOPTER, make_environment, replies_of, run

TOOLS = ("build==1.6.1", "twine==7.0.0")
DIST, WORK = REPOSITORY / "dist", REPOSITORY / "var" / "dist"
EXPECTED = {
    "/hc/db": 200,
    "/things": 200,
    "/raise/stock": 409,
    "/raise/bug": 500,
    "/nope": 404,
    "/ops/requests/ID": 200,
    "/ops": 200,
    "/ops/assets/diagnostics.css": 200,
    "/ops/sign-in": 200,
}


def distributions() -> tuple[Path, Path]:
    """The wheel and the sdist of what is committed or not, checked by twine."""
    python = make_environment(WORK / "tools")
    run([python, "-m", "pip", "install", "--quiet", *TOOLS], WORK)
    sources = WORK / "sources"
    sources.mkdir()
    shutil.copytree(REPOSITORY / "prodfix", sources / "prodfix", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, sources)
    shutil.rmtree(DIST, ignore_errors=True)
    run([python, "-m", "build", "--outdir", DIST, sources], WORK)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run([python, "-m", "twine", "check", "--strict", wheel, sdist], WORK)
    return wheel, sdist


def main() -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    wheel, sdist = distributions()
    print(f"built and checked: {wheel.relative_to(REPOSITORY)}, {sdist.relative_to(REPOSITORY)}")
    python = make_environment(WORK / "host")
    run([python, "-m", "pip", "install", "--quiet", f"{wheel}[diagnostics]"], WORK)
    run([python, "-m", "pip", "check"], WORK)
    folder = WORK / "adopter"
    folder.mkdir()
    shutil.copy(ADOPTER, folder)
    with DatabaseServer() as server:
        told = replies_of(python, folder, f"{server.uri}adopter")
    statuses = {path: reply[0] for path, reply in told["replies"].items()}
    if statuses != EXPECTED:
        sys.exit(f"the host answered {statuses}, and {EXPECTED} were expected")
    print(f"a host with the wheel alone answered as it should: {len(statuses)} requests")


if __name__ == "__main__":
    main()
