"""What is known without being loaded, and what is compiled when it is first used."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest

from prodfix.loaded import loaded
from prodfix.patterns import compiled_later


def test_a_class_is_known_from_when_its_library_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded("a_library", "Failure")
    assert not isinstance(ValueError(), found)
    assert not found

    library = ModuleType("a_library")
    monkeypatch.setitem(sys.modules, "a_library", library)
    assert not loaded("a_library", "Failure"), "while it is still being loaded"
    library.Failure = ValueError  # type: ignore[attr-defined]
    assert isinstance(ValueError(), loaded("a_library", "Failure"))
    assert "a_library" in sys.modules


def test_nothing_is_caught_by_the_class_of_a_library_that_is_not_loaded() -> None:
    def caught(error: Exception, name: str) -> bool:
        try:
            raise error
        except loaded("builtins", name):
            return True

    assert caught(ValueError(), "ValueError"), "the control: what is loaded is caught"
    with pytest.raises(ValueError, match="mine"):
        caught(ValueError("mine"), "NoSuchError")


def test_a_pattern_is_compiled_at_its_first_use_and_does_what_it_would_have_done() -> None:
    text = r"(?i)(?P<word>[a-z]+)-(\d{1,3}) a_pattern_of_nobody's"
    later = compiled_later(text)
    assert vars(later) == {"_text": text}, "nothing is there yet"
    subject = "x AB-12 a_pattern_of_nobody's, cd-3 a_pattern_of_nobody's"
    oracle = re.compile(text)
    assert later.sub(r"\1", subject) == oracle.sub(r"\1", subject) == "x AB, cd"
    assert later.findall(subject) == oracle.findall(subject)
    assert later.split(subject) == oracle.split(subject)
    for method in ("search", "match", "fullmatch"):
        assert repr(getattr(later, method)(subject[2:27])) == repr(getattr(oracle, method)(subject[2:27]))
    assert (later.pattern, later.flags, later.groups) == (oracle.pattern, oracle.flags, oracle.groups)
    assert later.search is later.search, "the pattern's own method, found at once"


def test_a_pattern_that_is_none_is_told_when_it_is_used() -> None:
    later = compiled_later("(")
    with pytest.raises(re.error):
        later.search("x")
