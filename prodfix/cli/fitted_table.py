"""A table as narrow as the terminal: no word in it is broken, and no ID is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

GAP = 2  # blanks between two columns
PROSE = 40  # columns that a text may claim for its longest word; a longer one ends with an ellipsis
LINES = 3  # of one text, at most
_HEADER = "underline"


class FittedTable:
    """Its columns are as wide as their longest words at least. Where that is too much, those of ``spare`` are left out, the first
    one first, and named below; where it still is, the ``ids`` stand on lines of their own above their entries.

    A word of ``ids`` is never cut, ``lines`` are never folded; a text of ``prose`` has :data:`LINES` lines at most, and may
    lose the end of a word.
    """

    def __init__(
        self,
        headers: Sequence[str],
        *,
        numbers: Sequence[str] = (),
        ids: Sequence[str] = (),
        lines: Sequence[str] = (),
        prose: Sequence[str] = (),
        spare: Sequence[str] = (),
    ) -> None:
        self.headers, self.numbers, self.ids = headers, numbers, ids
        self.lines, self.prose, self.spare = {*numbers, *lines}, prose, spare
        self.rows: list[tuple[Text, ...]] = []

    def add_row(self, *cells: Text) -> None:
        self.rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, above, left_out = self._chosen(options.max_width)
        widths = self._widths(shown, options.max_width)
        for name in above:
            yield Text(name, style=_HEADER)
        yield from self._laid([Text(name, style=_HEADER) for name in shown], shown, widths, console)
        for row in self.rows:
            cells = dict(zip(self.headers, row, strict=True))
            for name in above:
                whole = max(map(_width, cells[name].plain.split()), default=0)
                for line in cells[name].wrap(console, max(options.max_width, whole)):
                    line.rstrip()
                    line.overflow, line.no_wrap = "ignore", True
                    yield line
            yield from self._laid([cells[name] for name in shown], shown, widths, console)
        if left_out:
            yield Text(f"left out, as this terminal is narrow: {', '.join(left_out)} (--json has all)", style="dim")

    def _chosen(self, width: int) -> tuple[list[str], list[str], list[str]]:
        """The columns side by side, those above their entries, and those that are left out."""
        shown: list[str] = list(self.headers)
        left_out: list[str] = []
        for name in self.spare:
            if self._fits(shown, width):
                return shown, [], left_out
            shown.remove(name)
            left_out.append(name)
        if self._fits(shown, width) or not self.ids:
            return shown, [], left_out
        below = [name for name in self.headers if name not in self.ids]
        left_out = []
        for name in self.spare:
            if self._fits(below, width):
                break
            below.remove(name)
            left_out.append(name)
        return below, list(self.ids), left_out

    def _fits(self, names: Sequence[str], width: int) -> bool:
        return sum(map(self._least, names)) + GAP * (len(names) - 1) <= width

    def _cells(self, name: str) -> Iterator[Text]:
        place = list(self.headers).index(name)
        yield Text(name)
        yield from (row[place] for row in self.rows)

    def _least(self, name: str) -> int:
        if name in self.lines:
            return self._most(name)
        longest = max(max(map(_width, cell.plain.split()), default=0) for cell in self._cells(name))
        return min(longest, PROSE) if name in self.prose else longest

    def _most(self, name: str) -> int:
        return max(max(map(_width, cell.plain.splitlines()), default=0) for cell in self._cells(name))

    def _widths(self, names: Sequence[str], width: int) -> list[int]:
        """The least of each, and what is left to those that want more, the narrowest want first."""
        widths = [self._least(name) for name in names]
        rest = width - sum(widths) - GAP * (len(names) - 1)
        wants = sorted(
            (self._most(name) - least, place) for place, (name, least) in enumerate(zip(names, widths, strict=True))
        )
        for number, (want, place) in enumerate(wants):
            more = max(0, min(want, rest // (len(wants) - number)))
            widths[place] += more
            rest -= more
        if rest < 0:  # a terminal that is too narrow for any of it
            widest = max(range(len(widths)), key=widths.__getitem__, default=0)
            widths[widest] = max(1, widths[widest] + rest)
        return widths

    def _laid(
        self, cells: Sequence[Text], names: Sequence[str], widths: Sequence[int], console: Console
    ) -> Iterator[Text]:
        columns = []
        for cell, name, width in zip(cells, names, widths, strict=True):
            lines = list(cell.wrap(console, width, overflow="ellipsis")) if cell.plain else []
            if name in self.prose and len(lines) > LINES:
                lines[LINES - 1 :] = [lines[LINES - 1].copy()]
                lines[-1].rstrip()
                lines[-1].truncate(width - 1)
                lines[-1].append("…")
            columns.append(lines)
        for number in range(max(map(len, columns), default=0)):
            line = Text(no_wrap=True, overflow="crop")
            for lines, name, width in zip(columns, names, widths, strict=True):
                part = lines[number].copy() if number < len(lines) else Text()
                part.rstrip()
                blanks = " " * (width - part.cell_len)
                if name in self.numbers:
                    line.append(blanks)
                    line.append_text(part)
                else:
                    line.append_text(part)
                    line.append(blanks)
                line.append(" " * GAP)
            line.rstrip()
            yield line


def _width(word: str) -> int:
    return Text(word).cell_len
