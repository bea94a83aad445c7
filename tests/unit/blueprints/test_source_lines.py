"""Lines of source beside a stack: of the application's own files, and of nothing else however the record names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import prodfix
from prodfix.blueprints.diagnostics import source_lines
from prodfix.blueprints.diagnostics.source_lines import LARGEST, WIDEST, Sources

CODE = "def total(order):\n    rows = order.rows\n    return rows[0]['price']\n\n\nprint(total)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    (made / "shop").mkdir(parents=True)
    (made / "shop" / "views.py").write_text(CODE)
    return made


@pytest.fixture
def sources(root: Path) -> Sources:
    return Sources([root])


def texts(sources: Sources, name: str, number: int) -> list[tuple[int, str, bool]]:
    return [tuple(line) for line in sources.lines(name, number)]  # type: ignore[misc]


def test_a_line_comes_with_the_one_before_and_the_one_after(sources: Sources) -> None:
    assert texts(sources, "shop/views.py", 3) == [
        (2, "    rows = order.rows", False),
        (3, "    return rows[0]['price']", True),
        (4, "", False),
    ]
    assert [line.number for line in sources.lines("shop/views.py", 1)] == [1, 2]
    assert [line.number for line in sources.lines("shop/views.py", 6)] == [5, 6]


def test_what_has_changed_since_is_read_again(sources: Sources, root: Path) -> None:
    assert sources.lines("shop/views.py", 1)[0].text == "def total(order):"
    path = root / "shop" / "views.py"
    path.write_text(CODE.replace("total", "whole"))
    os.utime(path, ns=(1, 1))
    assert sources.lines("shop/views.py", 1)[0].text == "def whole(order):"


def test_nothing_is_read_twice_while_it_is_the_same(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.lines("shop/views.py", 3)
    monkeypatch.setattr(source_lines, "_around", lambda content, number: pytest.fail("read again"))
    assert sources.lines("shop/views.py", 3) == first


def test_of_what_is_remembered_there_is_a_limit(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_lines, "REMEMBERED", 2)
    source_lines._known.clear()
    for number in range(1, 7):
        assert sources.lines("shop/views.py", number)
        assert len(source_lines._known) <= 2


@pytest.mark.parametrize("number", [0, -1, 7, 10**9])
def test_there_is_no_line_beyond_the_file(sources: Sources, number: int) -> None:
    assert sources.lines("shop/views.py", number) == ()


@pytest.mark.parametrize(
    "name",
    [
        "../secret.py",
        "shop/../../secret.py",
        "shop/./views.py",
        "shop//views.py",
        "{outside}/secret.py",
        "shop\\..\\..\\secret.py",
        "shop/views.py\0.py",
        "shop",
        "",
        ".",
        "shop/" + "x" * 600 + ".py",
    ],
)
def test_no_name_leads_out_of_the_root(sources: Sources, root: Path, name: str) -> None:
    (root.parent / "secret.py").write_text("SECRET = 1\n")
    assert sources.lines(name.format(outside=root.parent), 1) == ()
    assert sources.lines("shop/views.py", 1), "the control"


def test_no_link_leads_out_of_the_root(sources: Sources, root: Path) -> None:
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "secret.py").write_text("SECRET = 1\n")
    (root / "link.py").symlink_to(root.parent / "outside" / "secret.py")
    (root / "linked").symlink_to(root.parent / "outside")
    (root / "inside.py").symlink_to(root / "shop" / "views.py")
    (root / "round.py").symlink_to(root / "round.py")
    for name in ("link.py", "linked/secret.py", "round.py"):
        assert sources.lines(name, 1) == (), name
    assert sources.lines("inside.py", 1), "the control: one that stays inside"


def test_only_python_files_are_read(sources: Sources, root: Path) -> None:
    for name in (".env", "settings.ini", "shop/data.json", ".secret.py", ".git/hook.py"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("SECRET = 1\n")
        assert sources.lines(name, 1) == (), name
    (root / "python.py").symlink_to(root / ".env")
    assert sources.lines("python.py", 1) == (), "a link is judged by what it leads to"


def test_what_is_no_text_of_a_program_is_not_shown(sources: Sources, root: Path) -> None:
    (root / "huge.py").write_bytes(b"x = 1\n" * (LARGEST // 6 + 1))
    (root / "binary.py").write_bytes(b"x = 1\n\0\xff\n")
    (root / "odd.py").write_bytes(b"x = '\xff\xfe'\n")
    (root / "unknown.py").write_bytes(b"# coding: klingon\nx = 1\n")
    (root / "folder.py").mkdir()
    os.mkfifo(root / "pipe.py")
    for name in ("huge.py", "binary.py", "odd.py", "unknown.py", "folder.py", "pipe.py", "missing.py"):
        assert sources.lines(name, 1) == (), name
    (root / "latin.py").write_bytes("# coding: latin-1\nname = 'é'\n".encode("latin-1"))
    assert sources.lines("latin.py", 2)[1].text == "name = 'é'"


def test_nothing_that_is_installed_is_read_and_nothing_of_prodfix(sources: Sources, root: Path) -> None:
    installed = root / "lib" / "site-packages"
    (installed / "flask").mkdir(parents=True)
    (installed / "flask" / "app.py").write_text(CODE)
    found = Sources([root], [installed])
    assert found.lines("flask/app.py", 1) == ()
    assert found.lines("lib/site-packages/flask/app.py", 1) == ()
    ours = Path(source_lines.__file__).resolve().parents[3]
    assert Sources([ours]).lines("prodfix/blueprints/diagnostics/source_lines.py", 1) == ()
    assert Sources([ours]).lines("blueprints/notes.py", 1), "the control"


def test_a_folder_on_the_module_path_below_the_root_is_the_applications(root: Path) -> None:
    (root / "src" / "inner").mkdir(parents=True)
    (root / "src" / "inner" / "work.py").write_text(CODE)
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "other.py").write_text(CODE)
    found = Sources([root], [root / "src", root.parent / "elsewhere"])
    assert found.lines("inner/work.py", 1)
    assert found.lines("other.py", 1) == ()


def test_the_root_is_never_the_whole_disk(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("SECRET = 1\n")
    found = Sources([Path("/"), tmp_path / "missing"])
    assert found.roots == ()
    assert found.lines(str(tmp_path / "secret.py").lstrip("/"), 1) == ()


def test_a_frame_is_the_applications_unless_it_is_somebody_elses(root: Path) -> None:
    installed = root.parent / "lib" / "site-packages"
    (installed / "flask").mkdir(parents=True)
    (installed / "flask" / "app.py").write_text(CODE)
    (root.parent / "elsewhere" / "team").mkdir(parents=True)
    (root.parent / "elsewhere" / "team" / "shared.py").write_text(CODE)
    found = Sources([root], [installed, root.parent / "elsewhere", Path(os.__file__).parent])
    assert found.own("shop/views.py")
    assert found.own("shop/removed.py"), "of another release, perhaps"
    assert found.own("team/shared.py"), "beside it on the module path, and not installed"
    assert found.lines("team/shared.py", 1) == (), "but not below the root"
    assert not found.own("flask/app.py")
    assert not found.own("json/decoder.py")
    assert not Sources([], [Path(prodfix.__file__).parents[1]]).own("prodfix/web/hooks.py")
    assert not found.own("<frozen importlib._bootstrap>")
    assert not found.own("../shop/views.py")


def test_what_is_installed_without_its_source_is_somebody_elses(root: Path) -> None:
    installed = root / ".venv" / "site-packages"
    (installed / "fast").mkdir(parents=True)
    found = Sources([root], [installed])
    assert not found.own("fast/_parser.pyx")
    assert not found.own("fast/_parser.py")
    assert not found.own("single.pyx")
    (root / "shop" / "prices.pyx").write_text("")
    assert found.own("shop/prices.pyx"), "the control: the application's own"
    assert found.own("shop/removed.pyx"), "and of another release"


def test_what_looks_like_a_secret_is_masked_and_a_long_line_is_cut(sources: Sources, root: Path) -> None:
    (root / "keys.py").write_text('API_KEY = "sk_live_abcdef1234567890abcdef"\nx = "' + "y" * 500 + '"\n')
    key, long = sources.lines("keys.py", 1)
    assert "sk_live" not in key.text
    assert key.text.startswith("API_KEY")
    assert len(long.text) == WIDEST + 1
