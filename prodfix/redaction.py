"""Nothing secret and nothing personal leaves through a log, an answer or a statistic.

Three kinds of things are redacted, each by its own rule:

* commands (:func:`redact_command`): deny by default; every leaf becomes its type, field names and operators stay;
* documents that are not commands, such as headers and details (:func:`redact_document`): by key name and by value;
* text (:func:`redact_text`, :func:`redact_uri`): by pattern. Every pattern is linear: repetitions are bounded or possessive.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

from bson import Decimal128, ObjectId

from prodfix.shapes import mask_key, type_name

MASK = "***"

# ---- commands ---------------------------------------------------------------------------------------------------------


# ---- documents --------------------------------------------------------------------------------------------------------

_SECRET_WORDS = frozenset([
    "password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets", "token", "tokens",
    "authorization", "cookie", "cookies", "credential", "credentials", "jwt", "ssn", "cvv", "cvc", "otp", "pin",
    "apikey",
])  # fmt: skip
_SECRET_LAST_WORDS = frozenset(["pass", "auth", "bearer"])  # ``dbPass``; not ``passCount`` or ``authSource``
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey", "sessionid",
    "accesstoken", "refreshtoken", "authtoken", "csrftoken", "cardnumber", "creditcard",
)  # fmt: skip
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def secret_key(name: str) -> bool:
    """Whether a field of this name holds a secret: ``dbPassword``, ``X-Api-Key``, ``pwd2``; not ``tokenizer`` or ``author``."""
    return _secret_words(name[:200])


@lru_cache(4096)
def _secret_words(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    letters = [word for word in words if not word.isdigit()]
    if not _SECRET_WORDS.isdisjoint(words) or not _SECRET_LAST_WORDS.isdisjoint(letters[-1:]):
        return True
    return "".join(letters).endswith(_SECRET_ENDINGS)


_PLAIN = (type(None), int, float, date, timedelta, Decimal, Decimal128, ObjectId, UUID)  # hold no text


def redact_document(value: Any, *, _level: int = 0) -> Any:
    """A copy of ``value`` without secrets, found by key name and by value. Benign documents come out equal."""
    if isinstance(value, str):
        return redact_text(value)
    if _level > 32:
        return "?"
    if isinstance(value, Mapping):
        return {redact_document(key): _redact_item(key, item, _level + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [redact_document(item, _level=_level + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items if isinstance(value, list) else frozenset(items)
    return value if isinstance(value, _PLAIN) else _redact_other(value)


def _redact_item(key: Any, item: Any, level: int) -> Any:
    hidden = isinstance(key, str) and item is not None and secret_key(key)
    return MASK if hidden else redact_document(item, _level=level)


def _redact_other(value: Any) -> Any:
    """Whatever else there is (bytes, an exception, a Regex) is judged by the text that a log would show of it."""
    try:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    except Exception:  # noqa: BLE001 - somebody's __str__
        return type_name(value)
    shown = redact_text(text)
    if shown == text:
        return value
    return shown.encode("latin-1", "replace") if isinstance(value, bytes) else shown


# ---- text -------------------------------------------------------------------------------------------------------------

_Replacement = str | Callable[[re.Match[str]], str]


def _card(match: re.Match[str]) -> str:
    digits = [int(digit) for digit in match[0] if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return MASK if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else match[0]


def _duplicate(match: re.Match[str]) -> str:
    fields = re.findall(r"[{,]\s?([\w.$-]{1,100}+):", _QUOTED.sub("?", match[0]))
    return "dup key: { " + ", ".join(f"{mask_key(field)}: ?" for field in fields[:20]) + " }"


def _whole(match: re.Match[str]) -> str:
    """For patterns that also take what only begins like a secret, so that no character is looked at twice."""
    return MASK if match[1] else match[0]


_QUOTED = re.compile(r'(?s)"(?:[^"\\]|\\.)*+(?:"|\Z)')
_SECRET_NAME = (
    r"(?:password|passwd|passphrase|passcode|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|credentials?|authorization|cookie|session[_-]?id|ssn|cvv|otp)"
)
_SECRET_HINTS = (
    "pass", "pwd", "secret", "token", "key", "credential", "authorization", "cookie", "session", "ssn", "cvv", "otp",
)  # fmt: skip
_STRING = r"""\\{0,8}+(?:"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?)"""


def _bracketed(levels: int) -> str:
    """All between two brackets; to the end of the text if nothing closes, or it is too deep. It never steps back."""
    inner = _bracketed(levels - 1) if levels else r"[\[({].*+"
    return rf"[\[({{](?:[^\[\](){{}}\"']++|{_STRING}|{inner})*+[\])}}]?"


_SECRET_VALUE = rf"(?:[bru](?=[\"']))?(?:{_STRING}|{_bracketed(8)}|(?!\*\*\*)[^\s,;&\"'}}\])]++)"

# (one of these must be in the lower-cased text for the pattern to be tried, the pattern, what stands there instead)
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], _Replacement], ...] = (
    (
        ("mongodb",),
        # A password may hold an unescaped quote, which the specification forbids and people write: the last @ decides.
        re.compile(r"(?i)\bmongodb(\+srv)?://(?!(?:\*\*\*@)?\*\*\*(?:[/?\s]|$))(?:\S{0,256}@)?[^\s\"'<>]*+"),
        r"mongodb\1://" + MASK,
    ),
    (("private key",), re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s:,\\-]*+"), MASK),
    (("://",), re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)[^\s/?#\"']{1,512}@"), r"\1" + MASK + "@"),
    (("eyj",), re.compile(r"eyJ[A-Za-z0-9_-]{5,}+(\.[A-Za-z0-9_-]{2,}+(?:\.[A-Za-z0-9_-]*+){0,3})?"), _whole),
    (("bearer",), re.compile(r"(?i)\bbearer\s{1,8}[A-Za-z0-9._~+/=-]{6,}+"), "Bearer " + MASK),
    (("basic",), re.compile(r"(?i)\bbasic\s{1,8}(?=[A-Za-z+/]{0,200}[\d=])[A-Za-z0-9+/=]{6,}+"), "Basic " + MASK),
    (
        ("cookie", "authorization"),
        re.compile(r"(?i)\b((?:(?:set-)?cookie|(?:proxy-)?authorization)\s{0,8}[:=]\s{0,8})[^\r\n]++"),
        r"\1" + MASK,
    ),
    (("dup key",), re.compile(r'(?s)dup key: \{(?:"(?:[^"\\]|\\.)*+(?:"|\Z)|[^"\r\n])*+'), _duplicate),
    (("full error",), re.compile(r"(?s)\bfull error: \{.*"), "full error: " + MASK),
    (
        _SECRET_HINTS,
        re.compile(
            rf"(?is)({_SECRET_NAME}s?\d{{0,4}}(?:\\{{0,8}}[\"']|%2[27])?\s{{0,8}}(?:[=:]|%(?:25){{0,3}}3[ad])\s{{0,8}})"
            rf"{_SECRET_VALUE}"
        ),
        r"\1" + MASK,
    ),
    (
        ("--",),  # on a command line, or in the list that was made of it
        re.compile(
            rf"(?is)(--(?:[a-z\d]{{1,20}}[_-]){{0,4}}?{_SECRET_NAME}s?(?:[\"']\s?,)?\s{{1,8}})(?!-){_SECRET_VALUE}"
        ),
        r"\1" + MASK,
    ),
    # The group is not possessive: Python 3.11 before 3.11.5 finds nothing if a turn of such a group fails half-way.
    (("@", "%40"), re.compile(r"(?:[\w.+-]++|%(?!40))+((?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}+){1,8})?"), _whole),
    (
        ("akia", "asia", "gh", "xox", "k_", "aiza", "sg.", "sk-", "glpat-", "npm_", "hvs."),
        re.compile(
            r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,255}+|\bgithub_pat_\w{20,255}+|\bxox[abeprs]-[\w-]{10,255}+"
            r"|\b[srp]k_(?:live|test)_\w{10,255}+|\bAIza[\w-]{30,60}+|\bSG\.[\w-]{16,64}+\.[\w-]{16,64}+"
            r"|\bsk-[\w-]{20,255}+|\bglpat-[\w-]{16,64}+|\bnpm_[A-Za-z0-9]{30,64}+|\bhvs\.[\w-]{20,255}+"
        ),
        MASK,
    ),
    (("",), re.compile(r"(?<![\w.])[2-6](?:[ -]?\d){12,18}(?![\w])"), _card),
    (("",), re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}:\d{1,5}\b"), MASK),
    (
        (":270", ".mongodb"),  # the driver's texts name hosts: MongoDB's ports, and the names that Atlas gives
        re.compile(
            r"(?i)(?<![\w.-])[\w.-]++(?:(?:(?<=\.mongodb\.net)|(?<=\.mongodbgov\.net))(?::\d{1,5})?|(?<=\.mongodb\.net\.)"
            r"|:270\d\d)(?!\d)"
        ),
        MASK,
    ),
    (
        ("]:",),
        re.compile(
            r"\[(?!\d\d:\d\d:\d\d[\].])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f.]{0,15}(?:%[\w.-]{1,15})?\]:\d{1,5}(?!\d)"
        ),
        MASK,
    ),
    (
        ("serverdescription",),
        re.compile(r"<ServerDescription \('?[^,)]{0,300}', \d{1,5}\)"),
        "<ServerDescription (" + MASK + ")",
    ),
)


def redact_text(text: str) -> str:
    """``text`` without connection strings, hosts, credentials, tokens, keys, cards and e-mail addresses."""
    lowered = text.lower()
    for needed, pattern, instead in _RULES:
        if any(word in lowered for word in needed):
            text = pattern.sub(instead, text)
    return text


def redact_uri(uri: str, *, hosts: bool = True) -> str:
    """A connection string without user, password and options that may hold secrets.

    ``hosts=False`` also takes the host names away, as a log wants it: they belong into an admin's answer only.
    """
    scheme, found, rest = uri.partition("://")
    if not found or not scheme.replace("+", "").isalnum():
        return MASK
    before_options, _, options = rest.partition("?")
    _, at, place = before_options.rpartition("@")
    servers, slash, database = place.partition("/")
    # A password may hold an unescaped '@', '/' or '?', which the specification forbids and people write; without its host
    # it even stands where a port belongs.
    if "@" in options or not all(_SERVER.fullmatch(server) for server in servers.split(",")):
        return f"{scheme}://{MASK}"
    shown = f"{scheme}://{MASK + '@' if at else ''}{servers if hosts else MASK}{slash}{database}"
    return shown + ("?" + "&".join(_option_names(re.split("[&;]", options))) if options else "")


_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]*|[\w.%-]+\.sock)(?::\d{1,5})?")


def _option_names(options: Iterable[str]) -> tuple[str, ...]:
    known = {"replicaset", "ssl", "tls", "retrywrites", "retryreads", "w", "authsource", "readpreference", "appname"}
    shown = []
    for option in options:
        name, _, value = option.partition("=")
        shown.append(f"{name}={value}" if name.lower() in known and "@" not in value else f"{mask_key(name)}={MASK}")
    return tuple(shown)
