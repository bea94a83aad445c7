"""What a user agent says it is, and what is not known."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.devices import LONGEST, device_type

IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36"
IPAD = "Mozilla/5.0 (iPad; CPU OS 15_5 like Mac OS X) AppleWebKit/605.1.15 Version/15.5 Mobile/15E148 Safari/604.1"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15"
REDUCED = "Mozilla/5.0 (X11) AppleWebKit/537.36"


@pytest.mark.parametrize(
    "agent", [IPHONE, ANDROID, IPAD, "okhttp/4.12.0", "Dart/3.4 (dart:io)", "MyApp/1 CFNetwork/1496.0.7 Darwin/23.5.0",
              "Dalvik/2.1.0 (Linux; U; Android 14)", "Alamofire/5.9", "Expo/2.31"]
)  # fmt: skip
def test_phones_tablets_and_native_apps_are_mobile(agent: str) -> None:
    assert device_type(agent) == "mobile"


@pytest.mark.parametrize("agent", [WINDOWS, MAC, "MyApp/1 CFNetwork/1496.0.7 Darwin/23.5.0 (x86_64)"])
def test_computers_are_desktop(agent: str) -> None:
    assert device_type(agent) == "desktop"


@pytest.mark.parametrize(
    "agent", [None, "", "x", "curl/8.5.0", "python-requests/2.32", "Go-http-client/2.0", "UptimeRobot/2.0",
              "Mozilla/5.0 (compatible; Googlebot/2.1)", "Mozilla/5.0 (Linux; Android 6.0.1) (compatible; Googlebot/2.1)"]
)  # fmt: skip
def test_machines_and_the_unheard_of_are_unknown(agent: str | None) -> None:
    assert device_type(agent) == "unknown"


@pytest.mark.parametrize(
    ("agent", "hint", "expected"),
    [(WINDOWS, "?1", "mobile"), (None, "?1", "mobile"), (REDUCED, "?0", "desktop"), ("curl/8", "?0", "unknown"),
     (ANDROID, "?0", "mobile"), (IPHONE, "banana", "mobile")],
)  # fmt: skip
def test_a_client_hint_is_believed_first(agent: str | None, hint: str, expected: str) -> None:
    assert device_type(agent, {"Sec-CH-UA-Mobile": hint}) == expected


@given(agent=st.text(max_size=300), hint=st.text(max_size=4))
def test_no_header_is_too_odd(agent: str, hint: str) -> None:
    assert device_type(agent, {"Sec-CH-UA-Mobile": hint}) in ("mobile", "desktop", "unknown")


def test_a_giant_user_agent_is_read_at_its_beginning_only() -> None:
    begun = time.process_time()
    assert device_type(IPHONE.ljust(LONGEST) + " (compatible; Googlebot/2.1)" * 40_000) == "mobile"
    assert time.process_time() - begun < 0.5
