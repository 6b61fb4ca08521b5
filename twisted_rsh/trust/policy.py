"""What one key may do: the options of its line in ``authorized_keys`` as a value, which a login carries to its jobs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from fnmatch import fnmatchcase

from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.values import dataclass
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.trust.addresses import AddressList

__all__ = ["LIMITS", "ORIGINAL_COMMAND_NAMES", "UNRESTRICTED", "KeyPolicy"]

ORIGINAL_COMMAND_NAMES = ("SSH_ORIGINAL_COMMAND", "TWISTED_RSH_ORIGINAL_COMMAND")
"""The variables in which a forced command finds what its client has asked for.  The first is sshd's."""

LIMITS = ("max_sessions", "max_jobs", "max_output", "max_cpu", "max_memory", "max_processes")
"""The fields of a policy that bound something; the option of a line has the same name with hyphens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPolicy:
    """What a key may do.  Without arguments it may do everything.

    :ivar command: the command that runs in place of whatever the client asks for; ``None`` for what it asks for.
    :ivar is_observer: whether the key may look at the server's sessions, and start nothing; the server sees to it.
    :ivar has_terminals: whether its jobs may have terminals.
    :ivar environment: names and values that each of its jobs has, whatever the client says.
    :ivar accepted_environment: patterns of the names of variables that the client may set, with ``*`` and ``?``; others
        are left out.  ``None`` for all.
    :ivar sources: the addresses from which it may log in; ``None`` for all.
    :ivar expires: the last second in which it may log in, in seconds since 1970, UTC; ``None`` for no end.
    :ivar max_sessions: sessions that it may have at once; ``None`` for as many as the server allows, and so are the
        others.
    :ivar max_jobs: jobs that all of its sessions together may have at once; a persistent shell is one, with what runs
        in it.
    :ivar max_output: bytes of output of each job.
    :ivar max_cpu: seconds of processor time of each job.
    :ivar max_memory: bytes of memory of each job.
    :ivar max_processes: processes of each job.
    """

    command: str | None = None
    is_observer: bool = False
    has_terminals: bool = True
    environment: tuple[tuple[str, str], ...] = ()
    accepted_environment: tuple[str, ...] | None = None
    sources: AddressList | None = None
    expires: float | None = None
    max_sessions: int | None = None
    max_jobs: int | None = None
    max_output: int | None = None
    max_cpu: float | None = None
    max_memory: int | None = None
    max_processes: int | None = None

    @property
    def limits_usage(self) -> bool:
        """Whether it bounds what the processes of a job use, which only the user object can keep."""
        return (self.max_cpu, self.max_memory, self.max_processes) != (None, None, None)

    def is_over(self, now: float) -> bool:
        """Tell whether the key may not log in any more.

        :param now: the time, in seconds since 1970.
        """
        return self.expires is not None and now > self.expires

    def why_not(self, address: str, now: float) -> str | None:
        """Tell why the key may not log in from somewhere at some time.

        :param address: the client's IP address; empty where it has none.
        :param now: the time, in seconds since 1970.
        :returns: the rest of a line for the log; ``None`` if the key may.
        """
        if self.is_over(now):
            return "its expiry-time is over"
        if self.sources is not None and not self.sources.contains(address):
            return f"from= does not allow {address or 'a client without an IP address'}"
        return None

    def allows_no_less_than(self, other: KeyPolicy) -> bool:
        """Tell whether what runs and was allowed by another policy could run by this one as well.

        Where and when the key may log in, and which variables it gives, do not count.

        :param other: that of an earlier login.
        """
        accepted, before = self.accepted_environment, other.accepted_environment
        return (
            self.command in (None, other.command)
            and self.is_observer <= other.is_observer
            and self.has_terminals >= other.has_terminals
            and (accepted is None or (before is not None and set(accepted) >= set(before)))
            and all(_is_no_less(getattr(self, name), getattr(other, name)) for name in LIMITS)
        )

    def narrow(self, request: JobRequest) -> JobRequest:
        """Return the request that runs in place of one that a client makes.

        :param request: the client's.
        :raises JobRefused: `NOT_PERMITTED` or `NO_TERMINAL`: the key may not run it.
        """
        if self == UNRESTRICTED:
            return request
        if self.max_output is not None and (request.max_output is None or request.max_output > self.max_output):
            request = replace(request, max_output=self.max_output)
        if request.in_shell is not None:  # the shell has the rest
            return request
        if request.terminal is not None and not self.has_terminals:
            raise JobRefused(RefusalReason.NO_TERMINAL, "your key may have no terminal (no-pty); ask for none with -T")
        if self.command is None:
            return replace(request, environment=self._environment_of(request))
        if request.shell is not None:
            raise JobRefused(
                RefusalReason.NOT_PERMITTED,
                "your key runs one command only, and no shell that remembers; give a command, and any will do",
            )
        # A folder of the client's choice would change what a relative path in the command means.
        return replace(
            request,
            command=self.command,
            argv=None,
            subsystem=None,
            cwd=None,
            environment=self._environment_of(request, dict.fromkeys(ORIGINAL_COMMAND_NAMES, _asked(request))),
        )

    def _environment_of(
        self, request: JobRequest, originals: dict[str, str] | None = None
    ) -> tuple[tuple[str, str], ...]:
        """Return the variables of a job: the client's that are accepted, then those of the key."""
        patterns = self.accepted_environment
        accepted = {
            name: value
            for name, value in request.environment
            if patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        return tuple((accepted | dict(self.environment) | (originals or {})).items())


UNRESTRICTED = KeyPolicy()
"""The policy of a key whose line has no options."""


def _asked(request: JobRequest) -> str:
    """Return what a client asks for, as one text."""
    if request.argv is not None:
        return shlex.join(request.argv)
    return request.command or request.subsystem or ""


def _is_no_less(limit: float | None, before: float | None) -> bool:
    return limit is None or (before is not None and limit >= before)
