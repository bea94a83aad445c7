"""Two builds of the repository beside each other in one run, each from git, both with this interpreter and its packages."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.team import ROOT

WORKING_TREE = "."
PATIENCE = 60.0  # seconds for git


class NoSuchBuild(Exception):
    """git does not know the revision, or this is no clone."""


@contextmanager
def builds(*revisions: str) -> Iterator[list[Path]]:
    """The folder of each; :data:`WORKING_TREE` is this one as it lies there. Raises :class:`NoSuchBuild`."""
    with ExitStack() as stack:
        yield [
            ROOT if revision == WORKING_TREE else stack.enter_context(_checked_out(revision)) for revision in revisions
        ]


@contextmanager
def _checked_out(revision: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="prodfix-build-") as folder:
        path = Path(folder) / "tree"
        _git("worktree", "add", "--detach", "--quiet", str(path), f"{revision}^{{commit}}")
        try:
            yield path
        finally:
            _git("worktree", "remove", "--force", str(path))


def name_of(revision: str) -> str:
    """What stands for it in a report: a commit, and whether the working tree is not as it was committed."""
    commit = _git("rev-parse", "--short", "HEAD" if revision == WORKING_TREE else f"{revision}^{{commit}}")
    changed = revision == WORKING_TREE and _git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}{' and what is not committed' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise NoSuchBuild(done.stderr.strip())
    return done.stdout.strip()
