"""The figures as a table, on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from benchmarks.rows import Figure

_COLOURS = {"aim": "green", "held": "cyan", "missed": "red", "noise": "yellow", "": ""}
TITLES = ("row", "what", "by", "figure", "A/A", "hold", "aim", "")


def number(value: float | None, unit: str = "") -> str:
    """Three digits that say something, and the unit: ``x 1.292``, ``171 µs``."""
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    if unit == "x":
        return f"x {text}"
    return f"{text} {unit}".strip()


def cells(figure: Figure) -> tuple[str, ...]:
    """One line of the table."""
    what = f"{figure.what}: {figure.part}" if figure.part else figure.what
    measured = (number(figure.value, figure.unit), number(figure.control))
    return (figure.row, what, figure.by, *measured, number(figure.hold), number(figure.aim), figure.verdict)


def terminal(figures: Iterable[Figure], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in TITLES:
        table.add_column(name, justify="right" if name in ("figure", "A/A", "hold", "aim") else "left")
    for figure in figures:
        colour = _COLOURS[figure.verdict]
        row = cells(figure)
        table.add_row(*row[:-1], f"[{colour}]{row[-1]}[/]" if colour else row[-1])
    return table


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar within a cell is escaped."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
