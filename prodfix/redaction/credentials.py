"""Credentials that a name, a header's scheme or their own form tells, and e-mail addresses."""

from __future__ import annotations

from prodfix.patterns import compiled_later
from prodfix.redaction.rules import MASK, STRING, Rule, bracketed, whole

_SECRET_NAME = (
    r"(?:passwor[dt]|passwd|passphrase|passcode|pwd|kennwort|contrase[^\s=:]{1,12}a|senha|secret|token|api[_-]?key"
    r"|access[_-]?key(?:[_-]?id)?|secret[_-]?key|private[_-]?key|account[_-]?key|(?:signing|encryption|routing|integration)[_-]?key"
    r"|credentials?|authorization|cookie|sess(?:ion)?[_-]?id|connect\.sid|ssn|cvv|cvc2?|otp|-signature|accesssignature|sentry[_-]?dsn)"
)
_SECRET_HINTS = (
    "pass", "pwd", "secret", "token", "key", "credential", "authorization", "cookie", "sess", "ssn", "cvv", "cvc", "otp",
    "kennwort", "contrase", "senha", "signature", "connect.sid", "dsn",
)  # fmt: skip
_SECRET_VALUE = rf"(?:[bru](?=[\"']))?(?:{STRING}|{bracketed(8)}|(?!\*\*\*)[^\s,;&\"'}}\])]++)"

HEADERS = (
    Rule(("eyj",), compiled_later(r"eyJ[A-Za-z0-9_-]{5,}+(\.[A-Za-z0-9_-]{2,}+(?:\.[A-Za-z0-9_-]*+){0,3})?"), whole),
    Rule(("bearer",), compiled_later(r"(?i)(?<![a-z\d])bearer\s{1,8}[A-Za-z0-9._~+/=-]{6,}+"), "Bearer " + MASK),
    Rule(
        ("basic",),
        compiled_later(r"(?i)(?<![a-z\d])basic\s{1,8}(?=[A-Za-z+/]{0,200}[\d=])[A-Za-z0-9+/=]{6,}+"),
        "Basic " + MASK,
    ),
    Rule(("geniekey",), compiled_later(r"(?i)(?<![a-z\d])geniekey\s{1,8}[\w-]{6,}+"), "GenieKey " + MASK),
)
DASHED = (  # of texts with a dash
    Rule(
        ("private key",),
        compiled_later(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s:,.()\\-]*+"),
        MASK,
    ),
    Rule(
        ("private-lines",),
        compiled_later(r"Private-Lines:\s{0,8}\d{1,4}(?:\s|\\{1,4}[rn]){1,8}[A-Za-z0-9+/=\s\\]*+"),
        "Private-Lines: " + MASK,
    ),
    Rule(("aws4-",), compiled_later(r"(?<![A-Za-z\d])AWS4-HMAC-SHA256\s[^\r\n\"']*+"), "AWS4-HMAC-SHA256 " + MASK),
    Rule(
        ("--",),  # on a command line, or in the list that was made of it
        compiled_later(
            rf"(?is)(--(?:[a-z\d]{{1,20}}[_-]){{0,4}}?{_SECRET_NAME}s?(?:[\"']\s?,)?\s{{1,8}})(?!-){_SECRET_VALUE}"
        ),
        r"\1" + MASK,
    ),
)
NAMED = (  # of texts with an equals sign or a colon, as it is or encoded
    Rule(
        ("cookie", "authorization"),
        compiled_later(r"(?i)(?<![a-z\d])((?:(?:set-)?cookie|(?:proxy-)?authorization)\s{0,8}[:=]\s{0,8})[^\r\n]++"),
        r"\1" + MASK,
    ),
    Rule(
        _SECRET_HINTS,
        compiled_later(
            rf"(?is)({_SECRET_NAME}s?\d{{0,4}}(?:\\{{0,8}}[\"']|%2[27])?\s{{0,8}}(?:[=:]|%(?:25){{0,3}}3[ad])\s{{0,8}})"
            rf"{_SECRET_VALUE}"
        ),
        r"\1" + MASK,
    ),
    Rule(
        ("session=", "remember_me=", "csrf="),  # cookies of many frameworks, without the header's name
        compiled_later(r"(?i)(?<![a-z\d])((?:session|remember_me|_?csrf)=)(?!\*\*\*)[\w.%:+/=-]{12,}+"),
        r"\1" + MASK,
    ),
)
EMAILS = (  # of texts with an @, or a %40
    # The group is not possessive: Python 3.11 before 3.11.5 finds nothing if a turn of such a group fails half-way.
    Rule((), compiled_later(r"(?:[\w.+-]++|%(?!40))+((?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}+){1,8})?"), whole),
)
