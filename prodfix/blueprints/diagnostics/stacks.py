"""The stack of a record, which is text, as frames to be shown: the application's own with their source, others folded."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

from prodfix.blueprints.diagnostics.source_lines import SourceLine, Sources

CAUSED = "which led to"  # between the parts of a chain
_FRAME = re.compile(r"  (?P<file>.{1,500}):(?P<line>[0-9]{1,7}) in (?P<function>.{1,200})")
_LEFT_OUT = re.compile(r"  … [0-9]{1,6} more")


class StackFrame(NamedTuple):
    """One place of a stack. ``source`` is empty where there is none to be shown."""

    file: str
    line: int
    function: str
    own: bool
    source: tuple[SourceLine, ...] = ()


class FrameRun(NamedTuple):
    """Frames that follow each other: all the application's own, or none of them. ``left_out`` is the line that says how many
    are missing after them."""

    own: bool
    frames: list[StackFrame]
    left_out: str = ""


class RaisedPart(NamedTuple):
    """One exception of a chain: its type, and the way that it went, innermost last."""

    error_type: str
    runs: list[FrameRun]


def parts_of(stack: str, sources: Sources, *, with_source: bool) -> list[RaisedPart]:
    """What caused it first. Lines of no known form, such as those of another release, are left out."""
    found = []
    lines = cache(sources.lines) if with_source else None
    own = cache(sources.own)  # of one file there are many frames, and each question follows links on a disk
    for part in stack.split(f"\n{CAUSED}\n"):
        head, _, rest = part.partition("\n")
        frames = [one for line in rest.splitlines() if (one := _frame(line, own, lines)) is not None]
        found.append(RaisedPart(head.strip()[:200], _runs(frames)))
    return found


def _frame(
    line: str, own: Callable[[str], bool], lines: Callable[[str, int], tuple[SourceLine, ...]] | None
) -> StackFrame | str | None:
    if _LEFT_OUT.fullmatch(line):
        return line.strip()
    told = _FRAME.fullmatch(line)
    if told is None:
        return None
    file, number = told["file"], int(told["line"])
    applications = own(file)
    source = lines(file, number) if lines is not None and applications else ()
    return StackFrame(file, number, told["function"], applications, source)


def _runs(frames: Sequence[StackFrame | str]) -> list[FrameRun]:
    runs: list[FrameRun] = []
    for own, group in groupby(frames, lambda one: one.own if isinstance(one, StackFrame) else None):
        some = list(group)
        if own is None:
            before = runs.pop() if runs else FrameRun(own=False, frames=[])
            runs.append(before._replace(left_out=str(some[0])))
        else:
            runs.append(FrameRun(own, [one for one in some if isinstance(one, StackFrame)]))
    return runs
