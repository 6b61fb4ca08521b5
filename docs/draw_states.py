"""Draws the tables of states as pictures, from the code: ``channel.svg`` and ``shell.svg``.

States stand in columns, by the longest way from the first; what leads from one to another is an arrow.  What is
allowed in a state and changes nothing stands in its box.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

__all__ = ["Chart", "channel_chart", "draw", "shell_chart", "write_pictures"]

BOX_WIDTH, LINE_HEIGHT, ROW_HEIGHT = 152, 17, 104
"""Pixels of a box, of a line of text, and from one box to the one below."""

LABELLED_GAP, PLAIN_GAP = 92, 44
"""Pixels between two columns, where arrows have labels and where they have none."""

MARGIN, ARC = 18, 74
"""Pixels around the picture, and for the arrows that go back above the boxes."""

STYLE = """
svg{font:13px ui-sans-serif,system-ui,"Segoe UI","DejaVu Sans",sans-serif}
.box{fill:#f6f8fa;stroke:#57606a}.last{stroke-width:2.5}.name{fill:#24292f;font-weight:600;font-size:15px}
.note{fill:#57606a;font-size:12px}.label{fill:#0550ae;font-size:12.5px}.under{stroke:#fff;stroke-width:5px;fill:#fff}
.arrow{fill:none;stroke:#57606a;stroke-width:1.4}.head{fill:#57606a}.paper{fill:#fff}
"""


@dataclass
class Chart:
    """A table of states, ready to be drawn.

    :ivar title: what it is, for who does not see it.
    :ivar states: by name, the lines that stand below the name.
    :ivar arrows: from a state to a state, the labels.
    """

    title: str
    states: dict[str, list[str]]
    arrows: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))


def channel_chart() -> Chart:
    """Read the table of a channel's life."""
    from twisted_rsh.core.channel import TRANSITIONS, ChannelState

    chart = Chart("The states of a channel", {state.value: [] for state in ChannelState})
    for (before, event), after in TRANSITIONS.items():
        name = re.sub(r".* from the (client|server)", r"from the \1", event.value)
        if before is after:
            chart.states[before.value].append(name)
        else:
            chart.arrows[before.value, after.value].append(name)
    for name, unchanged in chart.states.items():
        if unchanged:
            chart.states[name] = wrapped("stays at: " + ", ".join(unchanged))
    return chart


def shell_chart() -> Chart:
    """Read the table of a persistent shell's phases, and the arrows between them in the description of `Phase`."""
    from twisted_rsh.execution.shells.phases import RULES, Phase

    chart = Chart("The phases of a persistent shell", {phase.name.lower(): [] for phase in Phase})
    for phase, rules in RULES.items():
        notes = [f"reports within {rules.seconds:g} s"] if rules.seconds is not None else []
        notes += ["output is dropped"] if rules.hides_output else []
        chart.states[phase.name.lower()] = notes
    for before, after in arrows_in(Phase.__doc__ or ""):
        chart.arrows[before.lower(), after.lower()].append("")
    last = Phase.EXITED.name.lower()
    chart.states[last] = ["from each", "of the others"]
    return chart


def arrows_in(text: str) -> list[tuple[str, str]]:
    """Read arrows between names in capitals; an arrow that begins a line leads from the name above, to its left."""
    arrows = []
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        names = [(match.start(), match[1]) for match in re.finditer(r"\b([A-Z]{2,})\b", line)]
        if "->" not in line or not names:
            continue
        if line.lstrip().startswith("->"):
            names.insert(0, max(pair for pair in above if pair[0] < line.index("->")))
        arrows += [(before, after) for (_, before), (_, after) in itertools.pairwise(names)]
        above = names
    return arrows


def wrapped(text: str, width: int = 20) -> list[str]:
    """Cut a text into lines."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def ranks(chart: Chart) -> dict[str, int]:
    """Give each state its column: the longest way from the first that passes no state twice."""
    found: dict[str, int] = {}

    def visit(state: str, way: tuple[str, ...]) -> None:
        found[state] = max(found.get(state, 0), len(way))
        for before, after in chart.arrows:
            if before == state and after not in (*way, state):
                visit(after, (*way, state))

    visit(next(iter(chart.states)), ())
    for state in chart.states:  # one that no arrow reaches is the end of all
        found.setdefault(state, max(found.values()))
    return found


def draw(chart: Chart) -> str:
    """Draw a chart as an SVG."""
    column = ranks(chart)
    columns: dict[int, list[str]] = defaultdict(list)
    for state in chart.states:
        columns[column[state]].append(state)
    tallest = max(len(states) for states in columns.values())
    top = MARGIN + (ARC if any(column[after] < column[before] for before, after in chart.arrows) else 0)
    height = top + tallest * ROW_HEIGHT + MARGIN
    step = BOX_WIDTH + (LABELLED_GAP if any(any(names) for names in chart.arrows.values()) else PLAIN_GAP)
    width = 2 * MARGIN + max(column.values()) * step + BOX_WIDTH
    place: dict[str, tuple[float, float]] = {}
    for number, states in columns.items():
        first = top + (tallest - len(states)) * ROW_HEIGHT / 2 + ROW_HEIGHT / 2
        for row, state in enumerate(states):
            place[state] = MARGIN + number * step + BOX_WIDTH / 2, first + row * ROW_HEIGHT
    half = {state: (30 + LINE_HEIGHT * len(notes)) / 2 + 2 for state, notes in chart.states.items()}
    lines, labels = [], []
    for (before, after), names in chart.arrows.items():
        path, (x, y) = curve(
            place[before], place[after], half[before], half[after], column[after] - column[before], height
        )
        lines.append(f'<path class="arrow" marker-end="url(#head)" d="{path}"/>')
        for number, name in enumerate(names):
            at = f'x="{x:g}" y="{y + 4 + number * LINE_HEIGHT:g}" text-anchor="middle"'
            labels.append(
                f'<text class="label under" {at}>{escape(name)}</text><text class="label" {at}>{escape(name)}</text>'
            )
    boxes = []
    leaving = {before for before, _ in chart.arrows}
    for state, notes in chart.states.items():
        x, y = place[state]
        kind = "box" if state in leaving else "box last"
        boxes.append(
            f'<rect class="{kind}" x="{x - BOX_WIDTH / 2:g}" y="{y - half[state]:g}" width="{BOX_WIDTH}" '
            f'height="{2 * half[state]:g}" rx="8"/><text class="name" x="{x:g}" y="{y - half[state] + 21:g}" '
            f'text-anchor="middle">{escape(state)}</text>'
        )
        for number, note in enumerate(notes):
            at = f'x="{x:g}" y="{y - half[state] + 40 + number * LINE_HEIGHT:g}"'
            boxes.append(f'<text class="note" {at} text-anchor="middle">{escape(note)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(chart.title)}"><style>{STYLE}</style>'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="head" d="M0 0 10 5 0 10z"/></marker></defs>'
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>'
        + "\n".join([*lines, *boxes, *labels])
        + "</svg>\n"
    )


def curve(
    start: tuple[float, float],
    end: tuple[float, float],
    start_half: float,
    end_half: float,
    columns: int,
    height: float,
) -> tuple[str, tuple[float, float]]:
    """Draw one arrow.

    :param start: the centre of the box that it leaves.
    :param end: the centre of the box that it reaches.
    :param start_half: half of the height of the first box.
    :param end_half: half of the height of the other.
    :param columns: how many columns it goes; negative when it goes back.
    :param height: of the picture.
    :returns: the path, and the middle of its label.
    """
    (x1, y1), (x2, y2) = start, end
    if columns == 1:
        x1, x2 = x1 + BOX_WIDTH / 2, x2 - BOX_WIDTH / 2
        middle = (x1 + x2) / 2
        return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}", (middle, (y1 + y2) / 2)
    if columns > 0:  # it passes others, and reaches the box from its side
        sign = -1 if y2 <= height / 2 else 1
        y1, x2 = y1 + sign * start_half, x2 - BOX_WIDTH / 2
        return (
            f"M{x1:g} {y1:g}C{x1:g} {y2 + sign * ARC / 4:g} {x1 + BOX_WIDTH / 2:g} {y2:g} {x2:g} {y2:g}",
            ((x1 + x2) / 2, y2 + sign * 2),
        )
    x2 += BOX_WIDTH / 8 * (2 + columns)  # so that two that go back do not end in one point
    y1, y2 = y1 - start_half, y2 - end_half
    high = min(y1, y2) - ARC * (0.35 - 0.35 * columns)
    return f"M{x1:g} {y1:g}C{x1:g} {high:g} {x2:g} {high:g} {x2:g} {y2:g}", ((x1 + x2) / 2, (high + min(y1, y2)) / 2)


def write_pictures(folder: Path) -> None:
    """Draw all tables.

    :param folder: where the pictures go; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "channel.svg").write_text(draw(channel_chart()), "utf-8")
    (folder / "shell.svg").write_text(draw(shell_chart()), "utf-8")
