"""The oracle: the plain shell, which runs a whole sequence as a script."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import tempfile
import termios
import threading
from io import RawIOBase
from pathlib import Path

from tests.execution.fidelity.outcomes import Outcome, comparable
from tests.execution.fidelity.sequences import Sequence
from tests.execution.real_shells import COLUMNS, ROWS, account
from tests.tools import require_tool

__all__ = ["ENVIRONMENT", "plain_outcome"]

ENVIRONMENT = {"TERM": "dumb", "PS1": "", "PS2": ""}
"""What both shells find in their environment, beside what every job gets."""

SECONDS = 10
"""Seconds that a sequence may take on a busy machine; most take some milliseconds."""

_ARGUMENTS = {"bash": ("--norc", "--noprofile"), "dash": (), "zsh": ("-f",)}


def plain_outcome(shell: str, sequence: Sequence, on_terminal: bool) -> Outcome:
    """Run a sequence as a script of the plain shell, in a folder of its own that is its home, too.

    :param shell: the name of the shell.
    :param sequence: the sequence.
    :param on_terminal: whether its standard input and its outputs are a terminal, which also controls it.
    :returns: what came of it, as :func:`comparable` returns it.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "home")
        folder.mkdir()
        script = Path(place, "script")
        script.write_text(sequence.text + "\n")
        command = [require_tool(shell), *_ARGUMENTS[shell], str(script)]
        environment = dict(account(folder).environment) | ENVIRONMENT
        run = _on_terminal if on_terminal else _on_pipes
        return comparable(run(command, folder, environment, sequence.input), str(folder), on_terminal)


def _on_pipes(command: list[str], folder: Path, environment: dict[str, str], data: str) -> Outcome:
    done = subprocess.run(
        command, cwd=folder, env=environment, input=data.encode(), capture_output=True, timeout=SECONDS
    )
    return Outcome(_status(done.returncode), _text(done.stdout), _text(done.stderr))


def _on_terminal(command: list[str], folder: Path, environment: dict[str, str], data: str) -> Outcome:
    assert not data  # the terminal's echo of it would come at any time
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
    with open(ours, "rb", buffering=0) as output:
        process = subprocess.Popen(
            ["setsid", "--ctty", *command], cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        received = bytearray()
        force = threading.Timer(SECONDS, process.kill)
        force.start()
        try:
            while block := _read(output) or _read(output):
                received += block
        finally:
            force.cancel()
        return Outcome(_status(process.wait()), _text(bytes(received)), "")


def _read(output: RawIOBase) -> bytes:
    """Read what there is; nothing when no process has the terminal any more.

    The system looks for data first and for the end afterwards, so only a second end is the end.
    """
    try:
        return output.read(65536) or b""
    except OSError:  # EIO
        return b""


def _status(code: int) -> int | str:
    return code if code >= 0 else f"signal {signal.Signals(-code).name.removeprefix('SIG')}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
