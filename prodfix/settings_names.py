"""What settings are called where an application takes prodfix in: with a prefix."""

from __future__ import annotations

import re
from functools import cache

from prodfix import settings_sources
from prodfix.settings import Settings


def named_for_host(text: str) -> str:
    """With the names that settings have in a host. What stands in quotation marks or backticks is meant as it is."""
    return _names().sub(lambda name: settings_sources.PREFIX + name[0], text)


@cache
def _names() -> re.Pattern[str]:
    fields = set(Settings.model_fields) - settings_sources.PLATFORM - settings_sources.SERVED_ONLY
    longest_first = "|".join(sorted(map(str.upper, fields), key=len, reverse=True))
    return re.compile(rf"(?<![\w`\"])(?:{longest_first})(?!\w)")
