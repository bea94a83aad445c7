"""Numbers that say who somebody is: cards, accounts, telephones; and a server's address with its port."""

from __future__ import annotations

import re

from prodfix.patterns import compiled_later
from prodfix.redaction.rules import MASK, Rule


def _card(match: re.Match[str]) -> str:
    digits = [int(digit) for digit in match[0] if digit.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return MASK if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else match[0]


def _iban(match: re.Match[str]) -> str:
    """ISO 13616: the first four characters behind the others, letters as 10 to 35, are 1 modulo 97."""
    account = match[0].replace(" ", "")
    digits = "".join(str(int(letter, 36)) for letter in account[4:] + account[:4])
    return MASK if int(digits) % 97 == 1 else match[0]


# What may not stand before a number is looked at behind its first character: a pattern that begins with a character is
# searched for several times as fast as one that begins with a condition.
NUMBERS = (
    Rule((), compiled_later(r"[2-6](?<![\w.].)(?:[ -]?\d){12,18}(?!\w)"), _card),
    Rule((), compiled_later(r"[A-Z](?<!\w.)[A-Z]\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b"), _iban),
    Rule(("+",), compiled_later(r"\+(?<![\w.+-].)[1-9](?:[ ./()-]{0,2}\d){9,13}(?!\w)"), MASK),  # a telephone (E.164)
    Rule(
        ("-",), compiled_later(r"\d(?<![\w.+-].)(?<!9)\d\d(?<!000)(?<!666)-\d\d-\d{4}(?![\w-])"), MASK
    ),  # social security
    # But where we listen: 127.0.0.1 and 0.0.0.0.
    Rule(
        (":",),
        compiled_later(r"\d(?<![\w.].)(?<!1(?=27\.))(?<!0(?=\.0\.0\.0:))\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}:\d{1,5}\b"),
        MASK,
    ),
)
ANY_NUMBER = compiled_later(r"\d[\d ./():-]{7}")
"""Is in every text in which one of :data:`NUMBERS` is."""
