"""What an alert says: our words, codes and counts; nothing secret is in it, whatever is planted where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymongo.errors import AutoReconnect

from prodfix.alerts import agreement, messages
from prodfix.alerts.conditions import JournalUse
from prodfix.alerts.delivery import REASONS
from prodfix.alerts.leader_state import FILE
from prodfix.alerts.messages import LONGEST, WORDS, Origin
from prodfix.redaction.redactor import redact_document
from tests.support.alert_instances import Instance
from tests.support.counting_worker import Clock

CANARY = "canary7f3a"
ORIGIN = Origin("web-1", "v7", lambda: "https://example.org/api/v1/diagnostics")
SINCE = 1_800_000_000.0


def body(kind: Any = "memory", part: Any = "begin", facts: Any = None, **more: Any) -> str:
    return messages.body(kind, part, facts or {}, more.pop("origin", ORIGIN), severity="critical", since=SINCE, **more)


def test_a_beginning_says_what_it_means_since_when_and_where() -> None:
    assert messages.title("memory", "begin", "critical") == "[critical] Server crash imminent: memory"
    assert body(facts={"usedMb": 470, "limitMb": 512, "workers": 2}).splitlines() == [
        WORDS["memory"].meaning,
        "",
        "severity: critical",
        "since: 2027-01-15T08:00:00.000Z",
        "workers: 2",
        "used MB: 470",
        "limit MB: 512",
        "instance: web-1",
        "release: v7",
        "details: https://example.org/api/v1/diagnostics?timeRange=1h#workers",
    ]


def test_a_subject_names_the_instance_too() -> None:
    ended = messages.subject("database_lost", "end", "critical", ORIGIN, {"workers": "4 of 4"})
    assert ended == "[over] The database answers again (web-1)"
    forged = messages.subject("memory", "begin", "critical", Origin("a\nBcc: x"), {})
    assert "\n" not in forged


def test_of_one_kind_of_error_a_subject_says_which() -> None:
    facts = {"error": "INTERNAL_ERROR (KeyError) in shop/cart.py:add", "fingerprint": "f"}
    told = [messages.subject("new_kind", part, "error", ORIGIN, facts) for part in ("begin", "end")]  # type: ignore[arg-type]
    assert told == [
        "[error] A new kind of error: INTERNAL_ERROR (KeyError) in shop/cart.py:add (web-1)",
        "[over] The new kind of error is resolved or ignored: INTERNAL_ERROR (KeyError) in shop/cart.py:add (web-1)",
    ]
    many = messages.subject("new_kind", "begin", "error", ORIGIN, facts | {"kinds": 3, "errors": [facts["error"], "b"]})
    assert many == "[error] 3 new kinds of errors (web-1)"
    forged = messages.subject("regression", "begin", "error", ORIGIN, {"error": "a\nBcc: x" + "y" * 10_000})
    assert "\n" not in forged
    assert len(forged) < 200


def test_an_end_says_how_long_it_lasted() -> None:
    assert messages.title("database_lost", "end", "critical") == "[over] The database answers again"
    assert body(
        "database_lost", "end", {"workers": "4 of 4"}, until=SINCE + 61.4, origin=Origin("web-1")
    ).splitlines() == [
        "severity: critical",
        "since: 2027-01-15T08:00:00.000Z",
        "until: 2027-01-15T08:01:01.400Z",
        "lasted seconds: 61",
        "instance: web-1",
    ]


def test_what_was_held_back_is_mentioned() -> None:
    assert body(held=3, most=20).endswith("\n\nnot sent before this one: 3 (ALERT_MAX_PER_HOUR is 20)")
    assert "not sent" not in body(held=0, most=20)


@pytest.mark.parametrize("kind", WORDS)
def test_every_kind_has_a_text_for_its_beginning_and_its_end(kind: Any) -> None:
    assert WORDS[kind].meaning
    for part in ("begin", "more") + (("end",) if kind != "regression" else ()):
        assert len(messages.title(kind, part, "error")) > 15  # type: ignore[arg-type]
        assert "severity: critical" in body(kind, part, until=SINCE + 1)


def test_a_fact_forges_no_line_and_is_not_endless() -> None:
    text = body("regression", facts={"error": "a\nseverity: none\u2028\x1b[31m" + "x" * 10_000, "fingerprint": "f"})
    assert text.count("\n") == body("regression", facts={"error": "a", "fingerprint": "f"}).count("\n")
    assert "\x1b" not in text
    assert len(text) < LONGEST
    assert len(body(origin=Origin("i" * 100_000))) == LONGEST


def test_what_looks_like_a_secret_is_redacted() -> None:
    text = body("journal_failing", facts={"reason": f"mongodb://u:{CANARY}@db.example.org/x password={CANARY}"})
    assert CANARY not in text
    assert "reason: mongodb://***" in text


def test_a_test_says_so() -> None:
    title, text = messages.trial(ORIGIN, SINCE)
    assert title == "[test] Alerts arrive (web-1)"
    assert "sent: 2027-01-15T08:00:00.000Z\ninstance: web-1\nrelease: v7\ndetails: https" in text


def test_redaction_leaves_our_own_words_as_they_are() -> None:
    ours = [text for words in WORDS.values() for text in (words.begin, words.end, words.meaning)]
    assert [text for text in (*ours, *REASONS.values()) if messages.clean(text) != text] == []
    assert messages.clean("the credentials: check them") != "the credentials: check them", "the control"


def planted(one: Instance) -> None:
    """Everything goes wrong, and all that comes along holds what nobody may see."""
    secret = f"mongodb://user:{CANARY}@{CANARY}.example.org:27017/?x={CANARY}"
    one.sees(
        "database_lost",
        "error_rate",
        losses=9,
        connection={"state": "error", "lastError": secret},
        servers=[{"address": f"{CANARY}.example.org:27017"}],
        network={"lastHeartbeatError": CANARY, "topology": CANARY},
        logs={"sinks": [{"name": "error.log", "failing": f"password={CANARY}"}]},
        journal={"failing": secret},
    )
    one.backlog = JournalUse(3, 0.9)
    one.alerts.happened(
        "regression", {"fingerprint": "f", "message": f"token={CANARY}", "releases": [f"{CANARY}@example.org"]}
    )


def test_no_canary_arrives_or_is_logged_or_kept_with_the_alerts(
    tmp_path: Path, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> Any:
        raise AutoReconnect(f"{CANARY}.example.org:27017: refused")

    monkeypatch.setattr(agreement, "server_time", refuse)
    channels = {"json #1": f"json://user:{CANARY}@{CANARY}.example.org/", "json #2": f"json://{CANARY}"}
    one = Instance("a", tmp_path, Clock(SINCE), database, channels=channels)
    one.programs.failing["json #1"] = "credentials"
    planted(one)
    one.turns(12)
    assert len(one.titles) == 8, "each of them was told"
    arrived = str([(job["title"], job["body"]) for job in one.programs.arrived])
    logged = str([redact_document(line) for line in one.told])  # as prodfix.logs does
    rows = str(orjson.loads((one.folder / FILE).read_bytes())["state"]["notifications"])
    for shown in (arrived, logged, rows, str(redact_document(one.alerts.read().to_json()))):
        assert CANARY not in shown
    assert CANARY in str(one.told), "the control: what is logged without redaction"
    assert CANARY in str(one.programs.arrived), "and the URLs, which the program has"
    files = b"".join(path.read_bytes() for path in one.folder.iterdir() if path.is_file())
    assert channels["json #2"].encode() not in files
    assert b"json #2" in files, "the control: this is where it would stand"
    one.kill()


@pytest.mark.parametrize("where", ["title", "body"])
def test_the_detector_of_canaries_does_fire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    clean: Callable[[str], str] = messages.clean
    monkeypatch.setattr(messages, "clean", lambda text: clean(text) + CANARY)
    one = Instance("a", tmp_path, Clock(SINCE))
    one.backlog = JournalUse(1, 0.0)
    one.turns(3)
    assert CANARY in one.programs.arrived[0][where]
    one.kill()


@pytest.mark.parametrize("number", [1, 12, 50])
def test_a_summary_of_many_says_how_many_it_has_no_room_for_and_where_they_are(number: int) -> None:
    one = {"kind": "new_kind", "severity": "error", "since": SINCE, "error": "KeyError in " + "x" * 100}
    origin = Origin("srv-1", "v7", lambda: "https://shop.example.org/diagnostics")
    title, text = messages.summary([one] * number, 3, "quiet", origin)
    lines = text.splitlines()
    listed = sum("KeyError in " in line for line in lines)
    assert f"and {number + 3 - listed} more" in lines
    assert title.startswith(f"[summary] {number + 3} ")
    assert lines[-1] == "details: https://shop.example.org/diagnostics/page/alerts"
    assert len(text) <= LONGEST
    assert (listed < number) is (number == 50), "the control: a few have room"
