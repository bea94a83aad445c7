"""What kind of device a request came from: by client hints, by a table of native HTTP stacks, then by the user agent's own
words. Unknown is an answer: a bot, a script or a library is not a desktop.

An iPad that asks for desktop pages says that it is a Mac, and sends no hints: it counts as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

from user_agents.parsers import parse

DeviceType = Literal["mobile", "desktop", "unknown"]

LONGEST = 256  # characters of a user agent that are read: parsing 8 KB takes user-agents tens of milliseconds

# All are compared in lower case.
_BOTS = ("bot", "crawl", "spider", "slurp", "externalhit", "mediapartners", "headless")
_WATCHERS = ("preview", "google-read", "lighthouse", "pingdom", "monitor", "uptime", "scrap")
_TELEVISIONS = ("smart-tv", "smarttv", "apple tv", "appletv", "android tv", "crkey")
_MACHINES = ("curl/", "wget", "python", "axios", "go-http-client", "java/", "java-http", "httpclient", "node", "undici",
             "httpx", "aiohttp", "render/", "postman", "insomnia", "libwww", "ruby", "php", "guzzle", "perl",
             "rest-client", "restsharp", "powershell", "httpie", "k6/", "jmeter", "got/", "got (", "superagent",
             "reqwest", "hyper/", "elb-health", "kube-probe", "prometheus", "git/", "aws-", "unityplayer")  # fmt: skip
# HTTP stacks of native apps, which user-agents takes for unknown or for tablets.
_NATIVE = ("okhttp", "dalvik/", "dart/", "dart:io", "cfnetwork", "alamofire", "expo/", "darwin/", "nsurlsession",
           "react-native", "reactnative", "react native", "ktor", "xamarin", "maui", "flutter", "cronet", "volley",
           "retrofit", "capacitor", "cordova")  # fmt: skip
_PHONES = ("mobi", "android", "iphone", "ipad", "ipod", "ios ", "harmony", "tablet", "kindle", "silk/", "windows phone",
           "blackberry", "opera mini", "playbook", "kaios", "webos")  # fmt: skip
_COMPUTERS = ("windows nt", "macintosh", "mac os x", "x11", "cros ", "linux x86_64", "linux i686")
_MACS = ("macos", "mac os x", "macintosh", "x86_64", "maccatalyst")


def device_type(user_agent: str | None, headers: Mapping[str, str] | None = None) -> DeviceType:
    """``mobile`` (phones and tablets), ``desktop`` or ``unknown``. Never raises, whatever the headers hold.

    ``headers`` may hold client hints (``Sec-CH-UA-Mobile: ?1``, W3C UA Client Hints), which are believed first, except
    of what says that it is a machine. Parses what was not seen yet: up to milliseconds; :func:`quick_device` does not.
    """
    return _parsed(_text(user_agent)[:LONGEST], client_hint(headers) if headers else "")


def quick_device(user_agent: str, hint: str) -> DeviceType:
    """:func:`device_type` for every request: by substrings, in microseconds. ``hint``: what :func:`client_hint` gave."""
    return _quick(user_agent[:LONGEST], hint if hint in ("?0", "?1") else "")


def looks_mobile(user_agent: str, hint: str) -> bool:
    """Whether :func:`quick_device` takes it for mobile."""
    return quick_device(user_agent, hint) == "mobile"


def client_hint(headers: Mapping[str, str]) -> str:
    """``?1`` for a mobile device, ``?0`` for another one, or nothing. A tablet says ``?0``, and its platform."""
    platform = _header(headers, "Sec-CH-UA-Platform").strip('" ').lower()
    if platform in ("android", "ios"):
        return "?1"
    hint = _header(headers, "Sec-CH-UA-Mobile").strip()
    return hint if hint in ("?0", "?1") else ""


def _header(headers: Mapping[str, str], name: str) -> str:
    try:
        value = headers.get(name)
        if value is None:
            wanted = name.lower()
            value = next((each for key, each in headers.items() if _text(key).lower() == wanted), None)
    except Exception:  # noqa: BLE001 - somebody's mapping
        return ""
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return bytes(value).decode("latin-1") if isinstance(value, (bytes, bytearray, memoryview)) else ""


@lru_cache(4096)
def _parsed(user_agent: str, hint: str) -> DeviceType:
    return _verdict(user_agent, hint, _by_parsing)


@lru_cache(4096)
def _quick(user_agent: str, hint: str) -> DeviceType:
    return _verdict(user_agent, hint, _by_words)


def _verdict(user_agent: str, hint: str, guess: Callable[[str, str], DeviceType]) -> DeviceType:
    # CUBOT makes phones.
    lowered = user_agent.lower().replace("cubot", "phone")
    known = _known(lowered)
    if known == "unknown":
        return "unknown"
    if hint == "?1":
        return "mobile"
    verdict = known or (guess(user_agent, lowered) if lowered else "unknown")
    return "desktop" if hint == "?0" and verdict == "unknown" and "mozilla" in lowered else verdict


def _known(lowered: str) -> DeviceType | None:
    """What a machine, or an app's HTTP stack, says of itself: ``unknown`` for the machine."""
    if _has(lowered, _BOTS):
        return "unknown"
    if "harmony" in lowered:
        return "desktop" if "(pc;" in lowered or "(2in1;" in lowered else "mobile"
    if lowered.startswith("mozilla/"):
        return "unknown" if _has(lowered, _WATCHERS) or _has(lowered, _TELEVISIONS) else None
    if _has(lowered, _NATIVE):
        return "desktop" if _has(lowered, _MACS) and "iphone" not in lowered else "mobile"
    if "unityplayer" in lowered and _has(lowered, _PHONES):
        return "mobile"
    return "unknown" if _has(lowered, _MACHINES) or _has(lowered, _WATCHERS) else None


def _has(lowered: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110 - a generator takes three times as long
        if word in lowered:
            return True
    return False


def _by_words(user_agent: str, lowered: str) -> DeviceType:
    if _has(lowered, _PHONES):
        return "mobile"
    return "desktop" if _has(lowered, _COMPUTERS) else "unknown"


def _by_parsing(user_agent: str, lowered: str) -> DeviceType:
    agent = parse(user_agent.encode("ascii", "replace").decode())  # digits such as a superscript two end its parsing
    if agent.is_bot:
        return "unknown"
    if agent.is_mobile or agent.is_tablet:
        return "mobile"
    return "desktop" if agent.is_pc else _by_words(user_agent, lowered)
