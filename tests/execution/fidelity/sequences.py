"""The sequences of commands that a persistent shell must take as the plain shell does, and their file format.

A file of ``sequences/`` holds those of one topic.  Lines before the first header are remarks::

    === name of the sequence | bash dash zsh
    < a line of input of the command that follows
    read line; echo "$line"
    ---
    false
    echo "its status: $?"

A third part of the header, ``| one``, says that the sequence is only for one piece: split, its commands would mean
something else.  Control characters stand as they are.  A command may have several lines.  A command with an error that
a script does not survive, and an interactive shell does, comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Sequence", "SequenceError", "load_sequences", "parse_sequences"]

FOLDER = Path(__file__).with_name("sequences")
"""Where the files are."""

_HEADER = "=== "
_SEPARATOR = "---"
_INPUT = "< "


class SequenceError(Exception):
    """A file of sequences breaks the format; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands that are given one after another.

    :ivar name: the topic and the name, such as ``traps: EXIT of a subshell``; no two sequences have the same.
    :ivar shells: the shells that it is for.
    :ivar commands: the commands; the shell may end before the last.
    :ivar inputs: what each command finds on its standard input.
    :ivar may_be_split: whether the commands mean the same when each is given on its own.
    """

    name: str
    shells: tuple[str, ...]
    commands: tuple[str, ...]
    inputs: tuple[str, ...]
    may_be_split: bool

    @property
    def text(self) -> str:
        """All commands as one text."""
        return "\n".join(self.commands)

    @property
    def input(self) -> str:
        """The input of the whole."""
        return "".join(self.inputs)


def parse_sequences(topic: str, text: str) -> list[Sequence]:
    """Read the sequences of one topic.

    :param topic: the topic, which begins each name.
    :param text: the contents of the file.
    :returns: the sequences in their order.
    :raises SequenceError: a header is malformed, a name comes twice, or a sequence has no command.
    """
    found: list[Sequence] = []
    names: set[str] = set()
    for number, part in enumerate(f"\n{text}".split(f"\n{_HEADER}")[1:], 1):
        header, _, body = part.partition("\n")
        name, _, rest = header.partition(" | ")
        shells, bar, mode = rest.partition(" | ")
        if not shells.split() or name in names or (bar and mode != "one"):
            raise SequenceError(f"{topic}: header {number}, {header!r}, must be a new name, ' | ' and names of shells")
        names.add(name)
        commands, inputs = _commands(body.rstrip("\n").split("\n"))
        if not any(commands):
            raise SequenceError(f"{topic}: {name}: no command")
        found.append(Sequence(f"{topic}: {name}", tuple(shells.split()), tuple(commands), tuple(inputs), not bar))
    return found


def _commands(lines: list[str]) -> tuple[list[str], list[str]]:
    commands: list[list[str]] = [[]]
    inputs: list[str] = [""]
    for line in lines:
        if line == _SEPARATOR:
            commands.append([])
            inputs.append("")
        elif line.startswith(_INPUT) and not commands[-1]:
            inputs[-1] += line.removeprefix(_INPUT) + "\n"
        else:
            commands[-1].append(line)
    return ["\n".join(lines) for lines in commands], inputs


def load_sequences(shell: str | None = None) -> list[Sequence]:
    """Read all files.

    :param shell: leave out what is not for this shell; ``None`` for all sequences.
    :returns: the sequences, sorted by topic.
    :raises SequenceError: a file breaks the format.
    """
    found: list[Sequence] = []
    for path in sorted(FOLDER.glob("*.txt")):
        found += parse_sequences(path.stem, path.read_bytes().decode())
    return [sequence for sequence in found if shell is None or shell in sequence.shells]
