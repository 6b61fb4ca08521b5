"""A plain shell that runs a script: what a persistent shell is compared with."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import termios
from dataclasses import dataclass
from pathlib import Path

from tests.tools import require_tool

__all__ = ["Outcome", "comparable", "environment", "plain_shell"]

PATIENCE = 20.0
"""Seconds that a script may take."""

_ARGUMENTS = {"bash": ["--norc"], "dash": [], "zsh": ["-f", "-o", "interactivecomments"]}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program did.

    :ivar status: its exit status, or 128 and the number of the signal that ended it.
    :ivar stdout: its standard output; on a terminal everything.
    :ivar stderr: its standard error; empty on a terminal.
    """

    status: int
    stdout: str
    stderr: str


def environment(home: Path) -> dict[str, str]:
    """Return the environment of both shells."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8", "TERM": "dumb"}


def plain_shell(shell: str, text: str, folder: Path, *, on_terminal: bool) -> Outcome:
    """Run a script with the plain shell.

    :param shell: the shell's name.
    :param text: the script.
    :param folder: an empty folder, in which it runs.
    :param on_terminal: whether its standard streams are a terminal.
    """
    script = folder.parent / f"{folder.name}.script"
    script.write_text(text + "\n", encoding="utf-8")
    arguments = [require_tool(shell), *_ARGUMENTS[shell], str(script)]
    if on_terminal:
        return _on_terminal(arguments, folder)
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        start_new_session=True,
    )
    return Outcome(_status(done.returncode), _text(done.stdout), _text(done.stderr))


def _on_terminal(arguments: list[str], folder: Path) -> Outcome:
    master, slave = pty.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *arguments] if False else arguments,
        cwd=folder,
        env=environment(folder),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    output = b""
    try:
        while data := os.read(master, 65536):
            output += data
    except OSError:  # EIO: no process has the terminal open any more
        pass
    finally:
        os.close(master)
    return Outcome(_status(process.wait(PATIENCE)), _text(output), "")


def _status(code: int) -> int:
    return 128 - code if code < 0 else code


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")


def comparable(outcome: Outcome, folder: Path) -> Outcome:
    """Take out what may differ: the folder's name, the name that a shell gives to itself, and line numbers.

    :param outcome: what a program did.
    :param folder: the folder in which it ran.
    """

    def clean(text: str) -> str:
        text = text.replace(str(folder), "FOLDER")
        text = re.sub(
            r"(?m)^(\S*/)?(FOLDER\.script|bash|dash|zsh|sh): ?(eval: )?(line \d+: ?|\d+: ?)?(eval: )?(line \d+: ?)?",
            "SHELL: ",
            text,
        )
        text = re.sub(r"(?m)^SHELL: \d+: ", "SHELL: ", text)
        text = re.sub(r"(?m)^(FOLDER\.script|\(eval\)|zsh):\d+: ", "SHELL: ", text)
        text = re.sub(r"(?m)^\+(FOLDER\.script|zsh|\(eval\)):\d+> ", "+ ", text)
        return re.sub(r"(?m)^\[(\d+)\] \d+$", r"[\1] PID", text)

    return Outcome(outcome.status, clean(outcome.stdout), clean(outcome.stderr))
