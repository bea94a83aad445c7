"""`make ranges`: the hosts, and what knows the driver best, with the lowest and with the newest versions.

Each gets an environment in var/ranges: ``lowest`` has exactly tests/hosts/lowest.txt, ``newest`` whatever pip finds for the
requirements of pyproject.toml. The embedded server is .venv's, so that versions and interpreters that it does not know are
tried as well: ``PYTHON=python3.14 make ranges``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import REPOSITORY
from tests.support.wheels import built, make_environment, run

LOWEST = REPOSITORY / "tests" / "hosts" / "lowest.txt"
WORK = REPOSITORY / "var" / "ranges"
TOOLS = (
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "flask-cors",
    "aiosmtpd",
    "packaging",
    "gunicorn",
    "jsonschema",
    "prometheus-client",
    "openapi-spec-validator",
)
SUITE = (
    "tests/integration/test_plain_host.py",
    "tests/unit/blueprints",
    "tests/unit/connection",
    "tests/unit/neighbours/test_hosts.py",
    "tests/unit/queries",
    "tests/unit/classification/test_classifier.py",
    "tests/unit/classification/test_places.py",
    "tests/unit/recovery/test_transactions.py",
    "tests/unit/web/test_handlers.py",
    "tests/unit/web/test_hooks.py",
    "tests/unit/web/test_wsgi.py",
)
# Old libraries say of themselves what newer interpreters warn of; the newest ones are to be quiet.
WARNINGS = {"lowest": ("-o", "filterwarnings=default"), "newest": ()}
SHOWN = "import sys, flask, pymongo, pydantic; from importlib.metadata import version as v\n"
SHOWN += "from prodfix.driver import missing_names\n"
SHOWN += (
    "print('Python', sys.version.split()[0], *(f'{n} {v(n)}' for n in ('Flask', 'pymongo', 'pydantic', 'gevent')))\n"
)
SHOWN += "print('off:', *([f'{one.name} ({one.lost})' for one in missing_names.missing()] or ['nothing']), sep='\\n  ')"


def tried(which: str, wheel: Path, arguments: list[str]) -> int:
    """The exit code of pytest there."""
    folder = WORK / which
    python = make_environment(folder, os.environ.get("PYTHON") or sys.executable)
    pip = [python, "-m", "pip", "install", "--quiet"]
    constraints = ["-c", LOWEST] if which == "lowest" else []
    run([*pip, *constraints, f"{wheel}[all]", *TOOLS], WORK)
    run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "prodfix"], WORK)  # the tests know the sources
    print(f"\n== {which}: {run([python, '-c', SHOWN], REPOSITORY)}", flush=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *WARNINGS[which], *(arguments or SUITE)]
    variables = {**os.environ, "DATABASE_SERVER_PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*map(str, command)], cwd=REPOSITORY, env=variables, check=False).returncode


def main() -> None:
    wanted = [name for name in sys.argv[1:] if name in WARNINGS] or list(WARNINGS)
    arguments = [word for word in sys.argv[1:] if word not in WARNINGS]
    shutil.rmtree(WORK, ignore_errors=True)
    (WORK / "wheel").mkdir(parents=True)
    wheel = built(WORK / "wheel")
    codes = {which: tried(which, wheel, arguments) for which in wanted}
    print(", ".join(f"{which}: {'failed' if code else 'passed'}" for which, code in codes.items()))
    sys.exit(max(codes.values()))


if __name__ == "__main__":
    main()
