"""The benchmark of the quiet guest: what it takes for ours, and what it says of it."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest

from benchmarks.builds import ROOT, WORKING_TREE, NoSuchBuild, builds
from benchmarks.guest_parts import Row, _ratio
from benchmarks.instances import APPLICATION, READS, Sent
from benchmarks.report import guest_table

COMMANDS = Counter(
    {
        ("hello", ""): 50,
        ("endSessions", ""): 2,
        ("find", APPLICATION): 120,
        ("update", APPLICATION): 40,
        ("ping", ""): 10,
        ("update", "error_minutes"): 20,
        ("insert", "error_log"): 5,
        ("find", "error_groups"): 5,
    }
)
SENT = Sent(10.0, COMMANDS, Counter({key: 100 * commands for key, commands in COMMANDS.items()}), 0.5)


def test_neither_the_driver_nor_the_application_is_ours() -> None:
    assert SENT.own() == 4.0  # of 25.2 a second that pass


def test_a_ping_is_no_write() -> None:
    assert SENT.own(of=lambda name, _: name not in READS) == 2.5
    assert SENT.own(of=lambda name, _: name in READS) == 1.5


def test_bytes_for_counts_leave_out_records() -> None:
    assert SENT.bytes_for_counts() == 250.0  # of 400 that are ours
    assert sum(each["bytes"] for each in SENT.shown().values()) == 400.0


def test_a_ratio_stands_between_what_turns_drawn_anew_would_give() -> None:
    turns = [[float(value) for value in range(turn, turn + 100)] for turn in range(8)]
    assert _ratio(turns, turns) == (1.0, (1.0, 1.0))
    uneven = [[(2 if number < 6 else 4) * value for value in turn] for number, turn in enumerate(turns)]
    ratio, (low, high) = _ratio(uneven, turns)
    assert 2 <= low < ratio <= high < 4.1


@pytest.mark.parametrize(
    ("now", "control", "verdict"),
    [(1.04, 1.0, "held"), (1.06, 1.0, "missed"), (1.04, 1.2, "noise"), (None, None, "not measured")],
)
def test_a_control_that_differs_more_than_what_is_looked_for_says_noise(
    now: float | None, control: float | None, verdict: str
) -> None:
    assert Row("p99", "x", None, now, 1.05, control).verdict == verdict


def test_the_report_has_the_table_with_what_was_missed() -> None:
    row = {"what": "p99", "unit": "x", "today": 1.1, "now": 1.2, "most": 1.05, "control": 1.0, "interval": (1.1, 1.3)}
    answer = {
        "builds": {"today": "7eb0a35", "now": "HEAD"},
        "environment": {"load": [0.5, 0.4, 0.3]},
        "seconds": 700,
        "rows": [{**row, "verdict": "missed"}, {**row, "now": None, "interval": None, "verdict": "not measured"}],
    }
    first, second = guest_table(answer).strip().splitlines()[-2:]
    assert first == "| p99 | x 1.100 | x 1.200 | 1.000 | 1.10–1.30 | 1.050 | missed |"
    assert second == "| p99 | x 1.100 |  | 1.000 |  | 1.050 | not measured |"


def test_a_build_is_checked_out_and_gone_afterwards() -> None:
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("this is no clone")
    with builds("HEAD", WORKING_TREE) as (checked_out, here):
        assert here == ROOT
        assert (checked_out / "prodfix" / "__init__.py").exists()
    assert not checked_out.exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert str(checked_out) not in listed
    with pytest.raises(NoSuchBuild), builds("no-such-revision"):
        pass
