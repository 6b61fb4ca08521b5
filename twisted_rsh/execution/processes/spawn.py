"""The start of a process by `os.posix_spawn`, with its streams, its working folder and nothing else of this process's.

Measured, a spawn takes 1 ms however large the server is; a fork takes 6 ms and more.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from twisted_rsh.core.errors import Error
from twisted_rsh.core.requests import Terminal
from twisted_rsh.execution.processes.descriptors import FIRST_OWN, closing_actions, count_descriptors, open_pipe
from twisted_rsh.execution.processes.spawning_thread import find_spawning_thread
from twisted_rsh.execution.processes.terminal import open_terminal

__all__ = ["NOTHING_INHERITED", "SpawnPlan", "Spawned", "UnsupportedSystem", "check_system", "spawn"]

_PROBE_BYTES = 256
"""Bytes at the beginning of a file that decide how the system executes it: Linux's ``BINPRM_BUF_SIZE``, in which a
``#!`` line must fit."""

NOTHING_INHERITED: Mapping[int, int] = MappingProxyType({})
"""No descriptors besides those that :func:`spawn` makes."""

MANY_DESCRIPTORS = 1000
"""Open descriptors from which on a thread that has few of them starts the processes.  Measured, both ways take as long
with 1,000; with 5,000 this process takes three times as long as the thread."""

_SHELL = b"/bin/sh"
"""POSIX's shell: it runs a script that names no interpreter, and changes the folder where this process must not."""

_ENTER_AND_EXECUTE = b'cd -- "$1" && shift && { %s exec "$@"; }'
"""The shell's program when this process has threads: it takes 0.4 ms or so, and leaves *their* working folder alone."""

_JOIN_AND_EXECUTE = b'{ echo 0 >"$1/cgroup.procs"; } 2>/dev/null; shift; %sexec "$@"'
"""The shell's program when the process joins a control group: it waits for that, 10 ms or so, in this process's
place."""

_BASH = b"/bin/bash"
"""Stands in for it where the environment has names that are not names in a shell, such as those of bash's exported
functions: dash does not pass them on."""

_SHELL_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_]*")

_SHELLS_OWN = (b"PWD", b"OLDPWD", b"SHLVL")
"""Variables that a shell adds to the environment of what it executes; bash makes ``SHLVL`` 0 all the same."""

_CHILD_NUMBERS = frozenset(range(FIRST_OWN))
"""The descriptors that a child may have."""

_RESET_SIGNALS = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
"""Signals that a job finds at their default: Python ignores SIGPIPE, ``nohup`` SIGHUP.  KILL and STOP have no other."""


@dataclass(frozen=True, slots=True)
class SpawnPlan:
    """Everything that the operating system needs to start one process; hand it to `spawn_process`.

    :ivar executable: absolute path of the program.
    :ivar argv: its arguments, of which the first is the name of the program.
    :ivar environment: names and values of its whole environment.
    :ivar cwd: absolute path of its working folder.
    :ivar joins: folder of the control group that the process joins before it executes the program; ``None`` to stay in
        this process's.  If the kernel refuses, or no shell passes the environment on, it stays there.
    """

    executable: bytes
    argv: tuple[bytes, ...]
    environment: tuple[tuple[bytes, bytes], ...]
    cwd: bytes
    joins: bytes | None = None


class UnsupportedSystem(Error):
    """This system cannot start jobs; ``str()`` is one line that says what it lacks."""

    def __str__(self) -> str:
        return (
            "this system has no posix_spawn that makes sessions (POSIX_SPAWN_SETSID) and reports failures; "
            "twisted-rsh needs a POSIX system that has it"
        )


def check_system() -> None:
    """Make sure that `os.posix_spawn` can start jobs here.

    A job needs a session of its own (POSIX.1-2024, ``POSIX_SPAWN_SETSID``; Linux, macOS since 10.15), and its client
    needs to learn that a program cannot be executed, which POSIX does not promise.  One attempt to execute a folder
    tells both; it takes less than 1 ms.

    :raises UnsupportedSystem: it cannot.
    """
    if not hasattr(os, "posix_spawn"):
        raise UnsupportedSystem
    try:
        pid = os.posix_spawn("/", ("/",), {}, setsid=True)
    except NotImplementedError:  # Python was built without POSIX_SPAWN_SETSID
        raise UnsupportedSystem from None
    except OSError as e:  # any other number, such as EAGAIN, says nothing about the system
        if e.errno == errno.EINVAL:  # the C library does not know POSIX_SPAWN_SETSID
            raise UnsupportedSystem from None
    else:
        os.waitpid(pid, 0)
        raise UnsupportedSystem


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process that was started, and our ends of its streams; the caller closes them.

    :ivar pid: its process id, which is also the number of its process group and of its session.
    :ivar stdin: a descriptor to write its input to: a pipe, or the terminal's master.  ``None`` when it has no input.
    :ivar stdout: a descriptor to read its output from: a pipe, or the terminal's master once more.
    :ivar stderr: a pipe to read its error output from.  ``None`` when that goes to the terminal.
    :ivar terminal: the name of the terminal of which `stdin` and `stdout` are the master; ``None`` for pipes.
    """

    pid: int
    stdin: int | None
    stdout: int
    stderr: int | None
    terminal: str | None = None


class _Setup:
    """The file actions of one child, and the descriptors to close after the start."""

    def __init__(self) -> None:
        # Lists, because stacks of callbacks take time that shows in the profile of a server.
        self._kept: list[int] = []
        self._lent: list[int] = []
        self.actions: list[tuple[Any, ...]] = []

    def failed(self) -> None:
        """Close what :meth:`keep` got; call it when the child was not started."""
        for fd in self._kept:
            os.close(fd)

    def done(self) -> None:
        """Close what :meth:`lend` got; call it in any case."""
        for fd in self._lent:
            os.close(fd)

    def give(self, fd: int, number: int) -> None:
        """Give the child a copy of a descriptor of ours."""
        self.actions.append((os.POSIX_SPAWN_DUP2, fd, number))

    def keep(self, fd: int) -> int:
        """Close a descriptor unless the child is started."""
        self._kept.append(fd)
        return fd

    def lend(self, fd: int) -> int:
        """Close a descriptor in any case."""
        self._lent.append(fd)
        return fd

    def add_input_pipe(self, number: int) -> int:
        """Give the child the reading end of a new pipe, and return the other."""
        reading, writing = open_pipe()
        self._lent.append(reading)
        self._kept.append(writing)
        self.actions.append((os.POSIX_SPAWN_DUP2, reading, number))
        return writing

    def add_output_pipe(self, number: int) -> int:
        """Give the child the writing end of a new pipe, and return the other."""
        reading, writing = open_pipe()
        self._lent.append(writing)
        self._kept.append(reading)
        self.actions.append((os.POSIX_SPAWN_DUP2, writing, number))
        return reading

    def add_terminal(self, terminal: Terminal, number: int | None) -> tuple[int, int, str]:
        """Let the child open a new terminal, and return descriptors to write to and to read from, and its name.

        Call it before the other methods: a session leader's first terminal is its controlling one.
        """
        ends = open_terminal(terminal)
        self.lend(ends.slave)
        self.actions.append((os.POSIX_SPAWN_OPEN, 1 if number is None else number, ends.path, os.O_RDWR, 0))
        if number is not None:
            self.give(number, 1)
        return self.keep(ends.writing), self.keep(ends.reading), ends.path

    def add_inherited(self, fd: int, number: int) -> None:
        """Give the child a descriptor that the caller keeps."""
        if fd < FIRST_OWN:
            fd = self.lend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_OWN))
        self.give(fd, number)


def spawn(
    plan: SpawnPlan,
    *,
    terminal: Terminal | None = None,
    input_at: int | None = 0,
    error_at: int = 2,
    inherited: Mapping[int, int] = NOTHING_INHERITED,
) -> Spawned:
    """Start a process as the leader of its own session and process group, with its streams and nothing else of ours.

    Its signals are at their defaults and none is blocked; its umask and resource limits are this process's.  A
    terminal is its controlling terminal; the plan's environment names the type of the terminal, as ``TERM``.

    :param plan: what to execute.
    :param terminal: the terminal to give it, as its input, its output and, unless `separate_stderr` is set, its error
        output; ``None`` for three pipes.
    :param input_at: the descriptor that its input is in the child, 0 to 9 but neither 1 nor 2; ``None`` for no input,
        or for a terminal that the child only finds as its output.  0 is ``/dev/null`` in a child that has neither its
        input nor an inherited descriptor there.
    :param error_at: the descriptor that its error output is in a child on pipes, 2 to 9.
    :param inherited: descriptors that it gets besides these: the number in the child, 0 to 9, and ours, which stays the
        caller's.
    :returns: the process.
    :raises ValueError: a number is out of range or given twice.
    :raises twisted_rsh.execution.processes.terminal.TerminalUnavailable: the system has no terminal to give; an
        ``OSError`` too.
    :raises OSError: it was not started, and every descriptor is closed again: ``ENOENT`` (also when the interpreter
        that a script names is missing), ``EACCES``, ``ENOEXEC``, ``E2BIG``, ``EMFILE``, ``EAGAIN``, ...
    """
    numbers = [1, 2 if terminal else error_at, *inherited, *(() if input_at is None else (input_at,))]
    if len(set(numbers)) < len(numbers) or not _CHILD_NUMBERS.issuperset(numbers):
        raise ValueError(f"a child's descriptors are different numbers below {FIRST_OWN}, not {sorted(numbers)}")
    setup = _Setup()
    try:
        stdin = stderr = path = None
        if terminal is None:
            if input_at is not None:
                stdin = setup.add_input_pipe(input_at)
            stdout = setup.add_output_pipe(1)
        else:
            stdin, stdout, path = setup.add_terminal(terminal, input_at)
        if terminal is None:
            stderr = setup.add_output_pipe(error_at)
        elif terminal.separate_stderr:
            stderr = setup.add_output_pipe(2)
        else:
            setup.give(1, 2)
        for number, fd in inherited.items():
            setup.add_inherited(fd, number)
        if 0 not in numbers:
            # A program that finds 0 closed gives the number to the next file that it opens.
            setup.actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0))
        joining = plan if plan.joins is None else _joining(plan, plan.joins)
        thread = find_spawning_thread() if count_descriptors(stdout) >= MANY_DESCRIPTORS else None
        if thread is None:
            pid = _start_program_or_script(joining, [*setup.actions, *closing_actions(numbers)])
        else:
            pid = thread.start(partial(_start_program_or_script, joining), setup.actions)
    except BaseException:
        setup.failed()
        raise
    finally:
        setup.done()
    return Spawned(pid, stdin, stdout, stderr, path)


def _start_program_or_script(plan: SpawnPlan, actions: Sequence[tuple[Any, ...]]) -> int:
    """Start the process as execvp(3) does: the standard shell runs a text without ``#!``."""
    try:
        return _start(plan, actions)
    except OSError as e:
        if e.errno != errno.ENOEXEC or not _may_be_script(plan.executable):
            raise
    return _start(replace(plan, executable=_SHELL, argv=(_SHELL, plan.executable, *plan.argv[1:])), actions)


def _joining(plan: SpawnPlan, group: bytes) -> SpawnPlan:
    """Plan a shell that joins the group and then becomes the program."""
    _check_interpreter(plan.executable)
    environment = dict(plan.environment)
    words = (_name_for_shell(plan, environment.get(b"PATH", b"")), *plan.argv[1:])
    shell = _shell_for(environment)
    if shell is None:
        return plan
    argv = (*shell, b"-c", _JOIN_AND_EXECUTE % _undo(environment), b"sh", group, *words)
    return replace(plan, executable=shell[0], argv=argv)


def _shell_for(environment: Mapping[bytes, bytes]) -> tuple[bytes, ...] | None:
    """Return the words that start a shell which passes the environment on; ``None`` where there is none."""
    if all(map(_SHELL_NAME.fullmatch, environment)):
        return (_SHELL,)
    # -p: it takes neither functions nor options from the environment
    return (_BASH, b"-p") if os.access(_BASH, os.X_OK) else None


def _undo(environment: Mapping[bytes, bytes]) -> bytes:
    """Return the commands by which a shell takes back what it has added to the environment."""
    return b"".join(b"unset %s; " % name for name in _SHELLS_OWN if name not in environment)


def _name_for_shell(plan: SpawnPlan, path: bytes) -> bytes:
    """Return the program's own name for itself, if a shell finds the same file by it; otherwise the file's path."""
    name = plan.argv[0]
    found = os.path.join(plan.cwd, name) if b"/" in name else shutil.which(name, path=os.fsdecode(path))
    try:
        is_same = found is not None and not name.startswith(b"-") and os.path.samefile(found, plan.executable)
    except OSError:
        is_same = False
    return name if is_same else plan.executable


def _start(plan: SpawnPlan, actions: Sequence[tuple[Any, ...]]) -> int:
    """Start the process in its working folder, by the cheapest way that disturbs no thread of this process."""
    if _is_current(plan.cwd):
        return _posix_spawn(plan, actions)
    own = _open_current() if threading.active_count() == 1 else None
    if own is not None:
        try:
            return _start_from_inside(plan, actions, own)
        finally:
            os.close(own)
    _check_interpreter(plan.executable)
    environment = dict(plan.environment)
    shell = _shell_for(environment) or (_SHELL,)
    program = _ENTER_AND_EXECUTE % _undo(environment)
    argv = (*shell, b"-c", program, b"sh", plan.cwd, plan.executable, *plan.argv[1:])
    return _posix_spawn(replace(plan, executable=shell[0], argv=argv), actions)


def _is_current(folder: bytes) -> bool:
    """Tell whether a folder is this process's own working folder."""
    try:
        return os.path.samefile(folder, b".")
    except OSError:
        return False


def _open_current() -> int | None:
    """Open this process's own working folder, to come back to it; ``None`` where that is impossible.

    A server may have been started in a folder that is its user's no more, or that it may not enter any more.
    """
    try:
        # O_PATH needs no permission to read the folder; a system without it (macOS) needs that permission.
        return os.open(b".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


def _start_from_inside(plan: SpawnPlan, actions: Sequence[tuple[Any, ...]], own: int) -> int:
    """Enter the working folder for the moment of the spawn, which no other thread may notice.  It takes 0.02 ms."""
    os.chdir(plan.cwd)
    try:
        return _posix_spawn(plan, actions)
    finally:
        os.fchdir(own)


def _posix_spawn(plan: SpawnPlan, actions: Sequence[tuple[Any, ...]]) -> int:
    return os.posix_spawn(
        plan.executable,
        plan.argv,
        dict(plan.environment),
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=_RESET_SIGNALS,
    )


def _head(path: bytes) -> bytes | None:
    """Read the beginning of a file; ``None`` when it may be executed but not read."""
    try:
        with open(path, "rb") as file:
            return file.read(_PROBE_BYTES)
    except OSError:
        return None


def _may_be_script(path: bytes) -> bool:
    """Tell whether a file that the system cannot execute is text without a ``#!`` line."""
    head = _head(path)
    return head is not None and not head.startswith(b"#!") and b"\0" not in head


def _check_interpreter(path: bytes) -> None:
    """Make sure that the interpreter of a script is there, before a shell complains about it on the job's stderr.

    :raises OSError: the interpreter that the script names is not there or cannot be executed.
    """
    head = _head(path) or b""
    words = head.partition(b"\n")[0][2:].split(maxsplit=1)
    if head.startswith(b"#!") and words and not os.access(words[0], os.X_OK):
        code = errno.EACCES if os.path.exists(words[0]) else errno.ENOENT
        raise OSError(code, os.strerror(code))
