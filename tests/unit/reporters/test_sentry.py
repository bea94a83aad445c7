"""How the SDK of Sentry is begun in a worker that serves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.error_trackers import Tracker


@pytest.mark.parametrize("release", ["", "v7"])
def test_it_starts_no_program_to_ask_for_the_release(
    tracker: Tracker, release: str, python: Callable[..., str]
) -> None:
    told = python(
        f"""
        import subprocess
        from prodfix import Settings
        from prodfix.reporters.sentry import SentryReporter

        begun = []
        class Watched(subprocess.Popen):
            def __init__(self, *arguments, **named):
                begun.append(arguments)
                super().__init__(*arguments, **named)
        subprocess.Popen = Watched

        import sentry_sdk
        from sentry_sdk.utils import get_default_release
        get_default_release()
        control = len(begun)
        reporter = SentryReporter.made(Settings(sentry_dsn="{tracker.dsn}", app_release="{release}"))
        sentry_sdk.capture_message("a word of the application")
        sentry_sdk.flush(5)
        print(control, len(begun) - control)
        """
    )
    assert told.split()[-2:] == ["1", "0"], "the control: with no release at all the SDK begins git"
    assert tracker.events[-1].get("release", "") == release
