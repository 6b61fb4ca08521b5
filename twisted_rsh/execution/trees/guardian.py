"""The guardian: a small process that outlives a server that was killed, and ends the jobs that the server has left.

It is a shell script that reads the list of jobs from a pipe whose other end only the server holds.  When the pipe ends,
it signals the jobs' process groups and, where there is a ``/proc``, every other process that carries the mark of one of
them, step by step (:data:`LADDER`).  Where the server has a control group, it also finds there what carries no mark any
more.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from twisted.internet.interfaces import IDelayedCall, IWriteDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.execution.account import DEFAULT_PATH
from twisted_rsh.execution.processes.descriptors import WatchedDescriptor, closing_actions, open_pipe
from twisted_rsh.execution.processes.exits import ExitReport, IExitListener, watch_exit
from twisted_rsh.execution.processes.interfaces import IJobReactor
from twisted_rsh.execution.trees.table import MARK_NAME
from twisted_rsh.log_level import leveled_log

__all__ = ["GRACE_SECONDS", "LADDER", "MAX_RESTART_SECONDS", "RESTART_SECONDS", "TELL_SECONDS", "Guardian"]

GRACE_SECONDS = 5.0
"""Seconds between two steps of :data:`LADDER`: long enough for an editor or a database to put its files in order, and
short enough that the whole ladder takes no longer than a service manager waits (systemd: 90 s, Docker: 10 s)."""

LADDER = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)
"""The signals with which the server or the guardian ends a job: HUP, which means that the user is gone and which shells
pass on; TERM, for programs that ignore HUP on purpose, as under ``nohup``; KILL, which no program can ignore."""

TELL_SECONDS = 0.005
"""Seconds after which the server tells the guardian of a job.  Most jobs have ended by then and need not be told, so an
ordinary command costs nothing.  A job that starts in the last moment before the server is killed may outlive it."""

RESTART_SECONDS = 1.0
"""Seconds until the second attempt to replace a guardian that died; the first is made at once.  Each further attempt
waits twice as long, so that a machine on which no guardian lives is not kept busy with it."""

MAX_RESTART_SECONDS = 60.0
"""Seconds between two attempts at most.  After a guardian that lived for so long, the next one is started at once."""

_SHELL = "/bin/sh"
"""POSIX's shell; the guardian takes 1 MB of memory in dash."""

_NAME = "twisted-rsh-guardian"
"""The name of the script, by which a list of processes shows the guardian."""

_STEPS = " ".join(step.name.removeprefix("SIG") for step in LADDER)
"""The ladder as the script reads it."""

_SCRIPT = r"""
trap '' HUP INT QUIT TERM TSTP TTIN TTOU PIPE ALRM USR1 USR2
cd /
grace=$1 steps=$2 name=$3 group=$4 prefix=$5 controllers=$6
outer=${group%/*} own=$group-guardian
if [ -n "$group" ] && grep -qs "/${group##*/}\$" /proc/$$/cgroup; then
    if [ -d "$own" ]; then echo 0 >"$own/cgroup.procs"; else echo 0 >"$outer/cgroup.procs"; fi
fi
leave() {
    if [ -d "$group" ]; then
        rmdir "$group-job"*
        rmdir "$group/doomed"
        rmdir "$group" || { sleep 1; rmdir "$group-job"* "$group"; }
    fi
    if [ -n "$group" ] && [ -d "$own" ]; then
        for controller in $controllers; do
            echo "-$controller" >"$outer/cgroup.subtree_control"
        done
        echo 0 >"$outer/cgroup.procs"
        rmdir "$own"
    fi
}
trap leave EXIT
while read -r act pid mark born; do
    case $act in
        +) eval "job_$pid=\$mark:\$born" ;;
        -) unset "job_$pid" ;;
        !) steps=KILL ;;
    esac
done
jobs=" $(set | sed -n "s/^job_\([0-9A-Za-z]*\)='\{0,1\}\([^']*\)'\{0,1\}$/\1:\2/p" | tr '\n' ' ')"
patterns= oldest=
for job in $jobs; do
    mark=${job#*:} born=${job##*:}
    patterns="$patterns -e $name=${mark%:*}"
    if [ -z "$oldest" ] || [ "$born" -lt "$oldest" ]; then oldest=$born; fi
done
suspects() {
    [ -d "$group" ] && [ -n "$oldest" ] || return
    pids=$(find "$group" "$group-job"* -name cgroup.procs -exec cat {} +)
    files=
    for pid in $pids; do
        files="$files /proc/$pid/environ"
    done
    [ -n "$files" ] || return
    marked=" $(grep -lsFz -e "$name=$prefix" $files | tr '\n' ' ')"
    for pid in $pids; do
        case $marked in
            *" /proc/$pid/environ "*) continue ;;
        esac
        read -r stat <"/proc/$pid/stat" || continue
        set -- ${stat##*) }
        [ "${20}" -lt "$oldest" ] || echo "$pid"
    done
}
doom() {
    mkdir "$group/doomed"
    for pid; do
        echo "$pid" >"$group/doomed/cgroup.procs"
    done
    echo 1 >"$group/doomed/cgroup.kill" || kill -s KILL "$@"
}
signal_all() {
    left=' '
    for job in $jobs; do
        case $job in rest*) continue ;; esac
        kill -s "$1" -- "-${job%%:*}" && left="$left$job "
    done
    jobs=$left
    found=
    if [ -n "$patterns" ]; then
        for file in $(grep -lsFz $patterns /proc/[0-9]*/environ); do
            file=${file#/proc/}
            kill -s "$1" "${file%/environ}" && found=yes
        done
    fi
    pids=$(suspects)
    if [ -n "$pids" ]; then
        found=yes
        if [ "$1" = KILL ]; then doom $pids; else kill -s "$1" $pids; fi
    fi
    [ -n "$found" ] || [ "$jobs" != ' ' ]
}
for step in $steps; do
    signal_all "$step" || exit 0
    [ "$step" = KILL ] || signal_all CONT
    waited=0
    while [ "$waited" -lt "$grace" ]; do
        sleep 1
        waited=$((waited + 1))
        if [ "$step" = KILL ]; then again=KILL; else again=0; fi
        signal_all "$again" || exit 0
    done
done
"""
"""The guardian's program.  Its arguments are the seconds between two steps, the signals of the steps, the name of the
mark, the folder of the control group or nothing, the beginning of the mark of every job of this server, and the
controllers that the server has enabled.

A guardian that replaces another one is born in the control group, and leaves it first: it must outlive what it ends.
Where there are controllers, it has a group of its own: none may be in the group in which the others lie.

While the server lives, a job is a variable of its own: with one list of them, each line would cost as much as there are
jobs.  The line ``!`` leaves only the last step.  When the server is gone, a job is the word ``PID:MARK:BORN``; instead
of the number of a group that is gone it has ``rest`` and the mark.  The next look takes a group that is gone from the
list, as its number may soon be another's.  Killed processes are killed again, as they may fork.

In the control group it suspects every process that carries no mark of this server's and is no older than the oldest
job: it comes from one of the jobs and has wiped its environment, or has become another user.  A process that a job left
behind when it ended by itself carries that job's mark, or is older.
"""


@implementer(IWriteDescriptor, IExitListener)
class Guardian(WatchedDescriptor):
    """The server's side: starts the guardian and tells it of jobs.

    Telling costs one small write, :data:`TELL_SECONDS` later.  It never waits: a full pipe is written when it has room,
    and a job that has ended in between is not mentioned.  A guardian that dies is a warning in the log; another one is
    started, and told of all jobs that run.

    :param reactor: watches the pipe, while that is full, and the guardian's exit; tells the time.
    :param grace: whole seconds between two steps.
    :ivar pid: the guardian's process id while it runs; otherwise ``None``.
    """

    _log = Logger(observer=leveled_log)

    def __init__(self, reactor: IJobReactor, grace: int = round(GRACE_SECONDS)) -> None:
        super().__init__(reactor, -1)
        self._grace = grace
        self._jobs: dict[bytes, tuple[bytes, int]] = {}
        self._told: set[bytes] = set()
        self._untold: dict[bytes, None] = {}
        self._is_stopping = False
        self._telling: IDelayedCall | None = None
        self._arguments: tuple[str | bytes, ...] = ()
        self._started_at = 0.0
        self._delay = 0.0
        self._attempt: IDelayedCall | None = None
        self.pid: int | None = None

    def start(self, control_group: str = "", mark_prefix: bytes = b"", controllers: Iterable[str] = ()) -> None:
        """Start the guardian, and start it again whenever it has died.  The log says when it cannot be started.

        :param control_group: the folder of the control group of this server and its jobs, which this process has not
            entered yet; empty when there is none.  The guardian removes it in the end.
        :param mark_prefix: how the mark of every job begins.
        :param controllers: those that the server enables beside the group; the guardian disables them in the end.
        """
        self._arguments = (str(self._grace), _STEPS, MARK_NAME, control_group, mark_prefix, " ".join(controllers))
        self._start()

    def _start(self) -> None:
        self._attempt = None
        self._started_at = self._reactor.seconds()
        try:
            self._spawn()
        except OSError as e:
            self._start_later(f"no guardian ({e.strerror})")

    def _start_later(self, problem: str) -> None:
        """Start a guardian after a delay that grows with each attempt in a row."""
        if self._reactor.seconds() - self._started_at >= MAX_RESTART_SECONDS:
            self._delay = 0.0
        text = "{problem}; until another is started, in {delay:g} s, jobs outlive a server that is killed"
        self._log.warn(text, problem=problem, delay=self._delay)
        self._attempt = self._reactor.callLater(self._delay, self._start)
        self._delay = min(max(2 * self._delay, RESTART_SECONDS), MAX_RESTART_SECONDS)

    def _spawn(self) -> None:
        reading, writing = open_pipe()
        os.set_blocking(writing, False)
        self._fd, self.is_closed = writing, False
        self._told.clear()
        self._untold = dict.fromkeys(self._jobs)
        # Before the start: from its first moment on, a guardian that replaces another one knows the jobs.
        self.doWrite()
        try:
            self.pid = os.posix_spawn(
                _SHELL,
                ("sh", "-c", _SCRIPT, _NAME, *self._arguments),
                {"PATH": DEFAULT_PATH},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, reading, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    *closing_actions(),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
            )
        except BaseException:
            self.close()
            raise
        finally:
            os.close(reading)
        watch_exit(self._reactor, self.pid, self)

    def job_started(self, pid: int, mark: bytes, born: int = 0) -> None:
        """Tell the guardian to end a job if the server is killed.

        :param pid: the number of the job's process group.
        :param mark: the value of the job's mark: letters and digits.
        :param born: clock ticks from the start of the system to the job's; an older process in the control group does
            not come from it.
        """
        self._add(b"%d" % pid, mark, born)

    def job_ended(self, pid: int) -> None:
        """Tell the guardian to leave a job alone from now on: its group is gone, or may stay.

        :param pid: the number that :meth:`job_started` got.  Nothing happens with any other.
        """
        self._remove(b"%d" % pid)

    def rest_ends(self, mark: bytes, born: int = 0) -> None:
        """Tell the guardian to end what is left of a job whose group is gone, if the server is killed.

        :param mark: the job's mark.
        :param born: as for :meth:`job_started`.
        """
        self._add(b"rest" + mark, mark, born)

    def rest_ended(self, mark: bytes) -> None:
        """Tell the guardian that what was left of a job is gone.

        :param mark: the mark that :meth:`rest_ends` got.  Nothing happens with any other.
        """
        self._remove(b"rest" + mark)

    def _add(self, key: bytes, mark: bytes, born: int) -> None:
        assert mark.isalnum(), "a mark is a word of the script"
        self._jobs[key] = mark, born
        self._tell(key)

    def _remove(self, key: bytes) -> None:
        if self._jobs.pop(key, None) is not None:
            self._tell(key)

    def kill_jobs(self) -> None:
        """Kill the process groups of all jobs now, and let the guardian kill the rest when this process has ended.

        It changes nothing here, and may be called by a signal's handler in the middle of anything.
        """
        for key in list(self._jobs):
            if key.isdigit():
                with contextlib.suppress(OSError):  # it is gone, or another user's
                    os.killpg(int(key), signal.SIGKILL)
        with contextlib.suppress(OSError):  # there is no guardian, or its pipe is full
            for key in list(self._untold):
                os.write(self._fd, self._line(key))
            os.write(self._fd, b"!\n")

    def stop(self) -> None:
        """Let the guardian go.  It ends the jobs that it still knows of."""
        self._is_stopping = True
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        if self._fd >= 0:
            self.doWrite()
        if self._untold and self.pid is not None:
            # It does not know that a job has ended, and might signal a number that is another's by now.
            os.kill(self.pid, signal.SIGKILL)
        self.close()

    def _tell(self, key: bytes) -> None:
        if self._fd < 0:
            return
        if key in self._jobs or key in self._told:
            self._untold[key] = None
        else:
            self._untold.pop(key, None)
        if self._untold and self._telling is None:
            self._telling = self._reactor.callLater(TELL_SECONDS, self._tell_now)

    def _tell_now(self) -> None:
        self._telling = None
        self.doWrite()

    def doWrite(self) -> None:
        """Tell what is not told yet, as far as the pipe takes it; the reactor calls this when it has room again."""
        while self._untold:
            key = next(iter(self._untold))
            try:
                # The pipe takes so short a write whole or not at all (pipe(7), PIPE_BUF).
                os.write(self._fd, self._line(key))
            except BlockingIOError:
                self.watch_writing(True)
                return
            except BrokenPipeError:  # the watch of its exit reports that
                self.close()
                return
            del self._untold[key]
            if key in self._jobs:
                self._told.add(key)
            else:
                self._told.discard(key)
        self.watch_writing(False)

    def _line(self, key: bytes) -> bytes:
        job = self._jobs.get(key)
        return b"- %s\n" % key if job is None else b"+ %s %s %d\n" % (key, *job)

    def close(self) -> None:
        """Close the pipe, and forget what is not told yet."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._untold.clear()
        super().close()

    def process_exited(self, report: ExitReport) -> None:
        """See :meth:`IExitListener.process_exited`; the reactor calls this."""
        self.pid = None
        self.close()
        if not self._is_stopping:
            self._start_later("the guardian is gone")
