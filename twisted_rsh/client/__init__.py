"""The client: :func:`connect` gives a :class:`RemoteShell`, which runs commands."""

from twisted_rsh.client.connect import connect, connect_to_endpoint
from twisted_rsh.client.remote_job import RemoteJob
from twisted_rsh.client.remote_shell import RemoteShell
from twisted_rsh.client.result import JobEnd, Result

__all__ = ["JobEnd", "RemoteJob", "RemoteShell", "Result", "connect", "connect_to_endpoint"]
