"""A persistent shell: one process that runs one command after another and remembers what they did."""

from __future__ import annotations

import signal
from collections.abc import Callable

from zope.interface import implementer

from twisted_rsh.core.endings import Ending, Exited, JobEnd, OutcomeUnknown, RefusalReason, Refused
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.shell_state import ShellState
from twisted_rsh.execution.job import LINGER_SECONDS, MAX_LINGER_SECONDS
from twisted_rsh.execution.lifetime import JobLifetime
from twisted_rsh.execution.plan import describe_shortage, refusal_of, shell_failure
from twisted_rsh.execution.processes.interfaces import IInputSource, IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES
from twisted_rsh.execution.shells.command import ShellCommand, ShellOutput
from twisted_rsh.execution.shells.folder import PrivateFolder
from twisted_rsh.execution.shells.inspection import ShellInspector
from twisted_rsh.execution.shells.observation import ShellMeter, ShellSuspension
from twisted_rsh.execution.shells.phases import LOST_DELAYS, RULES, Phase, ShellWatch
from twisted_rsh.execution.shells.plan import ShellPlan, command_text
from twisted_rsh.execution.shells.process import ShellProcess
from twisted_rsh.execution.shells.reports import Report, ReportKind
from twisted_rsh.execution.shells.signals import INTERRUPTS, ShellSignals, seconds_up, would_die
from twisted_rsh.execution.shells.talk import InterruptibleTalk
from twisted_rsh.execution.trees.limits import NO_LIMITS, UsageLimits
from twisted_rsh.execution.trees.table import ProcessRecord
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.interfaces import IJobOwner, IShellJob, JobRefused

__all__ = ["LAST_WORDS_BYTES", "ShellJob", "start_shell"]

LONG_TEXT_BYTES = 64 * 1024
"""Bytes of a command whose text goes to the shell in a turn of the reactor of its own: 1 MiB takes 5 ms."""

LONG_TEXT_SECONDS = 0.001
"""Seconds until such a command begins.  The reactor reads what has arrived in between, unlike before a call that is due
at once."""

LAST_WORDS_BYTES = 200
"""Bytes of hidden output that are kept: if a shell fails at its start, its refusal repeats the last line."""


WRITER_LOOK_SECONDS = 0.02
"""Seconds between two looks whether the process substitutions of a command have ended."""


STRAGGLER_SECONDS = 0.02
"""Seconds between two looks at a program that was being started when an interrupt came."""

STRAGGLER_LOOKS = 10
"""Looks at such a program, at most: a program that catches the signal looks as if it had not begun."""


def start_shell(
    reactor: IJobReactor,
    plan: ShellPlan,
    owner: IJobOwner,
    tree: JobTree,
    terminal: Terminal | None = None,
    *,
    limits: UsageLimits = NO_LIMITS,
    folder: str | None = None,
) -> ShellJob:
    """Start a persistent shell.

    :param reactor: watches its pipes and its exit, and tells the time.
    :param plan: the shell to start (:func:`twisted_rsh.execution.shells.plan.plan_shell`).
    :param owner: gets its output and its ending, from the reactor only, never from within this call.  A shell that
        fails before it is ready ends with :class:`~twisted_rsh.core.endings.Refused` and `SHELL_FAILED`.
    :param tree: a new tree for this job.
    :param terminal: the terminal to give it, or ``None`` for pipes.
    :param limits: the resources that the shell and all of its processes may use together.
    :param folder: where to make the private folder for the input of commands; ``None`` for the system's temporary
        folder.
    :returns: the shell.  It accepts a command at once and runs it when it is ready.
    :raises JobRefused: it was not started, as :func:`twisted_rsh.execution.job.start_job` has it.
    """
    try:
        return ShellJob(reactor, plan, owner, tree, terminal, limits, PrivateFolder(folder))
    except OSError as e:
        raise refusal_of(e, plan.spawn) from None


@implementer(IShellJob, IInputSource)
class ShellJob:
    """A running shell; made by :func:`start_shell`.

    :ivar folder: the private folder for the input of commands.
    :ivar process: the shell's process.
    :ivar signals: sends signals to the processes of the command.
    :ivar suspension: told when the shell itself is suspended and when it goes on.
    """

    def __init__(
        self,
        reactor: IJobReactor,
        plan: ShellPlan,
        owner: IJobOwner,
        tree: JobTree,
        terminal: Terminal | None,
        limits: UsageLimits,
        folder: PrivateFolder,
    ) -> None:
        self._reactor = reactor
        self._plan = plan
        self._owner = owner
        self._tree = tree
        self._life = JobLifetime(reactor, tree, limits, self)
        self.folder = folder
        self._output = ShellOutput(reactor, owner)
        self._last_words = b""
        self._command: ShellCommand | None = None
        self._ending: Ending = Exited(0)
        self._fate: Ending | None = None
        self._exit: Ending | None = None
        self._held_open = False
        self._last_output_at = 0.0
        self._is_leaving = False
        self._told_no_input = False
        self._interrupt: int | None = None
        self._interrupted_by: int | None = None
        self._looks_for_straggler = self._may_trap = False
        self._waiting: list[Callable[[], None]] = []
        self._watch = ShellWatch(reactor, self)
        self._talk = plan.dialect.start_talk(reactor, plan.spawn, folder, self)
        self.process = ShellProcess(reactor, self._life.marked(plan.spawn), terminal, self._talk, self)
        self._life.started(self.process.transport)
        self.signals = ShellSignals(self.process.transport, self.process.pid, tree.table)
        self._meter = ShellMeter(reactor, self.process.pid)
        self._inspector = ShellInspector(self.process.pid, self.signals, plan.encoding)
        self.suspension = ShellSuspension(reactor, owner, self.signals if terminal is None else None)
        self._watch.enter(Phase.STARTING)
        self._talk.open()

    @property
    def pid(self) -> int | None:
        """Its process id, for people; ``None`` once the process has exited."""
        return self.process.transport.pid

    # IShellJob

    def when_ready(self, call: Callable[[], None]) -> None:
        """See :meth:`twisted_rsh.interfaces.IShellJob.when_ready`."""
        if self._watch.phase is Phase.STARTING:
            self._waiting.append(call)
        elif not self._life.is_over:
            call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> ShellCommand:
        """See :meth:`twisted_rsh.interfaces.IShellJob.start_command`.

        A shell that is not ready accepts a command too; the command waits.  Every command begins in the reactor's next
        turn at the earliest: the end of its input mostly follows at once, and a command without input is cheaper.  If
        its input cannot be made, its ending is `RESOURCES`.

        :raises JobRefused: `SHELL_BUSY`, `SHELL_GONE`, `BAD_TEXT` or `TOO_LONG`.
        """
        if self._is_leaving or self._life.limit_reached or self._exit is not None or self._fate is not None:
            raise JobRefused(RefusalReason.SHELL_GONE, "the shell has ended; start another one")
        if self._command is not None:
            raise JobRefused(RefusalReason.SHELL_BUSY, "the shell runs another command; wait for its end")
        text = command_text(request, self._plan.encoding)
        self._command = command = ShellCommand(
            self._reactor, self, text, owner, typed_ahead=request.typed_ahead, is_aside=request.aside
        )
        # What other clients have sent meanwhile comes before a long text, which takes time to read and to write.
        delay = 0.0 if len(text) <= LONG_TEXT_BYTES else LONG_TEXT_SECONDS
        self._reactor.callLater(delay, self._begin, command)
        return command

    def inspect(self) -> ShellState:
        """See :meth:`twisted_rsh.interfaces.IShellJob.inspect`."""
        if self._exit is not None:  # another process may have its number by now
            return ShellState()
        command = self._command if self._watch.phase is Phase.RUNNING else None
        waits = False if command is None else self._inspector.waits_for_input(command.inputs)
        jobs, unlisted = self._inspector.jobs(runs_command=command is not None)
        return ShellState(folder=self._inspector.folder(), waits_for_input=waits, jobs=jobs, unlisted=unlisted)

    def _begin(self, command: ShellCommand) -> None:
        """Begin a command, unless the shell is not ready, or the command was withdrawn or has begun."""
        if self._watch.phase is Phase.READY and self._command is command:
            self._begin_waiting(command)

    # IJob

    def write_input(self, data: bytes) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.write_input`.

        On a terminal the input is typed as soon as a command runs.  On pipes every command has its own input, and the
        shell has none.
        """
        if self._life.is_over:
            return
        if self.process.feed is not None:
            self.process.feed.put(data, self)
        elif not self._told_no_input:
            self._told_no_input = True
            self._owner.input_closed()

    def end_input(self) -> None:
        """Let the shell exit by itself after the command that it runs or that waits for it."""
        self._is_leaving = True
        if self._watch.phase is Phase.READY and self._command is None:
            self._talk.leave()

    def send_signal(self, name: str) -> None:
        """Send a signal to the command, or to the shell itself while it runs none.

        A shell at its prompt gets no ``INT`` or ``QUIT``: there is nothing to interrupt.  If the signal ends the shell,
        the shell's processes are ended too; one that a command gets never ends more than the command.

        :param name: one of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`.
        """
        if self._command is not None:
            self._command.send_signal(name)
        elif (number := getattr(signal, f"SIG{name}", None)) is not None and number not in INTERRUPTS:
            self.process.transport.signal_group(number)
            self._life.signal_sent(name)

    def resize(self, columns: int, rows: int) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resize`."""
        self.process.transport.resize(columns, rows)

    def resume_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resume_output`."""
        self.process.transport.resume_outputs()

    def close_output(self, stream: Stream) -> None:
        """Throw away later output between commands on this stream; commands still have theirs."""
        if not self._life.is_over and self._output.close(stream):
            self.process.transport.resume_outputs()

    def terminate(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.terminate`: the kill ladder ends the shell."""
        self._life.terminate()

    # Called by the command

    def signal_command(self, name: str) -> None:
        """Send a signal to the processes of the command.

        :param name: the signal's name without ``SIG``; nothing happens when this system has no such signal.
        """
        number = getattr(signal, f"SIG{name}", None)
        if number is None:
            return
        newcomers = None
        if number in INTERRUPTS:
            self.signals.remember_background()
            newcomers = self.signals.newcomers(number, seconds_up())
        # Where the shell has a trap, it goes on after a program that has died, and must not get a second interrupt.
        is_dying = self._may_trap and any(would_die(one.pid, number) for one in newcomers or ())
        is_sent = self.signals.signal_foreground(number)
        if number in INTERRUPTS:
            if not is_sent:
                self._interrupt_group(number)
            elif newcomers is not None and not is_dying:
                self._reactor.callLater(STRAGGLER_SECONDS, self._make_sure, self._command, number, newcomers)
            self.watch_interrupt(number)
        elif not is_sent:
            if number == signal.SIGCONT:
                self.process.transport.signal_group(number)  # a command may have suspended the shell itself
            self.signals.signal_processes(number)

    def _make_sure(
        self, command: ShellCommand, number: int, newcomers: list[ProcessRecord], looks: int = STRAGGLER_LOOKS
    ) -> None:
        """Interrupt the shell if its programs had only just been started or ended when the interrupt was sent.

        An interrupt is lost on a process that has not yet become a program, and on one that has just exited.

        :param command: the command that was to be interrupted; it may have ended.
        :param newcomers: the processes on which the interrupt may have been lost.
        :param looks: how many times to look whether they have become programs.
        """
        if self._command is not command or self._watch.phase is not Phase.RUNNING:
            return
        left = self.signals.missed(newcomers, number)
        if left:
            if looks:
                self._reactor.callLater(STRAGGLER_SECONDS, self._make_sure, command, number, left, looks - 1)
        elif left is not None:
            self._interrupt_group(number)
            self.watch_interrupt(number)

    def interrupt_comes(self) -> None:
        """Note whether the shell itself gets the key that is typed next, an interrupt; the terminal feed calls this.

        Once the key is typed, a program that has got it may have ended or been suspended, and left the terminal to the
        shell.
        """
        self.signals.remember_background()
        if self.process.transport.foreground_group() == self.process.pid:
            self._tell_interrupted()

    def interrupt_typed(self, number: int) -> None:
        """Follow a typed interrupt to the program that the shell may just be starting; the terminal feed calls this.

        A shell has its handlers for the signal until it waits for the program, and the program has none yet: so both
        may miss it, or the shell alone acts on it and waits for the program before it prompts.  A shell with a trap
        starts programs because of the signal; these are left alone.

        :param number: the number of ``INT`` or ``QUIT``.
        """
        if self._command is not None and not self._may_trap:
            self._interrupted_by = number
            self._reactor.callLater(STRAGGLER_SECONDS, self._follow_key, self._command, number, seconds_up())

    def _follow_key(self, command: ShellCommand, number: int, typed_at: float, looks: int = STRAGGLER_LOOKS) -> None:
        if self._watch.phase is Phase.RUNNING:
            is_followed = self._command is command
        else:
            is_followed = self._watch.phase in {Phase.SETTLING, Phase.SYNCING}
        newcomers = self.signals.newcomers(number, typed_at) if is_followed else None
        if newcomers is None:
            return
        left = self.signals.missed(newcomers, number)
        if looks > 1:
            self._reactor.callLater(STRAGGLER_SECONDS, self._follow_key, command, number, typed_at, looks - 1)
        elif left and self._watch.phase is Phase.SYNCING:
            self.signals.end_deaf(left, number)

    def interrupt(self, number: int) -> None:
        """Interrupt the command's processes, and the shell where it runs a built-in command or a loop.

        :param number: the number of ``INT`` or ``QUIT``.
        """
        self.signals.remember_background()
        self.signals.signal_foreground(number)
        self._interrupt_group(number)
        self.watch_interrupt(number)

    def _interrupt_group(self, number: int) -> None:
        if self._command is not None:
            self._command.was_interrupted = True
        self._tell_interrupted()
        self.process.transport.signal_group(number)

    def _tell_interrupted(self) -> None:
        if isinstance(self._talk, InterruptibleTalk):
            self._talk.interrupted()

    def watch_interrupt(self, number: int | None = None) -> None:
        """Ask the shell several times whether an interrupt has made it drop the command without a report.

        :param number: the number of ``INT`` or ``QUIT`` if the server sent it: with the next question it is sent again,
            once, to the processes that it has not reached.  ``None`` for a key that was typed.
        """
        if number is not None:
            self._interrupt = self._interrupted_by = number
        if self._watch.phase is Phase.RUNNING:
            self._watch.ask_after(LOST_DELAYS)

    def look(self) -> None:
        """Have the talk report whether the command has begun."""
        self._talk.look()

    def withdraw(self) -> None:
        """Drop the command, which the shell has not been given.  The command ends with a refusal."""
        command, self._command = self._command, None
        if command is not None:
            text = "the command was cancelled before the shell could begin it"
            self._reactor.callLater(0, command.finish, Refused(RefusalReason.SHELL_BUSY, text))

    # Called by the terminal feed

    def input_taken(self, size: int) -> None:
        """Report to the owner that the terminal took bytes of the shell's own input.

        :param size: bytes.
        """
        self._owner.input_consumed(size)

    # Called by the process, from the reactor only

    def output_room(self, stream: Stream) -> int:
        """Return how many bytes of an output may be read now."""
        if RULES[self._watch.phase].hides_output:
            return READ_BYTES
        return self._output.room(stream) if self._command is None else self._command.output_room(stream)

    def output_received(self, stream: Stream, data: bytes) -> None:
        """Hand output to the command or the shell's owner.  Keep only the end of hidden output.

        :param stream: the output.
        :param data: no more bytes than :meth:`output_room` has returned.
        """
        if RULES[self._watch.phase].hides_output:
            self._last_words = (self._last_words + data)[-LAST_WORDS_BYTES:]
        elif self._command is None:
            self._output.received(stream, data)
        else:
            self._last_output_at = self._reactor.seconds()
            self._command.output_received(stream, data)

    def reported(self, report: Report) -> None:
        """Act on a report of the shell.  A second report of the same end is ignored."""
        if report.number > self._talk.number:
            self.garbled()
        elif self._watch.phase is Phase.STARTING:
            if report.kind is ReportKind.ENDED:
                self.process.settle()
        elif self._watch.phase is Phase.SYNCING:
            if self._talk.is_in_step(report):
                self.process.settle()
        elif self._watch.phase is Phase.RUNNING and self._command is not None:
            self._command_reported(self._command, report)

    def _command_reported(self, command: ShellCommand, report: Report) -> None:
        if report.kind is ReportKind.IN_STEP:
            if self._talk.is_in_step(report):  # the shell dropped the command, which had removed the reporting hook
                self._command_ended(command, report)
        elif report.number == command.number:
            if report.kind is ReportKind.ENDED:
                self._command_ended(command, report)
            elif not command.has_begun:
                self._watch.met()
                command.begun()

    def garbled(self) -> None:
        """End the shell: its status pipe carried something that is no report."""
        self.give_up("something wrote to the descriptor by which the shell reports; the shell was ended")

    def settled(self) -> None:
        """Take the next step, now that all output so far is delivered or thrown away."""
        if self._watch.phase is Phase.SETTLING:
            self._command_settled()
        elif self._watch.phase is Phase.EXITED:
            self._held_open = self.process.close_outputs()
        elif not self._looks_for_straggler:
            self._come_to_prompt()

    def exited(self, ending: Ending) -> None:
        """Take the exit of the shell's process; its output may not be complete.

        :param ending: how it ended.
        """
        self._life.exited(ending)
        self._meter.shell_exited(self.process.transport.resource_usage)
        self._watch.stop()
        self.signals.close()
        self.suspension.stop()
        self._exit = ending
        if self._watch.phase is not Phase.SETTLING:
            self._let_go()

    def ended(self) -> None:
        """Note that the process has exited and its outputs are closed; the last call of the process."""
        self._life.ended()

    # One command

    def _send(self, command: ShellCommand) -> None:
        """Give a command to the shell."""
        source = command.prepare()
        self._may_trap |= b"trap" in command.text.lower()
        self._interrupt = self._interrupted_by = None  # it was sent to an earlier command
        self._watch.enter(Phase.RUNNING)
        self.suspension.command_begins(command.owner)
        self._meter.command_begins()
        command.number = self._talk.send_command(command.text, source, aside=command.is_aside)
        command.sent()
        self.process.transport.resume_outputs()

    def _command_ended(self, command: ShellCommand, report: Report) -> None:
        self._talk.command_ended(report)
        self._meter.command_ended()
        command.has_begun |= report.has_begun
        if command.has_begun:
            self._ending = self.signals.ending_of(report.status, on_terminal=self.process.feed is not None)
        else:
            text = "the shell could not begin the command; its standard error says why"
            self._ending = Refused(RefusalReason.SHELL_FAILED, text)
        self._watch.enter(Phase.SETTLING)
        if b">(" in command.text and command.has_begun:
            now = self._reactor.seconds()
            self._wait_for_writers(now + LINGER_SECONDS, now + MAX_LINGER_SECONDS)
        else:
            self.process.settle()

    def _wait_for_writers(self, quiet: float, late: float) -> None:
        """Let the process substitutions of a command write on, as long as the rest of a job's pipeline may.

        The shell does not wait for them, and they need not be its children.

        :param quiet: when the wait ends if nothing more comes.
        :param late: when it ends in any case.
        """
        now = self._reactor.seconds()
        quiet = max(quiet, self._last_output_at + LINGER_SECONDS)
        members = self._tree.members(0)
        # A look that the system has no descriptors for finds fewer processes than there are.
        sees_all = self._tree.sees_processes and not self._tree.table.is_blind
        is_alone = sees_all and members.keys() <= {self.process.pid}
        if self._exit is None and now < min(quiet, late) and not is_alone:
            self._reactor.callLater(WRITER_LOOK_SECONDS, self._wait_for_writers, quiet, late)
        else:
            self.process.settle()

    def _command_settled(self) -> None:
        command, self._command = self._command, None
        assert command is not None
        self.suspension.command_ended()
        usage = self._meter.take() if command.has_begun else None
        folder = None
        if self._exit is None:
            folder = self._inspector.folder()
            self._watch.enter(Phase.SYNCING if command.was_interrupted else Phase.READY)
        command.finish(self._ending, usage=usage, folder=folder)
        self.process.transport.resume_outputs()
        if self._exit is not None:
            self._let_go()
        elif self._watch.phase is Phase.READY:
            self.signals.remember_children()
            self._go_on()

    def _come_to_prompt(self, looks: int = STRAGGLER_LOOKS) -> None:
        """Take commands: the shell is at its prompt, and its hidden output is gone.

        An interrupt may make the shell drop a command while it is just starting a program.  The shell forgets the
        program, and would wait for its end during the next command.  So the program is interrupted, when it has begun;
        on a terminal it is killed in the end.

        :param looks: how many times to look for such a program.
        """
        number = self._interrupted_by
        if self._exit is not None:
            return
        self._watch.stop()
        if number is not None:
            is_starting = self.signals.is_starting(number)  # first: what begins after the signal is met the next time
            if not self.signals.signal_foreground(number):
                self.signals.repeat_interrupt(number)
            if looks and is_starting:
                self._looks_for_straggler = True
                self._reactor.callLater(STRAGGLER_SECONDS, self._come_to_prompt, looks - 1)
                return
            if is_starting:
                # Bash has left the program with the signal blocked for good, and would wait for it.
                self.signals.signal_foreground(signal.SIGKILL)
        self._looks_for_straggler = False
        self._interrupted_by = None
        self.signals.remember_children()
        self._watch.enter(Phase.READY)
        waiting, self._waiting = self._waiting, []
        self.process.transport.resume_outputs()
        self._go_on()
        for ready in waiting:
            ready()

    def _go_on(self) -> None:
        """Begin the waiting command, or let the shell exit if its input has ended."""
        if self._command is not None:
            if self._watch.phase is Phase.READY:
                self._begin_waiting(self._command)
        elif self._is_leaving:
            self._talk.leave()

    def _begin_waiting(self, command: ShellCommand) -> None:
        try:
            self._send(command)
        except OSError as e:
            self._command = None
            text = f"no input for the command: {describe_shortage(e) or e.strerror}"
            command.finish(Refused(RefusalReason.RESOURCES, text))
            self._go_on()

    # Called by the watch

    def ask(self) -> None:
        """Ask the shell whether it is at its prompt, unless it has not read the last question."""
        number, self._interrupt = self._interrupt, None
        if number is not None:
            if self.signals.is_starting(number):
                self._interrupt = number  # what has begun by then is met with the next question
            self.signals.repeat_interrupt(number)
            if self._watch.phase is Phase.RUNNING and not self._may_trap and self.signals.waits_alone():
                self.process.transport.signal_group(number)  # it came right before a built-in command began to read
        try:
            self._talk.ask()
        except OSError as e:
            self.give_up(f"the shell cannot be brought back into step, and was ended: {e.strerror}")

    def give_up(self, text: str) -> None:
        """Kill a shell that cannot be used any more.

        :param text: one line that says why; the first such line becomes the shell's ending.
        """
        self._fate = self._fate or OutcomeUnknown(text)
        self._watch.stop()
        self.process.transport.signal_group(signal.SIGKILL)

    # The end

    def _let_go(self) -> None:
        """Deliver the rest of the output, then close it."""
        if self._watch.phase is Phase.STARTING:
            ending = self._fate or self._exit
            self._fate = shell_failure(
                self._plan.spawn, ending, self._last_words.decode(self._plan.encoding, "replace")
            )
        self._watch.enter(Phase.EXITED)
        self.process.settle()

    def tell_end(self) -> None:
        """Report the ending to the command's owner and to the shell's; the job's lifetime calls this once."""
        ending = self._life.limit_reached or self._fate or self._exit
        assert ending is not None  # it has exited
        self.folder.remove()
        self._output.end()
        self._owner.job_ended(JobEnd(ending, self._held_open, self._life.usage))
        # Last: when a command has ended, its client knows whether the shell goes on.
        command, self._command = self._command, None
        if command is None:
            return
        if command.has_begun or not isinstance(ending, Exited):
            command.finish(ending, held_open=self._held_open, usage=self._meter.take() if command.has_begun else None)
        else:
            text = f"the shell has ended with status {ending.code}, before it began the command"
            command.finish(Refused(RefusalReason.SHELL_GONE, text))
