"""The fenced blocks of a page, and what the comment above one says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNNABLE = frozenset({"python", "sh", "console"})
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[\w ]+): (?P<said>.+?) -->\n)?^```(?P<language>\w*).*\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Block:
    """``line`` is that of its first line. ``mark`` and ``said``: the comment above it, ``<!-- not run: why -->``."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    said: str

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and self.mark != "not run"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page, line, found["language"], found["text"], found["mark"] or "", found["said"] or "")
