"""Records as the log makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from prodfix.classification.classifications import INTERNAL_ERROR
from prodfix.operations.frames import frames_of
from prodfix.records.records import Answered, ErrorRecord, summary
from prodfix.request.context import RequestContext, new_context
from tests.support.error_trackers import Tracker


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    with Tracker() as made:
        yield made


@pytest.fixture
def context() -> RequestContext:
    headers = {"X-Request-ID": "request-0001"}
    return new_context(endpoint="/shops/<int:number>", method="POST", ip="10.0.0.9", headers=headers)


@pytest.fixture
def make_record(context: RequestContext) -> Callable[..., ErrorRecord]:
    def make(error: BaseException | None = None) -> ErrorRecord:
        error = error or ValueError("a price")
        frames = frames_of(error, whole=True)
        return ErrorRecord(
            meaning=INTERNAL_ERROR,
            summary=summary(error),
            error_type=frames.error_type,
            stack=frames.stack,
            context=context,
            operation=None,
            request_id=context.request_id,
            release="v7",
            places=frames.places,
            answered=Answered("prodfix"),
        )

    return make
