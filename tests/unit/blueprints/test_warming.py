"""A worker's first page waits for nothing that could be prepared; what is compiled is kept, where that can be written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pytest
from flask import Flask
from jinja2 import DictLoader, Environment

from prodfix.blueprints import diagnostics
from prodfix.blueprints.diagnostics import html
from prodfix.blueprints.diagnostics.compiled_templates import CompiledTemplates
from prodfix.models import Serializable


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The templates that are compiled, as long as the test runs."""
    names: list[str] = []
    compile_it = Environment.compile

    def compile(self: Any, source: Any, name: str, *rest: Any, **more: Any) -> Any:
        names.append(name)
        return compile_it(self, source, name, *rest, **more)

    monkeypatch.setattr(Environment, "compile", compile)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    return names


def rendered(folder: Path, source: str = "{{ 1 + 1 }}") -> str:
    """By an environment that knows nothing yet, as each worker's does."""
    made = Environment(loader=DictLoader({"a/b.html": source}), bytecode_cache=CompiledTemplates(folder))
    return made.get_template("a/b.html").render()


def test_what_one_worker_has_compiled_another_reads(tmp_path: Path, compiled: list[str]) -> None:
    assert [rendered(tmp_path) for _ in range(3)] == ["2", "2", "2"]
    assert compiled == ["a/b.html"]
    (file,) = tmp_path.iterdir()
    assert file.name == f"b.{sys.implementation.cache_tag}-{jinja2.__version__}.jinjac"


def test_of_another_source_it_is_compiled_again(tmp_path: Path, compiled: list[str]) -> None:
    assert [rendered(tmp_path), rendered(tmp_path, "{{ 2 + 1 }}"), rendered(tmp_path, "{{ 2 + 1 }}")] == ["2", "3", "3"]
    assert len(compiled) == 2


@pytest.mark.parametrize("content", [b"", b"j2", b"x" * 100])
def test_what_is_broken_is_compiled_again(tmp_path: Path, compiled: list[str], content: bytes) -> None:
    rendered(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert [rendered(tmp_path), rendered(tmp_path)] == ["2", "2"]
    assert len(compiled) == 2
    assert file.stat().st_size > 100


def test_where_nothing_can_be_kept_it_is_compiled_each_time(
    tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        assert [rendered(folder), rendered(folder)] == ["2", "2"]
    assert len(compiled) == 4
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "there").mkdir()
    assert [rendered(tmp_path / "there"), rendered(tmp_path / "there")] == ["2", "2"]
    assert list((tmp_path / "there").iterdir()) == []


def test_after_its_start_a_worker_has_at_hand_what_a_page_needs(adopt: Callable[..., Flask]) -> None:
    """Without a database: none is asked."""
    app = adopt(diagnostics_auth_required=False)
    assert list(app.extensions["prodfix"].links.warming) == [], "the control: without the diagnostics there is nothing"
    app.register_blueprint(diagnostics.blueprint)
    steps = list(app.extensions["prodfix"].links.warming)
    assert len(steps) > 20
    assert list(app.extensions["prodfix"].links.warming) != [], "each process that begins has its own"


def test_the_first_page_needs_no_other_template(adopt: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    app = adopt(diagnostics_auth_required=False)
    app.register_blueprint(diagnostics.blueprint)
    monkeypatch.setattr(html, "_environment", cache(html._environment.__wrapped__))
    list(app.extensions["prodfix"].links.warming)
    known = len(html._environment().cache)
    app.test_client().get("/api/v1/diagnostics", headers={"Accept": "text/html"})
    assert len(html._environment().cache) == known == len(html.FIRST)
    app.test_client().get("/api/v1/diagnostics/page/deferred", headers={"Accept": "text/html"})
    assert len(html._environment().cache) == known + 1, "the control"


def test_a_worker_that_is_served_does_all_of_it(serve: Callable[..., Flask]) -> None:
    """Its engine is there before its plug-ins, and beside each class with slots the one that it was before."""
    bare, gone = serve(), type("WasReplaced", (Serializable,), {"__annotations__": {"count": "int"}})
    assert bare.extensions["prodfix"].runtime.background._warm() is not None, "the control: no plug-in, no step"
    background = serve([diagnostics.blueprint]).extensions["prodfix"].runtime.background
    steps = 0
    while background._warm() is None:
        steps += 1
    assert steps > 20
    assert not is_dataclass(gone)


def test_a_worker_does_it_step_by_step_and_then_no_more(adopt: Callable[..., Flask]) -> None:
    app = adopt()
    services, done = app.extensions["prodfix"], []
    services.links.warmed_by(lambda: (done.append(number) for number in range(3)))
    background = services.runtime.background
    pauses = [background._warm() for _ in range(5)]
    assert done == [0, 1, 2]
    assert pauses == [None, None, None, 86_400.0, 86_400.0]


CALLS = """
import sys
from flask import Flask
from prodfix import ProdFix, Settings
from prodfix.blueprints import diagnostics

how, folder, *paths = sys.argv[1:]
app, kept = Flask("host"), {"state_dir": folder, "log_dir": folder}
services = ProdFix(app, settings=Settings(**kept, diagnostics_auth_required=False, _env_file=None)).services
app.register_blueprint(diagnostics.blueprint)
client = app.test_client()
client.get("/nothing")
for _ in services.links.warming if how == "warm" else ():
    pass

def calls(path):
    seen = [0]
    def count(frame, event, argument):
        seen[0] += event in ("call", "c_call")
    sys.setprofile(count)
    client.get(path, headers={"Accept": "text/html"})
    sys.setprofile(None)
    return seen[0]

print(*(calls(path) / calls(path) for path in paths))
services.close()
"""


@pytest.mark.parametrize(
    "page", ["", "/page/groups", "/page/groups/0123456789abcdef", f"/page/requests/{'0' * 32}", "/page/errors"]
)
def test_the_first_page_of_a_worker_takes_at_most_twice_its_second(
    python: Callable[..., str], tmp_path: Path, page: str
) -> None:
    """By the calls of functions, which no other work of the machine changes."""
    path = f"/api/v1/diagnostics{page}"
    assert float(python(CALLS, "warm", tmp_path / "warm", path)) <= 2.0
    if not page:
        assert float(python(CALLS, "cold", tmp_path / "cold", path)) > 4.0, "the control"
