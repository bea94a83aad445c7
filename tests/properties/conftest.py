"""The served application that most of the properties ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.properties.site import Site


@pytest.fixture
def new_site(tmp_path: Path, own_logging: None) -> Iterator[Callable[..., Site]]:
    """Makes served applications, with logs and journals of their own, and closes them."""
    made: list[Site] = []

    def make(uri: str, **settings: object) -> Site:
        made.append(Site(tmp_path / str(len(made)), uri, **settings))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(new_site: Callable[..., Site], database_uri: str) -> Site:
    """The served application, in production, on a real server."""
    return new_site(database_uri)
