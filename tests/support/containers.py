"""What a Dockerfile makes, run without Docker: its command as process 1 of a root of its own, as its user.

The root is made in a mount namespace that ends with the process: this machine's Python and libraries, read-only; what COPY
copies; packages that ``requirements.txt`` pins (with what they need), and no others; and as the only place that can be written,
besides ``/dev/shm``, the volume. The environment is the Dockerfile's and what the test gives, as ``docker run -e`` would.
Root is needed for that, and util-linux.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import REPOSITORY
from tests.support.dockerfile import Context, Stage, stages
from tests.support.waiting import until

DOCKERFILE = REPOSITORY / "Dockerfile"
TOOLS = ("unshare", "nsenter", "mount", "chroot")
READ_ONLY = ("/usr", "/bin", "/lib", "/lib64", "/sbin")
DEVICES = ("null", "zero", "random", "urandom")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def can_run() -> bool:
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in TOOLS):
        return False
    tried = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tried", "/mnt"]
    return subprocess.run(tried, capture_output=True, timeout=20, check=False).returncode == 0


def required(requirements: Path) -> set[str]:
    """The distributions that a file of requirements installs, with those that they need."""
    left = [_NAME.match(line) for line in requirements.read_text().splitlines() if line[:1].isalnum()]
    found: set[str] = set()
    names = [match[0] for match in left if match]
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name not in found:
            found.add(name)
            names += list(_needed(name))
    return found


def _needed(name: str) -> Iterator[str]:
    # The requirements of packages have markers, which packaging reads as pip does.
    from packaging.requirements import Requirement

    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def build(files: Path) -> Path:
    """What RUN and COPY make, in ``files``: the virtual environment, and the application."""
    first, image = stages(DOCKERFILE.read_text())
    user, _, group = image.last("USER").text.partition(":")
    _environment(files / "opt/venv")
    _copy(first, files)
    (files / "etc").mkdir()
    (files / "etc/passwd").write_text(f"prodfix:x:{user}:{group}::/var/lib/prodfix:/usr/sbin/nologin\n")
    (files / "etc/hosts").write_text("127.0.0.1 localhost\n")
    shutil.copy("/etc/ld.so.cache", files / "etc")
    return files


class Container:
    """A context manager: the last stage of ``Dockerfile``, with ``files`` of :func:`build`; its volume is in ``folder``.

    ``variables`` are those of ``docker run -e``; ``volume`` is one that another container has left.
    """

    def __init__(self, files: Path, folder: Path, *, volume: Path | None = None, **variables: str) -> None:
        self.image = stages(DOCKERFILE.read_text())[-1]
        self.environment = self.image.environment | variables
        self.files, self.folder, self.volume = files, folder, volume or folder / "volume"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        user, _, group = self.image.last("USER").text.partition(":")
        if not self.volume.exists():
            self.volume.mkdir(mode=0o700)
            os.chown(self.volume, int(user), int(group))
        with (self.folder / "stdout.txt").open("wb") as output:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-eu", "-c", self._script()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
                process_group=0,
            )
        return self

    def _script(self) -> str:
        """Makes the root in ``folder/root``, and becomes the command in it."""
        root, python = self.folder / "root", Path(sys.base_prefix)
        root.mkdir()
        own = [place for place in READ_ONLY if Path(place).exists()]
        packages = str(Path(sys.prefix).resolve())
        volume = self.image.last("VOLUME").text
        places = ["/proc", "/dev/shm", volume, *own, str(python), packages]
        places += ["/opt/venv", str(self.image.last("WORKDIR").text), "/etc"]
        lines = [f"mount -t tmpfs root {root}"]
        lines += [f"mkdir -p {root}{place}" for place in places]
        for place in [*own, str(python), packages]:
            lines += _bound(place, f"{root}{place}")
        for place in ("/opt/venv", self.image.last("WORKDIR").text, "/etc"):
            lines += _bound(f"{self.files}{place}", f"{root}{place}")
        lines += [f"touch {root}/dev/{name}; mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES]
        lines += [f"mount -t proc proc {root}/proc", f"mount -t tmpfs -o mode=1777,size=64m shm {root}/dev/shm"]
        lines += [f"mount --bind {self.volume} {root}{volume}", f"mount -o remount,ro {root}"]
        return "\n".join([*lines, f"exec {self._inside(root)}"])

    def _inside(self, root: Path | str, command: list[str] | None = None) -> str:
        user = self.image.last("USER").text
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        # The folder is entered by a shell of the root's own, as chroot begins in /.
        entered = [
            "sh",
            "-c",
            'cd "$0" && exec "$@"',
            self.image.last("WORKDIR").text,
            *(command or self.image.command),
        ]
        groups = ["--groups", user.partition(":")[2]]
        return shlex.join(["chroot", "--userspec", user, *groups, str(root), "env", "-i", *variables, *entered])

    @property
    def pid(self) -> int:
        """Of the process that is 1 in there."""
        assert self._process is not None
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """As ``docker exec`` would, in the same namespaces and as the same user."""
        entering = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--root"]
        return subprocess.run(
            [*entering, *shlex.split(self._inside("/", list(command)))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
            env={"PATH": os.environ["PATH"]},
        )

    def stop(self, limit: float) -> int | None:
        """SIGTERM, as ``docker stop``; its exit code, or None if it had to be killed after ``limit`` seconds."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        return self.wait(limit)

    def wait(self, limit: float) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            return None

    def output(self) -> str:
        return (self.folder / "stdout.txt").read_text()

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running():
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
        if error is not None:
            print(self.output()[-4000:])


def _bound(place: str, target: str) -> list[str]:
    return [f"mount --bind {place} {target}", f"mount -o remount,bind,ro {target}"]


def _copy(first: Stage, files: Path) -> None:
    """What the first stage copies into its folder, which the second one takes over."""
    context = Context(REPOSITORY, (REPOSITORY / ".dockerignore").read_text())
    folder = ""
    for one in first.instructions:
        if one.name == "WORKDIR":
            folder = one.text
        if one.name != "COPY" or one.words[-1].startswith("/"):
            continue
        *sources, target = one.words
        for source in sources:
            for name, path in context.files(source).items():
                place = files / folder.lstrip("/") / target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
    place = files / folder.lstrip("/")
    (compiling,) = (one for one in first.all("RUN") if "compileall" in one.text)
    words = [sys.executable, *compiling.words[1:]]
    subprocess.run(words, cwd=place, check=True, timeout=60)


def _environment(place: Path) -> None:
    """A virtual environment with links to what is installed here of requirements.txt, and the scripts that pip would make."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    (packages,) = place.glob("lib/python*/site-packages")
    for name in required(REPOSITORY / "requirements.txt"):
        distribution = metadata.distribution(name)
        for file in distribution.files or []:
            top = file.parts[0]
            if top != ".." and not (packages / top).is_symlink():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))).resolve())
        for script in distribution.entry_points.select(group="console_scripts"):
            module, _, function = script.value.partition(":")
            text = f"#!/opt/venv/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            (place / "bin" / script.name).write_text(text)
            (place / "bin" / script.name).chmod(0o755)


def wait_for(container: Container, ask: Callable[[], bool], what: str) -> None:
    """Wait until ``ask()`` is true, as long as the container runs."""

    def look() -> bool:
        assert container.running(), f"it has ended: {container.output()[-2000:]}"
        return ask()

    until(look, limit=60, what=what)
