"""Groups of commands that say which command was meant, where one was misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click
from flask.cli import AppGroup

ALIKE = 0.6  # of 1: difflib's own cutoff


def suggestion(word: str, known: Iterable[str]) -> str:
    """`` Did you mean ...?`` with a blank before it; empty if nothing is like it."""
    close = get_close_matches(word, list(known), n=2, cutoff=ALIKE)
    return f" Did you mean {' or '.join(close)}?" if close else ""


class SuggestingGroup(AppGroup):
    """click says it by itself since 8.4, and only then."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = str(args[0])
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}.{suggestion(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)
