"""What kind of device a request came from: by client hints, then by the user agent's own words. Unknown is an answer: a bot, a
script or a library is not a desktop, nor is a television or a console.

A word counts where it is said of the device or of the client, and not within an application's own name: ``HeartMonitor/3.2
(iPhone; ...)`` is a phone's, and no monitor. An iPad that asks for desktop pages says that it is a Mac, and sends no hints: it
counts as one. There is one verdict, in microseconds, for every request and for the records of its errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Literal

from prodfix.process.native import Pool

DeviceType = Literal["mobile", "desktop", "unknown"]

LONGEST = 256  # characters of a user agent that are read


def _names(words: str) -> re.Pattern[str]:
    """Whole names, in lower case: not within longer words. ``~`` stands for a blank.

    By their first letters, as `re` tries one alternative after another: half the time for a hundred names.
    """
    rests: dict[str, list[str]] = {}
    for name in sorted(words.replace("~", r"\s").split(), key=len, reverse=True):
        rests.setdefault(name[0], []).append(name[1:])
    alternatives = "|".join(f"{first}(?:{'|'.join(rest)})" for first, rest in rests.items())
    return re.compile(f"(?<![a-z0-9])(?:{alternatives})(?![a-z])")


# Robots by their names, which no application has; many pretend to be a phone.
_ROBOTS = _names(r"""
    googlebot adsbot adsbot-google[a-z-]* googleother[a-z-]* google-inspectiontool google-read-aloud google-extended
    google-pagerenderer google-site-verification google-safety google-adwords[a-z-]* google-cloudvertexbot apis-google
    feedfetcher-google mediapartners mediapartners-google storebot-google google~web~preview google~favicon duplexweb-google
    chrome-lighthouse headlesschrome phantomjs
    bingbot bingpreview msnbot adidxbot duckduckbot duckassistbot baiduspider[a-z-]* bytespider petalbot aspiegelbot
    yandex[a-z]*bot yandexmetrika yandeximages yandexmedia yandexwebmaster sogou~[a-z]+~spider sosospider 360spider yisouspider
    applebot facebookexternalhit facebookcatalog facebot meta-external[a-z]+ twitterbot linkedinbot pinterestbot redditbot
    slackbot slackbot-linkexpanding slack-imgproxy discordbot telegrambot skypeuripreview vkshare embedly iframely
    semrushbot[a-z-]*
    ahrefsbot ahrefssiteaudit mj12bot dotbot rogerbot blexbot seznambot seokicks dataforseobot serpstatbot screaming~frog gptbot
    chatgpt-user oai-searchbot claudebot claude-web claude-user anthropic-ai perplexitybot perplexity-user ccbot cohere-ai
    amazonbot youbot diffbot timpibot imagesiftbot exabot ia_archiver archive\.org_bot heritrix nutch mail\.ru_bot
    coccocbot[a-z-]* naverbot bitlybot w3c_validator pingdompagespeed pingbot gtmetrix ptst datadogsynthetics
    elb-healthchecker googlehc kube-probe newrelicpinger uptimerobot~monitor
""")
# Clients of scripts and servers: what has one of these for its whole name is one.
_SCRIPTS = re.compile(
    r"(?:lib)?curl|wget2?|python(?:[-_.][a-z0-9_.-]+)?|(?:apache|java|go|jakarta)[-.a-z ]*http[-.a-z]*|java|axios"
    r"|node(?:\.js|-fetch)?|node-superagent|undici|bun|deno|got|superagent|postmanruntime|insomnia|guzzlehttp|guzzle"
    r"|php|php-[a-z]+|symfony[a-z -]*"
    r"|ruby|faraday[a-z0-9. ]*|typhoeus[a-z -]*|rest-client|restsharp|libwww-perl|lwp[a-z:-]*|perl|powershell|windowspowershell"
    r"|httpie|k6|apache-jmeter|jmeter|apachebench|wrk2?|hey|vegeta|locust|aiohttp|httpx|reqwest|hyper|ureq|git|aws-cli"
    r"|aws-sdk-(?!ios|android)[a-z0-9-]+|boto3?|botocore|blackbox exporter|render"
    r"|grpc-(?!java-okhttp|swift|objc)[a-z-]+|roku|appletv[0-9,]*|vlc|lavf|scrapy|urllib3?"
)
_WORDS = _names("""curl libcurl prometheus wget python java axios go-http-client java-http-client apache-httpclient
    httpclient node-fetch undici httpx aiohttp postmanruntime insomnia libwww ruby php guzzle
    perl powershell httpie jmeter reqwest crawl preview google-read lighthouse
    pingdom
    monitor monitoring uptime scrapy nagios zabbix checkly statuscake site24x7 headless externalhit""")
_ROBOTIC = re.compile(r"(?:bot|crawler|spider|scraper)(?![a-z])|headless")
_CONTACT = re.compile(r"https?:/|[(;] ?compatible; (?!msie|konqueror|iemobile)")
# Of a device, as its system says it: within parentheses, or a client that only it has.
_TELEVISIONS = re.compile(
    r"smart-?tv|apple ?tv|android ?tv|google ?tv|tvos|bravia|viera|aquos|netcast|web0s|webos\.tv|philipstv|shield android"
    r"|mi ?tv|mibox|; aft[a-z]{1,6}[ ;)]|chromecast|vizio|hisense|tizen[^)]*\btv|playstation|nintendo|xbox|familyhub"
)
_TELEVISION_CLIENTS = re.compile(r"crkey/|hbbtv/|nettv/|smart-?tv|opera tv|\btv safari|web0s")
# HTTP stacks of native apps.
_NATIVE = _names(r"""okhttp dalvik dart dart:io cfnetwork alamofire afnetworking expo darwin nsurlsession urlsession react-?native
    react~native ktor(?:-client)? xamarin(?:\.[a-z]+)? maui flutter cronet volley retrofit capacitor cordova""")
# Each alternative begins with a letter, so that `re` looks at no place that begins with none of them.
_PHONES = re.compile(
    r"mobi|android|iphone|ipad|ipod|ios(?<![a-z]ios)[ /;)_-]|harmony|tablet|kindle|silk/|windows (?:phone|ce)|blackberry|bb10"
    r"|opera mini|playbook|kaios|webos|watchos|apple watch|wear ?os|midp-|cldc-|symb(?:ian|os)|series ?[46]0"
    r"|ucweb|meego|maemo|bada/|palmos"
)
_MOBILE_COMMENT = re.compile(r"\((?:linux; (?:u; )?)?(?:iphone|ipad|ipod|android|ios|watch)")
_COMPUTERS = ("windows nt", "windows 9", "win98", "macintosh", "mac os x", "mac_powerpc", "x11", "cros ", "linux x86_64",
              "linux i686", "linux aarch64", "wayland", "freebsd", "openbsd")  # fmt: skip
_MACS = ("macos", "mac os x", "macintosh", "x86_64", "maccatalyst")
_COMMENTS = re.compile(r"\(([^()]*)")
_NAME = re.compile(r"[^/(]*?(?=[/(]|\s+v?\d|$)", re.DOTALL)


def device_type(user_agent: str | None, headers: Mapping[str, str] | None = None) -> DeviceType:
    """``mobile`` (phones and tablets), ``desktop`` or ``unknown``. Never raises, whatever the headers hold.

    ``headers`` may hold client hints (``Sec-CH-UA-Mobile: ?1``, W3C UA Client Hints), which are believed first, except
    of what says that it is a machine.
    """
    return _verdict(_text(user_agent)[:LONGEST], client_hint(headers) if headers else "")


def quick_device(user_agent: str, hint: str) -> DeviceType:
    """:func:`device_type` for who has asked for the hint before. ``hint``: what :func:`client_hint` gave."""
    return _verdict(user_agent[:LONGEST], hint if hint in ("?0", "?1") else "")


@lru_cache(256)
def description(user_agent: str) -> str | None:
    """Device, system and client in words for somebody who reads a record (``iPhone, iOS 17.1, Mobile Safari 17.1``); ``None`` for
    what says nothing of them. Takes up to a millisecond, and a fifth of a second the first time: not for the path of a request.
    """
    parsed = _parser()(user_agent[:LONGEST])
    parts = (parsed.get_device(), parsed.get_os(), parsed.get_browser())
    return ", ".join(dict.fromkeys(part for part in parts if part and part != "Other")) or None


@cache
def _parser() -> Callable[[str], Any]:
    """Loaded in a native thread: ua-parser compiles more than a thousand expressions as it is imported, and for that long a hub
    would do nothing else."""
    aside = Pool(1)
    try:
        parse: Callable[[str], Any] = aside.run(import_module, "user_agents.parsers").parse
        return parse
    finally:
        aside.close()


def client_hint(headers: Mapping[str, str]) -> str:
    """``?1`` for a mobile device, ``?0`` for another one, or nothing. A tablet says ``?0``, and its platform."""
    return hint_of(_header(headers, "Sec-CH-UA-Platform"), _header(headers, "Sec-CH-UA-Mobile"))


def hint_of(platform: str, mobile: str) -> str:
    """The same from the values of the two headers."""
    if platform and platform.strip('" ').lower() in ("android", "ios"):
        return "?1"
    hint = mobile.strip()
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
def _verdict(user_agent: str, hint: str) -> DeviceType:
    # CUBOT makes phones.
    lowered = user_agent.lower().replace("cubot", "phone")
    known = _known(lowered)
    if known == "unknown":
        return "unknown"
    if hint == "?1":
        return "mobile"
    verdict = known or ("desktop" if _has(lowered, _COMPUTERS) else "unknown")
    return "desktop" if hint == "?0" and verdict == "unknown" and "mozilla" in lowered else verdict


def _known(lowered: str) -> DeviceType | None:
    """``unknown`` for what says that it is a machine; None for what says nothing, or has the words of a computer."""
    if _ROBOTS.search(lowered):
        return "unknown"
    browser = lowered.startswith(("mozilla/", "opera/"))
    if "harmony" in lowered and not (browser and _CONTACT.search(lowered)):
        return "desktop" if "(pc;" in lowered or "(2in1;" in lowered else "mobile"
    return _browser(lowered) if browser else _client(lowered)


def _browser(lowered: str) -> DeviceType | None:
    """Of what begins as a browser: one, the web view of an application, or a robot, which tells its address."""
    if _CONTACT.search(lowered) or _television(lowered, lowered):
        return "unknown"
    if _PHONES.search(lowered):
        return "mobile"
    machine = "electron/" not in lowered and (_ROBOTIC.search(lowered) or _WORDS.search(lowered))
    return "unknown" if machine else None


def _client(lowered: str) -> DeviceType | None:
    """Of anything else: a name, and what follows it."""
    found = _NAME.match(lowered)
    name = found[0] if found else ""
    rest = lowered[len(name) :]
    if _SCRIPTS.fullmatch(name.strip()) and not _MOBILE_COMMENT.search(rest):
        return "unknown"
    if _television(rest, rest):
        return "unknown"
    if _NATIVE.search(lowered):
        return "desktop" if _has(lowered, _MACS) and "iphone" not in lowered else "mobile"
    if _PHONES.search(rest):
        return "mobile"
    return "unknown" if _ROBOTIC.search(lowered) or _WORDS.search(lowered) or "://" in lowered else None


def _television(comments: str, clients: str) -> bool:
    """Or a console."""
    said = " ".join(_COMMENTS.findall(comments))
    return bool(_TELEVISIONS.search(f"({said})") or _TELEVISION_CLIENTS.search(clients))


def _has(lowered: str, words: tuple[str, ...]) -> bool:
    for word in words:  # noqa: SIM110 - a generator takes three times as long
        if word in lowered:
            return True
    return False
