"""What a measuring process is told to do: one work, once, and how much of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

__all__ = ["BASH", "FULL", "GCM", "MAX_KEYS", "PIPES", "PROGRAM", "QUICK", "UNIX", "Sizes", "Task"]

PIPES = "pipes"
"""The variant of W1t that uses no terminal, to compare with."""

PROGRAM = "program"
"""The variant of W8 that types into the client program of this package instead of calling its API."""

UNIX = "unix"
"""The variant that reaches the server over its Unix socket, without TLS."""

BASH = "bash"
"""The variant of W1s that has bash as its persistent shell, whatever shell runs the other commands."""

GCM = "gcm"
"""The variant of W4 and W5 that asks the server for AES-GCM, the fastest cipher of SSH; Conch's server has none."""

MAX_KEYS = 4000
"""Keystrokes of one measurement; those that warm up come on top and fit into the same line of a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of each work one measurement does.

    :ivar commands: commands, one after another or several at once.
    :ivar at_once: commands that are under way together in W2.
    :ivar builtins: commands of the persistent shell in W1s, which take a tenth of the time.
    :ivar stream_bytes: bytes of a stream; a multiple of 1 MiB.
    :ivar keys: keystrokes of W8.
    :ivar stall_seconds: seconds for which nobody reads in W6.
    :ivar beside: commands on the connection beside the one that stalls.
    :ivar crowd: connections that are open beside the measured one in W1c and W2c.
    """

    commands: int
    at_once: int
    builtins: int
    stream_bytes: int
    keys: int
    stall_seconds: int
    beside: int
    crowd: int

    def __post_init__(self) -> None:
        # A terminal line holds 4,095 bytes (Linux's N_TTY_BUF_SIZE) and what is typed beyond is not echoed.
        if not 1 <= self.keys <= MAX_KEYS:
            raise ValueError(f"keystrokes are one line of a terminal: from 1 to {MAX_KEYS}")


FULL = Sizes(
    commands=400,
    at_once=10,
    builtins=2000,
    stream_bytes=512 * 1024 * 1024,
    keys=1500,
    stall_seconds=5,
    beside=50,
    crowd=5000,
)
"""Each measurement takes about a second, where it is not the time itself that is prescribed."""

QUICK = Sizes(
    commands=20,
    at_once=10,
    builtins=50,
    stream_bytes=8 * 1024 * 1024,
    keys=50,
    stall_seconds=1,
    beside=10,
    crowd=50,
)
"""Shows that everything runs; the figures mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One measurement.

    :ivar work: the work's name, such as ``"W1"``.
    :ivar variant: which of several ways to do it, in the words of the client's module; empty for its usual one.
    :ivar port: the server's TCP port on 127.0.0.1; 0 where there is no server.
    :ivar folder: the folder of keys and other files, which the measuring process may add files to.
    :ivar user: whom to log in as.
    :ivar shell: the shell that runs local commands.
    :ivar sizes: how much of it.
    """

    work: str
    variant: str
    port: int
    folder: str
    user: str
    shell: str
    sizes: Sizes

    def to_json(self) -> str:
        """Write it for a command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Read what :meth:`to_json` wrote.

        :raises TypeError: something is missing.
        :raises ValueError: it is no JSON, or a size is impossible.
        """
        fields = json.loads(text)
        return cls(**{**fields, "sizes": Sizes(**fields["sizes"])})
