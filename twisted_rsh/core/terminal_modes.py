"""The settings of a terminal that can travel: by name, because their numbers differ between systems (RFC 4254 §8)."""

from __future__ import annotations

__all__ = ["CONTROL_CHARACTERS", "MODE_NAMES"]

CONTROL_CHARACTERS = frozenset(
    "VINTR VQUIT VERASE VKILL VEOF VEOL VEOL2 VSTART VSTOP VSUSP VREPRINT VWERASE VLNEXT".split()
)
"""Settings whose value is the code of a character, from 0 to 255; 0 switches its function off."""

_FLAGS = frozenset(
    "IGNPAR PARMRK INPCK ISTRIP INLCR IGNCR ICRNL IXON IXANY IXOFF IMAXBEL IUTF8 "
    "ISIG ICANON ECHO ECHOE ECHOK ECHONL ECHOCTL ECHOKE NOFLSH TOSTOP IEXTEN OPOST ONLCR".split()
)

MODE_NAMES = CONTROL_CHARACTERS | _FLAGS
"""All of them, by the names of termios(3); those that are no control character are flags, 0 or 1."""
