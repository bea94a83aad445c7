"""Those who are told: a mail server and a web hook on 127.0.0.1, which keep what they get."""

from __future__ import annotations

import email
import email.policy
import json
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session

from config.ports import free_port
from tests.support.loopback import Loopback, QuietHandler


class Told(NamedTuple):
    """One message. ``raw`` is every byte of it, headers included."""

    title: str
    text: str
    raw: bytes


class MailServer:
    """A real SMTP server; ``url`` is Apprise's for it."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.refuse: str | None = None
        """An answer such as ``550 no``, in the place of taking a message."""
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def port(self) -> int:
        return int(self._controller.port)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=service@example.org&to=ops@example.org"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        if self.refuse is not None:
            return self.refuse
        content = envelope.content if isinstance(envelope.content, bytes) else str(envelope.content).encode()
        message = email.message_from_bytes(content, policy=email.policy.default)
        text = message.get_body(("plain", "html"))
        raw = content + repr((envelope.mail_from, envelope.rcpt_tos)).encode()
        self.told.append(Told(str(message["Subject"]), text.get_content() if text is not None else "", raw))
        return "250 taken"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()


class WebHook(Loopback):
    """A real HTTP receiver of JSON. ``status`` is what it answers, with the header ``Location`` if ``location`` says one; it
    waits until it is ``released``. A GET is always answered with 200, and tells nothing."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.asked = 0
        self.status = 200
        self.location: str | None = None
        self.methods: list[str] = []
        hook = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                hook.methods.append("GET")
                self.send_response(200)
                self.end_headers()

            def do_POST(self) -> None:
                hook.methods.append("POST")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                hook.released.wait(20)
                if hook.status < 300:
                    sent = json.loads(body)
                    hook.told.append(Told(sent["title"], sent["message"], bytes(self.headers) + body))
                self.send_response(hook.status)
                if hook.location is not None:
                    self.send_header("Location", hook.location)
                self.end_headers()

        super().__init__(Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/hook"
