"""What kind of device a request came from, by client hints first, then by a table of native HTTP stacks, then by
the user agent's own words. Unknown is an answer: a bot, a script or a library is not a desktop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from user_agents.parsers import parse

DeviceType = Literal["mobile", "desktop", "unknown"]

LONGEST = 256  # characters of a user agent that are read: parsing 8 KB takes user-agents tens of milliseconds

# HTTP stacks of native apps, which user-agents takes for unknown or for tablets. Compared in lower case.
_NATIVE = ("okhttp/", "dalvik/", "dart/", "dart:io", "alamofire/", "expo/", "cfnetwork/")
_MACHINES = ("bot", "crawler", "spider", "curl/", "wget/", "python-", "uptimerobot", "render/", "go-http-client")


def device_type(user_agent: str | None, headers: Mapping[str, str] | None = None) -> DeviceType:
    """``mobile`` (phones and tablets), ``desktop`` or ``unknown``.

    ``headers`` may hold client hints (``Sec-CH-UA-Mobile: ?1``, W3C UA Client Hints), which are believed first.
    """
    hint = headers.get("Sec-CH-UA-Mobile") if headers else None
    if hint == "?1":
        return "mobile"
    verdict = _by_user_agent(user_agent[:LONGEST]) if user_agent else "unknown"
    return "desktop" if hint == "?0" and verdict == "unknown" and user_agent and "Mozilla" in user_agent else verdict


def looks_mobile(user_agent: str, hint: str) -> bool:
    """A guess for every request, in less than a microsecond: the hint, a native HTTP stack, or the word for it.

    :func:`device_type` parses, which takes milliseconds for an agent that was not seen yet, and is for the few.
    """
    if hint:
        return hint == "?1"
    lowered = user_agent.lower()
    return "mobi" in lowered or "android" in lowered or any(token in lowered for token in _NATIVE)


def quick_device(user_agent: str, hint: str) -> DeviceType:
    return "mobile" if looks_mobile(user_agent, hint) else "unknown"


@lru_cache(4096)
def _by_user_agent(user_agent: str) -> DeviceType:
    lowered = user_agent.lower()
    if any(token in lowered for token in _MACHINES):
        return "unknown"
    if any(token in lowered for token in _NATIVE):
        return "desktop" if "x86_64" in lowered and "cfnetwork/" in lowered else "mobile"
    agent = parse(user_agent)
    if agent.is_bot:
        return "unknown"
    if agent.is_mobile or agent.is_tablet:
        return "mobile"
    return "desktop" if agent.is_pc else "unknown"
