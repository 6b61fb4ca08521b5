r"""The talk with bash 5.1 and later: each text is typed as it is, and bash reports at its prompt.

Bash is interactive and reads its lines from a terminal of its own (:mod:`~.command_terminal`).  A text is typed as a
group::

    { TEXT
    } <INPUT

so that nothing has to be evaluated, put back or hidden: ``$?``, ``$_``, ``PIPESTATUS``, ``set -e``, traps and the trace
are those of the text.  While the group runs, bash keeps its own input at descriptor 10.  A text that may touch this
number takes the input first and keeps it; at the next prompt bash takes its own back.

An element of ``PROMPT_COMMAND`` runs at the prompt, and bash puts ``$?``, ``$_`` and ``PIPESTATUS`` back after it.  It
reports, and runs the commands of a file of the server's if there is one.  It has no simple command, so that no trap and
no trace meets it: a report is the message of a redirection from below ``/dev/null/``, where nothing can be, and the
message goes to the FIFO of the reports.

A text of several lines, and one of which an interactive bash would print a notice, is read from a file by the dot
command inside the group (:mod:`~.bash_text` chooses).  Such a text fails like a script; its last report, at the end of
the file, carries what the dot command would hide.

The word of the input also sets ``$LINENO``, so that the texts count as the lines of one script, and so that the report
of a command differs from one that bash repeats after an interrupt at its prompt.

Sources: bash(1), "PROMPT_COMMAND", "REDIRECTION"; proc(5), ``/proc/PID/syscall``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from twisted.internet.interfaces import IDelayedCall

from twisted_rsh.execution.processes.descriptors import open_pipe
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.processes.spawn import SpawnPlan
from twisted_rsh.execution.processes.transport import SpawnedProcess
from twisted_rsh.execution.shells.bash_lines import (
    ERROR_FD,
    FORGET,
    KEEPS,
    OWN_FD,
    PROMPTS,
    BashLines,
)
from twisted_rsh.execution.shells.bash_looks import is_idle, is_inside, is_starved
from twisted_rsh.execution.shells.bash_reports import BashReports
from twisted_rsh.execution.shells.bash_text import (
    MAX_TYPED_BYTES,
    Way,
    is_typable,
    is_verbose,
    substitutes,
    traits_of,
    way_of,
    whole_check,
)
from twisted_rsh.execution.shells.begin_mark import BeginMark
from twisted_rsh.execution.shells.command_terminal import CommandTerminal
from twisted_rsh.execution.shells.folder import PrivateFolder, TextFile
from twisted_rsh.execution.shells.report_fifo import ReportFifo
from twisted_rsh.execution.shells.reports import INTERRUPTED, GarbledReport, Report, ReportKind
from twisted_rsh.execution.shells.syntax_check import SyntaxAnswer, SyntaxCheck
from twisted_rsh.execution.shells.talk import Launch, TalkListener, quoted

__all__ = ["LOOK_DELAYS", "MAX_KNOWN_TEXTS", "BashTalk"]

LOOK_DELAYS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5)
"""Seconds before each look at a command that has not reported its end, and then a second each: whether it has begun,
and whether bash reads its terminal although it has not reported."""

_LATER_LOOK = 4
"""The look that is the first where nothing waits for the beginning of the command."""

_LONG_LOOK = 1.0

_SILENT_LOOK = 0.1
"""Seconds between two looks at a bash that reads its terminal without a report."""

_SILENT_LOOKS = 3
"""Looks in which bash has read its terminal without a report, until the server acts: first asks, then interrupts, then
gives up."""

MAX_KNOWN_TEXTS = 256
"""Texts whose check is remembered."""

_LAST_LINE_PADDED = 10_000
"""The last line number that a file of commands is brought to with empty lines."""


class BashTalk:
    """A :class:`~twisted_rsh.execution.shells.talk.Talk` with bash 5.1 or later, on Linux.

    :param reactor: watches the terminal and the FIFO, and tells the time.
    :param plan: what the process is going to execute; it reads start-up files unless it has ``--norc``.
    :param folder: holds the FIFO and the files that bash reads.
    :param listener: hears the reports.
    :raises OSError: a channel cannot be made; no descriptor stays open.
    """

    def __init__(self, reactor: IJobReactor, plan: SpawnPlan, folder: PrivateFolder, listener: TalkListener) -> None:
        self._reactor = reactor
        self._plan = plan
        self._folder = folder
        self._listener = listener
        self._is_clean = b"--norc" in plan.argv
        self._on_terminal = False
        self._pid = 0
        self.number = self._last_command = 0
        self._running: int | None = 0
        self._has_begun = True
        self._is_aside = False
        self._status = 0
        self._flags = b""
        self._edits = self._ends_in_any = False
        self._has_history = not self._is_clean
        self._records = self._has_now = False
        self._is_keeping = False
        self._waiting: tuple[int, bytes, bytes, bytes] | None = None
        self._is_watched = self._has_traps = self._may_stop = not self._is_clean
        self._left_status = 0
        self._may_want_more = False
        self._is_nothing = self._was_interrupted = self._is_recovering = False
        self._prompts: set[bytes] = set()
        self._parts: tuple[bytes, ...] = ()
        self._last_word: bytes | None = None
        self._noticed: frozenset[bytes] = frozenset()
        self._takers: frozenset[bytes] = frozenset()
        self._inner_status: int | None = None
        self._line = b""
        self._last_line = 0
        self._counts = True
        self._is_rehooking = False
        self._source: bytes = b""
        self._silent = self._first_look = 0
        self._question: int | None = None
        self._after: Callable[[], None] | None = None
        self._check: SyntaxCheck | None = None
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._look_call: IDelayedCall | None = None
        self._looks = 0
        with contextlib.ExitStack() as on_failure:
            self._terminal = CommandTerminal(reactor)
            on_failure.callback(self._terminal.close)
            self._fifo = ReportFifo(reactor, folder, self._received)
            on_failure.callback(self._fifo.close)
            self._mark = BeginMark(folder.place("mark"))
            self._now = folder.place("now")
            self._take = folder.place("take")
            self._text = TextFile(folder.place("text"))
            on_failure.callback(self._text.close)
            self._entry = TextFile(folder.place("entry"))
            on_failure.callback(self._entry.close)
            prompt = folder.place("prompt")
            end = os.path.basename(os.path.dirname(self._fifo.path))  # a random name
            self._reports = BashReports(end)
            self._lines = BashLines(self._fifo.path, self._now, prompt, end)
            self._write_file(prompt, self._lines.prompt_file())
            self._opening_reader, self._opening_writer = open_pipe()
            on_failure.callback(os.close, self._opening_reader)
            on_failure.callback(os.close, self._opening_writer)
            arguments: tuple[bytes, ...] = (b"-i",)
            if not self._is_clean:
                path = folder.place("startup")
                with open(path, "xb") as file:
                    file.write(self._lines.startup_file())
                arguments = (b"--rcfile", path, b"-i")
            on_failure.pop_all()
        self.launch = Launch(
            arguments=arguments,
            inherited={0: self._opening_reader, OWN_FD: self._terminal.slave},
            error_at=ERROR_FD,
            first_error=self._terminal.slave,
        )

    # Talk

    def started(self, transport: SpawnedProcess) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.started`."""
        os.close(self._opening_reader)
        self._on_terminal = transport.terminal_name is not None
        self._terminal_name = os.fsencode(transport.terminal_name or os.devnull)
        self._pid = transport.pid or 0

    def open(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.open`."""
        if self._is_clean:
            line = self._lines.opening(on_terminal=self._on_terminal)
            os.write(self._opening_writer, line)
        os.close(self._opening_writer)

    def send_command(self, text: bytes, source: bytes | None, *, aside: bool) -> int:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.send_command`."""
        self.number += 1
        self._running = self._last_command = self.number
        self._question = None
        self._source = self._terminal_name if source is None else source
        self._is_aside = aside
        self._has_begun = False
        self._silent = 0
        # Where an input or a signal may wait for the beginning, the first look is soon.
        self._first_look = 0 if self._source != os.fsencode(os.devnull) else _LATER_LOOK
        self._looks = self._first_look
        if aside:
            self._send_aside(text)
        elif self._records:
            self._stop_recording(text)
        else:
            self._send(text)
        return self.number

    def command_ended(self, report: Report) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.command_ended`: the reports have told it."""

    def ask(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.ask`."""
        if self._running is not None:
            self._look()
        elif not self._terminal.unread():
            self.number += 1
            is_first = self._question is None
            self._question = self.number
            self._is_recovering = not is_first
            if not is_first:
                self._terminal.write(self._lines.recovery(self.number, carries=self._has_history))
            elif self._was_interrupted and not self._records:
                self._terminal.write(FORGET)
            else:
                self._terminal.write(b"\n")

    def is_in_step(self, report: Report) -> bool:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.is_in_step`."""
        return report.kind is ReportKind.IN_STEP and report.number > self._last_command

    def leave(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.leave`.

        In a file of commands, an `exit` prints no notice; a second one leaves suspended jobs alone.
        """
        if set(self._flags) & set(b"xv"):
            self._terminal.close()
            return
        try:
            leaving = b"%bexit %d\n" % (self._lines.builtin, self._status)
            save = b"" if self._is_clean else b"[[ ${HISTFILE-} ]] && \\builtin history -a || :\n"
            self._text.set(save + 2 * leaving)
        except OSError:
            self._terminal.close()
        else:
            self._terminal.write(b"%b. %b\n" % (self._lines.builtin, quoted(self._text.path)))

    def exited(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.exited`."""
        self._fifo.take()
        # A trap may have ended the shell between the last byte of the text and its beginning.
        may_have_begun = not self._has_traps or self._mark.was_opened()
        if self._running and may_have_begun and not (self._has_begun or self._is_aside or self._terminal.unread()):
            self._begun()
        self._running = None
        self._stop_looking()
        self._cancel_check()
        self._close_all()

    def close(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.close`."""
        os.close(self._opening_reader)
        os.close(self._opening_writer)
        self._close_all()

    def _close_all(self) -> None:
        self._mark.close()
        self._text.close()
        self._entry.close()
        self._fifo.close()
        self._terminal.close()

    # Sending

    def _send(self, text: bytes) -> None:
        """Type a text, now or when it is known to be complete."""
        traits = traits_of(text)
        text = traits.text
        self._is_watched |= traits.is_watcher
        self._has_traps |= traits.has_trap
        self._may_stop |= traits.may_stop
        if traits.shadows and self._lines.builtin:
            self._lines.use_bare_names()
            self._is_rehooking = True
        way = way_of(
            text,
            flags=self._flags,
            is_watched=self._is_watched,
            may_stop=self._may_stop,
            edits=self._edits,
            noticed=self._noticed,
            takers=self._takers,
        )
        if traits.noticed and len(self._noticed) < MAX_KNOWN_TEXTS:
            self._noticed |= traits.noticed
        if traits.takers and len(self._takers) < MAX_KNOWN_TEXTS:
            self._takers |= traits.takers
        if self._edits and not is_typable(text):
            way = replace(way, in_file=True)
        self._is_nothing = traits.is_nothing
        if self._is_nothing:
            self._terminal.write(b"\n")
            self._look_later()
        elif traits.is_plain:
            self._type(text, way, is_whole=True)
        elif len(text) > MAX_TYPED_BYTES and not substitutes(text):
            self._type(text, way, is_whole=False)
        elif (known := self._known.get(text)) is not None:
            self._known.move_to_end(text)
            self._type(text, way, is_whole=known)
        else:
            self._check_first(text, way)

    def _check_first(self, text: bytes, way: Way) -> None:
        def answer(found: SyntaxAnswer) -> None:
            self._check = None
            is_whole = found.is_accepted and not found.message
            self._known[text] = is_whole
            if len(self._known) > MAX_KNOWN_TEXTS:
                self._known.popitem(last=False)
            self._type(text, way, is_whole=is_whole)

        try:
            self._check = SyntaxCheck(self._reactor, self._plan, (b"--norc", b"-n"), whole_check(text), answer)
        except OSError:
            self._type(text, way, is_whole=False)

    def _type(self, text: bytes, way: Way, *, is_whole: bool) -> None:
        """Give the shell a text in one of the ways; what is not whole goes into a file, which contains it."""
        try:
            line = self._typed(text, way if is_whole else replace(way, in_file=True, is_group=False), is_whole)
        except OSError as e:
            self._listener.give_up(f"the server cannot write a command to its file, and ended the shell: {e.strerror}")
            return
        self._looks = self._first_look
        self._terminal.write(line)
        self._look_later()

    def _typed(self, text: bytes, way: Way, is_whole: bool) -> bytes:
        self._may_want_more = not way.in_file and b"PROMPT_COMMAND" not in text
        first_line = self._last_line + 1
        self._last_line += text.count(b"\n") + 1
        # Simple commands set `$_`.  A pipeline and what is no simple command leave it to the next text.
        sees_word = b"$_" in text or b"|" in text or not traits_of(text).is_plain
        put_back = self._before(text, sees_word=sees_word, is_changed=way.takes_input)
        if way.in_file:
            is_damaging = substitutes(text)
            # The report at the end of the file has the status, and makes the dot command succeed: its own failure
            # would count once more.
            has_end = is_whole and b"v" not in self._flags and not is_verbose(text)
            # The empty line: what `eval` has read as a backslash at its end is put before the next word otherwise.
            end = b"\n" + self._lines.report(b"T") + b"\n" if has_end else b""
            padding = b"\n" * min(first_line - 1, _LAST_LINE_PADDED)
            if way.is_group:
                text = b"{ %b\n}" % text
            self._text.set(padding + put_back + text + b"\n" + end)
            editing = self._lines.edit_again if way.edits and has_end else b""
            text, put_back = b"%b. %b%b" % (self._lines.builtin, quoted(self._text.path), editing), b""
            if not is_whole and is_damaging:
                text = b"( %b )" % text
        if not way.takes_input:
            return self._group(put_back + text)
        command = self._lines.command
        back = b"%bexec <%b\n" % (command, quoted(self._terminal.path))
        if not self._on_terminal:  # a terminal that it opens would become the one that controls it
            back = b"{ %bexec <&255; } 2>/dev/null || " % command + back
        self._write_now(back)
        take = b"%bexec <%b; " % (command, self._source_word())
        if b"x" in self._flags:
            take = b"%bset +x; %b%bset -x; " % (self._lines.builtin, take, self._lines.builtin)
        elif sees_word:
            # The dot command leaves its last argument in `$_`.
            self._write_file(self._take, b"%bexec <%b\n" % (command, quoted(self._source)))
            take = b'%b. %b "$_"%b; ' % (self._lines.builtin, quoted(self._take), self._source_word(b""))
        take = b"{ %b} 2>/dev/null; " % take
        return b"{ %b%b%b\n}\n" % (take, put_back, text)

    def _before(self, text: bytes, *, sees_word: bool, is_changed: bool) -> bytes:
        """Return the commands before a text: what it is not to show, and the values that the last text has left.

        :param text: the text.
        :param sees_word: whether it, or a later text, may find the ``$_`` before it.
        :param is_changed: whether something else before the text changes ``$?``.
        """
        put_back = b""
        if b"v" in self._flags:
            put_back += b"{ %bset +v; } 2>/dev/null; " % self._lines.builtin
        if self._is_rehooking:
            put_back += b"{ %b; } 2>/dev/null; " % self._lines.hooks(carries=self._has_history)
            self._is_rehooking = False
        if self._has_history:
            self._last_word = self._last_word or b""
            put_back += self._remembering(text) + self._put_back(is_changed=True)
        else:
            # What the text does not look at needs not be put back.
            self._parts = self._parts if b"PIPESTATUS" in text else ()
            self._last_word = self._last_word if sees_word else None
            put_back += self._put_back(is_changed=bool(put_back) or is_changed)
        self._parts, self._last_word = (), None
        return put_back

    def _group(self, text: bytes) -> bytes:
        if not self._has_traps:
            return b"{ %b\n} <%b\n" % (text, self._source_word())
        self._mark.set()
        return b"{ %b\n} <>%b <%b\n" % (text, quoted(self._mark.path), self._source_word())

    def _source_word(self, path: bytes | None = None) -> bytes:
        """Return the word that names the input, or another path."""
        source = self._source if path is None else path
        return self._lines.source(source, self._last_line if self._counts else None, self._prompts)

    def _put_back(self, *, is_changed: bool) -> bytes:
        """Return what gives ``$_``, ``$?`` and ``PIPESTATUS`` the values that the last text has left.

        :param is_changed: whether something else before the text changes ``$?``.
        """
        word = b"" if self._last_word is None else self._lines.last_word_put_back(self._last_word)
        if len(self._parts) > 1 or (self._parts and int(self._parts[0]) != self._status):
            failed = [int(part) for part in self._parts if int(part)] if self._ends_in_any else []
            status = failed[-1] if failed else int(self._parts[-1])
            mark = b"" if status == self._status else b"! "
            if not mark or self._status == (status == 0):
                end = b" && %b:" % self._lines.builtin if self._status else b""
                return word + b"{ %b%b%b; } 2>/dev/null; " % (mark, self._lines.pipeline(self._parts), end)
        is_other = self._status != (0 if word else self._left_status)
        if is_other or (self._status and is_changed):
            word += self._lines.status_put_back(self._status)
        return word

    def _send_aside(self, text: bytes) -> None:
        """Have the text run at the prompt, after which bash puts everything back."""
        try:
            self._text.set(text + b"\n")
            self._write_now(self._lines.aside(self._text.path, self._source))
        except OSError as e:
            self._listener.give_up(f"the server cannot write a command to its file, and ended the shell: {e.strerror}")
            return
        self._terminal.write(b"\n")
        self._look_later()

    def _stop_recording(self, text: bytes) -> None:
        """Have bash put no lines into the history, as they would be the server's; then send a text."""
        self._has_history = True
        # The line that does so is in the history itself.
        builtin, hooks = self._lines.builtin, self._lines.hooks(carries=self._has_history)
        line = b"{ %bset +o history; %bhistory -d -1; %b; } 2>/dev/null\n" % (builtin, builtin, hooks)
        self._do(line, lambda: self._send(text))

    def _remembering(self, text: bytes) -> bytes:
        """Return the commands that put a text into the history, where it would be if the user had typed it."""
        try:
            self._entry.set(b"\\builtin history -s -- %b\n" % quoted(text))
        except OSError:  # a full disk is no reason not to run it
            return b""
        builtin = self._lines.builtin
        return b"{ %b. %b || %b:; } 2>/dev/null; " % (builtin, quoted(self._entry.path), builtin)

    def _do(self, line: bytes, then: Callable[[], None]) -> None:
        """Type a line of the server's own, and go on at the next prompt."""
        self._after = then
        self._terminal.write(line)
        self._look_later()

    def _write_now(self, commands: bytes) -> None:
        """Have bash run commands at its next prompt, after its report."""
        self._write_file(self._now, commands + self._lines.report(b"D") + b"\n")
        self._has_now = True

    def _write_file(self, path: bytes, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(data)

    def _cancel_check(self) -> None:
        if self._check is not None:
            self._check.cancel()
            self._check = None

    # Reports

    def _received(self, data: bytes) -> None:
        try:
            for report in self._reports.take(data):
                self._reported(*report)
        except GarbledReport:
            self._listener.garbled()

    def _reported(self, kind: bytes, status: int, flags: bytes, options: bytes, line: bytes, counts: bool) -> None:
        self._counts = counts
        if kind in PROMPTS:
            self._prompts.add(kind)
        elif kind == b"A":
            self._inner_status = status
        elif kind == b"Q":
            self._question_answered(status, line)
        elif kind == b"B":
            self._begun()
        elif kind == b"D":
            # Bash may have found the file at the prompt before: it runs once more, at the prompt that it is for.
            if self._waiting is not None or self._is_aside:
                self._now_done()
        elif kind == b"K":
            self._is_keeping = False
            self._take_waiting()
        elif kind == b"T":
            self._inner_status = status
            self._carry(options[1:])
        else:
            if self._waiting is not None:  # what was to follow the last one has failed
                self._is_keeping = False
                self._now_done()
            self._is_keeping = KEEPS in options
            self._waiting = (status, flags, options, line)
            self._take_waiting()

    def _question_answered(self, status: int, number: bytes) -> None:
        """Take the answer to the last line that recovers; bash may have read an earlier one late."""
        if number == b"%d" % (self._question or self._running or 0):
            self._is_recovering = False
            # Between commands the status may be that of the line before, which has bash forget a program.
            if self._running is not None or not self._was_interrupted:
                self._inner_status = status

    def _carry(self, carried: bytes) -> None:
        """Keep what the next text is to find in ``PIPESTATUS`` and ``$_``."""
        count, _, rest = carried.partition(b"/")
        found = re.match(rb"((?:'\d+'.{0,4}?){%b})/" % count, rest, re.DOTALL)
        if found is not None:
            self._parts = tuple(re.findall(rb"'(\d+)'", found[1]))
            self._last_word = rest[found.end() :]

    def _now_done(self) -> None:
        """Remove the file of commands, which have run."""
        if self._has_now:
            self._has_now = False
            with contextlib.suppress(OSError):
                os.unlink(self._now)
        self._take_waiting()

    def _take_waiting(self) -> None:
        """Take the report of the prompt, unless more is to follow it."""
        if self._waiting is not None and not self._has_now and not self._is_keeping:
            waiting, self._waiting = self._waiting, None
            self._at_prompt(*waiting)

    def _at_prompt(self, status: int, flags: bytes, options: bytes, line: bytes) -> None:
        """Take the report that bash is at its prompt: go on with the command, or report its end."""
        is_repeated = bool(line) and line == self._line and line != b"%d" % self._last_line
        self._line, self._flags = line, flags
        options, _, carried = options.partition(b"/")
        names = options.split(b":")
        self._edits = b"vi" in names or b"emacs" in names
        self._ends_in_any = b"pipefail" in names
        self._records = b"history" in names
        self._left_status = status
        self._silent = 0
        if is_repeated and self._running:
            return  # bash has dropped a line that it was reading, and is about to read this command
        if self._after is not None:
            after, self._after = self._after, None
            after()
        elif self._running is not None:
            if carried and self._inner_status is None and not (self._is_aside or self._is_nothing):
                self._carry(carried)
            self._ended(self._running, status)
        elif self._question is not None and not is_repeated and not self._is_recovering:
            number, self._question = self._question, None
            if self._inner_status is not None:
                self._status, self._inner_status = self._inner_status, None
            self._listener.reported(Report(ReportKind.IN_STEP, number, status, flags))

    def _ended(self, number: int, status: int) -> None:
        """Report the end of a command, with the status that is its own."""
        self._running = None
        self._was_interrupted = status == INTERRUPTED
        inner, self._inner_status = self._inner_status, None
        if self._is_aside:
            self._is_aside = False
            status = 1 if inner is None else inner
        elif not self._is_nothing:
            self._status = status = status if inner is None else inner
        self._listener.reported(Report(ReportKind.ENDED, number, status, self._flags, has_begun=True))

    def _begun(self) -> None:
        self._has_begun = True
        if self._running:
            self._listener.reported(Report(ReportKind.BEGUN, self._running))

    # Looking

    def _look_later(self) -> None:
        """Look after a while.  One call outlives many short commands, so that these cost nothing."""
        delay = LOOK_DELAYS[self._looks] if self._looks < len(LOOK_DELAYS) else _LONG_LOOK
        if self._silent:
            delay = _SILENT_LOOK
        if self._look_call is None:
            self._look_call = self._reactor.callLater(delay, self._looked)
        elif self._look_call.getTime() > self._reactor.seconds() + delay:
            self._look_call.reset(delay)

    def _stop_looking(self) -> None:
        if self._look_call is not None:
            self._look_call.cancel()
            self._look_call = None

    def look(self) -> None:
        """See :meth:`twisted_rsh.execution.shells.talk.Talk.look`."""
        self._look()

    def _looked(self) -> None:
        self._look_call = None
        self._looks += 1
        self._look()
        if self._running is not None:
            self._look_later()

    def _look(self) -> None:
        """Find out whether the command has begun, or has ended without a report."""
        if self._running is None or self._check is not None:
            return
        if not self._has_begun and not self._is_aside and is_inside(self._pid, self._terminal):
            self._begun()
        if self._looks > len(LOOK_DELAYS) // 2 and (is_idle(self._pid, self._terminal) or is_starved(self._pid)):
            self._fifo.take()
            if self._running is not None:
                self._silent += 1
                self._act_on_silence()
        else:
            self._silent = 0

    def _act_on_silence(self) -> None:
        """Bash reads although the command has not ended: it wants more, or its hook is gone, or it cannot report.

        A typed text that was complete wants more when an alias has opened something.  What is typed then would be taken
        for a part of it, so bash is interrupted first.
        """
        if self._silent % _SILENT_LOOKS:
            return
        step = self._silent // _SILENT_LOOKS + (0 if self._may_want_more else 1)
        if step in (1, 3):
            os.kill(self._pid, signal.SIGINT)
        elif step in (2, 4):
            self._terminal.write(self._lines.recovery(self._last_command, carries=self._has_history))
        else:
            self._listener.give_up(
                "the shell cannot report any more: its bound of open files or its restrictions forbid it; it was ended"
            )
