"""A stack's text as frames: the application's own are told from others, a chain in its order, and nothing is believed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prodfix.blueprints.diagnostics.source_lines import Sources
from prodfix.blueprints.diagnostics.stacks import parts_of
from prodfix.operations import frames
from prodfix.operations.tracebacks import LONGEST

STACK = """builtins.KeyError
  flask/app.py:917 in full_dispatch_request
  flask/app.py:902 in dispatch_request
  shop/views.py:2 in show
  shop/models.py:9 in <lambda>
which led to
shop.errors.Broken
  shop/views.py:1 in view
  … 4 more
  flask/app.py:1 in last"""


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "app" / "shop").mkdir(parents=True)
    (tmp_path / "app" / "shop" / "views.py").write_text("def show():\n    raise KeyError\n")
    installed = tmp_path / "site-packages"
    (installed / "flask").mkdir(parents=True)
    (installed / "flask" / "app.py").write_text("")
    return Sources([tmp_path / "app"], [installed])


def test_own_frames_stand_apart_from_libraries(sources: Sources) -> None:
    cause, effect = parts_of(STACK, sources, with_source=True)
    assert (cause.error_type, effect.error_type) == ("builtins.KeyError", "shop.errors.Broken")
    library, own = cause.runs
    assert (library.own, len(library.frames)) == (False, 2)
    assert [(one.file, one.line, one.function) for one in own.frames] == [
        ("shop/views.py", 2, "show"),
        ("shop/models.py", 9, "<lambda>"),
    ]
    assert [line.text for line in own.frames[0].source] == ["def show():", "    raise KeyError"]
    assert own.frames[1].source == ()
    first, last = effect.runs
    assert first.left_out == "… 4 more"
    assert (first.own, last.own) == (True, False)


def test_without_source_nothing_is_read(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sources, "lines", lambda *args: pytest.fail("read"))
    cause, _ = parts_of(STACK, sources, with_source=False)
    assert cause.runs[1].own


@pytest.mark.parametrize(
    "stack", ["", "\n", "left out: too large", "x\n  a:b in c", "x\n" + "  y" * 20_000, "x\n  … 3 more", "\x00\n  \x00"]
)
def test_what_is_no_stack_is_no_error(sources: Sources, stack: str) -> None:
    (part,) = parts_of(stack, sources, with_source=True)
    assert sum(len(run.frames) for run in part.runs) == 0


def test_it_reads_what_records_have() -> None:
    """The control of the form: a stack as it is written, a long one too."""

    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise KeyError("price")

    for depth in (2, LONGEST + 20):
        with pytest.raises(KeyError) as caught:
            deep(depth)
        written = frames.stack(caught.value)
        (part,) = parts_of(written, Sources([]), with_source=True)
        assert part.error_type == "builtins.KeyError"
        shown = sum(len(run.frames) for run in part.runs)
        assert shown == len(re.findall(r"^  .* in ", written, re.MULTILINE))
        assert [run.left_out for run in part.runs if run.left_out] == re.findall("… [0-9]+ more", written)
