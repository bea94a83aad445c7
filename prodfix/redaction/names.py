"""Names of fields: which name a secret, and which are data themselves.

In a shape field names stay and values go. But people store maps by data (``{"logins": {"10.1.2.3": 5}}``), and a client may
send any key: a name that looks like an address, a number, an ID, a token or a password is masked.
"""

from __future__ import annotations

from functools import lru_cache

from prodfix.patterns import compiled_later

# ---- names of secrets -------------------------------------------------------------------------------------------------

_SECRET_WORDS = frozenset([
    "password", "passwords", "passwd", "pwd", "passphrase", "passcode", "passwort", "kennwort", "secret", "secrets", "token",
    "tokens", "authorization", "cookie", "cookies", "credential", "credentials", "jwt", "ssn", "cvv", "cvc", "otp", "pin",
    "apikey", "dsn",
])  # fmt: skip
_SECRET_LAST_WORDS = frozenset(["pass", "auth", "bearer"])  # ``dbPass``; not ``passCount`` or ``authSource``
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "privatekey", "sessionid", "accountkey",
    "accesstoken", "refreshtoken", "authtoken", "csrftoken", "cardnumber", "creditcard", "webhookurl", "amzsignature",
    "googsignature", "signingkey", "encryptionkey", "accesskeyid",
)  # fmt: skip
_WORDS = compiled_later(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def secret_key(name: str) -> bool:
    """Whether a field of this name holds a secret: ``dbPassword``, ``X-Api-Key``, ``pwd2``; not ``tokenizer`` or ``author``."""
    return _secret_words(name[:LONGEST_NAME])


@lru_cache(4096)
def _secret_words(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    letters = [word for word in words if not word.isdigit()]
    if not _SECRET_WORDS.isdisjoint(words) or not _SECRET_LAST_WORDS.isdisjoint(letters[-1:]):
        return True
    return "".join(letters).endswith(_SECRET_ENDINGS)


# ---- names that are data ----------------------------------------------------------------------------------------------

LONGEST = 64  # characters of one part of a name
LONGEST_NAME = 200  # of all of it
_MASKED = "?key"
_IP_4 = compiled_later(r"(?:^|\.)(?:\d{1,3}\.){3}\d{1,3}(?:$|[.:/])")
# A number, a moment, a telephone number; what names a place in a list is shorter.
_NUMBER = compiled_later(r"[+(]?(?=(?:\D*\d){5})[\d()/:TZ +-]+|\+\d+|-?\d+,\d+")
_IP_6 = compiled_later(r"(?i)\[?(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}\]?(?:%\w+)?(?:/\d+)?")
_MAC = compiled_later(r"(?i)[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}")
_HEX = compiled_later(
    r"(?i)(?:0x)?(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{10,}|[0-9a-f]{24,}|[0-9a-f]{8}(?:-[0-9a-f]{4,}){2,}"
)
_HEX_RUN = compiled_later(r"(?i)(?=(?:[a-f]*\d){4})[0-9a-f]{14,}")  # behind a letter or two that say what it is
_IBAN = compiled_later(r"(?i)[a-z]{2}\d{2}(?=(?:[a-z]*\d){6})[a-z\d]{11,30}")
# What is in no name that somebody gives to a field.
_SIGNS = compiled_later(r"[\s\x00-\x1f\x7f!\"%&'*,;<=>?\\^`{|}~]|://|[^$]\$.|#\d|@(?![A-Za-z]{1,20}$)")
_DIGIT_IN_A_WORD = compiled_later(r"(?<=[A-Za-z])\d{1,2}(?=[a-z])")
_SHORT_PAIRS = compiled_later(r"(?i)(?:[a-z]\d{1,2}|\d{1,2}[a-z])+")  # x1y1x2y2
_RUNS = compiled_later(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_A-Za-z]+")
_BETWEEN = compiled_later(r"[-_:/]")
_TOKEN = compiled_later(r"[A-Za-z0-9_+/=-]{12,}")
_BIG_LETTERS = compiled_later(r"[A-Z0-9]{16,}")
# Pairs of letters that no word has in the languages that are written in Latin letters.
_UNHEARD = compiled_later(
    "(?i)(?=(?:b[fghjqwxz]|c[bfgjpvwx]|d[qx]|f[bcdghjkpqvwxz]|g[bcfjkpqvxz]|h[bgjqvxz]|j[bcdfghjlmpqrstvwxyz]|k[bcfgjpqxz]"
    "|l[jqrxw]|m[fjqvwxz]|p[bcdgjqvwxz]|q[^uaeilrst]|r[jqx]|s[jxz]|t[bdfgjpqxk]|v[bcdfghjkmnpqtwxz]|w[bcfgjmpqtuvxz]"
    "|x[bdfghjkmnqrsvwz]|y[jqvy]|z[bcdfghjkmnpqrstvx]))"
)


def mask_key(key: str) -> str:
    """The name of a field; ``?key`` for each part of it that looks like data, and ``?key`` for what is longer than any name."""
    return _MASKED if len(key) > LONGEST_NAME or "@" in key[1:] or "://" in key else _mask_parts(key)


@lru_cache(4096)
def _mask_parts(key: str) -> str:
    if _IP_4.search(key):
        return _MASKED
    return ".".join(_MASKED if _is_data(part) else part for part in key.split("."))


def _is_data(part: str) -> bool:
    if len(part) <= 4 and part.isalnum():
        return False
    if len(part) > LONGEST or _SIGNS.search(part) is not None:
        return True
    if any(kind.fullmatch(part) for kind in (_NUMBER, _IP_6, _MAC, _HEX, _IBAN)):
        return True
    if _HEX_RUN.search(part) is not None:
        return True
    if len(_DIGIT_IN_A_WORD.findall(part)) > 1 and _SHORT_PAIRS.fullmatch(part) is None:
        return True  # P4ssw0rd
    segments = _BETWEEN.split(part)
    return _random(part) or (len(segments) > 1 and any(len(one) >= 8 and _is_data(one) for one in segments))


def _random(part: str) -> bool:
    """Whether no person has thought of it: its letters make no words, or change with digits and in size every moment."""
    if _TOKEN.fullmatch(part) is None:
        return False
    runs = _RUNS.findall(part)
    words = [run for run in runs if not run.isdigit()]
    length = sum(map(len, runs))
    if len(words) < len(runs) or not (part.islower() or part.isupper()):
        # Words that somebody has joined are four letters and more; a draw of letters and digits changes after two or three.
        short = sum(len(run) for run in runs if len(run) < 3 or run.isdigit())
        if length >= 12 and (length < 2.2 * len(runs) or short > length * 0.55):
            return True
        if length >= 16 and length < 3 * len(runs) and len(runs) > part.count("_") + part.count("-") + 3:
            return True
    return any(_unspeakable(word) for word in words) or bool(_BIG_LETTERS.fullmatch(part) and not part.isalpha())


def _unspeakable(word: str) -> bool:
    """Whether so many letters cannot be one word of any language."""
    if len(word) < 10:
        return False
    unheard = len(_UNHEARD.findall(word))
    vowels = sum(letter in "aeiouyAEIOUY" for letter in word)
    return unheard > 1 + len(word) // 16 or (unheard > 0 and vowels < len(word) * 0.2) or vowels < len(word) * 0.12
