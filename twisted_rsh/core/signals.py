"""The signals that can travel: by name, because their numbers differ between systems."""

from __future__ import annotations

__all__ = ["SIGNAL_NAMES"]

SIGNAL_NAMES = frozenset(
    "ABRT ALRM BUS CHLD CONT FPE HUP ILL INT IO KILL PIPE PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP "
    "TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ".split()
)
"""Names without ``SIG``: POSIX.1-2017's, and those that Linux adds and a job can die of."""
