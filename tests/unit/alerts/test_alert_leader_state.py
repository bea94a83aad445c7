"""The leader's file: whole or not at all, whatever is killed; known to be damaged if it is; bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.alerts import leader_state
from prodfix.alerts.alert import Alert
from prodfix.alerts.conditions import Condition
from prodfix.alerts.leader_state import FILE, KEPT, LOCK, LeaderState, Totals, decode, encode, read, write
from prodfix.alerts.notifications import KEPT as SHOWN
from prodfix.alerts.notifications import LATE, Delivery, Notification
from tests.support.alert_instances import Instance, Killed, Steps, step_files

NOW = 1_800_000_000.0


def firing(key: str = "dead_letters@a") -> Alert:
    alert = Alert(key, "dead_letters")
    for at in (NOW, NOW + 1):
        alert.see(Condition({"dead": 2}, 2), at)
    return alert


def notification(number: int = 1) -> Notification:
    channels = {"json #1": Delivery("delivered", 1), "json #2": Delivery("waiting", 2, NOW + 0.1, "timeout", True)}
    return Notification(f"{number}:begin", "k", "memory", "begin", "critical", "t", "b\u2028ü", NOW + number, channels)


def filled() -> LeaderState:
    return LeaderState({"dead_letters@a": firing()}, {"1:begin": notification()}, Totals(3, 1, 2, 1))


def test_the_next_leader_has_all_of_it(tmp_path: Path) -> None:
    write(tmp_path, encode(filled()))
    found = read(tmp_path)
    assert (list(found.alerts), found.totals) == (["dead_letters@a"], Totals(3, 1, 2, 1))
    assert found.notifications == {"1:begin": notification()}
    assert encode(found) == encode(decode(encode(found)))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_whatever_byte_is_another_one_it_is_not_what_was_written(at: int, change: int) -> None:
    content = bytearray(encode(filled()))
    content[at % len(content)] ^= change
    try:
        found = decode(bytes(content))
    except ValueError:
        return
    assert encode(found) == encode(filled()), "white space and other ways to write the same"


@given(st.integers(0, 10_000))
def test_what_is_torn_is_not_taken_for_whole(length: int) -> None:
    content = encode(filled())
    with pytest.raises(ValueError, match=r".*"):
        decode(content[: length % len(content)])


@pytest.mark.parametrize(
    "content", [b"", b"7", b"[]", b"null", b"{}", b'{"crc": 0}', b'{"crc": 0, "state": null}', b"\0" * 4096]
)
def test_what_is_something_else_is_not_taken_for_it(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode(content)


def test_where_nobody_has_led_there_is_nothing_and_where_somebody_has_it_is_missing(tmp_path: Path) -> None:
    assert read(tmp_path) == LeaderState()
    (tmp_path / LOCK).touch()
    with pytest.raises(FileNotFoundError):
        read(tmp_path)


def test_what_stands_there_is_not_written_again_and_what_does_not_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, path = encode(filled()), tmp_path / FILE
    synced: list[int] = []
    monkeypatch.setattr(leader_state, "sync_folder", synced.append)
    for expected in (1, 1):
        write(tmp_path, content)
        assert len(synced) == expected
    for harm in (path.unlink, lambda: path.write_bytes(content[:50])):
        harm()
        write(tmp_path, content)
        assert path.read_bytes() == content
    assert len(synced) == 3


def test_killed_at_any_step_of_writing_it_is_the_old_one_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = encode(LeaderState()), encode(filled())
    step_files(monkeypatch)
    found = []
    for at in range(1, 20):
        Instance.turning = type("Turning", (), {"steps": Steps()})()  # type: ignore[assignment]
        Instance.turning.steps.at = None
        write(tmp_path, old)
        Instance.turning.steps = Steps()
        Instance.turning.steps.at = at
        try:
            write(tmp_path, new)
        except Killed:
            found.append((tmp_path / FILE).read_bytes())
        else:
            break
    assert set(found) == {old, new}
    assert len(found) == 4


def test_a_full_disk_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, encode(LeaderState()))

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(leader_state.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path, encode(filled()))
    assert read(tmp_path) == LeaderState()


def test_it_is_bounded(tmp_path: Path) -> None:
    state = LeaderState(
        {f"regression:{number}": Alert(f"regression:{number}", "regression", since=NOW) for number in range(200)},
        {f"{number}:begin": notification(number) for number in range(300)},
    )
    state.alerts["dead_letters@a"] = firing()
    waits = state.alerts["memory@a"] = Alert("memory@a", "memory", since=NOW, until=NOW, owed="end")
    state.prune(NOW + KEPT - 1)
    assert len(state.alerts) == 202
    state.prune(NOW + KEPT + LATE)
    assert set(state.alerts) == {"dead_letters@a", "memory@a"}, "what fires, and what is still to be told"
    assert (len(state.notifications), waits.owed) == (SHOWN, "end")


def test_what_a_later_release_has_added_is_left_out() -> None:
    content: dict[str, Any] = orjson.loads(encode(filled()))["state"]
    content["alerts"]["x"] = {"key": "x", "kind": "later"}
    content["alerts"]["dead_letters@a"]["colour"] = "red"
    content["notifications"]["1:begin"]["colour"] = content["totals"]["colour"] = "red"
    crc = leader_state.zlib.crc32(orjson.dumps(content))
    found = decode(orjson.dumps({"crc": crc, "state": content}))
    assert (set(found.alerts), found.totals) == ({"dead_letters@a"}, Totals(3, 1, 2, 1))


@pytest.mark.parametrize("state", [None, 7, [], {}, {"alerts": []}, {"alerts": {"a": 7}}, {"alerts": {}, "totals": 7}])
def test_what_has_the_right_checksum_and_another_form_is_refused_too(state: Any) -> None:
    crc = leader_state.zlib.crc32(orjson.dumps(state))
    with pytest.raises(ValueError, match=r".*"):
        decode(orjson.dumps({"crc": crc, "state": state}))


@pytest.mark.parametrize("depth", [10, 600, 1000])
def test_what_is_nested_too_deep_is_damaged_and_no_error_of_another_kind(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    with pytest.raises(ValueError):
        decode(b'{"crc": 1, "state": {"alerts": {}, "x": ' + nested + b"}}")
