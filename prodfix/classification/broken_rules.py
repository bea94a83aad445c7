"""Which rules of a collection's validator a document broke, and where in it: ``errInfo.details`` of the server's error 121.

The form is MongoDB's (manual, "Schema Validation" and "Interpret validation error output", 5.0 and later): a tree that follows
the validator, with ``operatorName`` at each node, the value that was looked at beside it, and names of fields only where
something is said of a field. Names, positions and rules are told; a value never is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from prodfix.errors import FieldError, _foreign_problem

MOST = 50  # problems
_DEEPEST = 100  # levels of the tree; a document has 100 (BSON limits)
_WIDEST = 1_000  # entries of one list
_LOOKED_AT = 2_000  # problems before those that are told twice are left out

Path = tuple[str, ...]
Problem = tuple[Path, str]

_MESSAGES = {
    "missing": "This field is required",
    "unexpected": "This field is not allowed",
    "type": "This value has the wrong type",
    "enum": "This value is not one of those allowed",
    "pattern": "This value does not have the right form",
    "minimum": "This value is too small",
    "maximum": "This value is too large",
    "multipleOf": "This value is not a multiple of the right number",
    "minLength": "This value is too short",
    "maxLength": "This value is too long",
    "minItems": "There are too few entries",
    "maxItems": "There are too many entries",
    "uniqueItems": "An entry is there twice",
    "minProperties": "There are too few fields",
    "maxProperties": "There are too many fields",
    "invalid": "This value is not valid",
}
_PRESENCE = ("missing", "unexpected")
# Rules of $jsonSchema and operators of queries, where they are called otherwise here.
_CODES = {
    "bsonType": "type",
    "$type": "type",
    "$in": "enum",
    "$regex": "pattern",
    "$gt": "minimum",
    "$gte": "minimum",
    "$lt": "maximum",
    "$lte": "maximum",
    "$mod": "multipleOf",
    "additionalItems": "maxItems",
}


def problems(details: Any) -> tuple[FieldError, ...]:
    """What is wrong with which field, at most ``MOST``, each once. Of what has another form nothing is told."""
    found = dict.fromkeys(islice(_node(details, (), 0), _LOOKED_AT))
    return tuple(_foreign_problem(path, code, _MESSAGES[code]) for path, code in islice(found, MOST))


def _node(node: Any, path: Path, level: int) -> Iterator[Problem]:
    """One rule or operator that was not met. What it is made of says more than itself, if there is any."""
    if not isinstance(node, Mapping) or level > _DEEPEST:
        return
    parts = _parts(node, path, level + 1)
    first = next(parts, None)
    if first is not None:
        yield first
        yield from parts
    elif path or "operatorName" in node:
        yield _leaf(node, path)


def _parts(node: Mapping[str, Any], path: Path, level: int) -> Iterator[Problem]:
    yield from _named(node, path)
    for key in ("schemaRulesNotSatisfied", "propertiesNotSatisfied", "details"):
        for wrong in _list(node, key):
            yield from _part(wrong, path, level)
    for dependency in _list(node, "failingDependencies"):
        yield from _named(dependency, path)
        yield from _all(dependency.get("details"), path, level)
    if node.get("operatorName") in ("anyOf", "oneOf"):
        yield from _alternatives(_list(node, "schemasNotSatisfied"), path, level)
    else:
        for clause in (*_list(node, "schemasNotSatisfied"), *_list(node, "clausesNotSatisfied")):
            yield from _all(clause.get("details"), path, level)
    for clause in _list(node, "clausesSatisfied"):
        yield from map(_met, _all(clause.get("details"), path, level))
    if isinstance(node.get("details"), Mapping):  # of ``$not``
        yield from map(_met, _node(node["details"], path, level))


def _met(problem: Problem) -> Problem:
    """Of a rule that must not be met: a field that is there, or is not, and else a value that is wrong in no way with a name."""
    path, code = problem
    return path, code if code in _PRESENCE else "invalid"


def _part(wrong: Mapping[str, Any], path: Path, level: int) -> Iterator[Problem]:
    """A rule that was not met, here or in what it names, or what is wrong below one field or entry."""
    below = _step(wrong, path)
    if below is path or "operatorName" in wrong:
        yield from _node(wrong, below, level)
        return
    inner = _all(wrong.get("details"), below, level)
    first = next(inner, None)
    yield first or (below, "invalid")
    yield from inner


def _step(node: Mapping[str, Any], path: Path) -> Path:
    """Where ``node`` looked, seen from ``path``."""
    for key in ("propertyName", "failingProperty", "itemIndex"):
        value = node.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return (*path, str(value))
    return path


def _named(node: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Fields that are not there, and those that should not be: told by name only."""
    for key, code in (("missingProperties", "missing"), ("additionalProperties", "unexpected")):
        names = node.get(key)
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str):
                yield (*path, name), code


def _all(details: Any, path: Path, level: int) -> Iterator[Problem]:
    for node in details if isinstance(details, list) else [details]:
        if isinstance(node, Mapping):
            yield from _part(node, path, level)


def _alternatives(clauses: list[Mapping[str, Any]], path: Path, level: int) -> Iterator[Problem]:
    """Of alternatives those that the value was meant to be: one that asks for another type says nothing, if any says more."""
    told = [list(islice(_all(clause.get("details"), path, level), MOST)) for clause in clauses[:MOST]]
    meant = [found for found in told if any(problem != (path, "type") for problem in found)]
    for found in meant or told:
        yield from found


def _leaf(node: Mapping[str, Any], path: Path) -> Problem:
    operator, reason = str(node.get("operatorName")), str(node.get("reason"))
    where = (*path, *_asked(node)) if operator.startswith("$") else path
    if reason in ("field was missing", "path does not exist"):
        return where, "missing"
    if reason == "path does exist":
        return where, "unexpected"
    if reason == "type did not match":
        return where, "type"
    code = _CODES.get(operator, operator)
    return where, code if code in _MESSAGES and code not in _PRESENCE else "invalid"


def _asked(node: Mapping[str, Any]) -> Path:
    """The path that an operator of a query names: ``{"specifiedAs": {"address.zip": {"$gt": 0}}}``."""
    asked = node.get("specifiedAs")
    name = next(iter(asked), "") if isinstance(asked, Mapping) and len(asked) == 1 else ""
    return tuple(name.split(".")) if isinstance(name, str) and name and not name.startswith("$") else ()


def _list(node: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    values = node.get(key)
    return [value for value in values[:_WIDEST] if isinstance(value, Mapping)] if isinstance(values, list) else []
