"""The library as others get it: a wheel, and environments that have it and what it asks for, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import REPOSITORY

ADOPTER = REPOSITORY / "tests" / "hosts" / "adopter.py"
LIMIT = 600.0
_SOURCES = ("pyproject.toml", "README.md", "LICENSE")
_BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"


def run(command: list[str | Path], folder: Path, **variables: str) -> str:
    """What it printed. Fails with what it said if it fails; knows nothing of this process's environment but its paths."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    inherited |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=inherited | variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, f"{command[-1]}: {done.stdout[-3000:]}{done.stderr[-5000:]}"
    return done.stdout


def built(folder: Path) -> Path:
    """The wheel of this repository's sources, built in a copy: by setuptools, which asks nobody for anything."""
    copy = folder / "sources"
    copy.mkdir()
    shutil.copytree(REPOSITORY / "prodfix", copy / "prodfix", ignore=shutil.ignore_patterns("__pycache__"))
    for name in _SOURCES:
        shutil.copy(REPOSITORY / name, copy)
    run([sys.executable, "-c", _BUILD, folder], copy)
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment of this interpreter with the wheel, and links to those distributions of ours that it asks for."""

    def __init__(self, folder: Path, wheel: Path, *extras: str) -> None:
        self.folder = folder
        run([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
        pip = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel], folder)
        site = Path(run([self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip())
        (info,) = site.glob("prodfix-*.dist-info")
        self.names = frozenset(_closure(metadata.PathDistribution(info), extras))
        for name in self.names:
            _link(metadata.distribution(name), site)

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def adopter(self, folder: Path, uri: str) -> dict[str, Any]:
        """What the host answers there, which knows nothing of this repository."""
        folder.mkdir()
        shutil.copy(ADOPTER, folder)
        return replies_of(self.python, folder, uri)


def replies_of(python: Path, folder: Path, uri: str) -> dict[str, Any]:
    """What the host in ``folder`` prints of itself."""
    return dict(json.loads(run([python, "-P", "adopter.py"], folder, **settings_of(folder, uri))))


def make_environment(folder: Path, interpreter: str = sys.executable) -> Path:
    """The Python of an empty environment with pip."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    run([interpreter, "-m", "venv", folder], folder.parent)
    return folder / "bin" / "python"


def settings_of(folder: Path, uri: str) -> dict[str, str]:
    """Environment variables of a host in ``folder``. The bare names are for ``Settings.from_env``: a host reads none."""
    names = {
        "MONGODB_URI": uri,
        "STATE_DIR": str(folder / "state"),
        "LOG_DIR": str(folder / "log"),
        "JWT_SECRET_KEY": "a key for the tests only, long enough",
        "APP_ENV": "development",
    }
    return names | {f"PRODFIX_{name}": value for name, value in names.items()}


def _closure(root: metadata.Distribution, extras: Iterable[str]) -> Iterator[str]:
    """The distributions that ``root`` asks for, and those that they ask for."""
    waiting, seen = [(root, frozenset(extras))], set[tuple[str, frozenset[str]]]()
    while waiting:
        one, wanted = waiting.pop()
        for line in one.requires or ():
            requirement = Requirement(line)
            marker, name = requirement.marker, canonicalize_name(requirement.name)
            if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (wanted or {""})):
                continue
            key = (name, frozenset(requirement.extras))
            if key in seen:
                continue
            seen.add(key)
            if name == "prodfix":
                waiting.append((root, key[1]))
                continue
            yield name
            waiting.append((metadata.distribution(name), key[1]))


def _link(one: metadata.Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in one.files or () if file.parts[0] not in ("..", "__pycache__")}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(one.locate_file(top))))
