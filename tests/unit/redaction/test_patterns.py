"""Texts with secrets in the forms that others give them, and texts without any that look alike."""

from __future__ import annotations

import re
from typing import Any

import pytest

from prodfix.redaction.addresses import APPRISE
from prodfix.redaction.numbers import NUMBERS
from prodfix.redaction.redactor import _GROUPS, redact_text
from prodfix.redaction.rules import Rule
from prodfix.redaction.tokens import TOKENS
from tests.support.secret_forms import CARRIERS, FORMS

RULES: tuple[Rule, ...] = (*(rule for _, rules in _GROUPS for rule in rules), *TOKENS, *NUMBERS)


def of(secret: str, text: str) -> bool:
    """Whether eight characters of the secret, one after the other, stand in the text."""
    return any(secret[place : place + 8] in text for place in range(max(1, len(secret) - 7)))


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_a_secret_comes_out_whatever_it_stands_in(form: str) -> None:
    for carry in CARRIERS.values():
        text, secret = FORMS[form]()
        text = carry(text)
        shown = redact_text(text)
        assert of(secret, text)
        assert not of(secret, shown), shown
        assert redact_text(shown) == shown


def test_what_is_looked_for_first_is_in_every_text_that_a_rule_is_for() -> None:
    """The hints spare time and nothing else: with all rules, whatever their hints say, texts come out the same."""

    def without_hints(text: str) -> str:
        for rule in RULES:
            text = rule.pattern.sub(rule.instead, text)
        return text

    for make in FORMS.values():
        for carry in CARRIERS.values():
            text = carry(make()[0])
            assert redact_text(text) == without_hints(text)


def test_the_usual_patterns_would_leave_most_of_them() -> None:
    """The control: a redactor as applications have it."""
    usual = re.compile(
        r"(?i)(password|secret|token|api_?key|authorization)[\"']?\s*[=:]\s*[\"']?[^\s,&\"']+|://[^@\s]+@"
    )
    left = [
        form
        for form, (text, secret) in ((form, make()) for form, make in FORMS.items())
        if of(secret, usual.sub("", text))
    ]
    assert len(left) > len(FORMS) / 2


def test_each_scheme_of_apprise_is_known_but_those_that_hide_a_user_only() -> None:
    apprise = pytest.importorskip("apprise")
    from apprise.manager_plugins import NotificationManager

    protocols = {"amqp", "amqps", "mqtt", "mqtts", "irc", "ircs", "smpp", "smpps", "xmpp", "xmpps"}
    local = {"dbus", "glib", "gnome", "kde", "macosx", "qt", "windows", "syslog", "rsyslog", "github", "x"}
    assert apprise.__version__
    assert set(NotificationManager().schemas()) - APPRISE == protocols | local


BENIGN = """\
GET /api/v1/notes/65a1b2c3d4e5f6a7b8c9d0e1 HTTP/1.1
see https://example.org/docs/webhooks and https://example.org/services/list
see https://docs.python.org/3/library/re.html?highlight=regex#re.compile
https://www.mongodb.com/docs/manual/reference/operator/query/regex/
redirected to http://localhost:8000/health/live?verbose=1
ws://localhost/socket, ftp://mirror.example/pub, file:///usr/share/doc, s3://bucket/key, redis://cache:6379/0
amqp://broker:5672//, mqtt://broker, unix:///run/app.sock, tcp://0.0.0.0:8000
use slack://... or mailtos://... as the manual says
/search?q=shoes&sort=price&page=2&state=open&code=E1001&key=name
/list?status=active&type=a&hash=1&sid=5&auth=none&policy=open
took 12.5 ms (p99 80.1), 3 of 5 retries, code 11000, HTTP/1.1, TLSv1.3, utf-8
2026-01-02T03:04:05.678Z, 2026-01-02 03:04:05,678, 1700000000000, 20260102-030405
123e4567-e89b-12d3-a456-426614174000 and 65a1b2c3d4e5f6a7b8c9d0e1
image registry/app:1.2.3@sha256:0123456789abcdef
commit bc649d83e48c0dde5bea4c93232016a0fd957740
versions 3.11.7, 2.3.0.dev1, 1.0-beta+build.5
the key-value store, key-rotation, a sk-learn model, hf_hub, sg.example, npm_config
v1.local, v2.public, v1.2.local.test and dp.example
an ack, SKU AC12, task, desk, back
Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)
Version/18.1 Mobile/15E148 Safari/604.1
okhttp/4.12.0 and curl/8.9.1 and python-requests/2.32.3
no colour of this name is there: {'colour': 'red', 'limit': 5}
the field 'title' is not allowed, expected one of ['a', 'b']
TypeError: f() takes 1 positional argument but 2 were given
KeyError: 'title'
'NoneType' object has no attribute 'name'
AttributeError: module 'x' has no attribute 'y'
could not find the file "report.pdf", it's gone, isn't it
division by zero in app.py:120, and in lib/a_b.py:7
index name_1_created_at_-1 on app.notes, collection orders.items
{"level": "info", "event": "request", "path": "/notes", "status": 200, "durationMs": 1.5}
the hook on_start, a bot of ours, the webhook was called, hooks: 5, bots: 3
session expired, signature is wrong, the cookie banner, a token ring, secret santa
the basic plan for bearers of news, basic auth is off
Listening at: http://127.0.0.1:10000 (7)
Booting worker with pid: 42
[2026-01-02 03:04:05 +0000] [7] [INFO] Starting gunicorn 23.0.0
-1 +2, 1+1=2, +10 %, 50/50, 3-2-1, 12-34-56, 1.2.3.4, (+5)
2 + 12345678, offset +0100, 123-456-7890123
ratio 4:3, 10:30:00, [12:30:45]: started, a::b, x: y
DE12 is a road, FR76 a size, AB12CDEF34567890 a number of a part
order 4111111111111112, number 1234567890123
a@b, @decorator, user@, me @ home, 5@home
name: value, other_name = value, --verbose --output file -v
C:\\Users\\app\\log.txt and /usr/lib/python3.11/re.py
caf\u00e9, \u4e2d\u6587, \U0001f600, na\u00efve
maximum recursion depth exceeded while calling a Python object
[Errno 111] Connection refused; [Errno 2] No such file or directory: 'a.txt'
""".splitlines()


@pytest.mark.parametrize("text", BENIGN)
def test_an_ordinary_line_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


AROUND: dict[str, tuple[str, str]] = {
    "hook": (
        "told https://hooks.slack.com/services/T0ABCDEF1/B0ABCDEF1/x9 twice",
        "told https://hooks.slack.com/services/*** twice",
    ),
    "scheme": ("told 'slack://a/b/c', and more", "told 'slack://***', and more"),
    "query": ("/k?a=1&X-Amz-Signature=abc&b=2", "/k?a=1&X-Amz-Signature=***&b=2"),
    "url of requests": (
        "404 Client Error: Not Found for url: https://api.example/users/max?x=1",
        "404 Client Error: Not Found for url: https://api.example/***",
    ),
    "url of aiohttp": ("404, message='Not Found', url='https://api.example/users/max'", "404, message='Not Found', url='https://api.example/***'"),
    "errmsg": ("saving: Cannot create field 'b' in element {a: \"x\"}", "saving: Cannot create field ?"),
    "reply": (
        "it's a pity: no 'x' here, full error: {'ok': 0.0, 'errmsg': \"no 'x' here\"}",
        "it's a pity: no ? here, full error: ***",
    ),
    "dup key": (
        "E11000 duplicate key error collection: a.b index: e_1 dup key: { email: \"x\" }, full error: {'a': 1}",
        "E11000 duplicate key error collection: a.b index: e_1 dup key: { email: ? }",
    ),
    "int": ("invalid literal for int() with base 10: 'x' in row 5", "invalid literal for int() with base 10: ? in row 5"),
    "enum": ("'x' is not a valid Colour", "? is not a valid Colour"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), AROUND.values(), ids=AROUND)
def test_what_stands_around_stays(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_the_shortest_texts_and_texts_without_any_sign_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any) -> str:
        raise AssertionError

    monkeypatch.setattr("prodfix.redaction.redactor._applied", never)
    for text in ("", "?str", "some plain words", "?bytes", "x" * 1000):
        assert redact_text(text) == text
    with pytest.raises(AssertionError):
        redact_text("to a@example.org")
