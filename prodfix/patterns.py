"""Regular expressions that are compiled when they are first used: 20 ms for those of all texts that may ever come."""

from __future__ import annotations

import re
from typing import Any, cast

_METHODS = ("search", "match", "fullmatch", "sub", "subn", "findall", "finditer", "split", "pattern", "flags", "groups")


class _Pattern:
    """Has what a pattern has, from its first use on as attributes of its own: later uses cost no more than the pattern's."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getattr__(self, name: str) -> Any:
        compiled = re.compile(self._text)
        self.__dict__.update({method: getattr(compiled, method) for method in _METHODS})
        return getattr(compiled, name)


def compiled_later(text: str) -> re.Pattern[str]:
    """``re.compile(text)``, later."""
    return cast("re.Pattern[str]", _Pattern(text))
