"""What a user agent says it is, and what is not known."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import pytest
import user_agents
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prodfix.request.context import new_context
from prodfix.request.devices import (
    _ROBOTS,
    LONGEST,
    client_hint,
    description,
    device_type,
    quick_device,
)
from tests.support import user_agents as agents

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
_SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {_SAFARI} Version/17.5 Mobile/15E148 Safari/604.1"
ANDROID = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {_WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36"
TABLET = f"Mozilla/5.0 (Linux; Android 13; SM-X710) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36"
MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_SAFARI} Version/17.5 Safari/605.1.15"
REDUCED = "Mozilla/5.0 (X) AppleWebKit/537.36"
GOOGLEBOT = f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {_WEBKIT} Chrome/126 Mobile Safari/537.36 (compatible; Googlebot/2.1)"

MOBILE = [
    # phones
    IPHONE,
    ANDROID,
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/131.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {_SAFARI} CriOS/131.0 Mobile/15E148 Safari/604.1",
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {_SAFARI} Mobile/15E148 [FBAN/FBIOS;FBAV/490]",
    "Mozilla/5.0 (Android 15; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0",
    f"Mozilla/5.0 (Linux; Android 14; SM-S928B; wv) {_WEBKIT} Version/4.0 Chrome/131.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 14; SM-S928B) {_WEBKIT} SamsungBrowser/27.0 Chrome/125.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 13; CUBOT X70) {_WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 10; HarmonyOS; NOH-AN00) {_WEBKIT} Chrome/114.0 HuaweiBrowser/15 Mobile Safari/537.36",
    f"Mozilla/5.0 (Phone; OpenHarmony 5.0) {_WEBKIT} Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile",
    "Opera/9.80 (Android; Opera Mini/36.2/191.249; U; en) Presto/2.12.423 Version/12.16",
    "Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5",
    # tablets
    TABLET,
    f"Mozilla/5.0 (iPad; CPU OS 15_5 like Mac OS X) {_SAFARI} Version/15.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Android 14; Tablet; rv:133.0) Gecko/133.0 Firefox/133.0",
    f"Mozilla/5.0 (Linux; Android 11; KFTRWI) {_WEBKIT} Silk/120.3.1 like Chrome/120.0 Safari/537.36",
    f"Mozilla/5.0 (Tablet; OpenHarmony 5.0) {_WEBKIT} Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1",
    # native stacks
    "okhttp/4.12.0",
    "okhttp/5.0.0-alpha.14",
    "Notes/1.4.2 (Android 14) okhttp/4.12.0",
    "Dart/3.4 (dart:io)",
    "Notes/7 CFNetwork/1568.200.51 Darwin/24.1.0",
    "Notes/7.1 Darwin/24.1.0",
    "Notes (iPhone; iOS 17.5; Scale/3.00)",
    "Notes/3 (org.example.notes; build:3; iOS 17.5.0) Alamofire/5.9.1",
    "Alamofire/5.9",
    "NSURLSession/1.0",
    "HealthMonitor/2 CFNetwork/1568.200.51 Darwin/24.1.0",
    "NodeWatch/2.0 okhttp/4.12.0",
    "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP1A)",
    "Expo/2.31 CFNetwork/1494.0.7 Darwin/23.4.0",
    "Expo/1017756 okhttp/4.9.2",
    "ReactNative/0.74 (Android)",
    "react-native/0.76",
    "Ktor/Android 2.3.12",
    "ktor-client",
    "Xamarin.Android/13.2",
    ".NET MAUI/8.0 (Android 14)",
    "UnityPlayer/2022.3.1f1 (UnityWebRequest/1.0, libcurl/8.5.0-DEV) Android 13",
]
DESKTOP = [
    WINDOWS,
    MAC,
    f"{WINDOWS} Edg/126.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:133.0) Gecko/20100101 Firefox/133.0",
    f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_WEBKIT} Chrome/126.0.0.0 Safari/537.36",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Slack/4.38 Chrome/126 Electron/31 Safari/537.36",
    f"Mozilla/5.0 (PC; OpenHarmony 5.0) {_WEBKIT} Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1",
    "Notes/1 CFNetwork/1496.0.7 Darwin/23.5.0 (x86_64)",
    "Notes/3 (org.example.notes; build:3; macOS 14.5.0) Alamofire/5.9.1",
]
UNKNOWN = [
    "",
    "x",
    REDUCED,
    "curl/8.9.1",
    "Wget/1.24.5",
    "python-requests/2.32.3",
    "Python-urllib/3.12",
    "Python/3.12 aiohttp/3.10",
    "python-httpx/0.27.0",
    "Go-http-client/2.0",
    "Java/17.0.11",
    "Java-http-client/21.0.3",
    "Apache-HttpClient/4.5.14 (Java/17.0.11)",
    "axios/1.7.7",
    "node",
    "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "undici",
    "PostmanRuntime/7.42.0",
    "insomnia/10.0",
    "GuzzleHttp/7",
    "UptimeRobot/2.0",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    GOOGLEBOT,
    f"Mozilla/5.0 {_WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/126 Safari/537.36",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} HeadlessChrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148 (Applebot/0.1)",
    "kube-probe/1.29",
    "Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/538.1 TV Safari/538.1",
    "UnityPlayer/2022.3.1f1 (UnityWebRequest/1.0, libcurl/8.5.0-DEV)",
]
CORPUS = [*((agent, "mobile") for agent in MOBILE), *((agent, "desktop") for agent in DESKTOP)]
CORPUS += [(agent, "unknown") for agent in UNKNOWN]


@pytest.mark.parametrize(("agent", "expected"), CORPUS)
def test_both_ways_tell_what_it_is(agent: str, expected: str) -> None:
    assert device_type(agent) == expected
    assert quick_device(agent, "") == expected


@pytest.mark.parametrize("hint", ["?0", "?1"])
@pytest.mark.parametrize("agent", [agent for agent, _ in CORPUS])
def test_both_ways_agree_about_a_hint_too(agent: str, hint: str) -> None:
    assert quick_device(agent, hint) == device_type(agent, {"Sec-CH-UA-Mobile": hint})


@pytest.mark.parametrize(
    ("agent", "hints", "expected"),
    [
        (WINDOWS, {"Sec-CH-UA-Mobile": "?1"}, "mobile"),
        (None, {"Sec-CH-UA-Mobile": "?1"}, "mobile"),
        (REDUCED, {"Sec-CH-UA-Mobile": "?0"}, "desktop"),
        (REDUCED, {"Sec-CH-UA-Mobile": "?0", "Sec-CH-UA-Platform": '"Android"'}, "mobile"),
        (MAC, {"Sec-CH-UA-Platform": '"iOS"'}, "mobile"),
        (WINDOWS, {"Sec-CH-UA-Mobile": "?0", "Sec-CH-UA-Platform": '"Windows"'}, "desktop"),
        ("curl/8", {"Sec-CH-UA-Mobile": "?0"}, "unknown"),
        ("curl/8", {"Sec-CH-UA-Mobile": "?1"}, "unknown"),
        (GOOGLEBOT, {"Sec-CH-UA-Mobile": "?1", "Sec-CH-UA-Platform": '"Android"'}, "unknown"),
        (ANDROID, {"Sec-CH-UA-Mobile": "?0"}, "mobile"),
        (IPHONE, {"Sec-CH-UA-Mobile": "banana"}, "mobile"),
        (WINDOWS, {"sec-ch-ua-mobile": "?1"}, "mobile"),
        (WINDOWS, {b"SEC-CH-UA-MOBILE": b"?1"}, "mobile"),
        (WINDOWS, {"Sec-CH-UA-Mobile": None}, "desktop"),
        (WINDOWS, {None: None}, "desktop"),
    ],
)
def test_a_client_hint_is_believed_first(agent: str | None, hints: Any, expected: str) -> None:
    assert device_type(agent, hints) == expected
    assert quick_device(agent or "", client_hint(hints)) == expected


def test_an_ipad_that_asks_for_desktop_pages_cannot_be_told_from_a_mac() -> None:
    assert device_type(MAC) == "desktop"


class Rude(dict[str, str]):
    def get(self, *arguments: Any) -> Any:
        raise RuntimeError


odd = st.none() | st.text(st.characters(), max_size=300) | st.binary(max_size=50) | st.integers()


@given(agent=odd, headers=st.none() | st.dictionaries(odd, odd, max_size=3), hint=odd, start=st.sampled_from(MOBILE))
def test_no_header_is_too_odd(agent: Any, headers: Any, hint: Any, start: str) -> None:
    known = ("mobile", "desktop", "unknown")
    assert device_type(agent, headers) in known
    assert device_type(agent, {"Sec-CH-UA-Mobile": hint, "Sec-CH-UA-Platform": hint}) in known
    assert device_type(f"{start[:40]}{agent}{start[40:]}") in known
    if isinstance(agent, str):
        assert quick_device(agent, str(hint)) in known


def test_a_mapping_that_raises_is_no_hint() -> None:
    assert device_type(WINDOWS, Rude({"a": "b"})) == "desktop"


@pytest.mark.parametrize(
    "piece", ["x", "Mozilla/5.0 (", "Android ", "; ", "a/1.", " " * 9, "(", "Windows NT ", "²", "İ"]
)
def test_hostile_agents_take_bounded_time(piece: str) -> None:
    """8 KB that regular expressions dislike: parsed whole, user-agents takes tens of milliseconds for each."""
    begun = time.process_time()
    for number in range(20):
        agent = f"Mozilla/5.0 (Linux; Android {number}; " + piece * (8192 // len(piece))
        assert device_type(agent) in ("mobile", "desktop", "unknown")
        assert quick_device(agent, "") in ("mobile", "desktop", "unknown")
    assert time.process_time() - begun < 0.5


def test_a_giant_user_agent_is_read_at_its_beginning_only() -> None:
    begun = time.process_time()
    assert device_type(IPHONE.ljust(LONGEST) + " (compatible; Googlebot/2.1)" * 40_000) == "mobile"
    assert time.process_time() - begun < 0.5


# -- names that are mistaken ---------------------------------------------------------------------------------------------------


def mistaken(agents: Iterable[str], expected: str) -> dict[str, str]:
    """Those that are taken for something else."""
    return {agent: device_type(agent) for agent in agents if device_type(agent) != expected}


def test_an_applications_own_name_is_no_machines_word() -> None:
    assert mistaken(agents.MOBILE, "mobile") == {}
    assert mistaken(agents.DESKTOP, "desktop") == {}


def test_a_robot_is_one_whatever_phone_it_claims_to_be() -> None:
    assert mistaken(agents.ROBOTS, "unknown") == {}
    for agent in agents.ROBOTS:
        assert device_type(agent, {"Sec-CH-UA-Mobile": "?1", "Sec-CH-UA-Platform": '"Android"'}) == "unknown", agent


def test_scripts_televisions_and_consoles_are_neither_phones_nor_computers() -> None:
    assert mistaken(agents.SCRIPTS, "unknown") == {}
    assert mistaken(agents.TELEVISIONS, "unknown") == {}


def test_the_corpus_is_large_and_says_the_same_in_any_case() -> None:
    assert len(agents.CORPUS) >= 700
    assert mistaken(map(str.upper, agents.MOBILE), "mobile") == {}
    assert mistaken(map(str.upper, [*agents.ROBOTS, *agents.SCRIPTS, *agents.TELEVISIONS]), "unknown") == {}


KNOWN = sorted(agents.CORPUS)
PIECES = st.sampled_from(sorted({piece for agent in KNOWN for piece in re.split(r"(?<=[ ;()])", agent)}))
MADE = st.lists(PIECES, max_size=8).map("".join) | st.sampled_from(KNOWN) | st.text(max_size=300)


@given(MADE, st.sampled_from(["", "?0", "?1", "junk"]))
@settings(max_examples=500)
def test_the_verdict_for_every_request_and_that_of_the_records_agree(agent: str, hint: str) -> None:
    headers = {"Sec-CH-UA-Mobile": hint}
    assert device_type(agent, headers) == quick_device(agent, client_hint(headers))
    context = new_context(endpoint="/", method="GET", ip="", headers={"User-Agent": agent, **headers})
    assert context.device_type == context.quick_device
    assert context.looks_mobile == (context.device_type == "mobile")


@given(st.from_regex(r"\A[A-Za-z][A-Za-z]{2,20}( [A-Z][a-z]+)?\Z"), st.sampled_from(agents.OF_PHONES))
def test_an_application_may_have_any_name_that_is_no_robots(name: str, pattern: str) -> None:
    assume(not _ROBOTS.search(name.lower()))
    assert device_type(pattern.format(name=name)) == "mobile"


def test_a_verdict_takes_microseconds() -> None:
    begun = time.process_time()
    for number in range(200):
        for agent in KNOWN[:: len(KNOWN) // 20]:
            quick_device(f"{agent} {number}", "")
    assert (time.process_time() - begun) / 4000 < 0.0002


def test_another_parser_takes_no_phone_for_a_computer_or_the_other_way_round() -> None:
    """An oracle of somebody else's: ``user-agents`` on uap-core. It does not know all robots, and takes names for some."""
    seen = 0
    for agent, expected in agents.CORPUS.items():
        parsed = user_agents.parse(agent)
        if not agent.startswith("Mozilla/") or expected == "unknown" or parsed.is_bot:
            continue
        says_phone = parsed.is_mobile or parsed.is_tablet
        says = "mobile" if says_phone else "desktop" if parsed.is_pc else None
        assert says in (None, expected), agent
        seen += says is not None
    assert seen > 100


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " Version/17.1 Mobile/15E148 Safari/604.1",
            "iPhone, iOS 17.1, Mobile Safari 17.1",
        ),
        ("Dalvik/2.1.0 (Linux; U; Android 13; SM-S908B Build/TP1A)", "Samsung SM-S908B, Android 13"),
        ("okhttp/4.9.0", "okhttp 4.9.0"),
        ("", None),
        ("?", None),
    ],
)
def test_who_reads_a_record_is_told_device_system_and_client(agent: str, words: str | None) -> None:
    assert description(agent) == words


@given(agent=st.text(max_size=400))
def test_any_agent_has_a_description_or_none(agent: str) -> None:
    found = description(agent)
    assert found is None or 0 < len(found) <= 3 * LONGEST


TURNS = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from prodfix.request.devices import description

turns = 0
def others():
    global turns
    while True:
        gevent.sleep(0.001)
        turns += 1

gevent.spawn(others)
gevent.sleep(0)
if sys.argv[1] == "control":
    import user_agents.parsers
else:
    assert description("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)") == "iPhone, iOS 17.0, Mobile Safari UI/WKWebView"
print(turns)
"""


def test_the_first_description_lets_other_requests_go_on() -> None:
    def turns(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", TURNS, how], capture_output=True, text=True, timeout=60, check=True
        )
        return int(done.stdout)

    assert turns("described") >= 5
    assert turns("control") <= 1
