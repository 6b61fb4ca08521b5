"""The names of signals."""

from __future__ import annotations

import signal

from twisted_rsh.core.endings import SIGNAL_NAMES


def test_every_signal_of_this_system_can_travel() -> None:
    """Every name that this system has is known, but for the real-time range and second names of one signal."""
    here = {member.name.removeprefix("SIG") for member in signal.Signals}
    assert here - {"RTMIN", "RTMAX", "EMT", "INFO"} <= SIGNAL_NAMES


def test_names_are_short() -> None:
    """None of them has the prefix."""
    assert not any(name.startswith("SIG") for name in SIGNAL_NAMES)
