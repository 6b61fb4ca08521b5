"""The process transports there are, and which of them this system calls for."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Protocol

from twisted.internet.protocol import ProcessProtocol

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.portable import spawn_portably
from twisted_rsh.execution.processes.interfaces import IFlowControlledProcess, IJobReactor
from twisted_rsh.execution.processes.transport import spawn_process
from twisted_rsh.interfaces import JobRefused

__all__ = ["StartProcess", "check_support", "default_transport"]


class StartProcess(Protocol):
    """Starts a process under a protocol: :func:`twisted_rsh.execution.processes.transport.spawn_process`,
    :func:`twisted_rsh.execution.portable.spawn_portably`, or what an application puts around them.
    """

    def __call__(
        self,
        reactor: IJobReactor,
        protocol: ProcessProtocol,
        plan: SpawnPlan,
        *,
        terminal: Terminal | None = None,
        read_size: Callable[[int], int] | None = None,
        input_taken: Callable[[int], None] | None = None,
    ) -> IFlowControlledProcess:
        """Start a process; see :func:`twisted_rsh.execution.processes.transport.spawn_process`."""
        ...


_PIPES_ONLY: tuple[StartProcess, ...] = (spawn_portably,)
"""The transports that can give a job neither a terminal nor the descriptors of a persistent shell."""


def default_transport() -> StartProcess:
    """Choose the transport for this system: `spawn_process`, which is ten times as fast, where it works.

    It does where posix_spawn can make a session (POSIX.1-2024, ``POSIX_SPAWN_SETSID``: Linux, macOS since 10.15) and
    says so when a program cannot be executed, which POSIX leaves open.  One attempt to execute a folder tells both; it
    takes less than 1 ms.

    :returns: `spawn_process` or `spawn_portably`; hand it to :class:`twisted_rsh.execution.user.LocalUser`.
    """
    if not hasattr(os, "posix_spawn"):
        return spawn_portably
    try:
        pid = os.posix_spawn("/", ("/",), {}, setsid=True)
    except NotImplementedError:  # Python was built without it
        return spawn_portably
    except OSError as e:  # EINVAL: the system does not know it.  What may pass, such as EAGAIN, decides nothing.
        return spawn_portably if e.errno == errno.EINVAL else spawn_process
    os.waitpid(pid, 0)
    return spawn_portably


def check_support(start_process: StartProcess, request: JobRequest) -> None:
    """Make sure that a transport can run what is asked for.

    :param start_process: the transport.
    :param request: what the client asked for.
    :raises JobRefused: `NOT_SUPPORTED`; it is a terminal or a persistent shell, and the transport has pipes only.
    """
    if start_process in _PIPES_ONLY and (request.terminal is not None or request.shell is not None):
        what = "terminal" if request.terminal is not None else "persistent shell"
        raise JobRefused(
            RefusalReason.NOT_SUPPORTED, f"the server's system can give a job no {what}; run a command without one"
        )
