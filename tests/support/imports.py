"""Who imports what first, of the processes of ``pytest -n`` that begin at once.

Python compiles a module that it has not seen yet, and pytest rewrites the asserts of a test: two thirds of what collecting
takes after a checkout. Processes that import the same modules in the same order all do all of it. Here each begins with a part
of its own, and finds what the others have compiled when it comes to theirs.
"""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path

import pytest


def modules_of(paths: list[Path], root: Path) -> list[str]:
    """The names of the tests' modules in ``paths``, which are files and folders within ``root``, in one order for all."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("test_*.py")))]
    return [".".join(file.relative_to(root).with_suffix("").parts) for file in dict.fromkeys(files)]


def in_turn(modules: list[str], number: int, count: int) -> list[str]:
    """All of them, beginning with the part of process ``number`` of ``count``."""
    begin = len(modules) * number // count
    return modules[begin:] + modules[:begin]


def import_in_turns(config: pytest.Config, number: int, count: int) -> None:
    """Import what is about to be collected. What cannot be imported is left to the collection, which says why."""
    root = config.rootpath
    paths = [Path(config.invocation_params.dir, argument.partition("::")[0]).resolve() for argument in config.args]
    within = [path for path in paths if path.exists() and path.is_relative_to(root) and path.suffix in ("", ".py")]
    for name in in_turn(modules_of(within, root), number, count):
        with contextlib.suppress(Exception, pytest.skip.Exception):
            importlib.import_module(name)
