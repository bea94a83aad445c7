"""What the workers of one instance see of each other, whatever becomes of one of them, of the file, or of the machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodfix.instance import presence as module
from prodfix.instance.heartbeat import CAUSE, ERROR, KEY, OWNER, SIZE, Heartbeat, PingReport, decode, encode
from prodfix.instance.presence import FILE, FREE, GONE, HEAD, SILENT, Places, Presence
from tests.support.processes import in_child

moments = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=OWNER)
texts = names.map(lambda text: text[: min(ERROR, CAUSE)])
reports = st.builds(
    PingReport,
    *[moments] * 3,
    good=st.booleans(),
    latency_ms=moments,
    failures=st.integers(0, 2**32 - 1),
    error=texts,
    cause=texts,
    refused=st.booleans(),
    misconfigured=st.booleans(),
    alone=st.booleans(),
)
beats = st.builds(
    Heartbeat,
    names.filter(bool),
    *[moments] * 5,
    version=st.integers(0, 2**63),
    database=st.binary(min_size=KEY, max_size=KEY).filter(lambda key: not key.endswith(b"\0")),
    ping=st.none() | reports,
)


@given(beats)
def test_what_is_told_is_what_is_read(beat: Heartbeat) -> None:
    content = encode(beat)
    assert len(content) == SIZE
    assert decode(content) == beat


@given(beats, st.integers(0, 8 * 200), st.binary(max_size=SIZE))
def test_what_is_not_as_it_was_written_is_nobody(beat: Heartbeat, bit: int, noise: bytes) -> None:
    content = bytearray(encode(beat))
    content[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(content)) != beat
    assert decode(bytes(content)) is None
    assert decode(noise) is None
    assert decode(bytes(SIZE)) is None


@pytest.mark.parametrize("text", ["é" * 99, "\ud800 broken", "x" * 1000])
def test_a_text_is_cut_and_breaks_nothing(text: str) -> None:
    told = decode(encode(Heartbeat("a", 1.0, ping=PingReport(error=text))))
    assert told is not None
    assert told.ping is not None
    assert len(told.ping.error) <= ERROR


# -- the file ---------------------------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Instance:
    """Workers of one folder."""

    def __init__(self, folder: Path, clock: Clock, stack: ExitStack) -> None:
        self.folder, self.clock, self._stack = folder, clock, stack

    def worker(self) -> Presence:
        made = Presence(self.folder, clock=self.clock)
        made._places._clock = self.clock
        made.open()
        self._stack.callback(made.close)
        return made

    def beat(self, presence: Presence, owner: str, **facts: Any) -> set[str]:
        """The others that it sees."""
        return {one.owner for one in presence.exchange(Heartbeat(owner, self.clock.now, **facts))}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with ExitStack() as stack:
        yield Instance(tmp_path / "journal", Clock(), stack)


def test_each_sees_the_others_and_who_leaves_is_gone_at_once(instance: Instance) -> None:
    first, second = instance.worker(), instance.worker()
    assert instance.beat(first, "a") == set()
    assert instance.beat(second, "b", version=7) == {"a"}
    assert [(one.owner, one.version) for one in first.exchange(Heartbeat("a", instance.clock.now))] == [("b", 7)]
    assert {one.owner for one in first.read()} == {"a", "b"}
    second.close()
    assert instance.beat(first, "a") == set()


def test_one_that_is_killed_or_stopped_is_gone_after_a_while(instance: Instance) -> None:
    first, second = instance.worker(), instance.worker()
    instance.beat(second, "b")
    assert instance.beat(first, "a") == {"b"}
    instance.clock.now += GONE - 0.1
    assert {one.owner for one in first.others()} == {"b"}
    instance.clock.now += 0.2
    assert first.others() == []
    assert {one.owner for one in first.read()} == {"a", "b"}, "it may have much to do"
    instance.clock.now += SILENT - GONE
    assert first.read() == []
    instance.beat(second, "b")
    assert instance.beat(first, "a") == {"b"}, "it goes on"


def test_workers_that_begin_together_have_places_of_their_own_soon(instance: Instance) -> None:
    workers = {f"w{number}": instance.worker() for number in range(12)}
    seen: list[set[str]] = []
    for _ in range(6):  # two may have chosen the same place, and each that finds another in its own chooses again
        seen = [instance.beat(one, name) for name, one in workers.items()]
    assert seen == [set(workers) - {name} for name in workers]


def test_a_place_that_is_taken_is_left_to_its_new_owner(instance: Instance) -> None:
    first, second = instance.worker(), instance.worker()
    instance.beat(first, "a")
    file = os.open(instance.folder / FILE, os.O_RDWR)
    os.pwrite(file, encode(Heartbeat("b", instance.clock.now)), HEAD + first._places._place * SIZE)  # type: ignore[operator]
    os.close(file)
    second._places._place = first._places._place
    assert instance.beat(first, "a") == {"b"}
    assert instance.beat(second, "b") == {"a"}
    assert first._places._place != second._places._place


def test_places_of_the_dead_are_used_again(instance: Instance) -> None:
    for _ in range(20):
        for number in range(5):
            instance.beat(instance.worker(), f"{instance.clock.now}-{number}")
        instance.clock.now += FREE + 1
    assert (instance.folder / FILE).stat().st_size <= HEAD + 30 * SIZE
    assert (instance.folder / FILE).stat().st_mode & 0o777 == 0o600


def test_after_a_restart_of_the_machine_nothing_of_before_counts(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    instance.beat(instance.worker(), "before")
    assert instance.beat(instance.worker(), "control") == {"before"}
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "boot")
    module._head.cache_clear()
    try:
        assert Presence(instance.folder, clock=instance.clock).read() == []
        assert instance.beat(instance.worker(), "after") == set()
    finally:
        module._head.cache_clear()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"something else" * 1000),
        lambda path: os.truncate(path, HEAD + SIZE // 2),
        lambda path: path.unlink(),
    ],
)
def test_a_file_that_is_spoilt_is_whole_again_after_the_next_look_of_each(
    instance: Instance, spoil: Callable[[Path], Any]
) -> None:
    first, second = instance.worker(), instance.worker()
    instance.beat(first, "a")
    instance.beat(second, "b")
    spoil(instance.folder / FILE)
    for _ in range(3):
        seen = instance.beat(first, "a"), instance.beat(second, "b")
    assert seen == ({"b"}, {"a"})
    assert first.failure is None


def test_where_nothing_can_be_written_nobody_is_seen_and_the_reason_is_told(instance: Instance) -> None:
    instance.folder.parent.mkdir(exist_ok=True)
    instance.folder.write_text("a file in place of the folder")
    alone = instance.worker()
    assert instance.beat(alone, "a") == set()
    assert alone.failure is not None
    assert str(instance.folder) not in alone.failure
    assert alone.read() == []
    instance.folder.unlink()
    assert instance.beat(alone, "a") == set()
    assert alone.failure is None
    assert [one.owner for one in alone.read()] == ["a"]


def test_a_disk_that_hangs_is_not_waited_for(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging, go_on = instance.worker(), threading.Event()
    instance.beat(hanging, "a")
    real = hanging._places.exchange

    def hang(own: Heartbeat) -> list[Heartbeat]:
        go_on.wait(30)
        return real(own)

    monkeypatch.setattr(hanging._places, "exchange", hang)
    for limit in (1.0, 0.1, 0.1):  # once its reason is known, nobody waits for it any more
        begun = time.monotonic()
        assert instance.beat(hanging, "a") == set()
        assert time.monotonic() - begun < limit
        assert hanging.failure == "TimeoutError"
    go_on.set()
    end = time.monotonic() + 10
    while hanging.failure is not None:
        instance.beat(hanging, "a")
        assert time.monotonic() < end


def test_who_is_no_worker_reads_and_takes_no_place(instance: Instance) -> None:
    reader = Presence(instance.folder, clock=instance.clock)
    assert reader.read() == []
    assert not instance.folder.exists()
    instance.beat(instance.worker(), "a")
    before = (instance.folder / FILE).read_bytes()
    assert [one.owner for one in reader.read()] == ["a"]
    assert reader.exchange(Heartbeat("reader", instance.clock.now)) == []
    assert (instance.folder / FILE).read_bytes() == before


def test_a_forked_child_begins_with_nothing_of_its_parent(instance: Instance) -> None:
    parent = instance.worker()
    instance.beat(parent, "parent")

    def child() -> str:
        assert not parent.opened
        parent.open()
        seen = {one.owner for one in parent.exchange(Heartbeat("child", instance.clock.now))}
        assert parent._places._place is not None
        return ",".join(seen)

    assert in_child(child) == "parent"
    assert instance.beat(parent, "parent") == {"child"}


def test_places_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    found = [Places(tmp_path / FILE) for _ in range(5)]
    for number, one in enumerate(found):
        one.exchange(Heartbeat(str(number), time.monotonic()))
    assert sorted(one._place is None for one in found) == [False, False, False, True, True]
