"""How many users something met, in a few bytes that can be merged: the smallest hashes of their IDs.

K minimum values (Bar-Yossef and others, Counting Distinct Elements in a Data Stream, 2002; Beyer and others, On Synopses for
Distinct-Value Estimation, SIGMOD 2007): of fewer than :data:`K` users all hashes are kept, and their number is exact; of more
the K-th smallest hash tells how dense they are, which estimates their number without bias and within 21 % (1 / sqrt(K - 2)).
A union of two is the smallest of both, so workers, instances and hours add up to what one of them would have seen.

A hash has 24 bits, written as four characters whose order is that of the numbers, and a sketch is a text of such hashes in
any order. It is keyed (BLAKE2b, RFC 7693), and so short that many IDs have the same: nobody who reads the counts can say who
it was.
"""

from __future__ import annotations

import base64
import hashlib
from typing import NamedTuple

K = 24
WIDTH = 4  # characters of a hash
_WHOLE = K * WIDTH
_LONGEST = 4 * _WHOLE  # characters, from which on a sketch is made small again
_BITS = 24
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SORTED = bytes(sorted(_STANDARD))
_IN_ORDER = bytes.maketrans(_STANDARD, _SORTED)
_PLACES = {chr(sign): place for place, sign in enumerate(_SORTED)}


class Affected(NamedTuple):
    """So many users; without ``exact`` that is an estimate."""

    users: int
    exact: bool


def key_of(secret: str) -> bytes:
    """What hashes are keyed with, so that all instances have the same ones. Of a secret nothing can be learned from it."""
    return hashlib.blake2b(secret.encode("utf-8", "replace"), digest_size=32, person=b"prodfix users").digest()


def hash_of(user: str, key: bytes) -> str:
    """The sketch of one user."""
    digest = hashlib.blake2b(user.encode("utf-8", "replace"), digest_size=_BITS // 8, key=key).digest()
    return base64.urlsafe_b64encode(digest).translate(_IN_ORDER).decode()


def joined(sketch: str, other: str) -> str:
    """Both together: quickly, and small again only when it has grown."""
    both = sketch + other
    return both if len(both) <= _LONGEST else smallest(both)


def smallest(sketch: str) -> str:
    """The same without what it need not have: each hash once, and no more than :data:`K`."""
    return sketch if len(sketch) <= WIDTH else "".join(_hashes(sketch))


def affected(sketch: str) -> Affected | None:
    """How many users; None if there were none, as nobody knows then who it was."""
    hashes = _hashes(sketch)
    if len(hashes) < K:
        return Affected(len(hashes), True) if hashes else None
    return Affected(round((K - 1) / ((_number(hashes[-1]) + 1) / 2**_BITS)), False)


def _hashes(sketch: str) -> list[str]:
    return sorted({sketch[at : at + WIDTH] for at in range(0, len(sketch), WIDTH)})[:K]


def _number(text: str) -> int:
    number = 0
    for sign in text:
        number = number * len(_SORTED) + _PLACES.get(sign, 0)
    return number
