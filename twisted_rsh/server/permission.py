"""What a login may do: the user object that runs its jobs, within the policy of its key.

:meth:`twisted_rsh.trust.policy.KeyPolicy.narrow` changes each request before it comes to the user object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from twisted.logger import Logger
from zope.interface import implementer

from twisted_rsh.core.endings import Exited, JobEnd, RefusalReason, Signalled
from twisted_rsh.core.errors import Error
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.interfaces import IJob, IJobOwner, ILimitedUser, IShellUser, JobRefused
from twisted_rsh.log_level import leveled_log
from twisted_rsh.trust.policy import KeyPolicy

if TYPE_CHECKING:
    from twisted_rsh.server.sessions import Sessions

__all__ = ["OBSERVER_SUBSYSTEM", "CannotLimit", "Observer", "SessionsList", "runner_for"]

OBSERVER_SUBSYSTEM = "sessions"
"""The subsystem that an observer may ask for: the list of the server's sessions and their jobs."""

_FATAL = frozenset({"HUP", "INT", "KILL", "QUIT", "TERM"})
"""Signals that end the list; it has nothing that others would change."""

_log = Logger(namespace=__name__, observer=leveled_log)


class CannotLimit(Error):
    """The limits of a key cannot be kept.  ``str()`` is one line for the client."""


def runner_for(user: IShellUser, policy: KeyPolicy, sessions: Sessions) -> IShellUser:
    """Return the user object that runs the jobs of a login.

    :param user: the portal's user object.
    :param policy: what the key may do.
    :param sessions: the server's sessions, for an observer.
    :raises CannotLimit: the user object, or the system, cannot keep the limits of the policy; the log says which.
    """
    if policy.is_observer:
        return Observer(user, sessions)
    if not policy.limits_usage:
        return user
    text = "the server cannot keep the limits of your key; its log says why"
    if not ILimitedUser.providedBy(user):
        _log.error("the user object {user!r} of the portal keeps no limits; it has to provide ILimitedUser", user=user)
        raise CannotLimit(text)
    try:
        limited: IShellUser = user.limit(cpu=policy.max_cpu, memory=policy.max_memory, processes=policy.max_processes)
    except ValueError as error:
        _log.error("the limits of a key cannot be kept: {error}", error=error)
        raise CannotLimit(text) from None
    return limited


@implementer(IShellUser)
class Observer:
    """A user that may look at the server's sessions, and starts no process.

    :param user: the user object in whose place it stands.
    :param sessions: the sessions to list.
    :ivar name: the user's name, for the log.
    :ivar encoding: the code page of the list.
    """

    encoding: ClassVar[str] = "utf-8"

    def __init__(self, user: IShellUser, sessions: Sessions) -> None:
        self.name = user.name
        self._sessions = sessions

    def start_job(self, request: JobRequest, owner: IJobOwner) -> SessionsList:
        """List the sessions.

        :param request: a request for the subsystem :data:`OBSERVER_SUBSYSTEM`.
        :param owner: gets the list.
        :raises JobRefused: `NOT_PERMITTED`: it is another request.
        """
        if request.subsystem != OBSERVER_SUBSYSTEM:
            raise JobRefused(
                RefusalReason.NOT_PERMITTED,
                f"your key is an observer's and starts nothing; ask for the subsystem {OBSERVER_SUBSYSTEM}",
            )
        return SessionsList(self._sessions, owner)


@implementer(IJob)
class SessionsList:
    """A job that writes one line of JSON for each session, and is no process.

    It writes as far as its owner has room, in turns of the reactor that it shares with the links.

    :param sessions: the sessions, as they are now; those that end meanwhile are left out.
    :param owner: gets the lines.
    """

    def __init__(self, sessions: Sessions, owner: IJobOwner) -> None:
        self._clock = sessions.clock
        self._turns = sessions.turns
        self._owner = owner
        self._lines = _lines(sessions)
        self._rest = b""
        self._is_written = False
        self._waits_for_turn = False
        self._is_over = False
        self._go_on()

    def write_input(self, data: bytes) -> None:
        """Drop the input."""
        self._owner.input_consumed(len(data))

    def end_input(self) -> None:
        """See IJob; nothing happens."""

    def send_signal(self, name: str) -> None:
        """End the list, if the signal ends a program."""
        if name in _FATAL:
            self._end(JobEnd(Signalled(name)))

    def resize(self, columns: int, rows: int) -> None:
        """See IJob; nothing happens, because there is no terminal."""

    def resume_output(self, stream: Stream) -> None:
        """Write on."""
        if stream is Stream.STDOUT:
            self._go_on()

    def close_output(self, stream: Stream) -> None:
        """End the list, as a broken pipe ends a program."""
        if stream is Stream.STDOUT:
            self._end(JobEnd(Signalled("PIPE")))

    def terminate(self) -> None:
        """End the list."""
        self._end(JobEnd(Signalled("HUP")))

    def _go_on(self) -> None:
        if not self._waits_for_turn and not self._is_over:
            self._waits_for_turn = True
            self._turns.run(self, self._write)

    def _write(self, until: float) -> bool:
        self._waits_for_turn = False
        while not self._is_over:
            if not self._rest:
                self._rest = next(self._lines, b"")
                if not self._rest:
                    self._end(JobEnd(Exited(0)))
                    break
            room = self._owner.output_room(Stream.STDOUT)
            if not room:
                break
            data, self._rest = self._rest[:room], self._rest[room:]
            self._owner.output_received(Stream.STDOUT, data)
            if self._clock.seconds() >= until:
                self._waits_for_turn = not self._is_over
                return self._waits_for_turn
        return False

    def _end(self, end: JobEnd) -> None:
        if not self._is_over:
            self._is_over = True
            for stream in OUTPUTS:
                self._owner.output_ended(stream)
            self._owner.job_ended(end)


def _lines(sessions: Sessions) -> Iterator[bytes]:
    return (json.dumps(session.describe()).encode("ascii") + b"\n" for session in sessions if not session.over)
