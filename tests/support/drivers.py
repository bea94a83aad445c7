"""Tests of what an older driver does not have: `make ranges` runs them with the lowest version, too."""

from __future__ import annotations

import pytest

from prodfix.driver import missing_names


def needs(name: str) -> pytest.MarkDecorator:
    """A mark for what is off without that name; the installed driver of `make test` has them all."""
    known = {one.name: one for one in (*missing_names.NAMES, *missing_names.BEHAVIOURS)}
    return pytest.mark.skipif(not known[name].there, reason=f"this driver is without {name}: {known[name].lost}")
