"""The program that delivers, against a real mail server and web hook: what arrives, what is told of the rest, and what leaks."""

from __future__ import annotations

import logging
import os
import signal
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apprise
import orjson
import pytest
import requests

from config.ports import free_port
from prodfix.alerts import apprise_program, delivery
from prodfix.alerts.alert_routing import channel_names
from prodfix.alerts.delivery import REASONS
from prodfix.alerts.notifications import DeliveryResult
from prodfix.process import native
from tests.support.receivers import MailServer, WebHook

CANARY = "canary7f3a"


def job(url: str, channel: str = "one #1", **more: Any) -> dict[str, Any]:
    whole = {"notification": "e:begin", "channel": channel, "url": url, "part": "begin", "severity": "critical"}
    return whole | {"title": "[critical] Tïtle", "body": "Line *one*\nseverity: critical & <b>"} | more


def send(*jobs: dict[str, Any], limit: float = delivery.LIMIT) -> list[DeliveryResult]:
    file = os.memfd_create("results", os.MFD_CLOEXEC)
    try:
        delivery.send(jobs, file, limit=limit)
        found = delivery.results(os.pread(file, 1_000_000, 0))
    finally:
        os.close(file)
    return sorted(delivery.with_missing(jobs, found, "no_result"), key=lambda result: result.channel)


def reasons(*jobs: dict[str, Any], limit: float = delivery.LIMIT) -> list[str | None]:
    return [result.reason for result in send(*jobs, limit=limit)]


def test_it_arrives_at_a_mail_server_and_at_a_web_hook(mail: MailServer, hook: WebHook) -> None:
    jobs = (job(mail.url, "mailto #1"), job(hook.url, "json #2"))
    assert send(*jobs) == [DeliveryResult("e:begin", "json #2", True), DeliveryResult("e:begin", "mailto #1", True)]
    for receiver in (mail, hook):
        (told,) = receiver.told
        assert told.title == "[critical] Tïtle"
        assert "\n".join(told.text.split("\r\n")).strip() == "Line *one*\nseverity: critical & <b>", (
            "as plain as it was written"
        )
    assert b"To: ops@example.org" in mail.told[0].raw


@pytest.mark.parametrize(
    ("severity", "part", "kind"),
    [
        ("critical", "begin", "failure"),
        ("warn", "begin", "warning"),
        ("critical", "end", "success"),
        ("info", "test", "info"),
    ],
)
def test_the_kind_of_a_message_is_apprises(hook: WebHook, severity: str, part: str, kind: str) -> None:
    send(job(hook.url, severity=severity, part=part))
    assert f'"type": "{kind}"'.encode() in hook.told[0].raw


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "credentials"),
        (403, "credentials"),
        (404, "not_found"),
        (429, "rate_limited"),
        (400, "refused"),
        (503, "server_error"),
    ],
)
def test_what_a_web_hook_answers_is_told_in_one_word(hook: WebHook, status: int, reason: str) -> None:
    hook.status = status
    assert reasons(job(hook.url)) == [reason]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_receiver_that_redirects_has_got_nothing(hook: WebHook, status: int) -> None:
    hook.status, hook.location = status, "/elsewhere"
    assert reasons(job(hook.url, "1"), job(f"{hook.url}?redirect=yes", "2")) == ["redirected"] * 2
    assert hook.methods == ["POST"] * 2


def test_a_redirect_that_is_followed_counts_as_delivered_and_loses_the_text(hook: WebHook) -> None:
    """The control: Apprise by itself."""
    hook.status, hook.location = 302, "/elsewhere"
    plugin = apprise.Apprise.instantiate(hook.url)
    assert plugin is not None
    assert plugin.notify(body="text", title="title") is True
    assert (hook.methods, hook.told) == (["POST", "GET"], [])


def test_a_mail_server_that_refuses_is_told(mail: MailServer) -> None:
    mail.refuse = f"550 {CANARY} is unknown here"
    assert reasons(job(mail.url)) == ["refused"]


def test_what_cannot_be_reached_or_understood_is_told() -> None:
    jobs = [
        job(f"json://127.0.0.1:{free_port()}/", "1"),
        job(f"mailto://127.0.0.1:{free_port()}?from=a@example.org&to=b@example.org", "2"),
        job("nosuch://x", "3"),
        job("slack://", "4"),
    ]
    assert reasons(*jobs) == ["unreachable", "unreachable", "not_a_url", "not_a_url"]


def test_a_server_without_tls_is_told(hook: WebHook) -> None:
    assert reasons(job(f"jsons://127.0.0.1:{hook.port}/")) == ["tls"]


def test_one_that_never_answers_holds_nobody_up(mail: MailServer, hook: WebHook) -> None:
    hook.released.clear()
    begun = time.monotonic()
    assert reasons(job(hook.url, "1"), job(mail.url, "2")) == ["timeout", None]
    assert time.monotonic() - begun < delivery.LIMIT, "its own limit has ended it, and not that of all"


def test_at_the_limit_it_is_over_and_what_has_arrived_is_told(mail: MailServer, hook: WebHook) -> None:
    begun = time.monotonic()
    assert reasons(job(mail.url)) == [None]
    limit = 4 + 3 * (time.monotonic() - begun)  # a busy machine needs seconds to start the program
    hook.released.clear()
    begun = time.monotonic()
    assert reasons(job(f"{hook.url}?rto=60", "1"), job(mail.url, "2"), limit=limit) == ["no_result", None]
    assert time.monotonic() - begun < limit + 4


def test_alerts_of_one_channel_arrive_in_order(hook: WebHook) -> None:
    jobs = [job(hook.url, title=f"{number}", notification=f"{number}:begin") for number in range(8)]
    assert all(result.ok for result in send(*jobs))
    assert [told.title for told in hook.told] == [str(number) for number in range(8)]


def test_no_url_is_on_a_command_line_or_in_the_environment_or_in_what_it_writes(
    hook: WebHook, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MONGODB_URI", f"mongodb://u:{CANARY}@127.0.0.1/")
    monkeypatch.setenv("ALERT_URLS", f"json://u:{CANARY}@127.0.0.1/")
    seen: list[bytes] = []
    spawn = native.original("os", "posix_spawn")

    def watched(path: str, arguments: list[str], environment: dict[str, str], **options: Any) -> int:
        seen.append(repr((path, arguments, environment)).encode())
        return int(spawn(path, arguments, environment, **options))

    monkeypatch.setattr(os, "posix_spawn", watched)
    file = os.memfd_create("results", os.MFD_CLOEXEC)
    secret = f"json://user:{CANARY}@127.0.0.1:{hook.port}/{CANARY}"
    hook.status = 401
    delivery.send([job(secret)], file)
    written = os.pread(file, 1_000_000, 0)
    os.close(file)
    assert b'"credentials"' in written
    assert hook.asked == 1
    shown = capfd.readouterr()
    assert CANARY.encode() not in b"".join(seen) + written + (shown.out + shown.err).encode()
    assert b"PYTHONPATH" in seen[0], "the control: this is what it was started with"


def test_it_imports_nothing_of_prodfix_and_ends_by_itself_when_nobody_watches(hook: WebHook) -> None:
    hook.released.clear()
    order = {"limit": 6.0, "jobs": [job(f"{hook.url}?rto=60")]}
    command = [sys.executable, "-X", "importtime", "-P", str(delivery.PROGRAM)]
    done = subprocess.run(command, input=orjson.dumps(order), capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"apprise" in done.stderr
    assert b"prodfix" not in done.stderr


def fake(folder: Path, code: str) -> dict[str, str]:
    """The environment of a program whose Apprise is ``code``."""
    (folder / "apprise.py").write_text(code)
    return {"PYTHONPATH": str(folder)}


def run_with(environment: dict[str, str], limit: float) -> subprocess.CompletedProcess[bytes]:
    order = orjson.dumps({"limit": limit, "jobs": [job("json://127.0.0.1/")]})
    command = [sys.executable, "-P", str(delivery.PROGRAM)]
    return subprocess.run(command, input=order, env=environment, capture_output=True, timeout=30, check=False)


def test_one_that_hangs_with_all_its_threads_is_ended_by_the_kernel(tmp_path: Path) -> None:
    # It holds Python's lock, and so no other thread of the process can do anything.
    done = run_with(fake(tmp_path, "import ctypes; ctypes.PyDLL(None).sleep(25)"), 3.0)
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, b"")


def test_no_core_is_dumped(tmp_path: Path) -> None:
    told = "import os, resource; os.write(1, repr(resource.getrlimit(resource.RLIMIT_CORE)).encode())"
    assert run_with(fake(tmp_path, told), 10.0).stdout.startswith(b"(0, 0)")


def test_waiting_of_a_plug_in_is_limited_whatever_the_url_says(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        socket_connect_timeout, socket_read_timeout = 3.0, 60.0

        def notify(self, **message: Any) -> bool:
            return True

    plugin = Plugin()
    monkeypatch.setattr(apprise.Apprise, "instantiate", lambda url, **options: plugin)
    assert apprise_program.deliver(job("json://h?rto=60"), apprise_program.Clues()) is None
    assert (plugin.socket_connect_timeout, plugin.socket_read_timeout) == (3.0, apprise_program.LARGEST_TIMEOUT)


def test_a_plug_in_that_breaks_is_a_delivery_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise.Apprise, "instantiate", lambda url, **options: 7)
    assert apprise_program.deliver(job("json://h"), apprise_program.Clues()) == "failed"


def test_a_program_that_cannot_be_started_or_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PROGRAM", delivery.PROGRAM.with_name("none.py"))
    assert reasons(job("json://127.0.0.1/")) == ["no_result"]
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(FileNotFoundError):
        send(job("json://127.0.0.1/"))


def test_a_python_within_another_program_is_found(monkeypatch: pytest.MonkeyPatch, hook: WebHook) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert reasons(job(hook.url)) == [None]
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    with pytest.raises(FileNotFoundError):
        send(job(hook.url))


REASONS_OF: list[tuple[BaseException | None, int | None, str]] = [
    (smtplib.SMTPAuthenticationError(535, b"no"), None, "credentials"),
    (smtplib.SMTPRecipientsRefused({}), None, "refused"),
    (smtplib.SMTPServerDisconnected("gone"), None, "unreachable"),
    (ssl.SSLCertVerificationError("bad"), None, "tls"),
    (TimeoutError(), None, "timeout"),
    (requests.exceptions.ReadTimeout(), None, "timeout"),
    (requests.exceptions.ConnectTimeout(), None, "timeout"),
    (requests.exceptions.SSLError(), None, "tls"),
    (requests.exceptions.ProxyError(), None, "unreachable"),
    (requests.exceptions.ConnectionError(), None, "unreachable"),
    (ConnectionRefusedError(), None, "unreachable"),
    (ValueError(CANARY), None, "failed"),
    (None, 407, "credentials"),
    (None, 410, "not_found"),
    (None, 302, "redirected"),
    (None, None, "failed"),
]


@pytest.mark.parametrize(("error", "status", "reason"), REASONS_OF)
def test_each_error_has_its_word(error: BaseException | None, status: int | None, reason: str) -> None:
    assert apprise_program.reason_of(error, status) == reason
    assert reason in REASONS


def test_clues_are_those_of_the_delivery_in_this_thread() -> None:
    clues = apprise_program.Clues()
    log = logging.getLogger("test.clues")
    log.setLevel(logging.DEBUG)
    log.addHandler(clues)
    log.propagate = False
    log.warning("error=401.")
    clues.begin()
    assert clues.end() == "failed"
    clues.begin()
    log.warning("Failed to send: Unauthorized, error=%s.", 401)
    assert clues.end() == "credentials"
    clues.begin()
    try:
        os.stat("/no/such/file")
    except OSError:
        log.debug("Socket Exception")
    assert clues.end() == "unreachable"


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"[]", b"7", b'{"notification": "e"}', b'{"notification": "e", "channel": "c", "ok": 1}', b"\xff"],
)
def test_what_is_no_result_is_none(line: bytes) -> None:
    good = b'{"notification":"e","channel":"c","ok":true,"reason":null}\n'
    assert delivery.results(line + b"\n" + good + good[:20]) == [DeliveryResult("e", "c", True)]


def test_a_channels_name_tells_its_scheme_and_nothing_else() -> None:
    names = channel_names([f"mailtos://u:{CANARY}@h", f"SLACK://{CANARY}"])
    assert list(names) == ["mailtos #1", "slack #2"]


def test_results_of_many_threads_at_once_are_all_there(python: Callable[..., str]) -> None:
    code = """
    import os, sys, threading
    from prodfix.alerts import apprise_program

    def lines(work):
        answers, stdout = os.memfd_create("answers"), os.dup(1)
        os.dup2(answers, 1)
        start = threading.Barrier(8)
        def run():
            start.wait()
            work()
        threads = [threading.Thread(target=run) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        os.dup2(stdout, 1)
        return len(os.pread(answers, os.fstat(answers).st_size, 0).splitlines())

    jobs = [{"notification": "a", "channel": "json #1"}] * 500
    print(lines(lambda: apprise_program._deliver_all(jobs, lambda job: None)))
    # On a busy machine threads may take turns by chance.
    print(any(lines(lambda: [os.write(1, b"line\\n") for _ in jobs]) < 8 * 500 for _ in range(200)))
    """
    told, missing = python(code).split()
    assert int(told) == 8 * 500
    assert missing == "True", "the control: the kernel does not take care of it"
