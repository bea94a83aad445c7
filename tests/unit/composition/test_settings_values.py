"""A connection string is checked without the DNS, and refused without a word of it."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from prodfix.settings_values import NO_URI, check_uri, level, moment

CANARY = "canary7f3a"
GOOD = [
    "mongodb://localhost",
    "mongodb://h1:27017,h2:27018/app?replicaSet=r&w=majority",
    "mongodb://u:p%40%2F%3A@h/app",
    "mongodb://[::1]:27017/app",
    "mongodb://%2Ftmp%2Fmongodb-27017.sock/app",
    "mongodb://h/?notKnown=1",  # the driver only warns
    "mongodb+srv://u:p%40@cluster0.ab1cd.mongodb.net/app?retryWrites=true",
    "mongodb+srv://c.example.org/?w=1&srvMaxHosts=2",
    "mongodb+srv://c.example.org/?srvServiceName=x&w=1",
]
BAD = [
    "://u:CANARY@x@h",
    "://u:CANARY/x@h/db",
    "://u:1/CANARY@h/db",
    "://u:1?CANARY@h/db",
    "://u:a:CANARY@h",
    "://u:CANARY%@h",
    "://u:%zzCANARY@h",
    "://CANARY:65536",
    "://CANARY:0",
    "://CANARY:x",
    "://CANARY:",
    "://",
    ":///CANARY",
    "://u:CANARY@",
    "://u:CANARY@/db",
    "://CANARY,,h",
    "://[CANARY",
    "://CANARY h/db",
]


@pytest.fixture(autouse=True)
def _no_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("uri", GOOD)
def test_what_the_driver_takes_is_taken_and_nothing_is_resolved(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
@pytest.mark.parametrize("rest", BAD)
def test_what_it_refuses_is_refused_in_one_line_that_shows_nothing(scheme: str, rest: str) -> None:
    with pytest.raises(ValueError, match="percent-encoded") as caught:
        check_uri(scheme + rest.replace("CANARY", CANARY))
    assert str(caught.value) == NO_URI
    assert caught.value.__context__ is None or caught.value.__suppress_context__  # the driver's text quotes


@pytest.mark.parametrize("place", [f"{CANARY}.example.org:27017", f"{CANARY}.example.org,h.example.org"])
def test_an_srv_name_stands_for_one_name_without_a_port(place: str) -> None:
    with pytest.raises(ValueError, match=r"^must name one host, without a port, after mongodb\+srv://$"):
        check_uri(f"mongodb+srv://{place}/")


def test_a_file_that_is_not_there_is_no_matter_of_percent_signs() -> None:
    with pytest.raises(ValueError, match=r"^names a file that cannot be read") as caught:
        check_uri(f"mongodb://h/?tls=true&tlsCAFile=/{CANARY}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("text", ["debug", "verbose", "", "5"])
def test_another_level_stays_what_it_is(text: str) -> None:
    assert level(text) == text


@pytest.mark.parametrize(
    "text", ["0", "5", "0.5", "-1", "2026", "202611", "99999999999", "1764000000000", "\u0661" * 10, "NaN", "1e9"]
)
def test_a_number_that_is_no_second_of_our_time_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="must be a moment such as"):
        moment(text)


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("1764000000", "2025-11-24T16:00:00+00:00"),
        ("20261126", "2026-11-26T00:00:00+00:00"),  # a date, and not a day of 1970: tokens are taken back by it
        ("2026-11-26", "2026-11-26T00:00:00+00:00"),
        ("2026-11-26T12:00:00Z", "2026-11-26T12:00:00+00:00"),
    ],
)
def test_a_date_is_a_moment_and_so_are_seconds(text: str, iso: str) -> None:
    assert moment(text).isoformat() == iso
