"""What the options of ``rsh`` say to its service, at the start and when a running server reads them again."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IStreamServerEndpoint

from twisted_rsh.configuration.configured_options import ConfiguredOptions
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.execution.sftp import OFF
from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.interfaces import IServerObserver
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.server.reloading import Reread

__all__ = ["RELOADABLE", "RunningConfiguration", "job_bounds", "service_options"]


def service_options(
    options: ConfiguredOptions, endpoints: Sequence[IStreamServerEndpoint], observers: Sequence[IServerObserver]
) -> ServiceOptions:
    """Return what the options of ``rsh`` say to its service.

    :param options: the options.
    :param endpoints: the endpoints of ``--listen``.
    :param observers: the observers that the options ask for.
    """
    return ServiceOptions(
        interfaces=options["interfaces"] or None,
        port=options["port"],
        endpoints=endpoints,
        socket=None if options["socket"] == OFF else options["socket"],
        limits=SessionLimits(
            window=options["window"],
            max_channels=options["max-jobs-per-session"],
            keepalive_interval=options["keepalive"],
            detach_seconds=options["detach-timeout"],
        ),
        login_timeout=options["login-timeout"],
        max_unauthenticated=options["max-unauthenticated"],
        drop_start=options["drop-start"],
        max_unauthenticated_per_source=options["max-unauthenticated-per-source"],
        penalties=not options["no-penalties"],
        max_sessions=options["max-sessions"],
        max_sessions_per_key=options["max-sessions-per-key"],
        max_unread_input=options["max-unread-input"],
        max_unread_output=options["max-unread-output"],
        max_kept_jobs=options["max-kept-jobs"],
        max_window_growth=options["max-window-growth"],
        log_commands=bool(options["log-commands"]),
        observers=observers,
    )


RELOADABLE = frozenset(
    """
    login-timeout max-unauthenticated drop-start max-unauthenticated-per-source no-penalties max-sessions
    max-sessions-per-key max-unread-input max-unread-output max-kept-jobs max-jobs-per-session max-processes-per-job
    max-memory-per-job max-cpu-per-job keepalive detach-timeout sftp log-commands log-level
    """.split()
)
"""The options whose change a running server takes at SIGHUP.  Any other needs a new start."""


class RunningConfiguration:
    """The configuration of a running server.

    :param options: what holds.
    :param endpoints: the endpoints of the start.
    :param observers: the observers of the start.
    """

    def __init__(
        self,
        options: ConfiguredOptions,
        endpoints: Sequence[IStreamServerEndpoint],
        observers: Sequence[IServerObserver],
    ) -> None:
        self._options = options
        self._endpoints = endpoints
        self._observers = observers

    def reread(self) -> Reread | None:
        """Read the file of options again, and let hold what can.

        :returns: ``None`` if there is no such file, and was none.
        :raises usage.UsageError, ConfMistake, FileProblem, OSError: as :meth:`ConfiguredOptions.read` does; what held
            holds on.
        """
        before, after = self._options, self._options.reread()
        if not (before.conf_was_read or after.conf_was_read):
            return None
        different = [name for name in after.keywords if before.said(name) != after.said(name)]
        for name in different:
            if name not in RELOADABLE:
                after.keep(name, before)
        self._options = after
        return Reread(
            path=str(after.conf_path),
            options=service_options(after, self._endpoints, self._observers),
            bounds=job_bounds(after),
            sftp=after["sftp"],
            log_level=after["log-level"],
            changed=tuple(name for name in different if name in RELOADABLE),
            unchangeable=tuple(name for name in different if name not in RELOADABLE),
        )


def job_bounds(options: ConfiguredOptions) -> UsageLimits:
    """Return what each job may use by the options of ``rsh``.

    :param options: the options.
    """
    return UsageLimits(
        cpu=options["max-cpu-per-job"],
        memory=options["max-memory-per-job"],
        processes=options["max-processes-per-job"],
    )
