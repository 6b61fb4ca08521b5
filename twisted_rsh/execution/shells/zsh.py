"""zsh: it runs each text as if it was typed, and reports at its prompt."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import signal
from collections import deque
from dataclasses import dataclass

from twisted_rsh.execution.processes.descriptors import above_child_fds
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import InputPipe
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.evaluation import WITHHELD, Evaluation, Syntax
from twisted_rsh.execution.shells.folder import PrivateFolder, TextFile
from twisted_rsh.execution.shells.report_fifo import ReportFifo
from twisted_rsh.execution.shells.reports import Report, ReportKind
from twisted_rsh.execution.shells.talk import Dialect, Launch, TalkListener, quoted
from twisted_rsh.execution.shells.zsh_events import as_one_event
from twisted_rsh.execution.shells.zsh_hooks import (
    FAILURE,
    INTERRUPTION,
    KEEPING,
    QUESTION,
    Order,
    environment_file,
    startup_file,
)

__all__ = ["FIRST_TYPED", "MAX_REPORT_BYTES", "OLD_ZSH", "ZSH", "TextFile", "TypedZsh", "ZshTalk", "zsh_dialect"]

MAX_REPORT_BYTES = 64
"""Bytes of one report: a letter and two numbers."""

_REPORT = re.compile(rb"(?P<kind>[serx])(?: (?P<count>\d{1,18})(?: (?P<status>\d{1,3}))?)?")
"""``s 5``: command 5 begins.  ``e 5 0``: it has ended with status 0, and the shell is at its prompt.  ``r``: the answer
to a question.  ``x``: the shell was about to run something that is no text of ours."""

_TORN_REPORT = re.compile(rb"\d+ \d+")
"""A report without its letter: a trap has ended the shell while it wrote the report, and the shell's end follows."""

_TAKES_OPTIONS = re.compile(rb"emulate|zle|prompt_?(?:sp|cr)|bang_?hist|comments|correct|ignore_?eof", re.IGNORECASE)
"""What may switch on an option that makes zsh print or read something at its prompt."""

_TAKES_HOOKS = re.compile(rb"precmd|unfunction|\bsource\b|(?:^|[\s;&|])\.[ \t]")
"""What may take the hooks away: a command that sets them, and a file such as the user's start-up file."""

_VERSION = re.compile(rb"/zsh/(\d+)\.(\d+)")
"""What a zsh has in its program file: the folder of its modules, without which the hooks cannot be had."""

_READS = ("0", "63")
"""The number of read(2): on x86-64, and on the systems that have the common table."""

_STACK_BYTES = 8 * 1024 * 1024
"""What is so close above the stack pointer is on the stack: as much as a stack has at most by default."""

FIRST_TYPED = (5, 9)
"""The first version of zsh that gives back what it has read ahead; an older one is talked to by evaluation."""


def _guard(report: bytes) -> bytes:
    return b"precmd() { %s; }" % report


def _watch(command: bytes, report: bytes) -> bytes:
    # When an interrupt ends a loop of built-in commands, `eval` returns 2, or the status of the last of them.
    report_interrupt = b"[[ ${TRY_BLOCK_INTERRUPT-} = 1 ]] && precmd() { %s; }" % report
    return b"{ %s; } always { { %s; } >/dev/null 2>&1; }" % (command, report_interrupt)


OLD_ZSH = Evaluation(
    name="zsh",
    clean=(b"-f", b"-i", b"+o", b"zle"),
    own=(b"-i", b"+o", b"zle"),
    syntax=Syntax(
        opening=b"unset HISTFILE; MAILCHECK=0; setopt interactivecomments",
        builtin=rb"\builtin",
        restore=(
            rb"\builtin unfunction -m precmd preexec periodic; precmd_functions=() preexec_functions=() "
            rb"periodic_functions=() PS1= PS2=; \builtin unsetopt zle promptcr promptsp verbose banghist"
        ),
        guard=_guard,
        watch=_watch,
    ),
)
"""zsh, 5.0 and later, by evaluation."""


@dataclass(frozen=True, slots=True)
class TypedZsh:
    """The dialect of a zsh that is new enough to take its texts from files."""

    name: str = "zsh"

    def arguments(self, *, startup_files: bool) -> tuple[bytes, ...]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.arguments`."""
        return (*(() if startup_files else (b"-d",)), b"-i", b"-s", b"+o", b"zle")

    def withheld(self, *, startup_files: bool) -> frozenset[bytes]:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.withheld`."""
        return WITHHELD

    def start_talk(
        self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener
    ) -> ZshTalk:
        """See :meth:`twisted_rsh.execution.shells.talk.Dialect.start_talk`."""
        return ZshTalk(reactor, plan, folder, listener)


ZSH = TypedZsh()
"""zsh, 5.9 and later.  A ``#`` begins a comment, as in its scripts."""


def zsh_dialect(executable: bytes) -> Dialect:
    """Return the dialect of a zsh: by its version, which stands in its program file.

    :param executable: absolute path of the program.
    """
    with (
        contextlib.suppress(OSError, ValueError),
        open(executable, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program,
    ):
        found = _VERSION.search(program)
        if found is not None and (int(found[1]), int(found[2])) >= FIRST_TYPED:
            return ZSH
    return OLD_ZSH


class ZshTalk:
    """A :class:`~twisted_rsh.execution.shells.talk.Talk` with zsh, by the hooks of
    :mod:`twisted_rsh.execution.shells.zsh_hooks`.

    :param reactor: watches the FIFOs.
    :param plan: the process to be started.
    :param folder: holds the FIFOs and the files.
    :param listener: hears the reports.
    :raises OSError: the FIFOs or files cannot be made; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener) -> None:
        self._listener = listener
        self._held = b""
        self.number = self._last_command = 0
        self._sent = 0
        self._order: bytes | None = None
        self._questions: deque[int] = deque()
        self._is_interrupted = self._is_repeated = False
        self._is_running = self._is_aside = False
        self._process: SpawnedProcess | None = None
        self._terminal: bytes | None = None
        self._input = b""
        with contextlib.ExitStack() as on_failure:
            self._reports = ReportFifo(reactor, folder, self._received)
            on_failure.callback(self._reports.close)
            self._path = os.path.dirname(self._reports.path)
            self._make_files(plan)
            self._line = TextFile(folder.place("line"))
            on_failure.callback(self._line.close)
            self._text = TextFile(folder.place("text"))
            on_failure.callback(self._text.close)
            path = folder.place("commands")
            os.mkfifo(path, 0o600)
            fd = above_child_fds(os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
            self._commands = InputPipe(reactor, fd, 0)
            on_failure.pop_all()
        self.launch = Launch(environment={b"ZDOTDIR": self._path}, input_at=0)

    def _make_files(self, plan: SpawnPlan) -> None:
        own = dict(plan.environment).get(b"ZDOTDIR")
        startup_files = b"-d" not in plan.argv
        if startup_files:
            self._write(b".zshenv", environment_file(self._path, own))
        self._write(b"failure", FAILURE)
        self._write(b"interruption", INTERRUPTION)
        self._write(b".zshrc", startup_file(self._path, own, startup_files=startup_files))

    def started(self, transport: SpawnedProcess) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.started`."""
        self._process = transport
        self._terminal = None if transport.terminal_name is None else os.fsencode(transport.terminal_name)
        self._set_input(self._terminal or os.fsencode(os.devnull))

    def open(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.open`: the start-up file does it."""

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.send_command`."""
        takes_hooks = _TAKES_HOOKS.search(text) is not None
        typed = None if aside or takes_hooks else as_one_event(text)
        if typed is None:
            self._text.set(text + b"\n")
            name = quoted(os.path.join(self._path, b"text"))
            self._line.set(b"\\builtin . %s%s\n" % (name, KEEPING if takes_hooks else b""))
        else:
            # An empty line keeps a backslash at the end from joining the text with the end of the file.
            self._line.set(typed + (b"\n\n" if typed.endswith(b"\\") else b"\n"))
        has_new_input = self._set_input(source or self._terminal or os.fsencode(os.devnull))
        order = Order(
            is_aside=aside,
            has_new_input=has_new_input,
            has_lines=typed is not None and b"\n" in typed,
            is_file=typed is None,
            takes_options=_TAKES_OPTIONS.search(text) is not None,
        )
        self.number += 1
        self._last_command = self.number
        self._sent += 1
        self._order = order.line()
        self._is_aside = aside
        self._is_repeated = False
        self._commands.write(self._order)
        return self.number

    def command_ended(self, report: Report) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.command_ended`: the shell keeps everything itself."""
        if self._is_interrupted:
            self._is_interrupted = False
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self._path, b"interrupted"))

    def interrupted(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.InterruptibleTalk.interrupted`."""
        self._is_interrupted = True
        with contextlib.suppress(OSError):
            self._write(b"interrupted", b"")

    def look(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.look`: the report comes by itself."""

    def ask(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.ask`."""
        process = self._process
        pid = None if process is None else process.pid
        if self._is_running and process is not None and pid is not None and _reads_input(pid, self._path):
            if self._is_interrupted and not self._is_repeated:
                self._repeat_interrupt(process, pid)
            else:
                self._listener.give_up("the command has taken away the hooks by which zsh reports; the shell was ended")
            return
        if not self._commands.buffered():
            self.number += 1
            self._questions.append(self.number)
            self._commands.write(QUESTION)

    def _repeat_interrupt(self, process: SpawnedProcess, pid: int) -> None:
        """Bring a zsh back that runs nothing any more, not even its hooks.

        An interrupt between two steps of a loop of built-in commands leaves zsh 5.9 with the order to leave a loop when
        it is in none.  Another interrupt takes the order away, and a line ends the reading of the next command.
        """
        self._is_repeated = True
        os.kill(pid, signal.SIGINT)
        if self._terminal is not None:
            process.type_silently(b"\n")
            return
        with contextlib.suppress(OSError):  # it reads no FIFO
            fd = os.open(f"/proc/{pid}/fd/0", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "wb", buffering=0) as fifo:
                fifo.write(b"\n")

    def is_in_step(self, report: Report) -> bool:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.is_in_step`."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command

    def leave(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.leave`."""
        self._commands.end()

    def exited(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.exited`."""
        self._reports.take()
        self.close()

    def close(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.close`."""
        self._commands.close()
        self._reports.close()
        self._line.close()
        self._text.close()

    # Files

    def _write(self, name: bytes, data: bytes) -> None:
        fd = os.open(
            os.path.join(self._path, name),
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        with open(fd, "wb", buffering=0) as file:
            file.write(data)

    def _set_input(self, path: bytes) -> bool:
        """Let ``stdin`` in the folder be the input of the next command.

        :param path: a FIFO in the folder, or the path of a device.
        :returns: whether it is another one than that of the last command.
        """
        is_device = path.startswith(b"/dev/")
        if is_device and path == self._input:
            return False
        name = os.path.join(self._path, b"stdin")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if is_device:
            os.symlink(path, name)
        else:
            os.link(path, name)  # its own name is removed when the shell has opened it
        self._input = path
        return True

    # Reports

    def _received(self, data: bytes) -> None:
        *lines, self._held = (self._held + data).split(b"\n")
        if len(self._held) > MAX_REPORT_BYTES:
            self._listener.garbled()
            return
        for line in lines:
            found = _REPORT.fullmatch(line)
            if found is None and _TORN_REPORT.fullmatch(line):
                continue
            if found is None:
                self._listener.garbled()
                return
            self._reported(found["kind"], int(found["count"] or -1), int(found["status"] or 0))

    def _reported(self, kind: bytes, count: int, status: int) -> None:
        if kind == b"s" and count == self._sent:
            self._order = None
            self._is_running = not self._is_aside
            self._listener.reported(Report(ReportKind.BEGUN, self._last_command))
        elif kind == b"e" and count == self._sent:
            self._is_running = False
            self._listener.reported(Report(ReportKind.ENDED, self._last_command, status))
            self._come_to_prompt()
        elif kind == b"e" and self._order is not None and not self._commands.buffered():
            # An interrupt has ended the hook, and zsh took the order for an empty line.
            self._commands.write(self._order)
        elif kind == b"r" and self._questions:
            self._listener.reported(Report(ReportKind.IN_STEP, self._questions.popleft()))
        elif kind == b"x":
            self._listener.give_up("the shell read something else than the text of a command; it was ended")

    def _come_to_prompt(self) -> None:
        """Answer the questions that zsh took for empty lines."""
        if self._questions and not self._commands.buffered():
            questions, self._questions = self._questions, deque()
            self._listener.reported(Report(ReportKind.IN_STEP, questions[-1]))


def _reads_input(pid: int, folder: bytes) -> bool:
    """Return whether zsh waits for its next command where the user's input is.

    It reads its commands byte by byte into its heap, while its built-in commands read into its stack.

    :param pid: the shell.
    :param folder: the private folder, with the FIFO on which it may wait for its next command.
    :returns: whether it does; ``False`` where the system does not tell.
    """
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            number, *values = file.read().split()
        if os.path.samefile(b"/proc/%d/fd/0" % pid, os.path.join(folder, b"commands")):
            return False
    except (OSError, ValueError):
        return False
    if number not in _READS or len(values) < 8:
        return False
    descriptor, buffer, count, stack = (int(values[place], 16) for place in (0, 1, 2, 6))
    return (descriptor, count) == (0, 1) and not 0 <= buffer - stack < _STACK_BYTES
