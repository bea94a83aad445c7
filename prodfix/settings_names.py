"""What settings are called where an application takes prodfix in: with a prefix."""

from __future__ import annotations

import re
from functools import cache

from prodfix import settings_sources
from prodfix.settings import Settings

# Any name of that form, and a look whether it is one of ours: a pattern of all names takes 9,000 calls to compile.
_NAME = re.compile(r"(?<![\w`\"])[A-Z][A-Z0-9_]*(?!\w)")


def named_for_host(text: str) -> str:
    """With the names that settings have in a host. What stands in quotation marks or backticks is meant as it is."""
    names = _names()
    return _NAME.sub(lambda name: settings_sources.PREFIX + name[0] if name[0] in names else name[0], text)


@cache
def _names() -> frozenset[str]:
    fields = set(Settings.model_fields) - settings_sources.PLATFORM - settings_sources.SERVED_ONLY
    return frozenset(map(str.upper, fields))
