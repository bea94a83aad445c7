"""A Dockerfile as Docker reads it: its stages with their instructions, and which files of the context it gets.

Source: docs.docker.com/reference/dockerfile. What our own file does not use (heredocs, ONBUILD, escape directives) is refused.
"""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = frozenset(
    "FROM ARG ENV RUN COPY WORKDIR USER VOLUME EXPOSE HEALTHCHECK STOPSIGNAL CMD ENTRYPOINT LABEL".split()
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Of the exec form (JSON) or of the shell's."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


@dataclass
class Stage:
    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]

    def last(self, name: str) -> Instruction:
        return self.all(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets, with the defaults of ARG."""
        given: dict[str, str] = {}
        found: dict[str, str] = {}
        for one in self.instructions:
            if one.name in ("ARG", "ENV"):
                pairs = dict(word.partition("=")[::2] for word in one.words)
                pairs = {name: _expanded(value, given | found) for name, value in pairs.items()}
                (given if one.name == "ARG" else found).update(pairs)
        return found

    @property
    def command(self) -> list[str]:
        return [word for name in ("ENTRYPOINT", "CMD") for one in self.all(name)[-1:] for word in one.words]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables[match[1] or match[2]], text)


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises ``ValueError`` for what is no instruction that is known here."""
    found: list[Stage] = []
    for name, rest in _instructions(text):
        if name not in KNOWN or "<<" in rest:
            raise ValueError(f"not known here: {name} {rest}")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            found.append(Stage(base, alias or str(len(found))))
        elif found:
            found[-1].instructions.append(Instruction(name, rest))
        else:
            raise ValueError(f"{name} before FROM")
    return found


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in joined.splitlines():
        name, _, rest = line.partition(" ")
        yield name.upper(), rest.strip()


class Context:
    """The files below ``root`` that Docker would send: those that no line of ``.dockerignore`` leaves out."""

    def __init__(self, root: Path, ignored: str) -> None:
        self.root = root
        self._patterns = [line.strip() for line in ignored.splitlines() if line.strip() and line[0] != "#"]

    def has(self, path: str) -> bool:
        """Whether ``path``, a file below the root, is sent. The last line that fits it, or a folder above it, decides."""
        kept = True
        for pattern in self._patterns:
            wanted = pattern.startswith("!")
            if self._fits(pattern.removeprefix("!"), path):
                kept = wanted
        return kept

    @staticmethod
    def _fits(pattern: str, path: str) -> bool:
        parts = path.split("/")
        above = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        if pattern.startswith("**/"):  # in any folder: of each path above it the last part is looked at
            return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
        depth = pattern.count("/")
        return any(fnmatch.fnmatchcase(one, pattern) for one in above if one.count("/") == depth)

    def files(self, source: str) -> dict[str, Path]:
        """What ``COPY source`` brings, by its name below the target. A folder brings what is in it, a file itself."""
        place = self.root / source
        if place.is_file():
            return {place.name: place} if self.has(source) else {}
        found = (path for path in place.rglob("*") if path.is_file())
        return {str(path.relative_to(place)): path for path in found if self.has(str(path.relative_to(self.root)))}
