"""What the doctor's tests share: cases of one check, and how an application is given to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask

from prodfix.cli.read_only import only_look
from prodfix.doctor.checks import FAMILIES
from prodfix.doctor.deployment import Deployment, StartCommand
from prodfix.doctor.findings import Finding
from prodfix.doctor.launch import Gunicorn, Launched
from prodfix.doctor.registry import run
from prodfix.doctor.subject import Subject

CHECKS = {check.code: check for checks in FAMILIES.values() for check in checks}
# As prodfix's own start command has them.
GUNICORN = Gunicorn(
    worker_class="gevent",
    workers=2,
    threads=1,
    worker_connections=1000,
    preload=False,
    preload_asked=False,
    graceful_timeout=25,
    timeout=60,
    keepalive=5,
)
GOOD = Launched(GUNICORN, called=True, target="wsgi:app")


@dataclass(frozen=True)
class Case:
    """``level`` is what ``check`` finds (``ok``: nothing; empty: it does not apply), and ``words`` stand in the finding."""

    check: str
    level: str
    words: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    deployment: Deployment = field(default_factory=Deployment)
    launched: Launched = GOOD
    prepare: Callable[[Flask], object] = lambda app: None
    served: bool = False

    def __str__(self) -> str:
        return f"{self.check}-{self.level or 'nothing'}-{self.words or ''}".replace(" ", "_")[:60]


def ids(case: Case) -> str:
    return str(case)


def command(line: str = "-k gevent wsgi:app", source: str = "Procfile") -> StartCommand:
    return StartCommand(source, tuple(line.split()), {})


def examined(case: Case, app: Flask) -> Subject:
    case.prepare(app)
    only_look(app.extensions["prodfix"])
    return Subject(app, dict(case.environ), case.deployment, lambda: case.launched, "wsgi")


def findings(case: Case, app: Flask) -> list[Finding]:
    try:
        return list(run(CHECKS[case.check], examined(case, app)))
    finally:
        app.extensions["prodfix"].database.clients.close()  # as the command does


def judge(case: Case, found: list[Finding]) -> None:
    """The case's one finding is what it should be; and the guard against secrets has changed no word of it."""
    assert [finding.level.value for finding in found] == ([case.level] if case.level else [])
    for finding in found:
        assert case.words in finding.found
        assert bool(finding.advice) == (case.level in ("note", "warning", "error"))
        assert "***" not in f"{finding.found}{finding.advice}{finding.facts}"
        assert finding.check == case.check
