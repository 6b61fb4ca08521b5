"""A persistent shell: one process that runs one command after another and remembers what they did."""

from __future__ import annotations

import enum
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from twisted_rsh.core.endings import (
    Ending,
    Exited,
    JobEnd,
    OutcomeUnknown,
    RefusalReason,
    Refused,
)
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.execution.lifetime import JobLifetime
from twisted_rsh.execution.plan import refusal_of, shell_failure
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.pipes import READ_BYTES
from twisted_rsh.execution.shells.command import ICommandShell, PrivateFolder, ShellCommand, TerminalFeed
from twisted_rsh.execution.shells.dialect import Report, ReportKind, ShellDialogue
from twisted_rsh.execution.shells.observation import ShellMeter, ShellSuspension
from twisted_rsh.execution.shells.plan import ShellPlan, command_text
from twisted_rsh.execution.shells.process import IShellListener, ShellProcess
from twisted_rsh.execution.shells.signals import INTERRUPTS, ShellSignals
from twisted_rsh.execution.trees.limits import NO_LIMITS, UsageLimits
from twisted_rsh.execution.trees.tree import JobTree
from twisted_rsh.interfaces import IJobOwner, IShellJob, JobRefused

__all__ = [
    "BEGIN_SECONDS",
    "LAST_WORDS_BYTES",
    "LOST_DELAYS",
    "RULES",
    "START_SECONDS",
    "SYNC_DELAYS",
    "SYNC_SECONDS",
    "WATCH_SECONDS",
    "Phase",
    "PhaseRules",
    "ShellJob",
    "ShellOutput",
    "ShellWatch",
    "start_shell",
]

START_SECONDS = 10.0
"""Seconds within which a shell has to take its first line: it takes 5 ms, and longer where the machine is busy."""

BEGIN_SECONDS = 30.0
"""Seconds within which a shell has to begin with a command: :data:`twisted_rsh.core.limits.MAX_SCRIPT_BYTES` on a busy
machine."""

SYNC_SECONDS = 30.0
"""Seconds within which a shell has to come back to its prompt once an interrupted command has ended: whatever the user
has it do at an interrupt should be done by then."""

WATCH_SECONDS = 1.0
"""Seconds that a command runs until the shell is asked whether it is at its prompt: it says so as soon as it is, even
when the command took away what would have reported it.  Most commands have ended by then."""

SYNC_DELAYS = (0.02, 0.1, 0.25, 0.5, *(1.0,) * 30)
"""Seconds before each question whether a shell is at its prompt again, after an interruption.  The first gives a
terminal the time to deliver a key that was typed before; all together are more than it is given."""


class Phase(enum.Enum):
    """What a shell is doing.

    ::

        STARTING -> READY -> RUNNING -> SETTLING -> READY
                                                 -> SYNCING -> READY

    and from each of them to EXITED.
    """

    STARTING = enum.auto()
    """It was started, and has not reported on its first line."""

    READY = enum.auto()
    """It waits at its prompt."""

    RUNNING = enum.auto()
    """It was given a command, and has not reported its end."""

    SETTLING = enum.auto()
    """It has; what the command printed is not all delivered."""

    SYNCING = enum.auto()
    """The command was interrupted, and the shell may be doing whatever the user has it do then."""

    EXITED = enum.auto()
    """Its process has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRules:
    """What holds in a phase.

    :ivar is_talking_to_us: whether what it prints is nobody's.
    :ivar seconds: how long it has for what is expected; ``None`` where nothing is.
    :ivar late: one line that says what it has not done in time; may name the `seconds`.
    :ivar questions: seconds before each question whether it is at its prompt.
    """

    is_talking_to_us: bool = False
    seconds: float | None = None
    late: str = ""
    questions: Sequence[float] = ()


RULES: Mapping[Phase, PhaseRules] = MappingProxyType(
    {
        Phase.STARTING: PhaseRules(
            is_talking_to_us=True,
            seconds=START_SECONDS,
            late="the shell did not get ready within {seconds:g} seconds",
        ),
        Phase.READY: PhaseRules(),
        Phase.RUNNING: PhaseRules(
            seconds=BEGIN_SECONDS,
            late="the shell no longer takes commands; it was ended",
            questions=(WATCH_SECONDS,),
        ),
        Phase.SETTLING: PhaseRules(),
        Phase.SYNCING: PhaseRules(
            is_talking_to_us=True,
            seconds=SYNC_SECONDS,
            late="the shell did not come back from an interruption; it was ended",
            questions=SYNC_DELAYS,
        ),
        Phase.EXITED: PhaseRules(),
    }
)
"""What holds in each phase."""


LOST_DELAYS = (0.05, 0.25, 1.0, 4.0)
"""Seconds between the looks whether the shell has dropped a command without a word, from an interruption on."""


class ShellWatch:
    """The clocks of one shell.

    :param clock: tells the time.
    :param ask: asks the shell.
    :param give_up: learns, in one line, what the shell has not done in time.
    """

    def __init__(self, clock: IReactorTime, ask: Callable[[], None], give_up: Callable[[str], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._give_up = give_up
        self._deadline: IDelayedCall | None = None
        self._question: IDelayedCall | None = None

    def expect(self, seconds: float, text: str) -> None:
        """Give up on the shell unless :meth:`met` or :meth:`calm` comes in time.

        :param seconds: how long it has.
        :param text: what to say then.
        """
        self._deadline = self._clock.callLater(seconds, self._late, text)

    def met(self) -> None:
        """Learn that what was expected has come."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def ask_after(self, delays: Sequence[float]) -> None:
        """Ask again and again, in place of what was to be asked before.

        :param delays: seconds before each question.
        """
        if self._question is not None:
            self._question.cancel()
            self._question = None
        if delays:
            self._question = self._clock.callLater(delays[0], self._due, delays[1:])

    def calm(self) -> None:
        """Expect nothing and ask nothing any more."""
        self.met()
        self.ask_after(())

    def _late(self, text: str) -> None:
        self._deadline = None
        self._give_up(text)

    def _due(self, rest: Sequence[float]) -> None:
        self._question = None
        self._ask()
        self.ask_after(rest)


LAST_WORDS_BYTES = 200
"""Bytes of what a shell printed at its start that are kept in case it is all that it ever says."""


class ShellOutput:
    """The outputs of a shell as its own owner sees them.

    :param clock: calls later.
    :param owner: takes the output, until it is closed.
    :ivar last_words: the end of what nobody was meant to see.
    """

    def __init__(self, clock: IReactorTime, owner: IJobOwner) -> None:
        self._clock = clock
        self._owner = owner
        self._closed: set[Stream] = set()
        self._told_ended: set[Stream] = set()
        self.last_words = b""

    def room(self, stream: Stream) -> int:
        """Say how much of an output may be handed over; what nobody wants is read all the same."""
        return READ_BYTES if stream in self._closed else self._owner.output_room(stream)

    def received(self, stream: Stream, data: bytes) -> None:
        """Hand output to the owner."""
        if stream not in self._closed:
            self._owner.output_received(stream, data)

    def overheard(self, data: bytes) -> None:
        """Keep the end of what is nobody's."""
        self.last_words = (self.last_words + data)[-LAST_WORDS_BYTES:]

    def close(self, stream: Stream) -> bool:
        """Throw away what comes from now on; the owner learns, soon, that it has ended.

        :returns: whether it was open.
        """
        if stream in self._closed:
            return False
        self._closed.add(stream)
        self._clock.callLater(0, self._tell_ended, stream)
        return True

    def end(self) -> None:
        """Let the owner know that nothing more comes."""
        for stream in OUTPUTS:
            self._tell_ended(stream)

    def _tell_ended(self, stream: Stream) -> None:
        if stream not in self._told_ended:
            self._told_ended.add(stream)
            self._owner.output_ended(stream)


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
    :param plan: which one (:func:`twisted_rsh.execution.shells.plan.plan_shell`).
    :param owner: whom to report to, from the reactor only, never from within this call.  A shell that turns out to be
        of no use ends with :class:`~twisted_rsh.core.endings.Refused` and `SHELL_FAILED`.
    :param tree: the tree of this job, new (:meth:`twisted_rsh.execution.trees.trees.JobTrees.new`).
    :param terminal: the terminal to give it, or ``None`` for pipes.
    :param limits: what the shell and all that it runs may use together.
    :param folder: where to make the private folder for what commands read; ``None`` for the system's temporary folder.
    :returns: the shell, which takes commands at once and runs them when it is ready.
    :raises JobRefused: it was not started, as :func:`twisted_rsh.execution.job.start_job` has it.
    """
    try:
        return ShellJob(reactor, plan, owner, tree, terminal, limits, PrivateFolder(folder))
    except OSError as e:
        raise refusal_of(e, plan.spawn) from None


@implementer(IShellJob, IShellListener, ICommandShell)
class ShellJob:
    """A running shell; made by :func:`start_shell`.

    :ivar folder: where the input of a command is.
    :ivar feed: the terminal's input, or ``None`` on pipes.
    :ivar suspension: whom to tell when the shell itself is suspended, and when it goes on.
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
        self._life = JobLifetime(reactor, tree, limits, self._tell_end)
        self.folder = folder
        self.feed = None if terminal is None else TerminalFeed(self._type, self._end_marker)
        self._output = ShellOutput(reactor, owner)
        self._command: ShellCommand | None = None
        self._ending: Ending = Exited(0)
        self._fate: Ending | None = None
        self._exit: Ending | None = None
        self._held_open = False
        self._is_leaving = False
        self._told_no_input = False
        self._waiting: list[Callable[[], None]] = []
        self._watch = ShellWatch(reactor, self._ask, self._give_up)
        self._process = ShellProcess(reactor, self._life.marked(plan.spawn), terminal, self, self._typed)
        self._life.started(self._process.transport)
        self._reach = ShellSignals(self._process.transport, self._process.pid, tree.table)
        self._meter = ShellMeter(reactor, self._process.pid)
        self.suspension = ShellSuspension(reactor, owner, self._reach.is_suspended if terminal is None else None)
        self._dialogue = ShellDialogue(plan.dialect, folder, self._process.send_line)
        self._enter(Phase.STARTING)
        self._dialogue.open()

    @property
    def pid(self) -> int | None:
        """Its process, for people; ``None`` once that has exited."""
        return self._process.transport.pid

    # IShellJob

    def when_ready(self, call: Callable[[], None]) -> None:
        """See :meth:`twisted_rsh.interfaces.IShellJob.when_ready`."""
        if self._phase is Phase.STARTING:
            self._waiting.append(call)
        elif not self._life.is_over:
            call()

    def start_command(self, request: JobRequest, owner: IJobOwner) -> ShellCommand:
        """See :meth:`twisted_rsh.interfaces.IShellJob.start_command`.

        The command may be given before the shell is ready; it then waits.  In any case it begins in the reactor's next
        turn: the end of its input mostly comes right behind it, and a command without input is cheaper.  Where it
        cannot be given an input its ending is `RESOURCES`.

        :raises JobRefused: `SHELL_BUSY`, `SHELL_GONE`, `BAD_TEXT` or `TOO_LONG`.
        """
        if self._is_leaving or self._life.limit_reached or self._exit is not None or self._fate is not None:
            raise JobRefused(RefusalReason.SHELL_GONE, "the shell has ended; start another one")
        if self._command is not None:
            raise JobRefused(RefusalReason.SHELL_BUSY, "the shell runs another command; wait for its end")
        self._command = command = ShellCommand(
            self._reactor, self, 0, command_text(request, self._plan.encoding), owner
        )
        self._reactor.callLater(0, self._begin, command)
        return command

    def _begin(self, command: ShellCommand) -> None:
        """Begin with a command, unless it waits for the shell, was withdrawn, or has begun."""
        if self._phase is Phase.READY and self._command is command:
            self._begin_waiting(command)

    # IJob

    def write_input(self, data: bytes) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.write_input`.

        On a terminal it is typed as soon as a command runs.  On pipes every command has its own input, and the shell
        none.
        """
        if self._life.is_over:
            return
        if self.feed is not None:
            self.feed.put(data, self._owner.input_consumed)
        elif not self._told_no_input:
            self._told_no_input = True
            self._owner.input_closed()

    def end_input(self) -> None:
        """Let the shell leave, when it has no command to run any more."""
        self._is_leaving = True
        if self._phase is Phase.READY and self._command is None:
            self._process.end_commands()

    def send_signal(self, name: str) -> None:
        """Send a signal to what the shell runs, or to the shell itself where it runs nothing.

        At its prompt a shell is not interrupted: there is nothing to interrupt.

        :param name: one of :data:`twisted_rsh.core.endings.SIGNAL_NAMES`.
        """
        if self._command is not None:
            self._command.send_signal(name)
        elif (number := getattr(signal, f"SIG{name}", None)) is not None and number not in INTERRUPTS:
            self._reach.to_group(number)

    def resize(self, columns: int, rows: int) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resize`."""
        self._process.transport.resize(columns, rows)

    def resume_output(self, stream: Stream) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.resume_output`."""
        self.resume_outputs()

    def close_output(self, stream: Stream) -> None:
        """Throw away what comes on this stream while no command runs; the commands have it still."""
        if not self._life.is_over and self._output.close(stream):
            self.resume_outputs()

    def terminate(self) -> None:
        """See :meth:`twisted_rsh.interfaces.IJob.terminate`: takes the kill ladder."""
        self._life.terminate()

    # ICommandShell

    def signal_command(self, name: str) -> None:
        """See :meth:`ICommandShell.signal_command`."""
        number = getattr(signal, f"SIG{name}", None)
        if number is None:
            return
        if self._reach.to_foreground(number):
            if number in INTERRUPTS:
                self._look_after(number)
        elif number in INTERRUPTS:
            self.interrupt(number)
        else:
            if number == signal.SIGCONT:
                self._reach.to_group(number)  # a command may have stopped the shell itself
            self._reach.to_family(number)

    def interrupt(self, number: int) -> None:
        """See :meth:`ICommandShell.interrupt`."""
        self._reach.to_foreground(number)
        if self._command is not None:
            self._command.was_interrupted = True
        self._reach.to_group(number)
        self._look_after(number)

    def key_typed(self) -> None:
        """See :meth:`ICommandShell.key_typed`."""
        self._look_after(None)

    def _look_after(self, number: int | None) -> None:
        """Look in a while what has become of an interruption."""
        if number is not None:
            self._reach.interrupted(number)
        if self._phase is Phase.RUNNING:
            self._watch.ask_after(LOST_DELAYS)

    def signal_family(self, number: int) -> bool:
        """See :meth:`ICommandShell.signal_family`."""
        return self._reach.to_family(number)

    def kill(self) -> None:
        """See :meth:`ICommandShell.kill`."""
        self._reach.to_group(signal.SIGKILL)

    def withdraw(self) -> None:
        """See :meth:`ICommandShell.withdraw`."""
        command, self._command = self._command, None
        if command is not None:
            text = "the command was cancelled before the shell could begin it"
            self._reactor.callLater(0, command.finish, Refused(RefusalReason.SHELL_BUSY, text))

    def discard_typed(self) -> None:
        """See :meth:`ICommandShell.discard_typed`."""
        self._process.transport.discard_typed()

    def resume_outputs(self) -> None:
        """See :meth:`ICommandShell.resume_outputs`."""
        self._process.resume_outputs()

    # IShellListener

    def output_room(self, stream: Stream) -> int:
        """See :meth:`IShellListener.output_room`."""
        if RULES[self._phase].is_talking_to_us:
            return READ_BYTES
        return self._output.room(stream) if self._command is None else self._command.output_room(stream)

    def output_received(self, stream: Stream, data: bytes) -> None:
        """See :meth:`IShellListener.output_received`."""
        if RULES[self._phase].is_talking_to_us:
            self._output.overheard(data)
        elif self._command is None:
            self._output.received(stream, data)
        else:
            self._command.output_received(stream, data)

    def reported(self, report: Report) -> None:
        """See :meth:`IShellListener.reported`; what was said before, and comes twice, is not listened to."""
        if not self._dialogue.was_said(report):
            self.garbled()
        elif self._phase is Phase.STARTING:
            if report.kind is ReportKind.ENDED:
                self._process.settle(self._in_step)
        elif self._phase is Phase.SYNCING:
            if self._dialogue.is_in_step(report):
                self._process.settle(self._in_step)
        elif self._phase is Phase.RUNNING and self._command is not None:
            self._command_reported(self._command, report)

    def _command_reported(self, command: ShellCommand, report: Report) -> None:
        if report.kind is ReportKind.IN_STEP:
            if self._dialogue.is_in_step(report):  # it was abandoned, and what reports that was taken away
                self._command_ended(command, report)
        elif report.number == command.number:
            if report.kind is ReportKind.ENDED:
                self._command_ended(command, report)
            elif not command.has_begun:
                self._watch.met()
                command.begun()

    def garbled(self) -> None:
        """See :meth:`IShellListener.garbled`."""
        self._give_up("something wrote to the descriptor by which the shell reports; the shell was ended")

    # One command

    def _send(self, command: ShellCommand) -> None:
        """Tell the shell of a command."""
        source = command.prepare()
        self._reach.command_begins()
        self.suspension.command_begins(command.owner)
        self._enter(Phase.RUNNING)
        self._meter.command_begins()
        command.number = self._dialogue.give(command.text, source)
        self.resume_outputs()

    def _command_ended(self, command: ShellCommand, report: Report) -> None:
        self._dialogue.ended(report)
        self._meter.command_ended()
        if command.has_begun:
            self._ending = self._reach.ending_of(report.status, on_terminal=self.feed is not None)
        else:
            text = "the shell could not begin the command; its standard error says why"
            self._ending = Refused(RefusalReason.SHELL_FAILED, text)
        self._enter(Phase.SETTLING)
        self._process.settle(self._command_settled)

    def _command_settled(self) -> None:
        command, self._command = self._command, None
        assert command is not None
        self.suspension.command_ended()
        if self._exit is None:
            self._enter(Phase.SYNCING if command.was_interrupted else Phase.READY)
        command.finish(self._ending, usage=self._meter.take() if command.has_begun else None)
        self.resume_outputs()
        if self._exit is not None:
            self._let_go()
        elif self._phase is Phase.READY:
            self._reach.is_at_prompt()
            self._go_on()

    def _in_step(self) -> None:
        """Learn that the shell is at its prompt, and that what it printed on the way is gone."""
        self._reach.is_at_prompt()
        self._enter(Phase.READY)
        waiting, self._waiting = self._waiting, []
        self.resume_outputs()
        self._go_on()
        for ready in waiting:
            ready()

    def _go_on(self) -> None:
        """Do what waited for the shell."""
        if self._command is not None:
            if self._phase is Phase.READY:
                self._begin_waiting(self._command)
        elif self._is_leaving:
            self._process.end_commands()

    def _begin_waiting(self, command: ShellCommand) -> None:
        try:
            self._send(command)
        except OSError as e:
            self._command = None
            command.finish(Refused(RefusalReason.RESOURCES, f"no input for the command: {e.strerror}"))
            self._go_on()

    # Coming back into step

    def _ask(self) -> None:
        """Ask whether the shell is at its prompt, unless it has not come to the last question."""
        self._reach.repeat()
        if not self._process.unread_commands():
            try:
                self._dialogue.ask()
            except OSError as e:
                self._give_up(f"the shell cannot be brought back into step, and was ended: {e.strerror}")

    # The end

    def _give_up(self, text: str) -> None:
        """End a shell that cannot be used any more."""
        self._fate = self._fate or OutcomeUnknown(text)
        self._watch.calm()
        self.kill()

    def exited(self, ending: Ending) -> None:
        """See :meth:`IShellListener.exited`."""
        self._life.exited()
        self._meter.shell_exited(self._process.transport.resource_usage)
        self._watch.calm()
        self.suspension.stop()
        self._exit = ending
        if self._phase is not Phase.SETTLING:
            self._let_go()

    def _let_go(self) -> None:
        """Deliver what is left of the output, and close it."""
        if self._phase is Phase.STARTING:
            ending = self._fate or self._exit
            self._fate = shell_failure(
                self._plan.spawn, ending, self._output.last_words.decode(self._plan.encoding, "replace")
            )
        self._enter(Phase.EXITED)
        self._process.settle(self._close_outputs)

    def _close_outputs(self) -> None:
        self._held_open = self._process.close_outputs()

    def ended(self) -> None:
        """See :meth:`IShellListener.ended`."""
        self._life.ended()

    def _tell_end(self) -> None:
        ending = self._life.limit_reached or self._fate or self._exit
        assert ending is not None  # it has exited
        self.folder.remove()
        command, self._command = self._command, None
        if command is not None:
            command.finish(ending, held_open=self._held_open, usage=self._meter.take() if command.has_begun else None)
        self._output.end()
        self._owner.job_ended(JobEnd(ending, self._held_open, self._life.usage))

    # Small things

    def _enter(self, phase: Phase) -> None:
        """Go on to another phase, and keep its time."""
        self._phase = phase
        rules = RULES[phase]
        self._watch.calm()
        if rules.seconds is not None:
            self._watch.expect(rules.seconds, rules.late.format(seconds=rules.seconds))
        self._watch.ask_after(rules.questions)

    def _type(self, data: bytes) -> None:
        self._process.transport.write(data)

    def _end_marker(self) -> bytes:
        return self._process.transport.end_marker()

    def _typed(self, size: int) -> None:
        if self.feed is not None:
            self.feed.taken(size)
