"""Lines of the running program's own source, for the stack of an error: read while somebody looks, and kept nowhere.

A record tells a file's relative name and a number, and no more than that is believed of it: what is read is a regular Python
file below the application's root once every link is followed, of bounded size. Nothing that is installed is read, and nothing
of prodfix. The lines are the program's text and no user's data; what looks like a secret in them is masked all the same.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import tokenize
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from flask import current_app

import prodfix
from prodfix import redact_text

LARGEST = 512 * 1024  # bytes of a file that is read
AROUND = 1  # lines before and after
WIDEST = 160  # characters of a line that are shown
REMEMBERED = 512  # places of source
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_COMPILED = (".pyx", ".pxd", ".pxi")
_PRODFIX = Path(prodfix.__file__).resolve().parent
_PYTHON = Path(os.__file__).resolve().parent


class SourceLine(NamedTuple):
    """One line of a file; ``at`` is the one that is told of."""

    number: int
    text: str
    at: bool


class Sources:
    """The source below ``roots``. ``bases`` are folders that names in a stack begin at, besides: those on the module path."""

    def __init__(self, roots: Iterable[Path], bases: Iterable[Path] = ()) -> None:
        self.roots = tuple(dict.fromkeys(root.resolve() for root in roots if _may_be_root(root.resolve())))
        others = dict.fromkeys(base.resolve() for base in bases)
        self._bases = sorted({*self.roots, *others}, key=lambda base: (-len(str(base)), str(base)))

    def own(self, name: str) -> bool:
        """Whether a frame's file is the application's, and nothing that is installed. One that is nowhere now, as another release
        had it, is taken for that."""
        if name.startswith("<") or not _plain(name):
            return False
        return self._own_file(name) is not None or not self._installed(name)

    def lines(self, name: str, number: int) -> tuple[SourceLine, ...]:
        """The line and those around it; none if there is no such line of the application's. Never raises."""
        path = self._own_file(name)
        return _read(path, number) if path is not None and number > 0 else ()

    def _own_file(self, name: str) -> Path | None:
        if not _plain(name) or not name.endswith(".py"):
            return None
        for base in self._bases:
            path = _resolved(base / name)
            if path is not None and self._below_root(path):
                return path
        return None

    def _below_root(self, path: Path) -> bool:
        if path.suffix != ".py" or _of_others(path):
            return False
        for root in self.roots:
            if path.is_relative_to(root):
                return not any(part.startswith(".") for part in path.relative_to(root).parts)
        return False

    def _installed(self, name: str) -> bool:
        found = next((path for base in self._bases if (path := _resolved(base / name)) is not None), None)
        if found is None:
            # The source that a library was compiled from seldom comes with it, but the library's folder is there.
            first = name.partition("/")[0]
            found = next((base / first for base in self._bases if first != name and (base / first).is_dir()), None)
        if found is None:
            return name.endswith(_COMPILED)  # and its module has no folder
        return found.is_relative_to(_PYTHON) or _of_others(found)


def sources() -> Sources:
    """Those of the current application."""
    return _of(current_app.root_path)


@cache
def _of(root_path: str) -> Sources:
    package = Path(root_path)
    while (package / "__init__.py").exists() and package != package.parent:
        package = package.parent
    return Sources([Path.cwd(), package], [Path(entry) for entry in sys.path if os.path.isdir(entry or ".")])


def _may_be_root(root: Path) -> bool:
    """Not where everything is below it, nor what is installed."""
    return root != Path(root.anchor) and root.is_dir() and _INSTALLED.isdisjoint(root.parts)


def _of_others(path: Path) -> bool:
    return path.is_relative_to(_PRODFIX) or not _INSTALLED.isdisjoint(path.parts)


def _plain(name: str) -> bool:
    """A relative name that stays below where it begins, without a link's help."""
    parts = name.split("/")
    return not ("\0" in name or "\\" in name or len(name) > 500 or {"", ".", ".."} & set(parts))


def _resolved(path: Path) -> Path | None:
    try:
        found = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return found if found.is_file() else None


def _read(path: Path, number: int) -> tuple[SourceLine, ...]:
    try:
        # Neither a pipe, which one would wait for, nor a link that has come in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ()
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            return ()
        return _lines(file, (str(path), found.st_ino, found.st_mtime_ns, found.st_size), number)


def _lines(file: io.BufferedReader, version: tuple[str | int, ...], number: int) -> tuple[SourceLine, ...]:
    known = _known.get((version, number))
    if known is None:
        try:
            content = file.read(LARGEST + 1)
            known = _around(content, number) if len(content) <= LARGEST else ()
        except OSError:
            return ()
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[version, number] = known
    return known


_known: dict[tuple[tuple[str | int, ...], int], tuple[SourceLine, ...]] = {}
"""By file, its version and line."""


def _around(content: bytes, number: int) -> tuple[SourceLine, ...]:
    text = _text(content)
    lines: Sequence[str] = text.splitlines() if text is not None else ()
    if number > len(lines):
        return ()
    first = max(1, number - AROUND)
    return tuple(
        SourceLine(at, _shown(lines[at - 1]), at == number) for at in range(first, min(len(lines), number + AROUND) + 1)
    )


def _text(content: bytes) -> str | None:
    """As Python reads a source file; None for what is none."""
    if b"\0" in content:
        return None
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        return content.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return None


@lru_cache(REMEMBERED)
def _shown(line: str) -> str:
    told = redact_text(line[: 4 * WIDEST]).rstrip()
    return told if len(told) <= WIDEST else told[:WIDEST] + "…"
