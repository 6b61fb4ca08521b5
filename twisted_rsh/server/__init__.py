"""The server: :class:`RemoteShellService`, and what to give it."""

from twisted_rsh.server.service import DEFAULT_PORT, RemoteShellService, ServiceOptions, local_portal

__all__ = ["DEFAULT_PORT", "RemoteShellService", "ServiceOptions", "local_portal"]
