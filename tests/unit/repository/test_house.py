"""The house: no two files and no two classes have one name, so that a name says where one is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import REPOSITORY

PRODFIX = REPOSITORY / "prodfix"


def twice(places: Iterable[tuple[str, Path]]) -> dict[str, list[str]]:
    """The names that stand in more than one place."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, path in places:
        found[name].append(path.name)
    return {name: files for name, files in found.items() if len(files) > 1}


def files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*.py")) if path.name != "__init__.py"]


def classes(root: Path) -> list[tuple[str, Path]]:
    return [
        (node.name, path)
        for path in files(root)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]


def test_no_file_has_the_name_of_another() -> None:
    assert len(files(PRODFIX)) > 100
    assert twice((path.name, path) for path in files(PRODFIX)) == {}


def test_no_class_has_the_name_of_another() -> None:
    assert len(classes(PRODFIX)) > 100
    assert twice(classes(PRODFIX)) == {}


@pytest.mark.parametrize(("first", "second"), [("a/one.py", "b/one.py"), ("a/one.py", "b/two.py")])
def test_the_control_what_stands_twice_is_found(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("class Same:\n    class Inner: ...\n")
    same = Path(first).name == Path(second).name
    assert bool(twice((path.name, path) for path in files(tmp_path))) is same
    assert set(twice(classes(tmp_path))) == {"Same", "Inner"}


def test_each_room_says_its_law() -> None:
    rooms = sorted(path.parent for path in PRODFIX.glob("*/__init__.py"))
    laws = {room.name: ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "" for room in rooms}
    assert len(rooms) > 15
    assert {name for name, law in laws.items() if "import" not in law or law.count("\n") < 1} == set()
