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

__all__ = ["RELOADABLE", "RunningConfiguration"]


RELOADABLE = frozenset(
    """
    login-timeout max-unauthenticated drop-start max-unauthenticated-per-source no-penalties max-sessions
    max-sessions-per-key max-unread-input max-unread-output max-kept-jobs max-jobs-per-session max-processes-per-job
    max-memory-per-job max-cpu-per-job keepalive detach-timeout sftp log-commands log-level
    """.split()
)
"""The options whose change a running server takes at SIGHUP.  Any other needs a new start."""


_NAMESAKES = """
    login-timeout max-unauthenticated drop-start max-unauthenticated-per-source max-sessions max-sessions-per-key
    max-unread-input max-unread-output max-kept-jobs max-window-growth
    """.split()
"""The options that a field of :class:`~twisted_rsh.server.options.ServiceOptions` has under the same name."""


class RunningConfiguration:
    """The configuration of a running server: what its options say now.

    :param options: the options.
    :param endpoints: the endpoints of ``--listen``.
    :param observers: the observers that the options ask for.
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

    def service_options(self) -> ServiceOptions:
        """Return what the options say to the service."""
        options = self._options
        return ServiceOptions(
            interfaces=options["interfaces"] or None,
            port=options["port"],
            endpoints=self._endpoints,
            socket=None if options["socket"] == OFF else options["socket"],
            limits=SessionLimits(
                window=options["window"],
                max_channels=options["max-jobs-per-session"],
                keepalive_interval=options["keepalive"],
                detach_seconds=options["detach-timeout"],
            ),
            penalties=not options["no-penalties"],
            log_commands=bool(options["log-commands"]),
            observers=self._observers,
            **{name.replace("-", "_"): options[name] for name in _NAMESAKES},
        )

    def job_bounds(self) -> UsageLimits:
        """Return what each job may use."""
        return UsageLimits(
            cpu=self._options["max-cpu-per-job"],
            memory=self._options["max-memory-per-job"],
            processes=self._options["max-processes-per-job"],
        )

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
        unchangeable = tuple(name for name in different if name not in RELOADABLE)
        for name in unchangeable:
            after.keep(name, before)
        self._options = after
        return Reread(
            path=str(after.conf_path),
            options=self.service_options(),
            bounds=self.job_bounds(),
            sftp=after["sftp"],
            log_level=after["log-level"],
            changed=tuple(name for name in different if name in RELOADABLE),
            unchangeable=unchangeable,
        )
