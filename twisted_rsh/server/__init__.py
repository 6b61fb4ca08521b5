"""The server: :class:`RemoteShellService`, and what to give it."""

from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.server.service import RemoteShellService, ServiceOptions, local_portal

__all__ = ["DEFAULT_PORT", "RemoteShellService", "ServiceOptions", "local_portal"]
