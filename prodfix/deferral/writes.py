"""Writes as data, which can wait on disk and be applied exactly once when the database is back.

A :class:`Write` names a registered operation and its arguments; never a closure, which no other process could run. The
operation turns the arguments into guarded single-document steps::

    @deferrable("orders.create")
    def creation(arguments):
        return [Insert("orders", {"number": arguments["number"]}),
                Update("counters", {"_id": "orders"}, {"$inc": {"n": 1}}, upsert=True)]

What cannot be guarded is refused when it is first used, whether the database answers or not (:func:`check`).
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Literal, TypeVar

import bson
from bson.raw_bson import RawBSONDocument

from prodfix.errors import Unguarded
from prodfix.schemas import GUARD
from prodfix.slotted import frozen

# In any order these come to the same, so an older one may follow a newer one; the others replace what they find.
_COMMUTING = frozenset(["$inc", "$mul", "$min", "$max", "$push", "$addToSet", "$setOnInsert"])
_REPLACING = frozenset(["$set", "$unset", "$rename", "$pull", "$pullAll", "$pop", "$currentDate", "$bit"])
SHORTEST_ID, LONGEST_ID = 8, 100  # characters
MADE = 60.0  # seconds between an ID of our own and the write that has it, at most

Keys = Collection[tuple[str, str]]
_AS_IT_IS = bson.CodecOptions(document_class=RawBSONDocument)


@frozen
class Insert:
    """Insert ``document``; its ``_id`` becomes the write's ID."""

    collection: str
    document: Mapping[str, Any]


@frozen
class Update:
    """Apply ``update`` once to the document that ``filter`` names by its ``_id``, or by another unique field that is registered.

    ``expected_version``: only while its ``version`` is this one, which the update then counts up. An update that replaces
    values (``$set`` and its like) needs it, or ``overwrite``: the last one to arrive wins then, though it may be older.
    """

    collection: str
    filter: Mapping[str, Any]
    update: Mapping[str, Any]
    upsert: bool = False
    expected_version: int | None = None
    overwrite: bool = False


Step = Insert | Update
Steps = Callable[[Mapping[str, Any]], Sequence[Step]]
OrderKey = Callable[[Mapping[str, Any]], str]


def new_identity() -> str:
    """An ObjectId's hexadecimal digits, of which 16 are random: knowing one tells nothing about the next."""
    return f"{int(time.time()) & 0xFFFFFFFF:08x}{secrets.token_hex(8)}"


def is_identity(text: Any) -> bool:
    """Whether it can be the ID of a write: one that an application makes may have another form than ours. It is part of an
    address, and the only secret of a write without an owner."""
    return isinstance(text, str) and SHORTEST_ID <= len(text) <= LONGEST_ID and text.isprintable() and "/" not in text


@frozen
class Write:
    """A registered operation with arguments that BSON can hold. ``id`` is made once, before the first try: 8 to 100 printable
    characters without a slash.

    ``owner`` may ask what became of it; default is the request's verified user. Without one, whoever knows the ID may.
    """

    operation: str
    arguments: Mapping[str, Any]
    id: str = field(default_factory=new_identity)
    request_id: str | None = None
    owner: str | None = None
    created: float = field(default_factory=time.time)


def copyable(write: Write) -> bool:
    """Whether other requests may bring the same write: its ID was not made here for it alone, but of a key or by the host."""
    try:
        made = int(write.id[:8], 16)
    except ValueError:
        return True
    return len(write.id) != 24 or abs(made - write.created) > MADE


@frozen
class WriteResult:
    """``applied`` or ``deferred``; ``durability`` says of a deferred write what its disk survives."""

    status: Literal["applied", "deferred"]
    operation_id: str
    durability: Literal["durable", "ephemeral"] | None

    @property
    def deferred(self) -> bool:
        return self.status == "deferred"


@frozen
class Operation:
    """What a name means. ``atomic``: the direct way runs the steps in one transaction; the drain never does, as the
    transactions of killed workers hold their locks for a minute.

    Writes with the same ``order_key`` (a function of the arguments) are drained in the order of their coming. By default
    that is the first step's document.
    """

    name: str
    steps: Steps
    atomic: bool = False
    order_key: OrderKey | None = None

    @property
    def place(self) -> tuple[str, str]:
        return self.steps.__module__, self.steps.__qualname__


_declared: dict[tuple[str, str], Operation] = {}
Declared = TypeVar("Declared", bound=Steps)


def deferrable(name: str, *, atomic: bool = False, order_key: OrderKey | None = None) -> Callable[[Declared], Declared]:
    """Declare an operation where it is defined; each application knows it once the plug-in is registered, or at first use.

    Raises ``ValueError`` if another function of the same module has the name.
    """

    def declare(steps: Declared) -> Declared:
        operation = Operation(name, steps, atomic, order_key)
        module, function = operation.place
        other = _declared.get((name, module))
        if other is not None and other.place != (module, function):
            raise ValueError(f"the deferrable operation {name!r} is declared twice in {module}")
        _declared[name, module] = operation
        return steps

    return declare


def declared_in(module: str) -> Iterator[Operation]:
    """The operations that a plug-in's module, or package, declares."""
    for (_, where), operation in _declared.items():
        if where == module or where.startswith(module + "."):
            yield operation


def declared(name: str) -> Operation | None:
    """The operation of that name, whatever module declares it. Raises ``ValueError`` if several do."""
    found = [operation for (known, _), operation in _declared.items() if known == name]
    if len(found) > 1:
        raise ValueError(f"several modules declare the deferrable operation {name!r}: register one")
    return found[0] if found else None


def commutes(step: Step) -> bool:
    """Whether it comes to the same before or after others of its document."""
    return isinstance(step, Insert) or (step.expected_version is None and _COMMUTING.issuperset(step.update))


def order_key(write: Write, operation: Operation, steps: Sequence[Step]) -> str:
    """The key under which ``write`` keeps its order. A digest: nobody's data stands in it."""
    if operation.order_key is not None:
        named: Mapping[str, Any] = {"key": str(operation.order_key(write.arguments))}
    elif steps and isinstance(steps[0], Update):
        named = {"collection": steps[0].collection, **steps[0].filter}
    else:
        return write.id
    return hashlib.sha256(bson.encode(named)).hexdigest()[:32]


def owner_of(entry: bytes) -> str | None:
    """Whose write an entry of the journal is; None if whoever knows its ID may ask."""
    try:
        owner = bson.decode(entry).get("owner")
    except bson.errors.BSONError:
        return ""  # nobody's, rather than everybody's
    return owner if isinstance(owner, str) else None


_BEFORE = "triesBefore"


def tries_before(content: Mapping[str, Any]) -> int | None:
    """How often a dead letter had been tried when an admin ordered it to be tried again; None of what never was one."""
    before = content.get(_BEFORE)
    return before if isinstance(before, int) else None


def all_tries(entry: bytes, attempts: int) -> int:
    """Of a write in the journal: ``attempts``, and those before an admin had it tried again."""
    try:
        return attempts + (tries_before(bson.decode(entry)) or 0)
    except bson.errors.BSONError:
        return attempts


def tried_again(entry: bytes, attempts: int) -> bytes:
    """The entry of a dead letter that is tried again, having been tried ``attempts`` times since it last was."""
    try:
        content = bson.decode(entry, codec_options=_AS_IT_IS)
        return bson.encode({**content, _BEFORE: (tries_before(content) or 0) + attempts})
    except bson.errors.BSONError:
        return entry  # it will be put aside again


def check(name: str, steps: Sequence[Step], unique: Keys) -> None:
    """Raise :class:`prodfix.errors.Unguarded` for steps that could be applied twice. ``unique`` holds (collection, field)."""
    if not steps:
        raise Unguarded(f"{name} has no steps")
    inserted: set[str] = set()
    for number, step in enumerate(steps, 1):
        problem = _insert_problem(step, inserted) if isinstance(step, Insert) else _update_problem(step, unique)
        if problem:
            raise Unguarded(f"step {number} of {name} {problem}")


def _insert_problem(step: Insert, inserted: set[str]) -> str | None:
    if "_id" in step.document:
        return "has an _id of its own: the write's ID is the document's"
    if step.collection in inserted:
        return f"inserts twice into one collection: both documents would have the write's ID ({step.collection})"
    inserted.add(step.collection)
    return None


def _update_problem(step: Any, unique: Keys) -> str | None:
    if not isinstance(step, Update):
        return f"is a {type(step).__name__}, not an Insert or an Update"
    if not isinstance(step.update, Mapping) or not step.update:
        return "is a pipeline, or empty: only update operators can be guarded"
    unknown = sorted(set(map(str, step.update)) - _COMMUTING - _REPLACING)
    if unknown:
        return f"has {', '.join(unknown)}, which cannot be guarded"
    return _filter_problem(step, unique) or _change_problem(step)


def _filter_problem(step: Update, unique: Keys) -> str | None:
    names = list(step.filter)
    if "_id" in names:
        if step.upsert and len(names) > 1:
            return "makes a document (upsert) from a filter with more than its _id"
        key = "_id"
    elif len(names) == 1 and (step.collection, names[0]) in unique:
        key = names[0]
    else:
        return f"does not name its document by _id or by one registered unique field (of {step.collection})"
    return None if _plain(step.filter[key]) else f"does not name one value of {key}"


def _change_problem(step: Update) -> str | None:
    paths = [path for changes in step.update.values() if isinstance(changes, Mapping) for path in changes]
    if len(paths) < len(step.update) or not all(isinstance(path, str) for path in paths):
        return "has an operator without fields"
    ours = {GUARD, "version"} if step.expected_version is not None else {GUARD}
    for path in paths:
        first = path.partition(".")[0]
        if first in ours:
            return f"changes {first}, which guards it"
        if first in step.filter:
            return f"changes {first}, by which it finds its document"
        if "$" in path.split("."):
            return "uses the positional operator, which needs a condition that may no longer hold"
    if step.upsert and step.expected_version is not None:
        return "both makes its document (upsert) and expects a version"
    if not step.overwrite and step.expected_version is None and not _COMMUTING.issuperset(step.update):
        return "replaces values and would put an older value over a newer one: give expected_version, or overwrite=True"
    return None


def _plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return not any(str(key).startswith("$") for key in value)
    return value is not None and not isinstance(value, (list, tuple, re.Pattern, bson.Regex))
