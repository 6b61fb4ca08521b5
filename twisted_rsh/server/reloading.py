"""What a stand-alone server takes from its configuration when it reads that again, while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.execution.trees.limits import UsageLimits
from twisted_rsh.server.options import ServiceOptions

__all__ = ["Reread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reread:
    """The configuration as it is now.

    :ivar path: its file.
    :ivar options: the operator's choices, with the former ones where a change needs a new start.
    :ivar bounds: what each further job may use.
    :ivar sftp: what serves files, as for :class:`~twisted_rsh.execution.user.LocalUser`.
    :ivar log_level: the least level of the lines of the log.
    :ivar changed: the names of the options that have changed and can hold at once.
    :ivar unchangeable: the names of those that have changed and need a new start.
    """

    path: str
    options: ServiceOptions
    bounds: UsageLimits
    sftp: str
    log_level: str
    changed: tuple[str, ...]
    unchangeable: tuple[str, ...]

    def describe(self) -> str:
        """Say in one line what is different."""
        text = f"{self.path} was read again: "
        text += f"{', '.join(self.changed)} changed" if self.changed else "nothing that holds at once changed"
        if self.unchangeable:
            text += f"; {', '.join(self.unchangeable)} changed too, and will hold when the server is started again"
        return text
