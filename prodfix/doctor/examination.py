"""The checks, run one after the other: what one of them finds, or that it could not look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from prodfix.doctor.checks import FAMILIES, Checks
from prodfix.doctor.examined import Examined
from prodfix.doctor.findings import Check, Finding, Level, NotApplicable, NotChecked
from prodfix.redaction import redact_document, redact_text


def examine(
    examined: Examined, only: Iterable[str] = (), families: Mapping[str, Checks] = FAMILIES
) -> dict[str, list[Finding]]:
    """The findings of each family, the worst first; of all families, or of those in ``only``. Never raises."""
    wanted = set(only) or set(families)
    return {
        family: sorted(
            (finding for check in checks for finding in run(check, examined)), key=lambda finding: -finding.level.rank
        )
        for family, checks in families.items()
        if family in wanted
    }


def run(check: Check[Examined], examined: Examined) -> Iterator[Finding]:
    """What one check finds; if it fails itself, that."""
    findings: list[Finding] = []
    try:
        findings += check.look(examined)
        found = findings or [Finding(Level.OK, check.good)]
    except NotApplicable:
        found = findings
    except NotChecked as reason:
        found = [*findings, Finding(Level.NOTE, f"could not be checked: {reason}")]
    except Exception as failure:  # noqa: BLE001 - a check that fails is a finding; its text may hold anything
        found = [*findings, Finding(Level.NOTE, f"could not be checked: {type(failure).__name__}")]
    for finding in found:
        # No check puts a secret into a finding. Where one does all the same, as names come from outside, it ends here.
        yield replace(
            finding,
            check=check.code,
            found=redact_text(finding.found),
            advice=redact_text(finding.advice),
            facts=redact_document(finding.facts),
        )
