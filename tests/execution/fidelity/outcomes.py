"""What a shell made of a sequence, in a form in which the plain shell's and ours can be compared."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["MODES", "Mode", "Outcome", "comparable"]

_NAME = r"(?:(?:\S*/)?(?:bash|dash|zsh|script)|\S*/twisted-rsh-\w+/\w+)"
"""The name of a shell, of its script, or of the file that ours has a text in."""

_PREFIX = re.compile(rf"^{_NAME}(?:: eval|: {_NAME})?(?:: line \d+|: \d+|:\d+)?: ", re.MULTILINE)
"""How an error message begins: with such a name and a line's number."""

_ZSH_PREFIX = re.compile(rf"^{_NAME}:(\w+:)\d+: ", re.MULTILINE)
"""The same before a message of one of zsh's built-ins; at a prompt only the built-in's name is there."""

_ZSH_TRACE = re.compile(rf"^\+{_NAME}:\d+> ", re.MULTILINE)
"""How zsh traces a command, with the name of the script and the line's number."""

_PID = re.compile(
    r"^((?:SHELL: )?) *\d+ (?=Killed|Terminated|Aborted|Hangup|User defined|Alarm|Quit|Segmentation)", re.MULTILINE
)
"""The process in the message about a child that a signal has ended."""

_NOTICE = re.compile(
    r"^(?:\n(?=\[\d+\][+-]? +Stopped))?\[\d+\](?:(?: \d+)+| *[+-]? *(?:\d+ )?"
    r"(?:Done|Exit|Killed|Terminated|Stopped|done|exit|killed|terminated|suspended)\b.*)\n",
    re.MULTILINE,
)
"""A notice of job control, which the shell of a terminal prints and a script does not."""

_DEATH = re.compile(
    r"^(?:SHELL: (?:PID )?)?(?:"
    r"(?:Killed|Terminated|Aborted|Hangup|User defined signal \d|Alarm clock)(?: .*)?"
    r"|(?:killed|terminated|IOT instruction|hangup|user-defined signal \d|done) +\S.*)\n",
    re.MULTILINE,
)
"""The message about a child that a signal has ended: with job control a shell words it otherwise than a script."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How ours is given a sequence.

    :ivar on_terminal: on a terminal, otherwise on pipes.
    :ivar is_split: command by command, otherwise in one piece.
    """

    on_terminal: bool
    is_split: bool

    def __str__(self) -> str:
        """The mode's name in the list of differences."""
        return f"{'tty' if self.on_terminal else 'pipe'}-{'split' if self.is_split else 'one'}"


MODES = tuple(Mode(on_terminal, is_split) for on_terminal in (False, True) for is_split in (False, True))
"""All modes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a sequence.

    :ivar status: the shell's status at its end, or words about another end.
    :ivar stdout: its output; on a terminal both outputs.
    :ivar stderr: its standard error; empty on a terminal.
    """

    status: int | str
    stdout: str
    stderr: str


def comparable(outcome: Outcome, folder: str, on_terminal: bool) -> Outcome:
    """Replace what differs from run to run, and between a script and a prompt by their nature.

    That is the folder, the name of the shell and the line's number before an error message, the process in the message
    about a killed child.  On a terminal it is also the line ends, and all that a shell tells of its jobs: there ours
    has job control, as at a prompt, and a script has none.

    :param outcome: what came of a sequence.
    :param folder: the folder that it ran in.
    :param on_terminal: whether it ran on a terminal.
    :returns: the same without these.
    """

    def change(text: str) -> str:
        text = text.replace(folder, "FOLDER")
        if on_terminal:
            text = text.replace("\r\n", "\n")
        text = _ZSH_TRACE.sub("+SHELL> ", _ZSH_PREFIX.sub(r"\1 ", text))
        text = _PID.sub(r"\1PID ", _PREFIX.sub("SHELL: ", text))
        return _DEATH.sub("", _NOTICE.sub("", text)) if on_terminal else text

    return Outcome(outcome.status, change(outcome.stdout), change(outcome.stderr))
