"""What the pages say of files, functions, settings and floors is what there is."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
CODE = ROOT  # what the pages are held against
LONGEST_LINE = 127
LONGEST_PAGE = 70  # lines of a decision

_SPAN = re.compile(r"`([^`\n]+)`")
_TOP = "prodfix|blueprints|config|tests|benchmarks|docs|deploy"
_FILE = re.compile(rf"(?:{_TOP})/[\w./-]*|\.ci/run|\w[\w.-]*\.(?:py|toml|yaml|txt|md|svg)|Makefile|Procfile")
_PLACE = re.compile(rf"((?:{_TOP})/[\w./-]+\.py|\w+\.py):([A-Za-z_]\w*(?:\.\w+)*)")
_DOTTED = re.compile(r"(?:prodfix|blueprints|config)(?:\.\w+)+")
_SETTING = re.compile(r"[A-Z]+(?:_[A-Z]+)+")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def documents(root: Path = ROOT) -> list[Path]:
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def prose(text: str) -> str:
    """``text`` without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def names_in(path: Path) -> set[str]:
    """What a module defines: functions, classes, and names that are assigned; those of a class also as ``Class.name``."""
    return set(_names(ast.parse(path.read_text())))


def _names(node: ast.AST, within: str = "") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        found = []
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found = [child.name]
        elif isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            found = [target.id for target in targets if isinstance(target, ast.Name)]
        yield from found
        yield from (f"{within}.{name}" for name in found if within)
        yield from _names(child, child.name if isinstance(child, ast.ClassDef) else within)


def is_there(span: str, code: Path = CODE) -> bool:
    """Whether ``span``, the text between two backticks, is no reference, or one to something that ``code`` has."""
    if place := _PLACE.fullmatch(span):
        path = code / place[1]
        return path.is_file() and place[2] in names_in(path)
    if _FILE.fullmatch(span):
        return (code / span).exists()
    if _DOTTED.fullmatch(span):
        return _module_has(span.split("."), code) or _is_said(span, code)
    if span.startswith("make "):
        return f"\n{span.split()[1]}:" in (code / "Makefile").read_text()
    return not _SETTING.fullmatch(span) or span.removeprefix("PRODFIX_") in _capitals(code)


def _module_has(parts: list[str], code: Path) -> bool:
    for length in range(len(parts), 0, -1):
        folder = code.joinpath(*parts[:length])
        module, rest = folder.with_suffix(".py"), ".".join(parts[length:])
        if module.is_file() or (folder / "__init__.py").is_file():
            file = module if module.is_file() else folder / "__init__.py"
            return not rest or rest in names_in(file) or f'"{rest}"' in file.read_text()
    return False


def _is_said(name: str, code: Path) -> bool:
    """Whether a text of the code's is this: the name of an attribute of a span, say."""
    return any(f'"{name}"' in file.read_text() for file in (code / "prodfix").rglob("*.py"))


_known_capitals: dict[Path, set[str]] = {}


def _capitals(code: Path) -> set[str]:
    """Settings, and whatever else the code writes in capitals: codes, constants, environment variables."""
    if code not in _known_capitals:
        others = [code / name for name in ("Makefile", "render.yaml", ".ci/run")]
        files = [*(code / "prodfix").rglob("*.py"), *(code / "config").rglob("*.py"), *others]
        words = {word for file in files for word in re.findall(r"[A-Z]+(?:_[A-Z]+)+", file.read_text())}
        fields = re.findall(r"^    (\w+): ", (code / "prodfix" / "settings.py").read_text(), flags=re.MULTILINE)
        _known_capitals[code] = words | {name.upper() for name in fields}
    return _known_capitals[code]


def missing(text: str, code: Path = CODE) -> list[str]:
    """The references in ``text`` that lead nowhere."""
    return sorted({span for span in _SPAN.findall(prose(text)) if not is_there(span, code)})


def broken_links(page: Path, text: str) -> list[str]:
    """The relative links of ``page`` that lead nowhere, to a file or to a heading."""
    return [link for link in _LINK.findall(prose(text)) if "://" not in link and not _leads(page, link)]


def _leads(page: Path, link: str) -> bool:
    path, _, heading = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not heading or heading in headings(target.read_text()))


def headings(text: str) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    found = re.findall(r"^#+ (.+)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in found}


def floors(code: Path = CODE) -> list[str]:
    contracts = tomllib.loads((code / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return [floor for contract in contracts if contract["type"] == "layers" for floor in contract["layers"]]


def rooms(code: Path = CODE) -> list[str]:
    return sorted(file.parent.name for file in (code / "prodfix").glob("*/__init__.py"))


PAGES = pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))


@PAGES
def test_every_file_function_and_setting_that_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text()) == []


@PAGES
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


@PAGES
def test_no_line_of_a_page_is_too_long(page: Path) -> None:
    assert [line for line in prose(page.read_text()).splitlines() if len(line) > LONGEST_LINE and line[0] != "|"] == []


@pytest.mark.parametrize(
    "span",
    [
        "prodfix/web/no_such_file.py",
        "prodfix/errors.py:no_such_function",
        "prodfix/errors.py:ErrorCategory.no_such_member",
        "prodfix/no_such_room/errors.py:chain",
        "prodfix.errors.NoSuchError",
        "prodfix.no_such_name",
        "config/no_such_file.py",
        "make nonsense",
        "NO_SUCH_SETTING",
    ],
)
def test_what_is_made_up_is_found(span: str) -> None:
    assert missing(f"See `{span}`.") == [span]


@pytest.mark.parametrize(
    "span",
    [
        "prodfix/",
        "prodfix/errors.py",
        "prodfix/errors.py:ErrorCategory",
        "prodfix.create_app",
        "prodfix.errors.ErrorCategory",
        "wsgi.py",
        "make test",
        "MONGODB_URI",
        "any other words",
    ],
)
def test_what_is_there_is_not(span: str) -> None:
    assert missing(f"See `{span}`.") == []


def test_what_stands_in_a_fenced_block_is_no_reference() -> None:
    assert missing("```sh\nless `prodfix/no_such_file.py`\n```\n") == []


def test_a_link_to_nothing_is_found() -> None:
    page = ROOT / "CONTRIBUTING.md"
    assert broken_links(page, "[a](docs/no_such_page.md) [b](#no-such-heading) [c](https://example.org)") == [
        "docs/no_such_page.md",
        "#no-such-heading",
    ]


def test_the_floors_are_those_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(r"^```text floors\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == floors()


def test_every_room_has_its_line_in_the_table_of_rooms() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert sorted(re.findall(r"^\| `prodfix/(\w+)/` \|", text, flags=re.MULTILINE)) == rooms()


@pytest.mark.parametrize("room", rooms())
def test_every_room_says_its_law(room: str) -> None:
    law = ast.get_docstring(ast.parse((CODE / "prodfix" / room / "__init__.py").read_text())) or ""
    assert 2 <= len(law.splitlines()) <= 8
    assert all(len(line) <= LONGEST_LINE for line in law.splitlines())


def test_every_decision_is_in_the_list_and_on_one_page() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(page.name for page in folder.glob("[0-9]*.md"))
    assert sorted(re.findall(r"\]\(([0-9][\w-]+\.md)\)", (folder / "README.md").read_text())) == pages
    assert [page for page in pages if len((folder / page).read_text().splitlines()) > LONGEST_PAGE] == []


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=lambda page: str(page.stem)
)
def test_every_decision_says_what_was_measured_what_was_lost_and_when_to_change_it(page: Path) -> None:
    titles = re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    assert titles == ["Context", "Decision", "Measured", "Lost", "When to change it"]
