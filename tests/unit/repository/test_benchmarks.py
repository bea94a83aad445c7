"""The benchmarks' own arithmetic: what they read, compare and show. None of it measures anything."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as program
from benchmarks import callgrind, gate, stalls, tables
from benchmarks.measuring import Plan, p10, timed_figures
from benchmarks.rows import GATED, ROWS, Figure, Part, Row, chosen, instructions_of
from benchmarks.team import ROOT

HEAD = "# callgrind format\nversion: 1\npid: 7\npart: {part}\n\ndesc: Trigger: {trigger}\n\nevents: Ir\n"
VERSIONS = {"python": "3.13.0", "pymongo": "4.20.0"}


def dump(trigger: str, total: int | None, *, thread: int = 1, part: int = 1) -> str:
    """What callgrind writes with --separate-threads=yes, without the functions."""
    text = HEAD.format(part=part, trigger=trigger).replace("part:", f"thread: {thread}\npart:")
    return text + f"summary: {(total or 0) - 5}\n\nfn=(1) main\n0 7\n" + (f"\ntotals: {total}\n" if total else "")


def test_counts_are_those_of_the_first_thread_by_label() -> None:
    texts = [
        dump("Client Request: bare/find", 600),
        dump("Client Request: served/find", 900, part=2),
        dump("Client Request: served/find", 40, thread=2, part=2),
        dump("Program termination", 10**9, part=3),
    ]
    assert callgrind.parse(texts) == {"bare/find": 600, "served/find": 900}


def test_a_file_that_was_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match="cut short"):
        callgrind.parse([dump("Client Request: bare/find", None)])


def test_who_is_not_under_valgrind_cannot_count() -> None:
    if callgrind.missing() is not None and "x86-64" in str(callgrind.missing()):
        pytest.skip(str(callgrind.missing()))
    with pytest.raises(RuntimeError, match="valgrind"):
        callgrind.Counter()


def test_without_valgrind_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    assert callgrind.missing() == "valgrind is not installed (apt-get install valgrind)"
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "aarch64" in str(callgrind.missing())


ROW = Row("1", "a command", "instructions", (Part("find", "served/find", "empty/find", 1.10, 1.05),))
COUNTS = {"served/find": 1290.0, "served again/find": 1300.0, "empty/find": 1010.0, "empty again/find": 1000.0}


def figure(value: float, *, row: str = "1", part: str = "find") -> Figure:
    return Figure(row, part, "a command", "instructions", value, "x", 1.0, 1.10, 1.05, taken={"served/find": 1290.0})


def test_the_figure_is_the_lesser_count_of_both_and_the_control_is_the_base_with_itself() -> None:
    (found,) = instructions_of([ROW], COUNTS)
    assert found.value == pytest.approx(1.29)
    assert found.control == pytest.approx(1000 / 1010)
    assert found.verdict == "missed"


@pytest.mark.parametrize(("value", "verdict"), [(1.04, "aim"), (1.05, "aim"), (1.08, "held"), (1.11, "missed")])
def test_a_figure_is_held_or_missed(value: float, verdict: str) -> None:
    assert figure(value).verdict == verdict


@pytest.mark.parametrize(
    ("control", "verdict"), [(None, "aim"), (0.95, "aim"), (1.09, "aim"), (0.31, "noise"), (1.2, "noise")]
)
def test_what_differs_from_itself_says_nothing(control: float | None, verdict: str) -> None:
    assert replace(figure(0.49), control=control).verdict == verdict


def test_what_grows_by_more_than_three_in_a_hundred_fails_and_says_which_by_how_much_and_what_to_do() -> None:
    kept = {"1 find": 1.30, "1 insert": 1.40}
    passed, text = gate.verdict(gate.compare(kept, [figure(1.30 * 1.029), figure(1.40, part="insert")]))
    assert passed, text
    passed, text = gate.verdict(gate.compare(kept, [figure(1.30 * 1.031), figure(1.40, part="insert")]))
    assert not passed
    assert "GREW  1 find: x 1.3403, kept x 1.3000 (+3.1 %)" in text
    assert "ok    1 insert" in text
    assert "gate --keep" in text


def test_a_gated_figure_of_which_nothing_is_kept_is_no_pass() -> None:
    with pytest.raises(KeyError, match="1 find"):
        gate.compare({"1 insert": 1.4}, [figure(1.3)])


def test_what_got_cheaper_all_over_asks_to_be_kept() -> None:
    assert "gate --keep" in gate.verdict(gate.compare({"1 find": 1.3}, [figure(1.2)]))[1]
    assert "gate --keep" not in gate.verdict(gate.compare({"1 find": 1.3}, [figure(1.3)]))[1]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(callgrind, "version", lambda: "valgrind-3.19.0")
    path = tmp_path / "figures.json"
    gate.store([figure(1.3)], VERSIONS, path)
    return path


def test_figures_are_kept_for_one_set_of_versions_each(kept: Path) -> None:
    others = {**VERSIONS, "python": "3.11.2"}
    assert gate.kept_for(gate.load(kept), VERSIONS) == {"1 find": 1.3}
    assert gate.kept_for(gate.load(kept), others) is None
    assert gate.differences(gate.load(kept), others) == "python 3.13.0 -> 3.11.2"
    gate.store([figure(1.4)], others, kept)
    gate.store([figure(1.2)], VERSIONS, kept)
    assert [entry["ratios"] for entry in gate.load(kept)] == [{"1 find": 1.4}, {"1 find": 1.2}]
    assert gate.differences([], VERSIONS) == "nothing is kept yet"


def test_all_that_is_kept_is_gated_and_all_that_is_gated_is_kept() -> None:
    wanted = {f"{row.number} {part.name}" for row in chosen(GATED) for part in row.parts}
    entries = gate.load()
    assert entries
    for entry in entries:
        assert set(entry["ratios"]) == wanted
        assert {row.by for row in chosen(GATED)} == {"instructions"}
        assert all(0.9 < ratio < 100 for ratio in entry["ratios"].values())


def test_rows_are_chosen_by_number_and_an_unknown_one_is_refused() -> None:
    assert [row.number for row in chosen(["5", "1b"])] == ["1b", "5"]
    assert len({row.number for row in ROWS}) == len(ROWS)
    with pytest.raises(ValueError, match="no row 99"):
        chosen(["1", "99"])


def test_where_nothing_can_be_counted_the_same_rows_are_timed() -> None:
    plan = Plan([ROW], 3, instructions=False)
    assert plan.by("cpu") == [ROW]
    assert Plan([ROW], 3).by("cpu") == []
    taken = {
        work: [{"wall": value, "caller": value, "cpu": value} for value in (one, one + 1, one + 2)]
        for work, one in (("served/find", 130.0), ("empty/find", 100.0), ("empty again/find", 99.0))
    }
    (found,) = timed_figures([ROW], taken)
    assert found.value == pytest.approx(130.2 / 100.2)
    assert found.control == pytest.approx(99.2 / 100.2)
    assert found.by == "cpu p10"
    assert p10([4.0]) == 4.0


def test_a_table_tells_row_figure_control_and_verdict() -> None:
    line = tables.cells(figure(1.29))
    assert line == ("1", "a command: find", "instructions", "x 1.290", "1.000", "1.100", "1.050", "missed")
    assert tables.markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"
    assert tables.number(1234.5, "µs") == "1,234 µs"
    assert tables.number(None) == ""
    assert json.loads(json.dumps(figure(1.29).to_json()))["verdict"] == "missed"


def nothing_is_measured(*given: object) -> None:
    raise AssertionError("it was to be skipped")


def test_the_gate_skips_with_a_word_where_valgrind_is_missing_or_the_versions_are_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "console", Console(file=sys.stdout, width=200))
    monkeypatch.setattr(program, "measure", nothing_is_measured)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gate"])
    monkeypatch.setattr(callgrind, "missing", lambda: "valgrind is not installed")
    assert program.main() == 0
    assert "SKIPPED: valgrind is not installed. Nothing was measured." in capsys.readouterr().out
    monkeypatch.setattr(callgrind, "missing", lambda: None)
    monkeypatch.setattr(gate, "versions", lambda: {**gate.load()[0]["versions"], "pymongo": "9.9"})
    assert program.main() == 0
    said = capsys.readouterr().out
    assert "SKIPPED: nothing is kept for these versions (pymongo" in said
    assert "-> 9.9)" in said


@pytest.mark.parametrize(("growth", "code"), [(1.0, 0), (1.029, 0), (1.031, 1)])
def test_the_gate_fails_when_one_figure_grew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], growth: float, code: int
) -> None:
    entry = gate.load()[0]
    monkeypatch.setattr(callgrind, "missing", lambda: None)
    monkeypatch.setattr(gate, "versions", lambda: entry["versions"])
    monkeypatch.setattr(program, "canned_server", lambda: nullcontext("mongodb://nowhere"))
    figures = [
        replace(figure(ratio), row=name.partition(" ")[0], part=name.partition(" ")[2])
        for name, ratio in entry["ratios"].items()
    ]
    figures[3] = replace(figures[3], value=figures[3].value * growth)
    monkeypatch.setattr(program, "measure", lambda plan, uri, tick: figures)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gate"])
    assert program.main() == code
    assert ("GREW  1b insert" in capsys.readouterr().out) == bool(code)


def test_continuous_integration_has_the_gate_and_what_it_counts_with() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "\nmake bench-gate || status=$?\n" in script
    assert "command -v valgrind >/dev/null || missing+=(valgrind)" in script


def test_what_is_counted_does_not_depend_on_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "xx")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    first = callgrind.environment()
    monkeypatch.setenv("HOME", "/somewhere/else/that/is/longer")
    assert callgrind.environment() == first
    assert first["PYTHONHASHSEED"] == "0"
    assert not {"LANG", "LOG_LEVEL"} & set(first)


def test_a_quantile_is_a_value_that_was_seen() -> None:
    assert [stalls.quantile([3.0, 1.0, 2.0, 4.0], share) for share in (0.0, 0.5, 0.999)] == [1.0, 3.0, 4.0]


def test_row_15_has_a_sink_that_is_not_stalled_and_a_control_that_must_be() -> None:
    assert {kind for kind, stalled in stalls.KINDS.items() if stalled} == {"prodfix, stalled", "print, stalled"}
    assert {"prodfix", "prodfix again", "print"} <= set(stalls.KINDS)


def test_what_grew_is_counted_once_more_and_the_lesser_one_counts() -> None:
    kept = {"1 find": 1.3, "1 insert": 1.4}
    first = gate.compare(kept, [figure(1.5), figure(1.4, part="insert")])
    assert [change.now for change in gate.lesser(first, gate.compare(kept, [figure(1.31)]))] == [1.31, 1.4]
    assert [change.now for change in gate.lesser(first, gate.compare(kept, [figure(1.6)]))] == [1.5, 1.4]


def test_help_tells_of_every_command() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert {"quick", "full", "gate", "profile"} <= set(said.split())
