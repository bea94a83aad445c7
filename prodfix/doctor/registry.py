"""The checks: each registers where it is written; run one after the other, it says what it finds, or that it could not look."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from prodfix.doctor.findings import Finding, Level, NotApplicable, NotChecked
from prodfix.doctor.subject import Subject
from prodfix.redaction.redactor import redact_document, redact_text
from prodfix.settings_names import named_for_host
from prodfix.slotted import frozen

Look = Callable[[Subject], Iterator[Finding]]


@frozen
class Check:
    """``look`` yields what is wrong with its subject; if that is nothing, ``good`` is what has been found."""

    code: str
    look: Look
    good: str


FAMILIES: dict[str, list[Check]] = {
    family: [] for family in ("settings", "uri", "database", "tokens", "disk", "process", "application")
}
"""All checks, once :mod:`prodfix.doctor.checks` is imported. The code of a check stays what it is."""


def check(code: str, family: str) -> Callable[[Look], Look]:
    """Register a function as the check ``code``. The first sentence of its docstring is what users read if nothing is wrong.

    Raises ``ValueError`` for a code that another check has, and for a function that does not say what it looks for.
    """

    def register(look: Look) -> Look:
        if any(known.code == code for checks in FAMILIES.values() for known in checks):
            raise ValueError(f"two checks have the code {code}")
        FAMILIES[family].append(Check(code, look, _sentence(look)))
        return look

    return register


def explanation(check: Check) -> str:
    """All that the docstring of a check says of it, for a terminal: what is literal stands in one backtick, as in Markdown."""
    return inspect.cleandoc(check.look.__doc__ or "").replace("``", "`")


def _sentence(look: Look) -> str:
    """In the middle of a line: without the full stop, and the capital of a word that has others."""
    found = re.match(r"(?s)(\S.*?)\.(?:\s|$)", look.__doc__ or "")
    if found is None:
        raise ValueError(f"{look.__name__} has no sentence that says what is good")
    sentence = " ".join(found[1].replace("``", "`").split())
    return sentence if sentence[1:2].isupper() else sentence[0].lower() + sentence[1:]


def examine(
    subject: Subject, only: Iterable[str] = (), families: Mapping[str, Sequence[Check]] = FAMILIES
) -> dict[str, list[Finding]]:
    """The findings of each family, the worst first; of all families, or of those in ``only``. Never raises."""
    wanted = set(only) or set(families)
    return {
        family: sorted(
            (finding for check in checks for finding in run(check, subject)), key=lambda finding: -finding.level.rank
        )
        for family, checks in families.items()
        if family in wanted
    }


def run(check: Check, subject: Subject) -> Iterator[Finding]:
    """What one check finds; if it fails itself, that."""
    findings: list[Finding] = []
    try:
        findings += check.look(subject)
        found = findings or [Finding(Level.OK, check.good)]
    except NotApplicable:
        found = findings
    except NotChecked as reason:
        found = [*findings, Finding(Level.NOTE, f"could not be checked: {reason}")]
    except Exception as failure:  # noqa: BLE001 - a check that fails is a finding; its text may hold anything
        found = [*findings, Finding(Level.NOTE, f"could not be checked: {type(failure).__name__}")]
    named = _as_served if subject.served else named_for_host
    for finding in found:
        # No check puts a secret into a finding. Where one does all the same, as names come from outside, it ends here.
        yield replace(
            finding,
            check=check.code,
            found=redact_text(named(finding.found)),
            advice=redact_text(named(finding.advice)),
            facts=redact_document(finding.facts),
        )


def _as_served(text: str) -> str:
    return text
