"""Classes of libraries that are loaded by who uses them, and not by us.

An error or a model of a library can only come once its library is there. So nothing is imported to know one: who asks by
``isinstance(value, loaded("tenacity", "RetryError"))`` asks in vain, and at no cost, until it is.
"""

from __future__ import annotations

import sys
from typing import Any


def loaded(module: str, name: str) -> Any:
    """The class ``name``, or what has no instance while ``module`` is not loaded."""
    return getattr(sys.modules.get(module), name, ())
