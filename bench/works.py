"""What is measured: each work, in what unit, and who competes in it.

The names of the works are those of the other systems' published comparison in ``docs/performance.rst``.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from bench.servers.starting import CONCH, CROWDED, OPENSSH, OURS, PEER, find_sshd
from bench.task import BASH, GCM, PIPES, PROGRAM, UNIX

__all__ = ["CONTESTANTS", "SUBJECT", "WORKS", "Contestant", "Extra", "Work", "missing_parts"]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do a work: a client, and the server that it talks to.

    :ivar name: what the figures call it.
    :ivar client: the module in ``bench.clients`` that measures.
    :ivar server: the kind of server, or ``None`` for none.
    :ivar variant: which of several ways of that client.
    """

    name: str
    client: str
    server: str | None
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Extra:
    """Another figure that the table shows.

    :ivar key: its key in what a measuring process answers.
    :ivar title: what it is.
    :ivar scale: what to multiply it with.
    :ivar unit: what it is then.
    """

    key: str
    title: str
    scale: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One thing that is measured.

    :ivar name: a short name.
    :ivar title: one line.
    :ivar figure: the key, of what a measuring process answers, that counts.
    :ivar scale: what to multiply it with.
    :ivar unit: what it is then.
    :ivar more_is_better: whether it is a rate; otherwise it is a time or a size.
    :ivar contestants: who does it; the first is the subject of the whole benchmark.
    :ivar is_compared: whether ratios mean anything; between sizes near nothing they do not.
    :ivar fresh_server: whether every measurement has a server of its own, as its memory is measured.
    :ivar extras: other figures that the table shows.
    """

    name: str
    title: str
    figure: str
    unit: str
    more_is_better: bool
    contestants: tuple[Contestant, ...]
    scale: float = 1.0
    is_compared: bool = True
    fresh_server: bool = False
    extras: tuple[Extra, ...] = ()

    def value(self, figures: dict[str, float]) -> float:
        """Take what counts out of one measurement's figures.

        :raises KeyError: it is not there, as where there is no /proc.
        """
        return figures[self.figure] * self.scale


SUBJECT = "ours"
"""The contestant that all others are compared with."""

CONTESTANTS = {
    "ours": "this package: API > server",
    "ours-program": "this package: client program > server",
    "ours-unix": "the same over a Unix socket, without TLS",
    "ours-bash": "the same with bash",
    "ours-pipes": "the same with pipes",
    "ours-alone": "the same with no other connection",
    "local": "this machine, no remote shell",
    "openssh": "ssh > sshd",
    "asyncssh>openssh": "asyncssh > sshd",
    "asyncssh": "asyncssh > asyncssh",
    "asyncssh>conch": "asyncssh > Conch",
    "mosh": "mosh, without prediction",
}
"""What each contestant is."""

_US = Contestant(SUBJECT, "ours", OURS)
_OVER_SOCKET = Contestant("ours-unix", "ours", OURS, UNIX)
_LOCAL = Contestant("local", "local", None)
_SSH = Contestant("openssh", "openssh", OPENSSH)
_LIBRARY = (
    Contestant("asyncssh>openssh", "asyncssh_client", OPENSSH),
    Contestant("asyncssh", "asyncssh_client", PEER),
    Contestant("asyncssh>conch", "asyncssh_client", CONCH),
)
_LIBRARY_GCM = (
    Contestant("asyncssh>openssh", "asyncssh_client", OPENSSH, GCM),
    Contestant("asyncssh", "asyncssh_client", PEER, GCM),
    Contestant("asyncssh>conch", "asyncssh_client", CONCH),
)
_CROWD = (Contestant(SUBJECT, "ours", CROWDED), Contestant("ours-alone", "ours", OURS))

_P50 = (Extra("p50_us", "p50", 1e-3, "ms"), Extra("p99_us", "p99", 1e-3, "ms"))
_P99 = (Extra("p99_us", "p99", 1.0, "us"),)
_SERVER_CPU = (Extra("server_cpu_s", "server CPU", 1.0, "s"),)

_ALL = (
    Work(
        name="W1",
        title="`true` one after another, a fresh process each",
        figure="per_s",
        unit="commands/s",
        more_is_better=True,
        contestants=(_US, _OVER_SOCKET, _LOCAL, _SSH, *_LIBRARY),
        extras=_P50,
    ),
    Work(
        name="W1c",
        title="the same beside a crowd of other connections",
        figure="per_s",
        unit="commands/s",
        more_is_better=True,
        contestants=_CROWD,
        extras=_P50,
    ),
    Work(
        name="W1s",
        title="`true` in a persistent shell; locally subprocess.run(['sh', '-c', 'true'])",
        figure="p50_us",
        unit="us",
        more_is_better=False,
        contestants=(_US, _OVER_SOCKET, Contestant("ours-bash", "ours", OURS, BASH), _LOCAL),
        extras=_P99,
    ),
    Work(
        name="W1t",
        title="`true` on a terminal, one after another",
        figure="p50_us",
        scale=1e-3,
        unit="ms",
        more_is_better=False,
        contestants=(_US, Contestant("ours-pipes", "ours", OURS, PIPES), *_LIBRARY),
        extras=_P50[1:],
    ),
    Work(
        name="W2",
        title="`true`, ten in flight",
        figure="per_s",
        unit="commands/s",
        more_is_better=True,
        contestants=(_US, _LOCAL, _SSH, *_LIBRARY),
    ),
    Work(
        name="W2c",
        title="the same beside a crowd of other connections",
        figure="per_s",
        unit="commands/s",
        more_is_better=True,
        contestants=_CROWD,
    ),
    Work(
        name="W4",
        title="stdout of `head -c N /dev/zero`; locally a TLS copy",
        figure="mb_per_s",
        unit="MB/s",
        more_is_better=True,
        contestants=(_US, _OVER_SOCKET, _LOCAL, _SSH, *_LIBRARY_GCM),
        extras=_SERVER_CPU,
    ),
    Work(
        name="W5",
        title="stdin into `cat >/dev/null`; locally a TLS copy",
        figure="mb_per_s",
        unit="MB/s",
        more_is_better=True,
        contestants=(_US, _LOCAL, _SSH, *_LIBRARY_GCM),
        extras=_SERVER_CPU,
    ),
    Work(
        name="W6",
        title="server memory growth while `yes` meets a reader that stalls",
        figure="growth_mb",
        unit="MB",
        more_is_better=False,
        contestants=(_US, *_LIBRARY),
        is_compared=False,
        fresh_server=True,
        extras=(
            Extra("stall_cpu_percent", "CPU", 1.0, "%"),
            Extra("before_p50_us", "beside: before", 1e-3, "ms"),
            Extra("beside_p50_us", "during", 1e-3, "ms"),
        ),
    ),
    Work(
        name="W8",
        title="echo of a keystroke through a terminal",
        figure="p50_us",
        unit="us",
        more_is_better=False,
        contestants=(
            _US,
            _OVER_SOCKET,
            Contestant("ours-program", "ours", OURS, PROGRAM),
            _LOCAL,
            _SSH,
            *_LIBRARY,
            Contestant("mosh", "mosh", None),
        ),
        extras=_P99,
    ),
)

WORKS = {work.name: work for work in _ALL}
"""Every work by its name."""


def missing_parts(contestants: Iterable[Contestant]) -> dict[str, str]:
    """Find out who cannot take part.

    :returns: why not, by the contestant's name; those who can are not in it.
    """
    missing = {}
    for contestant in contestants:
        needs = {contestant.client, contestant.server, contestant.variant}
        absent = [part for part, is_there in _NEEDS.items() if part in needs and not is_there()]
        if absent:
            missing[contestant.name] = f"not installed: {', '.join(_PROVIDED_BY[part] for part in absent)}"
    return missing


def _has_sshd() -> bool:
    return shutil.which("ssh") is not None and find_sshd() is not None


def _has_asyncssh() -> bool:
    return importlib.util.find_spec("asyncssh") is not None


def _has_conch() -> bool:
    # Conch is in every Twisted, but cannot be imported without what its extra brings.
    return importlib.util.find_spec("bcrypt") is not None


def _has_bash() -> bool:
    return shutil.which("bash") is not None


def _has_mosh() -> bool:
    return shutil.which("mosh-server") is not None and shutil.which("mosh-client") is not None


_NEEDS = {BASH: _has_bash, "mosh": _has_mosh, OPENSSH: _has_sshd, "asyncssh_client": _has_asyncssh, CONCH: _has_conch}
_PROVIDED_BY = {
    BASH: "bash",
    "mosh": "mosh",
    OPENSSH: "OpenSSH's ssh and sshd",
    "asyncssh_client": "asyncssh",
    CONCH: "twisted[conch]",
}
