"""W3C Trace Context and Baggage: what is taken, what is refused, and what goes on."""

from __future__ import annotations

import time

import pytest

from prodfix import trace_headers
from prodfix.request.context import new_context, reset_context, set_context
from prodfix.request.trace_context import (
    LARGEST_BAGGAGE,
    LONGEST_STATE,
    MEMBERS,
    MOST_BAGGAGE,
    baggage,
    baggage_items,
    trace_state,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def headers_of(**headers: str) -> dict[str, str]:
    context = new_context(endpoint="/", method="GET", ip="", headers=headers)
    token = set_context(context)
    try:
        return trace_headers()
    finally:
        reset_context(token)


@pytest.mark.parametrize(
    ("parent", "valid"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-ff", True),
        (f"00-{TRACE}-{SPAN}-01-more", False),
        (f"00-{TRACE}-{SPAN}-01-", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"01-{TRACE}-{SPAN}-01-more-of-it", True),
        (f"cc-{TRACE}-{SPAN}-01-", True),
        (f"01-{TRACE}-{SPAN}-01more", False),
        (f"ff-{TRACE}-{SPAN}-01", False),
        (f"00-{'0' * 32}-{SPAN}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN.upper()}-01", False),
        (f"0A-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-1", False),
        (f"00-{TRACE}-{SPAN}", False),
        (f" 00-{TRACE}-{SPAN}-01", False),
        (f"00-{TRACE}-{SPAN}-01\n", False),
        (f"00-{TRACE[:-1]}-{SPAN}-01", False),
    ],
)
def test_a_traceparent_is_handed_on_if_it_is_one_and_its_state_with_it(parent: str, valid: bool) -> None:
    found = headers_of(traceparent=parent, tracestate="a=1", baggage="k=v")
    assert (found["traceparent"][3:52] == f"{TRACE}-{SPAN}", found.get("tracestate") == "a=1") == (valid, valid)
    assert found["traceparent"].startswith("00-")  # what we know of
    assert found["baggage"] == "k=v"  # stands for itself


@pytest.mark.parametrize(("flags", "sent"), [("00", "00"), ("01", "01"), ("03", "01"), ("fe", "00")])
def test_of_its_flags_only_what_version_00_knows_goes_on(flags: str, sent: str) -> None:
    assert headers_of(traceparent=f"00-{TRACE}-{SPAN}-{flags}")["traceparent"].endswith(f"-{sent}")


def test_without_a_parent_what_is_asked_has_the_trace_and_the_request_of_who_asks() -> None:
    context = new_context(endpoint="/", method="GET", ip="", headers={"X-Request-ID": "request-0001"})
    token = set_context(context)
    try:
        first = trace_headers()
    finally:
        reset_context(token)
    version, trace, span, flags = first["traceparent"].split("-")
    assert (version, trace, flags, len(span)) == ("00", context.trace_id, "00", 16)
    assert (first["X-Request-ID"], set(first)) == ("request-0001", {"X-Request-ID", "traceparent"})
    assert trace_headers() == {}  # of no request


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("b=2,a=1", "b=2,a=1"),
        (" b=2 ,\ta=1,, ", "b=2,a=1"),
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("1tenant@sys=x y", "1tenant@sys=x y"),
        ("a*/_-9=v", "a*/_-9=v"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("9a=1", ""),
        ("a=", ""),
        ("a=1=2", ""),
        ("a", ""),
        ("a=é", ""),
        ("a=\x01", ""),
        ("a" * 257 + "=1", ""),
        ("a=" + "v" * 257, ""),
        (",".join(f"k{number}=v" for number in range(MEMBERS)), None),
        (",".join(f"k{number}=v" for number in range(MEMBERS + 1)), ""),
        ("", ""),
    ],
)
def test_a_tracestate_keeps_its_order_or_is_dropped_whole(header: str, kept: str | None) -> None:
    assert trace_state(header) == (header if kept is None else kept)


def test_of_a_tracestate_that_is_too_long_long_members_go_first_then_the_last() -> None:
    long, short = f"long={'v' * 200}", [f"k{number}={'v' * 30}" for number in range(12)]
    found = trace_state(",".join([short[0], long, *short[1:]])).split(",")
    assert found == short
    many = [f"k{number}={'v' * 40}" for number in range(20)]
    found = trace_state(",".join(many)).split(",")
    assert found == many[: len(found)]
    assert LONGEST_STATE - 45 < len(",".join(found)) <= LONGEST_STATE


def test_baggage_keeps_what_is_some_in_its_order_within_its_limits() -> None:
    header = "userId=alice,  serverNode=DF%2028 ,isProduction=false;prop;other = x, bad name=1,=2,none,a=\x01,empty="
    assert baggage(header) == "userId=alice,serverNode=DF%2028,isProduction=false;prop;other = x,empty="
    assert baggage_items(baggage(header)) == {
        "userId": "alice",
        "serverNode": "DF%2028",
        "isProduction": "false",
        "empty": "",
    }
    assert baggage(",".join(f"k{number}=v" for number in range(100))).count(",") == MOST_BAGGAGE - 1
    assert len(baggage(",".join(f"k{number}={'v' * 500}" for number in range(100)))) <= LARGEST_BAGGAGE


@pytest.mark.parametrize("text", ["a=" + " " * 8000 + "\x01", "a=1;" + " " * 8000 + "\x01", "a" * 8000, "=" * 8000])
def test_nothing_takes_long_to_be_refused(text: str) -> None:
    begun = time.process_time()
    baggage(text)
    trace_state(text)
    assert time.process_time() - begun < 0.05
