"""The portable process transport: `reactor.spawnProcess` starts the process, for systems whose posix_spawn cannot.

What the reactor's own process lacks for a job is made up for on both sides of it:

* Its pipes are read 8 KiB at a time whatever room there is, and its standard input buffers without bound.  So the
  reactor is told to pass on descriptors as they are, and the pipes are :mod:`twisted_rsh.execution.processes.pipes`, as
  under
  `os.posix_spawn`: nothing is held back, and input counts as taken when the pipe took it.
* Its child stays in this process's group and session, says nothing truthful about a program that cannot be executed,
  and inherits the signal mask.  So the reactor starts a *starter*: this Python without its site packages, which
  receives the plan on a socket, leads a session of its own, executes the program and answers only when that fails.
  No shell and no ``setsid(1)`` could do it: the one cannot make a session, the other is missing outside Linux, and
  both complain on the job's standard error in place of an error number.
* It never ends when somebody else has taken its child's status.  So it is made to forget the child, which is watched
  by :mod:`twisted_rsh.execution.processes.exits` as any other.  The starter runs nothing before it has its plan: the
  exit
  cannot be missed in between.

The price is the starter.  One ``true``, from the call to its end, measured beside `os.posix_spawn` in the same run:
11-15 ms against 1 ms, and with 5,000 descriptors open 28 ms against 1.5-2.5 ms, because Twisted looks at each of them.
All but the last millisecond of that the reactor waits for the answer, as it would for any fork of Twisted's (6 and
32 ms).
"""

from __future__ import annotations

import contextlib
import errno
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import cast

from twisted.internet import process as twisted_process
from twisted.internet.interfaces import IReactorCore, IReactorProcess
from twisted.internet.protocol import ProcessProtocol

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.plan import SpawnPlan
from twisted_rsh.execution.processes.descriptors import FIRST_PRIVATE, PipeEnds, open_pipe
from twisted_rsh.execution.processes.exits import ExitReport, SigchldWatch
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES
from twisted_rsh.execution.processes.spawn import PROBE_BYTES, Spawned
from twisted_rsh.execution.processes.terminal import TerminalUnavailable
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.interfaces import JobRefused

__all__ = ["ANSWER_SECONDS", "spawn_portably"]

ANSWER_SECONDS = 5.0
"""Seconds that the reactor may wait for the starter to take its plan or to answer, which take 15 ms together: a machine
on which this is too little is in no state to run jobs, and a server that waits longer is taken for dead."""

_ANSWER_BYTES = 64
"""Bytes of an answer at most: a sign and an error number."""

_STARTED = b"+"
"""The answer when the program is about to be executed; an error number follows it when that fails.  A number without it
is of the working folder, and no answer at all is a starter that did not get to run."""

# _signal is what signal wraps: that one imports enum, which doubles the time that the starter takes.
_STARTER = f"""
import _signal, errno, marshal, os
CHANNEL = {FIRST_PRIVATE}
SHELL = b"/bin/sh"

def is_script(path):
    try:
        with open(path, "rb") as file:
            head = file.read({PROBE_BYTES})
    except OSError:
        return False
    return not head.startswith(b"#!") and b"\\0" not in head

def execute(program, argv, environment):
    try:
        os.execve(program, argv, environment)
    except OSError as e:
        if e.errno != errno.ENOEXEC or not is_script(program):
            raise
    os.execve(SHELL, (SHELL, program, *argv[1:]), environment)

def start(program, argv, environment, cwd):
    os.setsid()
    os.chdir(cwd)
    os.write(CHANNEL, {_STARTED!r})
    for number in _signal.valid_signals():
        if _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    execute(program, argv, dict(environment))

os.set_inheritable(CHANNEL, False)
plan = b""
while piece := os.read(CHANNEL, 1 << 16):
    plan += piece
try:
    start(*marshal.loads(plan))
except OSError as e:
    code = e.errno
except ValueError:
    code = errno.EINVAL
os.write(CHANNEL, b"%d" % code)
os._exit(1)
"""
"""What the starter runs.  It executes a text without ``#!`` by the standard shell, as execvp(3) does."""


def spawn_portably(
    reactor: IJobReactor,
    protocol: ProcessProtocol,
    plan: SpawnPlan,
    *,
    terminal: Terminal | None = None,
    read_size: Callable[[int], int] | None = None,
    input_taken: Callable[[int], None] | None = None,
) -> SpawnedProcess:
    """Start a process under a protocol, as :func:`twisted_rsh.execution.processes.transport.spawn_process` does and as
    truthfully.

    Both give the same transport and keep the same promises.  This one takes ten times as long to start a process, while
    the reactor waits, and has no terminals.  Where to prefer which is
    :func:`twisted_rsh.execution.transports.default_transport`'s to say.

    :param reactor: starts the process, and watches the pipes and the exit; it also provides `IReactorProcess` and
        `IReactorCore`, as every POSIX reactor of Twisted's does.
    :param protocol: an ordinary process protocol.
    :param plan: what to execute.
    :param terminal: ``None``: there are only pipes.
    :param read_size: given 1 or 2, says how many bytes of that output may be read now; asked before each read, and at
        0 the output is paused until `resume_output`.  ``None`` reads whatever comes.
    :param input_taken: learns how many bytes of its input the process's pipe took; ``None`` when nobody counts.
    :returns: the transport, which is the protocol's.
    :raises twisted_rsh.execution.processes.terminal.TerminalUnavailable: a terminal was asked for; an ``OSError`` too.
    :raises OSError: the process was not started, or could not be watched and was killed; no descriptor stays open.
        Its `filename` is the plan's `cwd` when that could not be entered.
    :raises JobRefused: `NOT_SUPPORTED`, this Python cannot be started again, or nobody would notice the exit;
        `RESOURCES`, the starter died or took too long.
    """
    if terminal is not None:
        raise TerminalUnavailable(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    _check_exit_is_noticed(cast("IReactorCore", reactor))
    spawned = _spawn(cast("IReactorProcess", reactor), plan)
    return SpawnedProcess(reactor, protocol, spawned, read_size or _everything, input_taken or _nobody)


def _everything(childFD: int) -> int:  # noqa: ARG001 - the signature of read_size
    return READ_BYTES


def _nobody(size: int) -> None:
    """Count nothing."""


def _forget(report: ExitReport) -> None:
    """Do nothing about the end of a starter that was given up."""


def _check_exit_is_noticed(reactor: IReactorCore) -> None:
    """Make sure that the end of a child will be heard of: by a pidfd, or by Twisted's handling of SIGCHLD.

    A reactor that does not run yet sees to SIGCHLD when it starts.
    """
    with contextlib.suppress(AttributeError, OSError):  # this Python, its system or its seccomp filter has none
        os.close(os.pidfd_open(os.getpid()))
        return
    # The function that Twisted installs is private to this module, and wakes the reactor up by its mere presence.
    is_twisted = getattr(signal.getsignal(signal.SIGCHLD), "__module__", None) == "twisted.internet._signals"
    if reactor.running and not is_twisted:
        raise JobRefused(
            RefusalReason.NOT_SUPPORTED,
            "the server could not notice the job's end: its reactor runs without Twisted's handler of SIGCHLD; "
            "run it with installSignalHandlers=True",
        )


def _spawn(reactor: IReactorProcess, plan: SpawnPlan) -> Spawned:
    """Start a process with three pipes, as :func:`twisted_rsh.execution.processes.spawn.spawn` does."""
    with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
        ends: list[PipeEnds] = []
        for ours in (1, 0, 0):
            pipe = open_pipe()
            on_failure.callback(os.close, pipe[ours])
            always.callback(os.close, pipe[1 - ours])
            ends.append(pipe)
        (child_in, stdin), (stdout, child_out), (stderr, child_err) = ends
        channel, theirs = socket.socketpair()
        always.enter_context(channel)
        with theirs:
            descriptors = {0: child_in, 1: child_out, 2: child_err, FIRST_PRIVATE: theirs.fileno()}
            pid = _start_starter(reactor, descriptors)
        try:
            answer = _ask(channel, plan)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            SigchldWatch(pid, _forget).start()  # it may be stuck where no signal reaches it
            raise JobRefused(
                RefusalReason.RESOURCES, f"the job did not start within {ANSWER_SECONDS:g} seconds; try again later"
            ) from None
        if answer != _STARTED:
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise _failure(answer, plan)
        on_failure.pop_all()
        return Spawned(pid, stdin, stdout, stderr)


def _start_starter(reactor: IReactorProcess, descriptors: dict[int, int]) -> int:
    """Start the starter, which then waits for its plan, and take it out of Twisted's hands; returns its process id."""
    if not sys.executable:
        raise JobRefused(
            RefusalReason.NOT_SUPPORTED,
            "the server does not know its own Python, with which it starts jobs on this system; set sys.executable",
        )
    # The environment is this process's own, with which its Python is known to start; the job never sees it.
    try:
        process = reactor.spawnProcess(
            ProcessProtocol(),
            sys.executable,
            (sys.executable, "-I", "-S", "-c", _STARTER),
            env=dict(os.environ),
            childFDs=descriptors,
        )
    except (FileNotFoundError, PermissionError) as e:  # a server may outlive the Python that it was started with
        raise JobRefused(
            RefusalReason.NOT_SUPPORTED,
            f"{sys.executable}, with which the server starts jobs: {e.strerror}; start the server anew",
        ) from None
    pid: int | None = process.pid
    if pid is None:
        raise _broken_starter()
    twisted_process.unregisterReapProcessHandler(pid, process)
    return pid


def _broken_starter() -> JobRefused:
    return JobRefused(
        RefusalReason.RESOURCES, f"{sys.executable}, with which the server starts jobs, died before it began; try again"
    )


def _ask(channel: socket.socket, plan: SpawnPlan) -> bytes:
    """Hand the starter its plan and return its answer: nothing when it is dead.

    :raises TimeoutError: there was none in time.
    """
    channel.settimeout(ANSWER_SECONDS)
    answer = b""
    with contextlib.suppress(ConnectionError):
        channel.sendall(marshal.dumps((plan.executable, plan.argv, plan.environment, plan.cwd)))
        channel.shutdown(socket.SHUT_WR)
        while piece := channel.recv(_ANSWER_BYTES):
            answer += piece
    return answer


def _failure(answer: bytes, plan: SpawnPlan) -> Exception:
    """Put an answer other than success into what `os.posix_spawn` would have raised."""
    if not answer:
        return _broken_starter()
    code = int(answer)
    return OSError(code, os.strerror(code), plan.executable if answer.startswith(_STARTED) else plan.cwd)
