"""The checklist is true: its commands, run in their order beside a service, answer what the page says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_tutorial import Shell, matches, steps
from tests.support import REPOSITORY
from tests.support.receivers import WebHook
from tests.support.served import Served
from tests.support.waiting import until

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(
        not any(Path(folder, "curl").exists() for folder in os.get_exec_path()), reason="it is for curl"
    ),
]

CHECKLIST = REPOSITORY / "docs" / "production-checklist.md"


@pytest.fixture
def hook() -> Iterator[WebHook]:
    with WebHook() as hook:
        yield hook


def test_every_command_answers_what_the_page_says(tmp_path: Path, database_uri: str, hook: WebHook) -> None:
    given = {"LOG_FILE_MAX_SIZE": "2k", "LOG_FILE_MAX_FILES": "3", "DB_POOL_SIZE": "1", "ALERT_URLS": hook.url}
    with Served(tmp_path, database_uri, **given) as served:
        (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
        until(lambda: len(served.worker_pids()) == 2 and served.all_say(200), what="both workers, which are well")
        inherited = {"PATH": os.environ["PATH"], "FOLDER": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "200"}
        shell = Shell({**inherited, **served.variables, "SERVICE": served.url, "TOKEN": served.token()})
        wrong = []
        try:
            for line, command, expected in steps(CHECKLIST):
                answer = shell.run(command)
                if not matches(expected, answer):
                    wrong.append(f"line {line}: {command}\nsaid:\n{answer}\nand not:\n" + "\n".join(expected))
        finally:
            shell.close()
    assert not wrong, "\n\n".join(wrong)
    assert len(hook.told) >= 1


def test_each_point_of_the_seeds_list_is_a_step() -> None:
    """Its manual checklist, its deployment considerations, and its monitoring and alerts."""
    titles = " ".join(re.findall(r"^## \d+\. (.+)$", CHECKLIST.read_text(), flags=re.MULTILINE)).lower()
    points = "staging phones 3g logs diagnostics notifications load rotation health restarts memory alerts".split()
    assert [point for point in points if point not in titles] == []
