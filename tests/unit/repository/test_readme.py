"""The README is short and in the order of a reader's questions; the reference is what the code says now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from config.meanings import GROUPS, SEEDS
from config.reference import FOLDER, settings_by_group
from prodfix import Settings
from prodfix.settings_table import default_of
from tests.support import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MOST_LINES = 250
INDEXES = re.compile(r"pypi\.org|pypi\.python\.org|npmjs\.com|crates\.io|anaconda\.org")


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MOST_LINES


def test_it_has_the_order_of_a_readers_questions_and_a_table_of_them() -> None:
    titles = re.findall(r"^## (.+)$", README, flags=re.MULTILINE)
    assert titles == [
        "See it in a minute",
        "Adopt it",
        "What an error answer looks like",
        "Health",
        "Diagnostics",
        "Beside other tools",
        "Run it",
        "Settings that matter",
        "Limits",
        "All pages",
    ]
    begin = README.partition("\n## ")[0]
    assert re.findall(r"^\[(.+?)\]\(#", begin, flags=re.MULTILINE) == titles


def test_it_leads_to_every_page_of_the_site() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)", README))
    pages = {str(page.relative_to(REPOSITORY)) for page in DOCS.rglob("*.md")}
    decisions = {page for page in pages if re.search(r"decisions/\d", page)}  # their list leads to them
    assert pages - decisions - linked == {"docs/index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_no_page_leads_to_a_package_index_or_installs_our_name_from_one(page: Path) -> None:
    text = page.read_text()
    assert INDEXES.search(text) is None
    installed = re.findall(r"pip install (.*)", text)
    assert [what for what in installed if "prodfix" in what and "@ file:" not in what] == []


@pytest.mark.parametrize("text", ["https://pypi.org/project/x/", "https://www.npmjs.com/package/x"])
def test_the_control_an_index_is_found(text: str) -> None:
    assert INDEXES.search(text)


def test_settings_that_matter_have_the_defaults_that_they_have() -> None:
    table = README.partition("## Settings that matter")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? ?\|", table, flags=re.MULTILINE)
    assert len(rows) >= 8
    assert dict(rows) == {name: default_of(Settings.model_fields[name.lower()]).strip("`") for name, _ in rows}


def test_every_setting_says_what_it_is_for_once() -> None:
    named = [name for group in GROUPS.values() for name in group]
    assert len(named) == len(set(named))
    assert {name.lower() for name in (*named, *SEEDS)} <= set(Settings.model_fields)
    assert {name.lower() for group in settings_by_group().values() for name in group} == set(Settings.model_fields)


def test_the_pages_of_reference_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "config.reference", "--check"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = {page.name for page in FOLDER.glob("*.md") if "python -m config.reference" in page.read_text()}
    assert made == {"settings.md", "codes.md", "endpoints.md", "commands.md", "checks.md"}


def test_the_control_a_page_that_is_not_current_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from config import reference

    (tmp_path / "old.md").write_text("as it was")
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    monkeypatch.setattr(reference, "pages", lambda: {"old.md": "as it is", "new.md": "new"})
    monkeypatch.setattr(sys, "argv", ["reference", "--check"])
    assert reference.main() == 1
    assert (tmp_path / "old.md").read_text() == "as it was"
    monkeypatch.setattr(sys, "argv", ["reference"])
    assert reference.main() == 0
    assert [(tmp_path / name).read_text() for name in ("old.md", "new.md")] == ["as it is", "new"]


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:prodfix|blueprints|config|tests)/[\w./]*)`", (DOCS / "reference" / "seed.md").read_text())
    assert len(named) > 15
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    def paths(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
        return [path for part in parts for path in paths(part)]

    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    decisions = {page for page in pages if re.fullmatch(r"decisions/\d.*", page)}
    assert sorted(paths(site["nav"])) == sorted(pages - decisions)
    assert site["not_in_nav"].split() == ["decisions/[0-9]*.md"]
    assert site["theme"]["font"] is False, "fonts would come from another host"
