"""Exit statuses and the one line about an ending."""

from __future__ import annotations

import signal
import unicodedata

import pytest

from twisted_rsh.client.status import FAILURE_STATUS, describe_ending, exit_status, printable
from twisted_rsh.core.endings import (
    SIGNAL_NAMES,
    Ending,
    Exited,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    Signalled,
    TimedOut,
)


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        (Exited(0), 0, None),
        (Exited(7), 7, None),
        (Exited(254), 254, None),
        (Exited(255), 254, "exited with 255, reported as 254"),
        (Exited(3221225786), 254, "exited with 3221225786, reported as 254"),
        (Exited(-1), 254, "exited with -1, reported as 254"),
        (Signalled("KILL", core_dumped=True), 137, "killed by SIGKILL (core dumped)"),
        (Signalled("INT"), 130, "killed by SIGINT"),
        (Signalled("PWR"), 158, "killed by SIGPWR"),
        (Signalled("\x1bX"), 128, "killed by SIG^[X"),
        (TimedOut(2.0), 124, "timed out after 2 s"),
        (TimedOut(0.25), 124, "timed out after 0.25 s"),
        (Refused(RefusalReason.NOT_FOUND, "no such command: x"), 127, "no such command: x"),
        (Refused(RefusalReason.NOT_EXECUTABLE, "not executable: x"), 126, "not executable: x"),
        (Refused(RefusalReason.GOING_AWAY, ""), 255, "refused: going-away"),
        (OutcomeUnknown("the connection\r\ndied"), 255, "outcome unknown: the connection^M^Jdied"),
    ],
)
def test_ending_gives_status_and_line(ending: Ending, status: int, line: str | None) -> None:
    """The five endings are told apart by status and line; 255 is for failures of ours alone."""
    assert exit_status(ending) == status
    assert describe_ending(ending) == line


def test_other_refusals_are_our_failure() -> None:
    """A refusal that no shell has a status for is 255."""
    for reason in set(RefusalReason) - {RefusalReason.NOT_FOUND, RefusalReason.NOT_EXECUTABLE}:
        assert exit_status(Refused(reason, "no")) == FAILURE_STATUS


def test_every_signal_that_travels_has_a_status() -> None:
    """Each signal of the protocol maps to 128 and its number, which is the local one where there is one."""
    statuses = {name: exit_status(Signalled(name)) for name in SIGNAL_NAMES}
    assert all(128 < status < FAILURE_STATUS for status in statuses.values())
    assert statuses["TERM"] == 128 + signal.SIGTERM


@pytest.mark.parametrize("missing", ["PWR", "STKFLT", "IO"])
def test_signals_that_this_system_lacks_have_linux_numbers(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job on Linux can die of a signal that macOS does not have: it then has Linux's number."""
    linux = {"PWR": 30, "STKFLT": 16, "IO": 29}[missing]

    class Fewer:
        __members__: dict[str, signal.Signals] = {}  # noqa: RUF012 - stands in for an enumeration's mapping

    monkeypatch.setattr(signal, "Signals", Fewer)
    assert exit_status(Signalled(missing)) == 128 + linux


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b]52;c;eA==\x07", "^[]52;c;eA==^G"),
        ("\x1b[31mred", "^[[31mred"),
        ("a\r\n\tb\0", "a^M^J^Ib^@"),
        ("\x7f", "^?"),
        ("\x9b31m\x80\x9f", "\\x9b31m\\x80\\x9f"),
        ("\u202egpj.exe\u2066\u200f", "\\u202egpj.exe\\u2066\\u200f"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\udcff\ud800", "\\udcff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("汉字\u3000é ñ\u0301 😀\u00a0", "汉字\u3000é ñ\u0301 😀\u00a0"),
    ],
)
def test_text_of_the_peer_cannot_talk_to_the_terminal(text: str, shown: str) -> None:
    """C-03: ESC, CSI, OSC 52, CR, BEL, C1 and bidirectional controls come out in caret or escaped form."""
    assert printable(text) == shown


def test_no_character_survives_that_is_not_printable_or_a_space() -> None:
    """C-03: over all planes in use, what comes out encodes as UTF-8 and holds no control character."""
    everything = printable("".join(map(chr, range(0x10000))) + "".join(map(chr, range(0xE0000, 0xE1000))))
    everything.encode()
    assert all(c.isprintable() or unicodedata.category(c) == "Zs" for c in set(everything))
