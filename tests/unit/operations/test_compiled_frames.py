"""Frames of compiled libraries are never the application's own: they name a source that stands where they were built."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prodfix.blueprints.diagnostics.source_lines import Sources
from prodfix.blueprints.diagnostics.stacks import parts_of
from prodfix.operations.frames import places, stack

PROGRAM = """
from gevent import monkey

monkey.patch_all()
import json
import time

import gevent

from prodfix.operations.frames import places, stack, standing


def slow():
    time.sleep(30)


try:
    with gevent.Timeout(0.05):
        slow()
except gevent.Timeout as error:
    found = places(error), stack(error)
waiting = gevent.spawn(slow)
gevent.sleep(0)
print(json.dumps([*found, standing(waiting.gr_frame)]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str, list[str]]:
    """Places and stack of what gevent has cut short, and where a greenlet stands, in a process of its own."""
    program = tmp_path_factory.mktemp("shop") / "slow.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program)]
    root = str(Path(__file__).parents[3])
    done = subprocess.run(command, env={"PYTHONPATH": root}, capture_output=True, text=True, timeout=60, check=True)
    return tuple(json.loads(done.stdout))  # type: ignore[return-value]


def test_what_gevent_has_cut_short_was_the_application_at_its_own_line(told: tuple[list[str], str, list[str]]) -> None:
    found, text, _ = told
    assert found == ["slow.py:<module>", "slow.py:slow"]
    assert "_greenlet_switch" in text.splitlines()[-1], "the control: gevent's compiled frames are in it"


def test_compiled_frames_are_named_by_their_library_and_folded(told: tuple[list[str], str, list[str]]) -> None:
    _, text, stands = told
    compiled = [line for line in text.splitlines() if "gevent._gevent_c_" in line]
    assert len(compiled) > 1
    assert all(line.startswith("  gevent/_") for line in compiled)
    assert "gevent/" in stands[-1]
    installed = [Path(entry) for entry in sys.path if entry.endswith("site-packages")]
    (part,) = parts_of(text, Sources([Path(__file__).parents[3]], installed), with_source=False)
    assert [{one.function for one in run.frames} for run in part.runs if run.own] == [{"<module>", "slow"}]


def broken(folder: Path, built: str) -> Exception:
    """What a function raises whose code was built at ``built``, and is loaded from ``folder``."""
    module = ModuleType("fast")
    module.__file__ = str(folder / "fast.cpython-313-x86_64-linux-gnu.so")
    exec(compile("def fail():\n    raise ValueError", built, "exec"), module.__dict__)
    fail: Any = module.__dict__["fail"]
    with pytest.raises(ValueError, match=r"^$") as caught:
        fail()
    return caught.value


@pytest.mark.parametrize("built", ["src/fast/fast.pyx", "/builds/fast/fast.pyx"])
def test_it_is_whose_module_it_is_wherever_it_was_built(tmp_path: Path, built: str) -> None:
    of_library = broken(tmp_path / "site-packages" / "fast", built)
    assert not [place for place in places(of_library) if place.endswith(":fail")]
    assert "fast.pyx" in stack(of_library)
    of_application = broken(tmp_path / "shop", built)
    assert places(of_application)[-1] == "fast.pyx:fail", "the control: an application may be compiled, too"
