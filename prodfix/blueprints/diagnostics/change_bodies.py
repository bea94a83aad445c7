"""What is sent with a change: bodies of the API, and forms of the page, in which all is text."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from prodfix import FieldError, ValidationFailed
from prodfix.blueprints.diagnostics.parameters import Moment, Parameters, Words, digits, whole
from prodfix.models import (
    LOGGER_NAME,
    LONGEST_LEVEL,
    BacklogState,
    MuteRule,
    MuteSpan,
    TestOperation,
    UsualLevel,
)


class Alike(Parameters):
    """Deferred writes that one order is for."""

    operation: Annotated[Words, Field(description="The name that the application registered")]
    reason: Annotated[
        str | None,
        Field(max_length=100, description="null: whatever it is; an empty text: those that wait for nothing"),
    ] = None
    state: BacklogState = "failed"


class Resolution(Parameters):
    in_next_release: Annotated[
        bool,
        Field(alias="inNextRelease", strict=True, description="The releases that have it go on to run for a while"),
    ] = False


_ENDS: dict[str, JsonDict] = {"until": {"type": "string"}, "more": {"type": "integer"}, "escalates": {"const": True}}


def _all_of(*names: str) -> JsonDict:
    """The schema of an object that has all of these, and not null."""
    return {"required": [*names], "properties": {name: _ENDS.get(name, {"type": "string"}) for name in names}}


class Ignoring(Parameters):
    """At most one of them; without any it is for ever."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [{"not": _all_of(one, other)} for one, other in combinations(_ENDS, 2)],
            "examples": [{"more": 100}],
        }
    )

    until: Annotated[Moment | None, Field(description="Until a moment that is yet to come")] = None
    more: Annotated[
        int | None,
        Field(ge=1, le=1_000_000, description="Until so many more of it have happened"),
        BeforeValidator(whole),
    ] = None
    escalates: Annotated[bool, Field(strict=True, description="Until it escalates")] = False


class IgnoringFor(Parameters):
    """The form of the page: without anything it is for ever."""

    days: Literal["", "1", "7"] = ""
    more: Annotated[int | None, Field(ge=1, le=1_000_000), BeforeValidator(digits)] = None
    escalates: Literal["", "true"] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum((bool(self.days), self.more is not None, bool(self.escalates))) > 1:
            raise PydanticCustomError("one", "must be one of days, more and escalates")
        return self


# An empty text, or the address of a page. What may be wrong beyond that (a secret in it) is the service's to say.
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
ISSUE = rf"^(https?://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:({_PORT}))?([/?#][!-~]*)?)?$"


class Noting(Parameters):
    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [_all_of(name) for name in ("text", "owner", "link")],
            "examples": [{"text": "The price list of the new supplier has no prices", "owner": "ann"}],
        }
    )

    text: Annotated[str | None, Field(max_length=1_000)] = None
    owner: Annotated[str | None, Field(max_length=100, description="Who looks after it")] = None
    link: Annotated[
        str | None,
        Field(
            max_length=500,
            pattern=ISSUE,
            description="An http or https URL of an issue elsewhere, without credentials",
            examples=["https://issues.example/SHOP-17"],
        ),
    ] = None


class NotingForm(Noting):
    """The form of the page: what is wrong with an address is told in words, by the service."""

    link: Annotated[str | None, Field(max_length=500)] = None


# -- alerts ------------------------------------------------------------------------------------------------------------------


class Unmuting(Parameters):
    rule: Annotated[MuteRule, Field(description="A rule, or `all`")]


class Muting(Unmuting):
    span: Annotated[
        MuteSpan,
        Field(
            alias="for",
            description="`morning`: until the hours of quiet end, or 7:00 in UTC; `ever`: until it is unmuted",
        ),
    ] = "1h"
    until: Annotated[Moment | None, Field(description="Instead of `for`")] = None

    def end(self) -> float | None:
        """In seconds since the epoch. Raises ``ValidationFailed`` for a time that is over."""
        if self.until is not None and self.until <= datetime.now(UTC):
            problem = FieldError("until", "future", "must be a moment that is yet to come")
            raise ValidationFailed(problem.message, problems=(problem,))
        return self.until.timestamp() if self.until is not None else None


class MutingFor(Unmuting):
    """The form of the page."""

    span: MuteSpan = "1h"


class LevelOfLogger(Parameters):
    logger: Annotated[
        str,
        Field(
            pattern=LOGGER_NAME, description="Its name, such as `shop.orders`; `root` for all", examples=["shop.orders"]
        ),
    ]
    level: Annotated[UsualLevel, Field(description="`usual` takes it back")]
    minutes: Annotated[
        int, Field(ge=1, le=LONGEST_LEVEL, description="Then it ends by itself"), BeforeValidator(whole)
    ] = 15


class LevelOfLoggerForm(LevelOfLogger):
    """The form of the page, in which all is text."""

    minutes: Annotated[int, Field(ge=1, le=LONGEST_LEVEL), BeforeValidator(digits)] = 15


class Test(Parameters):
    operation: TestOperation
