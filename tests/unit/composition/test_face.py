"""The package's face: each public name is loaded when it is asked for, and who needs one of them loads little."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import prodfix

SOURCE = ast.parse(Path(prodfix.__file__).read_text())


def promised() -> dict[str, tuple[str, str]]:
    """What the imports say that only mypy reads: public name to module and the name in it."""
    (block,) = [node for node in SOURCE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        name.asname or name.name: (str(node.module).removeprefix("prodfix."), name.name)
        for node in imports
        for name in node.names
    }


def test_what_is_loaded_is_what_the_type_checker_was_told() -> None:
    assert promised() == prodfix._HOMES
    assert sorted(prodfix._HOMES) == sorted(prodfix.__all__)


def test_every_public_name_is_there_and_the_same_each_time() -> None:
    for name in prodfix.__all__:
        assert getattr(prodfix, name) is getattr(prodfix, name)
        assert name in dir(prodfix)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    for name in ("nothing", "__path_of_nothing__", "Create_app"):
        with pytest.raises(AttributeError, match=name):
            getattr(prodfix, name)


HEAVY = ("pymongo", "bson", "flask", "werkzeug", "pydantic", "gevent", "loguru", "tenacity", "ssl", "orjson")


@pytest.mark.parametrize(
    "module",
    [
        "prodfix",
        "prodfix.redaction.redactor",
        "prodfix.logs.lines",
        "prodfix.redaction.names",
        "prodfix.operations.shapes",
    ],
)
def test_redacting_loads_nothing_but_python(python: Callable[..., str], module: str) -> None:
    """The arbiter never patches: what it loads would be there unpatched in each worker."""
    code = f"""
    import sys
    import {module}
    print([name for name in {HEAVY!r} if name in sys.modules])
    from prodfix import redact_text
    print(redact_text("to a@example.org"), [name for name in {HEAVY!r} if name in sys.modules])
    """
    assert python(code) == "[]\nto *** []\n"


def test_the_control_loads_them(python: Callable[..., str]) -> None:
    loaded: Any = python(
        f"import sys; from prodfix import create_app; print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    assert "pymongo" in loaded
    assert "flask" in loaded
