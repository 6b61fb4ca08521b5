"""Draws figures as horizontal bars, a panel for each work, in SVG that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Bar", "Panel", "draw"]

WIDTH = 860
NAMES = 250
VALUES = 110
TITLE = 44
ROW = 20
GAP = 18
"""Pixels: the whole width, that of the names on the left and of the values on the right, and the heights of a panel's
title, of a bar with the space around it, and of the space between panels."""

OURS, THEIRS, INK = "#1f6feb", "#9aa4b2", "#24292f"
"""Colours: they differ in lightness too, for those who see no difference in hue."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar.

    :ivar name: what it is of.
    :ivar value: its length.
    :ivar low: where the line that shows the range begins.
    :ivar high: where it ends.
    :ivar is_ours: whether it stands out.
    """

    name: str
    value: float
    low: float
    high: float
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars that are compared with each other, drawn from zero on one linear scale.

    :ivar title: what was measured.
    :ivar unit: the unit, and which way is better.
    :ivar bars: from top to bottom.
    """

    title: str
    unit: str
    bars: Sequence[Bar]


def draw(panels: Sequence[Panel]) -> str:
    """Draw panels one below the other.

    :returns: an SVG document.
    """
    parts: list[str] = []
    top = GAP
    for panel in panels:
        parts += _draw_panel(panel, top)
        top += TITLE + ROW * len(panel.bars) + GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
    style = f'font-family="sans-serif" font-size="12" fill="{INK}">'
    background = f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>'
    return "\n".join([head + style, background, *parts, "</svg>"]) + "\n"


def _draw_panel(panel: Panel, top: int) -> list[str]:
    longest = max([bar.high for bar in panel.bars if bar.high > 0], default=1.0)
    scale = (WIDTH - NAMES - VALUES) / longest
    parts = [
        f'<text x="8" y="{top + 14}" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="8" y="{top + 30}" font-size="11">{escape(panel.unit)}</text>',
    ]
    for row, bar in enumerate(panel.bars):
        y = top + TITLE + row * ROW
        middle = y + ROW / 2 - 2
        # A size may have shrunk, and a bar cannot be shorter than nothing.
        low, value, high = (max(0.0, number) * scale for number in (bar.low, bar.value, bar.high))
        colour = OURS if bar.is_ours else THEIRS
        parts += [
            f'<text x="{NAMES - 8}" y="{y + 12}" text-anchor="end">{escape(bar.name)}</text>',
            f'<rect x="{NAMES}" y="{y}" width="{value:.1f}" height="{ROW - 4}" fill="{colour}"/>',
            f'<line x1="{NAMES + low:.1f}" x2="{NAMES + high:.1f}" y1="{middle}" y2="{middle}" stroke="{INK}"/>',
            f'<text x="{NAMES + high + 6:.1f}" y="{y + 12}">{bar.value:,.4g}</text>',
        ]
    return parts
