"""What the template of a sparkline needs: the bars of a few counts as one path."""

from __future__ import annotations

from collections.abc import Sequence


def sparks(counts: Sequence[int]) -> str:
    """The bars of a sparkline as one path: 4 units wide each with its gap, 24 high the largest. A count that is not nought is
    seen, however small it is beside the largest; and nought is a line on the floor."""
    most = max(counts, default=0)
    bars = ((number * 4, 1 + round(23 * count / most, 1) if count else 0.5) for number, count in enumerate(counts))
    return "".join(f"M{x} 24v-{height:g}h3v{height:g}z" for x, height in bars)
