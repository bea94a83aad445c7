"""The tutorial is true: its commands, run in their order against what `make run` starts, answer what it says."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_development import Development
from tests.support import REPOSITORY
from tests.support.doc_blocks import blocks
from tests.support.waiting import until

pytestmark = pytest.mark.served

TUTORIAL = REPOSITORY / "docs" / "tutorial.md"
DATABASE_IS_BACK = "## 6. "  # before the commands below this heading the reader starts it again
# What is another one each time, in what is written and in what is answered.
CHANGING = (
    (re.compile(r"[0-9a-f]{32}|[0-9a-f]{24}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "<time>"),
    (re.compile(r'("latencyMs":|"durationMs":|Retry-After: )[\d.]+'), r"\1<number>"),
)


def steps(page: Path = TUTORIAL) -> Iterator[tuple[int, str, list[str]]]:
    """Line, command and expected lines of each command of the page that is run."""
    for block in blocks(page):
        if block.language != "console" or not block.runs:
            continue
        step: tuple[int, str, list[str]] | None = None
        for number, line in enumerate(block.text.splitlines(), block.line):
            if line.startswith("$ "):
                if step:
                    yield step
                step = (number, line[2:], [])
            elif step and line:
                step[2].append(line)
        if step:
            yield step


def settled(text: str) -> str:
    for pattern, instead in CHANGING:
        text = pattern.sub(instead, text)
    return text


def matches(expected: list[str], answer: str) -> bool:
    """Whether the lines of ``answer`` are the expected ones; ``...`` stands for anything, and alone for any lines."""
    lines = (
        r"(?:.*\n)*?" if line == "..." else re.escape(settled(line)).replace(r"\.\.\.", ".*") + r"\n"
        for line in expected
    )
    told = "".join(f"{line.rstrip()}\n" for line in settled(answer).splitlines())
    return re.match("".join(lines), told) is not None


class Shell:
    """One shell for all commands, so that what one sets the next has."""

    END = "--- end of the answer ---"

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            env=environment,
            cwd=environment["FOLDER"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\necho; echo '{self.END}'\n")
        self._process.stdin.flush()
        lines = []
        for line in self._process.stdout:
            if line.rstrip("\n") == self.END:
                break
            lines.append(line)
        return "".join(lines)

    def close(self) -> None:
        self._process.communicate("exit\n", timeout=30)


@pytest.mark.skipif(not any(Path(folder, "curl").exists() for folder in os.get_exec_path()), reason="it is for curl")
def test_every_command_answers_what_the_page_says(tmp_path: Path) -> None:
    with Development(tmp_path, PATH=os.environ["PATH"], NO_COLOR="1") as running:
        running.says("Admin token: ")
        until(running.healthy, what="a healthy database")
        told = running.output()
        (exported,) = re.findall(r"^  export (.+)$", told, flags=re.MULTILINE)
        (tmp_path / ".venv").symlink_to(REPOSITORY / ".venv")
        (tmp_path / "wsgi.py").symlink_to(REPOSITORY / "wsgi.py")
        shell = Shell({**running.variables, "FOLDER": str(tmp_path), "DATABASE": re.findall(r"kill -9 (\d+)", told)[0]})
        shell.run(f"export {exported} TOKEN={re.findall(r'^Admin token: (.+)$', told, flags=re.MULTILINE)[0]}")
        back = TUTORIAL.read_text().partition(DATABASE_IS_BACK)[0].count("\n")
        database = Development(tmp_path, "database", **running.variables)
        try:
            for line, command, expected in steps():
                if line > back and not hasattr(database, "process"):
                    database.__enter__().says("ready ")
                answer = shell.run(command.replace("localhost:8000", f"localhost:{running.variables['PORT']}"))
                assert matches(expected, answer), f"line {line}: {command}\nsaid:\n{answer}\nand not:\n" + "\n".join(
                    expected
                )
                if command.startswith("kill"):
                    until(lambda: not running.healthy(), what="an unhealthy database")
        finally:
            shell.close()
            if hasattr(database, "process"):
                database.__exit__(None, None, None)


def test_the_page_has_commands_for_each_part_of_the_story() -> None:
    commands = " ".join(command for _, command, _ in steps())
    assert all(word in commands for word in ("/health/db", "kill -9", "/problems/", "/requests/", "doctor"))


@pytest.mark.parametrize(
    ("expected", "answer", "fits"),
    [
        (["a", "...", "d"], "a\nb\nc\nd\n", True),
        (['{"id":"0123456789abcdef01234567",...}'], '{"id":"89abcdef0123456789abcdef","x":1}', True),
        (["{...}"], "{}", True),
        (["a"], "b", False),
        (["HTTP/1.1 409 CONFLICT"], "HTTP/1.1 503 SERVICE UNAVAILABLE\r\n", False),
        (['{"status":"applied",...'], '{"status":"waiting","x":1}', False),
    ],
)
def test_the_control_another_answer_does_not_fit(expected: list[str], answer: str, fits: bool) -> None:
    assert matches(expected, answer) is fits
