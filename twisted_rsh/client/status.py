"""The client's exit status for a job's ending, and the line that tells a person what the status alone does not.

=====================  ===========================================================================
exit status            means
=====================  ===========================================================================
0 to 254               the job's own exit code; 254 also stands for 255 and more
128 + n                signal n ended the job
124                    its time was up, as with ``timeout(1)``
125                    it reached its limit of output, processor time or memory
126, 127               the command cannot be executed, was not found, as in a shell
255                    the client's own failure: the job was refused, or its outcome is unknown
=====================  ===========================================================================
"""

from __future__ import annotations

import signal
import unicodedata

from twisted_rsh.core.endings import (
    Ending,
    Exited,
    Limit,
    LimitReached,
    RefusalReason,
    Refused,
    Signalled,
    Stopped,
    TimedOut,
)

__all__ = ["FAILURE_STATUS", "describe_ending", "exit_status", "printable"]

FAILURE_STATUS = 255
"""The exit status of the client's own failures, and of nothing else.  rsync, git and Ansible take it for a lost
connection."""

_HIGHEST_CODE = FAILURE_STATUS - 1
"""The highest exit code of a job that is passed on unchanged."""

_TIMED_OUT_STATUS = 124
"""As ``timeout(1)`` of GNU coreutils."""

_LIMIT_STATUS = 125
"""One more than a time-out, which is a limit as well; ``timeout(1)`` and ``env(1)``, too, use it for failures that are
not the command's own."""

_SIGNAL_BASE = 128
"""A shell adds it to the number of the signal that ended a command."""

_LINUX_NUMBERS = {"IO": 29, "PWR": 30, "STKFLT": 16}
"""Signals that a job on Linux can die of and another system may lack, with the numbers of Linux on x86 and ARM."""

_UNKNOWN_SIGNAL = 0
"""The number of a signal that has none here; 128 still says "a signal", and is never 255."""

_REFUSAL_STATUS = {RefusalReason.NOT_FOUND: 127, RefusalReason.NOT_EXECUTABLE: 126}
"""The refusals that a shell reports as a status of the command."""


_LIMIT_TEXT = {
    Limit.OUTPUT: "it wrote more than {amount} bytes",
    Limit.CPU: "it took more than {seconds:.15g} s of processor time",
    Limit.MEMORY: "it took more than {amount} bytes of memory",
    Limit.PROCESSES: "it had more than {amount} processes and threads at once",
}


def exit_status(ending: Ending) -> int:
    """Choose the exit status for an ending.

    :param ending: how the job ended.
    :returns: from 0 to 255: see the table above.  255 is the client's own failure, so a job's own 255, and a code
        outside 0 to 255 of a system that has those, come out as 254; :func:`describe_ending` says so.
        A signal has its number on the local system, as ``$?`` would show it here, else Linux's; 128 alone stands for
        a signal unknown to both.
    """
    match ending:
        case Exited(code):
            return code if 0 <= code <= _HIGHEST_CODE else _HIGHEST_CODE
        case Signalled(name) | Stopped(name):
            local = signal.Signals.__members__.get(f"SIG{name}")
            return _SIGNAL_BASE + (local.value if local is not None else _LINUX_NUMBERS.get(name, _UNKNOWN_SIGNAL))
        case LimitReached():
            return _LIMIT_STATUS
        case TimedOut():
            return _TIMED_OUT_STATUS
        case Refused(reason):
            return _REFUSAL_STATUS.get(reason, FAILURE_STATUS)
    return FAILURE_STATUS


def describe_ending(ending: Ending) -> str | None:
    """Describe an ending in one line where the exit status alone does not.

    :param ending: how the job ended.
    :returns: a line for stderr, without prefix and newline, and safe to print; ``None`` where the exit status says
        everything.
    """
    match ending:
        case Exited(code):
            return None if exit_status(ending) == code else f"exited with {code}, reported as {_HIGHEST_CODE}"
        case Signalled(name, core_dumped):
            return f"killed by SIG{printable(name)}" + (" (core dumped)" if core_dumped else "")
        case Stopped(name):
            return f"stopped by SIG{printable(name)}"
        case TimedOut(seconds):
            return f"timed out after {seconds:.15g} s"
        case LimitReached(limit, amount):
            return f"ended: {_LIMIT_TEXT[limit].format(amount=amount, seconds=amount / 1000)}"
        case Refused(reason, text):
            return printable(text) or f"refused: {reason.value}"
    return f"outcome unknown: {printable(ending.text)}"


def printable(text: str) -> str:
    """Make text that came from the peer safe to print: one line, which cannot control the terminal.

    :param text: anything.
    :returns: the same with C0 controls, newline and tab included, and DEL in caret form (``^[``), and C1 controls,
        bidirectional and other format characters, line separators, lone surrogates and unassigned characters as
        backslash escapes (``\\x9b``, ``\\u202e``).  Letters, marks, symbols and spaces of all scripts stay.
    """
    return "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    if character < " " or character == "\x7f":
        return f"^{chr(ord(character) ^ 0x40)}"
    return character.encode("unicode_escape").decode("ascii")
