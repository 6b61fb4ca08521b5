"""The sequences of the fidelity suite: short shell programs, each in one piece or split into several commands.

A file of ``sequences/`` has one subject.  A sequence begins with a line ``## name``, or ``## name [bash zsh]`` for these
shells alone.  A line ``%%`` splits it into commands that are given one after another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SHELLS", "Sequence", "sequences"]

SHELLS = ("bash", "dash", "zsh")
"""The shells that the suite compares."""

_FOLDER = Path(__file__).parent / "sequences"

_TITLE = re.compile(r"## (?P<name>[^\[\n]+?)(?: \[(?P<shells>[a-z ]+)\])?\n")


@dataclass(frozen=True, slots=True)
class Sequence:
    """One short program.

    :ivar name: its subject and its title, unique in the suite.
    :ivar shells: the shells that it is for.
    :ivar commands: its commands, without a newline at the end of each.
    """

    name: str
    shells: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole program, as a script has it."""
        return "\n".join(self.commands)


def sequences(shell: str) -> list[Sequence]:
    """Return the sequences for a shell, in the order of the files.

    :param shell: one of :data:`SHELLS`.
    """
    return [one for path in sorted(_FOLDER.glob("*.txt")) for one in _read(path) if shell in one.shells]


def _read(path: Path) -> list[Sequence]:
    content = path.read_text(encoding="utf-8")
    titles = list(re.finditer(rf"^{_TITLE.pattern}", content, re.MULTILINE))
    assert titles[0].start() == 0, f"{path.name} begins with no title"
    ends = [title.start() for title in titles[1:]] + [len(content)]
    return [_parse(path.stem, title, content[title.end() : end]) for title, end in zip(titles, ends, strict=True)]


def _parse(subject: str, title: re.Match[str], body: str) -> Sequence:
    shells = tuple(title["shells"].split()) if title["shells"] else SHELLS
    commands = tuple(re.split(r"^%%\n", body, flags=re.MULTILINE))
    return Sequence(f"{subject}: {title['name']}", shells, tuple(command.removesuffix("\n") for command in commands))
