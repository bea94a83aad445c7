"""One call of a tool: its arguments checked, its answer, or the words of what is wrong; and the line that it leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pymongo.errors import PyMongoError

from prodfix.assistants.tools import TOOLS, AssistantTool, ToolRefused, answer_of
from prodfix.errors import DatabaseNotConfigured, JournalUnavailable, NotKnownNow, ValidationFailed
from prodfix.serialization import inlined
from prodfix.services import Services

Audit = Callable[[str, str, str | None], None]
"""Told the name of each tool that was called, how that ended, and the fingerprint that it was about, if any."""


class AssistantCalls:
    """All calls of one server, one after the other. ``by``: who asks; ``look``: called before each, to see whether MongoDB
    answers; ``allowed``: whether tools that change something are there."""

    def __init__(
        self,
        services: Services,
        *,
        by: str,
        allowed: bool,
        look: Callable[[], object] = lambda: None,
        audit: Audit = lambda tool, result, fingerprint: None,
    ) -> None:
        self._services, self._by, self._look, self._audit = services, by, look, audit
        self._allowed = allowed

    @property
    def tools(self) -> list[AssistantTool]:
        return [tool for tool in TOOLS.values() if self._allowed or not tool.changes]

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The answer as JSON. Raises :class:`ToolRefused` and nothing else: its text is for who asks."""
        tool = TOOLS.get(name)
        if tool is None:
            raise ToolRefused(f"there is no such tool; there are: {', '.join(tool.name for tool in self.tools)}")
        result = "refused"
        try:
            if tool.changes and not self._allowed:
                raise ToolRefused("changes are not allowed here: the server must be started with --allow-changes")
            answer = self._answer(tool, arguments)
            result = "answered"
            return answer
        finally:
            fingerprint = arguments.get("fingerprint")
            self._audit(name, result, fingerprint[:64] if isinstance(fingerprint, str) else None)

    def _answer(self, tool: AssistantTool, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            given = tool.arguments.model_validate(arguments)
            self._look()
            return answer_of(self._services, tool, given, self._by)
        except ToolRefused:
            raise
        except ValidationError as error:
            raise ToolRefused(_problems(ValidationFailed.from_pydantic(error))) from None
        except ValidationFailed as error:
            raise ToolRefused(_problems(error)) from None
        except NotKnownNow:
            raise ToolRefused(
                "this host knows nothing of it, and MongoDB does not answer now: ask again later"
            ) from None
        except (PyMongoError, DatabaseNotConfigured) as error:
            code = self._services.classifier.classify(error).code
            raise ToolRefused(
                f"{code}: MongoDB does not answer, and this cannot do without; nothing was changed"
            ) from None
        except (JournalUnavailable, TimeoutError, OSError, sqlite3.Error) as error:
            raise ToolRefused(f"STATE_DIR cannot be read: {type(error).__name__}") from None
        except Exception as error:  # noqa: BLE001 - its text may hold anything; where it happened is told on stderr
            self._services.logs.uncaught("tool", error)
            raise ToolRefused(f"this failed within prodfix: {type(error).__name__}") from None


def _problems(error: ValidationFailed) -> str:
    return "; ".join(f"{problem.field}: {problem.message}" for problem in error.problems)[:1000]


@cache
def input_schema(tool: AssistantTool) -> dict[str, Any]:
    """JSON Schema of the tool's arguments."""
    return TypeAdapter(tool.arguments).json_schema(by_alias=True)


@cache
def output_schema(tool: AssistantTool) -> dict[str, Any]:
    """JSON Schema of what the tool answers, made of its type."""
    schema = TypeAdapter(tool.answer).json_schema(by_alias=True, mode="serialization")
    definitions = schema.get("$defs", {})
    inlined({"": schema, **definitions})
    return {**schema, "type": "object"}
