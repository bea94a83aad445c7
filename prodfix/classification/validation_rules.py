"""Which field of somebody's input failed which rule, as far as the error's class is known. Never a value."""

from __future__ import annotations

from dataclasses import replace

from prodfix.classification import foreign
from prodfix.classification.classifications import INVALID, Classification
from prodfix.errors import ProdFixError, ValidationFailed, _foreign_problem
from prodfix.loaded import loaded


def foreign_input(error: BaseException) -> Classification | None:
    """The row of another library's validation error; ``None`` if it is none that is known."""
    found = foreign.problems(error)
    return None if found is None else replace(INVALID, details=tuple(_foreign_problem(*problem) for problem in found))


def detailed(row: Classification, error: BaseException) -> Classification:
    """``row`` with what pydantic's error, or one of ours, says of each field."""
    if isinstance(error, loaded("pydantic_core", "ValidationError")):
        return replace(row, details=ValidationFailed.from_pydantic(error).problems)
    problems = getattr(error, "problems", ()) if isinstance(error, ProdFixError) else ()
    return replace(row, details=problems) if problems else row
