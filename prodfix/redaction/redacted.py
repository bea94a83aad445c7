"""What has been redacted once, as a type: the redactor passes it, so that nothing is redacted twice."""

from __future__ import annotations

from typing import Any, NoReturn


class Redacted(dict[str, Any]):
    """A document of types and names, in which each text has been redacted. Nobody changes it afterwards.

    Only who makes such a document makes one. What is decoded is of another class, whatever stands in it, and so is a copy, or
    what is made of this one and of others.
    """

    __slots__ = ()

    def _unchanged(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("what is redacted is not changed")

    __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _unchanged

    def __reduce__(self) -> Any:
        return dict, (dict(self),)
