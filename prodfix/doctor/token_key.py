"""The key that signs tokens."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from prodfix.development_key import SHORTEST_JWT_KEY
from prodfix.doctor.findings import Finding, NotApplicable, error, note, warning
from prodfix.doctor.registry import check
from prodfix.doctor.subject import Subject
from prodfix.links import links_of

MAKE = "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
LEAST_BITS = 90.0

# Words of five letters and more: shorter ones stand in random keys, too.
_WORDS = re.compile(
    r"(?i)change|secret|passw|example|placeholder|insert|replace|sample|default|qwerty|prodfix|testing|development|tests only"
)


def _key(subject: Subject) -> str:
    key = subject.settings.jwt_secret_key
    if key is None:
        raise NotApplicable
    return key.get_secret_value()


@check("token-key", "tokens")
def missing(subject: Subject) -> Iterator[Finding]:
    """The diagnostics can tell an admin from a stranger."""
    guarded = links_of(subject.app.extensions).diagnostics is not None
    if not guarded or subject.settings.jwt_verification_key is not None:
        return
    if "flask-jwt-extended" not in subject.app.extensions:
        yield warning(
            "the diagnostics are served, and there is no key that a token could be signed with",
            f"{MAKE}; set JWT_SECRET_KEY",
        )


@check("token-key-length", "tokens")
def length(subject: Subject) -> Iterator[Finding]:
    """The key is long enough.

    As long as HS256 wants it (RFC 7518 section 3.2).
    """
    size = len(_key(subject).encode())
    if size < SHORTEST_JWT_KEY:
        yield error(f"JWT_SECRET_KEY has {size} bytes, and {SHORTEST_JWT_KEY} are the least", MAKE, bytes=size)


@check("token-key-strength", "tokens")
def strength(subject: Subject) -> Iterator[Finding]:
    """The key looks random."""
    reason = weakness(_key(subject))
    if reason is not None:
        level = error if subject.deployed else note
        yield level(f"JWT_SECRET_KEY can be guessed: {reason}", f"{MAKE}; the same one for all instances")


def weakness(key: str) -> str | None:
    """Why a key can be guessed, without any part of it; None if it looks random."""
    if _WORDS.search(key):
        return "it has words of a placeholder"
    if period(key) * 2 <= len(key):
        return "it repeats itself"
    steps = Counter(ord(later) - ord(earlier) for earlier, later in pairwise(key))
    if steps and max(steps[-1], steps[0], steps[1]) * 2 > len(key):
        return "its characters follow each other"
    if re.fullmatch(r"[A-Za-z,.!?'-]+(?: [A-Za-z,.!?'-]+){2,}", key):
        return "it is a sentence"
    counts = Counter(key)
    bits = -sum(count * math.log2(count / len(key)) for count in counts.values())
    return f"it has some {bits:.0f} bits" if bits < LEAST_BITS else None


def period(key: str) -> int:
    """The length of the shortest text whose repetition ``key`` is."""
    return next(
        (size for size in range(1, len(key)) if (key[:size] * (len(key) // size + 1)).startswith(key)), len(key)
    )


@check("token-key-own", "tokens")
def development(subject: Subject) -> Iterator[Finding]:
    """The key is this environment's own."""
    if not subject.deployed:
        raise NotApplicable
    key, path = _key(subject), subject.settings.state_dir / "jwt.key"
    made = path.exists() and path.read_text("utf-8", "replace").strip() == key
    if made and not subject.given("jwt_secret_key"):
        yield warning(
            "the key was made in STATE_DIR/jwt.key: another instance, and this one after a lost disk, accepts no token of it",
            f"{MAKE}; set JWT_SECRET_KEY to it everywhere",
        )
    elif made:
        yield error("JWT_SECRET_KEY is the key that was made for development", f"{MAKE}; one for each environment")
