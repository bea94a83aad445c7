"""The unit: with keys that systemd knows, names that are our settings, and limits that gunicorn keeps."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prodfix import Settings
from tests.support import REPOSITORY
from tests.support.deployment_facts import seconds, unknown_settings
from tests.support.dockerfile import stages

UNIT = (REPOSITORY / "deploy" / "systemd" / "prodfix.service").read_text()
EXAMPLE = (REPOSITORY / "deploy" / "systemd" / "environment.example").read_text()
ANALYZE = shutil.which("systemd-analyze")

# Those that it uses, as systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5) and systemd.resource-control(5)
# have them: for machines without systemd.
KNOWN = {
    "Unit": "Description Documentation Wants After StartLimitIntervalSec StartLimitBurst",
    "Service": """
        Type NotifyAccess WorkingDirectory Environment EnvironmentFile ExecStart ExecReload KillMode TimeoutStopSec
        TimeoutStartSec Restart RestartSec RestartPreventExitStatus DynamicUser User StateDirectory StateDirectoryMode
        LogsDirectory LogsDirectoryMode UMask LimitNOFILE MemoryMax TasksMax ProtectHome PrivateDevices ProtectClock
        ProtectControlGroups ProtectHostname ProtectKernelLogs ProtectKernelModules ProtectKernelTunables ProtectProc
        LockPersonality RestrictNamespaces RestrictRealtime RestrictAddressFamilies CapabilityBoundingSet
        SystemCallArchitectures SystemCallFilter SystemCallErrorNumber SyslogIdentifier LogRateLimitIntervalSec
        LogRateLimitBurst
    """,
    "Install": "WantedBy",
}


def parsed(text: str) -> dict[str, dict[str, list[str]]]:
    """Sections with their keys, each with all of its values. Raises ``ValueError`` for a line that is none of it."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in text.splitlines():
        if not line or line[0] in "#;":
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
            found[section] = {}
        elif assignment := re.fullmatch(r"(\w+)=(.*)", line):
            found[section].setdefault(assignment[1], []).append(assignment[2])
        else:
            raise ValueError(line)
    return found


SECTIONS = parsed(UNIT)
SERVICE = SECTIONS["Service"]


def unknown(sections: dict[str, dict[str, list[str]]]) -> list[str]:
    return [key for name, keys in sections.items() for key in keys if key not in KNOWN.get(name, "").split()]


def test_each_key_is_known() -> None:
    assert unknown(SECTIONS) == []
    assert unknown(parsed(UNIT.replace("TimeoutStopSec", "TimeoutStop"))) == ["TimeoutStop"], "the control"


def verified(text: str, folder: Path) -> str:
    """What systemd says of the unit, with a command that is on this machine."""
    unit = folder / "prodfix.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stderr


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not here")
def test_systemd_has_nothing_against_it(tmp_path: Path) -> None:
    assert verified(UNIT, tmp_path) == ""


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not here")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("TimeoutStopSec=35", "TimeoutStop=35"),
        ("KillMode=mixed", "KillMode=both"),
        ("DynamicUser=yes", "DynamicUser=perhaps"),
    ],
)
def test_the_control_systemd_says_what_it_does_not_understand(old: str, new: str, tmp_path: Path) -> None:
    wrong = UNIT.replace(old, new)
    line = wrong.splitlines().index(new) + 1
    assert f"prodfix.service:{line}: " in verified(wrong, tmp_path)


@pytest.mark.skipif(ANALYZE is None, reason="systemd is not here")
def test_it_exposes_little(tmp_path: Path) -> None:
    """As systemd counts it: 0 to 10, and 9.6 for a unit that says nothing. The network alone is half a point."""

    def exposure(text: str) -> float:
        unit = tmp_path / "prodfix.service"
        unit.write_text(text)
        command = [str(ANALYZE), "security", "--offline=true", "--no-pager", unit]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        found = re.search(r"exposure level for prodfix.service: ([\d.]+)", done.stdout)
        assert found, done.stdout[-500:] + done.stderr
        return float(found[1])

    assert exposure(UNIT) <= 2.0
    assert exposure("[Service]\nExecStart=/bin/true\n") > 9, "the control"


def environment() -> dict[str, str]:
    pairs = [word for value in SERVICE["Environment"] for word in shlex.split(value)]
    return dict(pair.partition("=")[::2] for pair in pairs)


def test_each_variable_is_a_setting_and_the_folders_are_those_that_systemd_makes() -> None:
    found = environment()
    assert unknown_settings(list(found)) == ["PYTHONDONTWRITEBYTECODE"]
    assert found["STATE_DIR"] == f"/var/lib/{SERVICE['StateDirectory'][0]}"
    assert found["LOG_DIR"] == f"/var/log/{SERVICE['LogsDirectory'][0]}"
    settings = Settings(**{name.lower(): value for name, value in found.items() if name in ("PORT", "WEB_CONCURRENCY")})
    assert (settings.port, settings.web_concurrency) == (Settings().port, Settings().web_concurrency)


def test_the_example_has_names_of_settings_and_no_secret() -> None:
    pairs = dict(line.partition("=")[::2] for line in EXAMPLE.splitlines() if line and line[0] != "#")
    assert unknown_settings(list(pairs)) == []
    assert {name for name, value in pairs.items() if value} == {"TRUSTED_PROXIES"}
    assert {"MONGODB_URI", "JWT_SECRET_KEY"} <= set(pairs)
    assert SERVICE["EnvironmentFile"] == ["/etc/prodfix/environment"], "no -: without it nothing may start"


def test_systemd_kills_after_what_gunicorn_needs() -> None:
    assert seconds(SERVICE["TimeoutStopSec"][0]) * 1000 > Settings().shutdown_limit_ms
    assert SERVICE["KillMode"] == ["mixed"], "SIGTERM is the arbiter's alone: it gives its workers their time"


def test_settings_that_are_not_usable_are_not_tried_again() -> None:
    (code,) = SERVICE["RestartPreventExitStatus"]
    assert f"APP_LOAD_ERROR = {code} " in (REPOSITORY / "config" / "__init__.py").read_text()


def test_it_starts_what_the_image_starts() -> None:
    program, *options = shlex.split(SERVICE["ExecStart"][0])
    image = stages((REPOSITORY / "Dockerfile").read_text())[-1].command
    assert (program.rpartition("/")[2], options) == (image[0], image[1:])
    assert program.startswith(SERVICE["WorkingDirectory"][0])


def test_gunicorn_tells_systemd_that_it_is_ready(tmp_path: Path) -> None:
    """`Type=notify` waits for it: without the line the start would time out."""
    address = str(tmp_path / "notify")
    (tmp_path / "nothing.py").write_text("def app(environ, start_response): ...\n")
    given = {"NOTIFY_SOCKET": address, "MONGODB_URI": "mongodb://127.0.0.1:9/x", "PYTHONPATH": str(REPOSITORY)}
    options = ["-b", f"unix:{tmp_path}/socket", "-c", str(REPOSITORY / "config" / "gunicorn.conf.py")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(30)
        arbiter = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "nothing:app"],
            cwd=tmp_path,
            env=given,
            stdout=subprocess.DEVNULL,
        )
        try:
            assert systemd.recv(4096).startswith(b"READY=1\n")
        finally:
            arbiter.terminate()
            assert arbiter.wait(30) == 0
